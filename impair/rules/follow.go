package rules

import (
	"unsafe"

	"github.com/cilium/ebpf/asm"
)

// findConversation sets R8.
func (p *program) findConversation() {
	// c = bpf_map_lookup_elem(&conversations, &p->Key);
	// if (!c) c = newConversation();
	p.lookUp(p.conversations, p.keyInScratch(unsafe.Offsetof(packet{}.Key)))
	p.add(asm.JNE.Imm(asm.R0, 0, "known"))
	p.newConversation()
	p.mark("known")
	p.add(asm.Mov.Reg(asm.R8, asm.R0))
}

// newConversation makes a blank one, or makes one blank, and leaves it in R0. Without room the packet passes, which
// makes all results of the set an error.
func (p *program) newConversation() {
	made, full := p.label("made"), p.label("full")
	// if (bpf_map_update_elem(&conversations, &p->Key, &blank, BPF_ANY)) goto full;
	p.add(
		asm.LoadMapPtr(asm.R1, p.conversations),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Add.Imm(asm.R2, int32(unsafe.Offsetof(packet{}.Key))),
		asm.LoadMapValue(asm.R3, p.blank, 0),
		asm.Mov.Imm(asm.R4, 0), // BPF_ANY
	)
	p.call(asm.FnMapUpdateElem)
	p.add(asm.JNE.Imm(asm.R0, 0, full))
	// c = bpf_map_lookup_elem(&conversations, &p->Key);
	// if (c) goto made;
	p.lookUp(p.conversations, p.keyInScratch(unsafe.Offsetof(packet{}.Key)))
	p.add(asm.JNE.Imm(asm.R0, 0, made))
	// full: counters.Untracked++; goto pass;
	p.mark(full)
	p.count(p.counters, unsafe.Offsetof(counters{}.Untracked))
	p.goTo("pass")
	// made: c->ID = __sync_fetch_and_add(&counters.Conversations, 1);
	p.mark(made)
	p.add(
		asm.LoadMapValue(asm.R1, p.counters, uint32(unsafe.Offsetof(counters{}.Conversations))),
		asm.Mov.Imm(asm.R2, 1),
		fetchAdd(asm.R1, asm.R2),
		asm.StoreMem(asm.R0, int16(unsafe.Offsetof(conversation{}.ID)), asm.R2, asm.DWord),
	)
}

// Offsets that what follows a conversation has in common.
const (
	packetKinds = unsafe.Offsetof(packet{}.Kinds)
	packetSeq   = unsafe.Offsetof(packet{}.Seq)
	packetEnd   = unsafe.Offsetof(packet{}.End)
	packetAck   = unsafe.Offsetof(packet{}.Ack)
	flagsOffset = unsafe.Offsetof(conversation{}.Flags)
	highOffset  = unsafe.Offsetof(conversation{}.High)
)

// follow keeps the conversation's account of sequence numbers, and finds the kinds that follow from it.
func (p *program) follow() {
	// if (!(p->Kinds & KIND_SEGMENT)) goto rules;
	p.load(asm.R1, asm.R7, packetKinds)
	p.add(
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R2, int32(kindSegment)),
		asm.JEq.Imm(asm.R2, 0, "rules"),
		// if (p->Kinds & (KIND_SYN | KIND_SYNACK)) followSYN();
		asm.And.Imm(asm.R1, int32(kindSYN|kindSYNACK)),
		asm.JEq.Imm(asm.R1, 0, "no_syn"),
	)
	p.followSYN()

	// no_syn: if (!(c->Flags & SEEN)) { c->High = p->Seq; c->Flags |= SEEN; }
	p.mark("no_syn")
	p.load(asm.R1, asm.R8, flagsOffset)
	seen := p.label("seen")
	p.add(asm.Mov.Reg(asm.R2, asm.R1), asm.And.Imm(asm.R2, conversationSeen), asm.JNE.Imm(asm.R2, 0, seen))
	p.load(asm.R2, asm.R7, packetSeq)
	p.store(asm.R8, highOffset, asm.R2)
	p.setFlag(asm.R8, flagsOffset, conversationSeen)
	p.mark(seen)
	p.followPayload()
	p.followOpening()
}

// followPayload separates data, its retransmissions, and pure ACKs.
func (p *program) followPayload() {
	// if (!p->Payload) goto no_payload;
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Payload))
	p.add(asm.JEq.Imm(asm.R1, 0, "no_payload"))

	// Payload: it is the first time if it ends above all that came before, modulo 2^32.
	// if ((s32)(p->End - c->High) > 0) {
	// 	c->High = p->End; p->IsFirst = 1;
	// 	p->Kinds |= KIND_DATA;
	// } else {
	// 	p->Kinds |= KIND_DATA | KIND_RETRANSMISSION;
	// }
	// goto opening;
	repeated := p.label("repeated")
	p.load(asm.R1, asm.R7, packetEnd)
	p.load(asm.R2, asm.R8, highOffset)
	p.add(
		asm.Mov.Reg32(asm.R3, asm.R1),
		asm.Sub.Reg32(asm.R3, asm.R2),
		asm.JSLE.Imm32(asm.R3, 0, repeated),
	)
	p.store(asm.R8, highOffset, asm.R1)
	p.storeConst(asm.R7, unsafe.Offsetof(packet{}.IsFirst), 1)
	p.setFlag(asm.R7, packetKinds, int32(kindData))
	p.goTo("opening")
	p.mark(repeated)
	p.setFlag(asm.R7, packetKinds, int32(kindData|kindRetransmission))
	p.goTo("opening")

	// no_payload: if (p->Flags & (FIN | RST)) goto rules;
	// p->Kinds |= KIND_PURE_ACK;
	p.mark("no_payload")
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Flags))
	p.add(asm.And.Imm(asm.R1, flagFIN|flagRST), asm.JNE.Imm(asm.R1, 0, "rules"))
	p.setFlag(asm.R7, packetKinds, int32(kindPureACK))
}

// followOpening finds what completes the handshake: the client's first segment after the SYN, and each pure ACK that
// repeats it.
func (p *program) followOpening() {
	// opening: if (!(c->Flags & CLIENT)) goto rules;
	// if (!(c->Flags & OPENED)) {
	// 	c->Flags |= OPENED;
	// 	c->OpeningSeq = p->Seq; c->OpeningAck = p->Ack;
	// }
	p.mark("opening")
	pure := p.label("opened")
	p.load(asm.R1, asm.R8, flagsOffset)
	p.add(
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R2, conversationClient),
		asm.JEq.Imm(asm.R2, 0, "rules"),
		asm.And.Imm(asm.R1, conversationOpened),
		asm.JNE.Imm(asm.R1, 0, pure),
	)
	p.setFlag(asm.R8, flagsOffset, conversationOpened)
	p.load(asm.R1, asm.R7, packetSeq)
	p.store(asm.R8, unsafe.Offsetof(conversation{}.OpeningSeq), asm.R1)
	p.load(asm.R1, asm.R7, packetAck)
	p.store(asm.R8, unsafe.Offsetof(conversation{}.OpeningAck), asm.R1)
	// if (!(p->Kinds & KIND_PURE_ACK) || p->Seq != c->OpeningSeq || p->Ack != c->OpeningAck) goto rules;
	p.mark(pure)
	p.load(asm.R3, asm.R7, packetKinds)
	p.add(asm.Mov.Reg(asm.R1, asm.R3), asm.And.Imm(asm.R1, int32(kindPureACK)), asm.JEq.Imm(asm.R1, 0, "rules"))
	p.load(asm.R1, asm.R7, packetSeq)
	p.load(asm.R2, asm.R8, unsafe.Offsetof(conversation{}.OpeningSeq))
	p.add(asm.JNE.Reg(asm.R1, asm.R2, "rules"))
	p.load(asm.R1, asm.R7, packetAck)
	p.load(asm.R2, asm.R8, unsafe.Offsetof(conversation{}.OpeningAck))
	p.add(
		asm.JNE.Reg(asm.R1, asm.R2, "rules"),
		asm.Xor.Imm(asm.R3, int32(kindPureACK|kindHandshakeACK)),
	)
	// p->Kinds ^= KIND_PURE_ACK | KIND_HANDSHAKE_ACK;
	// goto rules;
	p.store(asm.R7, packetKinds, asm.R3)
	p.goTo("rules")
}

// followSYN begins a conversation, unless the SYN is a retransmission.
func (p *program) followSYN() {
	const flags, isn = unsafe.Offsetof(conversation{}.Flags), unsafe.Offsetof(conversation{}.ISN)
	// if (!c->Flags) goto begin;
	begin, blank := p.label("begin"), p.label("blank")
	p.load(asm.R1, asm.R8, flags)
	p.add(
		asm.JEq.Imm(asm.R1, 0, begin),
		asm.And.Imm(asm.R1, conversationISN),
		asm.JEq.Imm(asm.R1, 0, blank),
	)
	// if (c->Flags & HAS_ISN && c->ISN == p->Seq) goto rules;
	p.load(asm.R1, asm.R8, isn)
	p.load(asm.R2, asm.R7, unsafe.Offsetof(packet{}.Seq))
	p.add(asm.JEq.Reg(asm.R1, asm.R2, "rules"))
	// c = newConversation();
	p.mark(blank)
	p.newConversation()
	p.add(asm.Mov.Reg(asm.R8, asm.R0))
	// begin: c->ISN = p->Seq;
	// c->High = p->End + 1;
	p.mark(begin)
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Seq))
	p.store(asm.R8, isn, asm.R1)
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.End))
	p.add(asm.Add.Imm32(asm.R1, 1)) // the SYN's own number
	p.store(asm.R8, unsafe.Offsetof(conversation{}.High), asm.R1)
	// c->Flags = SEEN | HAS_ISN | (p->Kinds & KIND_SYN ? CLIENT : 0);
	// goto rules;
	fromServer := p.label("from_server")
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Kinds))
	p.add(
		asm.Mov.Imm(asm.R2, conversationSeen|conversationISN),
		asm.And.Imm(asm.R1, int32(kindSYN)),
		asm.JEq.Imm(asm.R1, 0, fromServer),
		asm.Or.Imm(asm.R2, conversationClient),
	)
	p.mark(fromServer)
	p.store(asm.R8, flags, asm.R2)
	p.goTo("rules")
}
