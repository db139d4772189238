package rules

import (
	"encoding/binary"
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// What a program tells clsact (linux/pkt_cls.h).
const (
	tcUnspec = -1 // go on to the next filter
	tcOK     = 0
	tcShot   = 2
	tcStolen = 4
)

// Offsets in frames.
const (
	ethernetHeader = 14
	ipv6Header     = 40
)

// fds are the maps that the program works on.
type fds struct {
	settings, counters, conversations, blank, pieces, scratch, ring int
}

// A program is the main one, on egress. These registers keep their role throughout:
//
//	R6  the packet (struct __sk_buff)
//	R7  scratch memory (packet)
//	R8  the conversation; until it is known, the offset of the next header
//	R9  while parsing: bytes from the next header to the end; then the settings of the rule that is looked at
type program struct {
	assembler
	fds
	ringBytes int
}

// assemble makes the main program, which asks up to capacity rules.
func assemble(f fds, ringBytes, capacity int) asm.Instructions {
	p := &program{fds: f, ringBytes: ringBytes}
	p.enter()
	p.parse()
	p.findConversation()
	p.follow()
	p.mark("rules")
	for i := range capacity {
		p.rule(i)
	}
	p.mark("decided")
	p.report()
	p.act()
	p.mark("pass")
	p.exit(tcOK)
	return p.code
}

// enter lets pass what the program has dealt with before, or has nothing to do with.
func (p *program) enter() {
	p.add(asm.Mov.Reg(asm.R6, asm.R1))
	p.load(asm.R2, asm.R6, skbMark)
	p.add(
		asm.Mov.Reg32(asm.R1, asm.R2),
		asm.RSh.Imm32(asm.R1, 16),
		asm.JNE.Imm(asm.R1, markMagic>>16, "fresh"),
		asm.Mov.Imm(asm.R1, 0),
	)
	p.store(asm.R6, skbMark, asm.R1)
	p.exit(tcOK)

	p.mark("fresh")
	p.add(asm.LoadMapValue(asm.R1, p.settings, 0))
	p.load(asm.R2, asm.R1, unsafe.Offsetof(settings{}.Count))
	p.load(asm.R3, asm.R1, unsafe.Offsetof(settings{}.Trace))
	p.add(
		asm.Or.Reg(asm.R2, asm.R3),
		asm.JEq.Imm(asm.R2, 0, "pass"),
	)
	single := p.label("single")
	p.load(asm.R1, asm.R6, skbGSOSegs)
	p.add(asm.JLE.Imm(asm.R1, 1, single))
	p.count(p.counters, unsafe.Offsetof(counters{}.Offloaded))
	p.goTo("pass")

	p.mark(single)
	p.add(asm.StoreImm(asm.RFP, -4, 0, asm.Word))
	p.lookUp(p.scratch, func() { p.add(asm.Mov.Reg(asm.R2, asm.RFP), asm.Add.Imm(asm.R2, -4)) })
	p.add(
		asm.JEq.Imm(asm.R0, 0, "pass"), // an array's element is always there; the verifier does not know
		asm.Mov.Reg(asm.R7, asm.R0),
	)
	for offset := uintptr(0); offset < unsafe.Offsetof(packet{}.Piece); offset += 4 {
		p.storeConst(asm.R7, offset, 0)
	}
	p.storeConst(asm.R7, unsafe.Offsetof(packet{}.Kinds), int32(kindPacket))
	p.call(asm.FnKtimeGetNs)
	p.add(asm.StoreMem(asm.R7, int16(unsafe.Offsetof(packet{}.Now)), asm.R0, asm.DWord))
}

// lookUp leaves the address of a map's value in R0, or 0. setKey sets R2.
func (p *program) lookUp(mapFD int, setKey func()) {
	setKey()
	p.add(asm.LoadMapPtr(asm.R1, mapFD))
	p.call(asm.FnMapLookupElem)
}

// keyInScratch sets R2 to a key inside of the scratch memory.
func (p *program) keyInScratch(offset uintptr) func() {
	return func() { p.add(asm.Mov.Reg(asm.R2, asm.R7), asm.Add.Imm(asm.R2, int32(offset))) }
}

// loadHeader copies bytes at R8 in the frame to packet.Header, and goes to "parsed" if the frame is shorter.
func (p *program) loadHeader(size int32) {
	p.add(
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R8),
		asm.Mov.Reg(asm.R3, asm.R7),
		asm.Add.Imm(asm.R3, int32(header)),
		asm.Mov.Imm(asm.R4, size),
	)
	p.call(asm.FnSkbLoadBytes)
	p.add(asm.JNE.Imm(asm.R0, 0, "parsed"))
}

const header = unsafe.Offsetof(packet{}.Header)

// parse sorts the packet. What it does not know stays a packet of unknown kind between two addresses, or between none.
func (p *program) parse() {
	p.load(asm.R1, asm.R6, skbProtocol)
	p.add(
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.JEq.Imm(asm.R1, unix.ETH_P_IP, "ipv4"),
		asm.JEq.Imm(asm.R1, unix.ETH_P_IPV6, "ipv6"),
	)
	p.goTo("parsed")
	p.parseIPv4()
	p.parseIPv6()
	p.parseICMP()
	p.parseTCP()
	p.mark("parsed")
}

const (
	source      = unsafe.Offsetof(packet{}.Key) + unsafe.Offsetof(conversationKey{}.Source)
	destination = unsafe.Offsetof(packet{}.Key) + unsafe.Offsetof(conversationKey{}.Destination)
	protocol    = unsafe.Offsetof(packet{}.Key) + unsafe.Offsetof(conversationKey{}.Protocol)
)

// parseIPv4 reads the header of RFC 791.
func (p *program) parseIPv4() {
	p.mark("ipv4")
	p.add(asm.Mov.Imm(asm.R8, ethernetHeader))
	p.loadHeader(20)
	for _, address := range []struct{ to, from uintptr }{{source, header + 12}, {destination, header + 16}} {
		p.add(asm.StoreImm(asm.R7, int16(address.to+10), -1, asm.Half))
		p.load(asm.R1, asm.R7, address.from)
		p.store(asm.R7, address.to+12, asm.R1)
	}
	p.add(
		asm.LoadMem(asm.R1, asm.R7, int16(header+1), asm.Byte),
		asm.And.Imm(asm.R1, 3),
	)
	p.store(asm.R7, unsafe.Offsetof(packet{}.ECN), asm.R1)
	// A fragment has no TCP header, or does not tell how long the segment is.
	const moreFragmentsAndOffset = 0x3fff
	p.loadBig(asm.R1, header+6, asm.Half)
	p.add(
		asm.And.Imm(asm.R1, moreFragmentsAndOffset),
		asm.JNE.Imm(asm.R1, 0, "parsed"),
		asm.LoadMem(asm.R2, asm.R7, int16(header), asm.Byte), // version and header length in words
		asm.And.Imm(asm.R2, 0xf),
		asm.LSh.Imm(asm.R2, 2),
	)
	p.loadBig(asm.R9, header+2, asm.Half)
	p.add(
		asm.JLT.Reg(asm.R9, asm.R2, "parsed"),
		asm.Sub.Reg(asm.R9, asm.R2),
		asm.Add.Reg(asm.R8, asm.R2),
		asm.LoadMem(asm.R1, asm.R7, int16(header+9), asm.Byte),
	)
	p.store(asm.R7, protocol, asm.R1)
	p.add(
		asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, "tcp"),
		asm.JNE.Imm(asm.R1, unix.IPPROTO_ICMP, "parsed"),
	)
	p.loadICMP(kindICMPv4, 3<<8|4) // RFC 1191: destination unreachable, fragmentation needed
}

// parseIPv6 reads the header of RFC 8200.
func (p *program) parseIPv6() {
	p.mark("ipv6")
	p.add(asm.Mov.Imm(asm.R8, ethernetHeader))
	p.loadHeader(ipv6Header)
	for i := uintptr(0); i < 16; i += 8 {
		p.add(
			asm.LoadMem(asm.R1, asm.R7, int16(header+8+i), asm.DWord),
			asm.StoreMem(asm.R7, int16(source+i), asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.R7, int16(header+24+i), asm.DWord),
			asm.StoreMem(asm.R7, int16(destination+i), asm.R1, asm.DWord),
		)
	}
	p.add(
		asm.LoadMem(asm.R1, asm.R7, int16(header+1), asm.Byte), // half of the traffic class, half of the flow label
		asm.RSh.Imm(asm.R1, 4),
		asm.And.Imm(asm.R1, 3),
	)
	p.store(asm.R7, unsafe.Offsetof(packet{}.ECN), asm.R1)
	p.loadBig(asm.R9, header+4, asm.Half)
	p.add(
		asm.Add.Imm(asm.R8, ipv6Header),
		asm.LoadMem(asm.R1, asm.R7, int16(header+6), asm.Byte),
	)
	p.store(asm.R7, protocol, asm.R1)
	p.add(
		asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, "tcp"),
		asm.JNE.Imm(asm.R1, unix.IPPROTO_ICMPV6, "parsed"),
	)
	p.loadICMP(kindICMPv6, 2<<8) // RFC 4443: packet too big
}

// loadICMP goes to "icmp" with the kind in R9 and the value that means "too big" in R8's place on the stack.
func (p *program) loadICMP(k kind, tooBig int32) {
	p.loadHeader(2)
	p.add(
		asm.Mov.Imm(asm.R9, int32(kindPacket|k)),
		asm.Mov.Imm(asm.R8, tooBig),
	)
	p.goTo("icmp")
}

func (p *program) parseICMP() {
	p.mark("icmp")
	p.loadBig(asm.R1, header, asm.Half)
	p.store(asm.R7, unsafe.Offsetof(packet{}.ICMP), asm.R1)
	other := p.label("other")
	p.add(
		asm.JNE.Reg(asm.R1, asm.R8, other),
		asm.Or.Imm(asm.R9, int32(kindTooBig)),
	)
	p.mark(other)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Kinds), asm.R9)
	p.goTo("parsed")
}

// Flags of the TCP header (RFC 9293, section 3.1).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK

	allFlags = 1<<9 - 1 // with AE (RFC 9768)
)

// parseTCP reads the header of RFC 9293.
func (p *program) parseTCP() {
	p.mark("tcp")
	p.loadHeader(20)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Offset), asm.R8)
	p.add(
		asm.LoadMem(asm.R1, asm.R7, int16(header+12), asm.Byte), // header length in words, in the upper half
		asm.RSh.Imm(asm.R1, 4),
		asm.LSh.Imm(asm.R1, 2),
		asm.JLT.Reg(asm.R9, asm.R1, "parsed"),
		asm.Sub.Reg(asm.R9, asm.R1),
	)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Payload), asm.R9)
	p.add(asm.Add.Reg(asm.R1, asm.R8))
	p.store(asm.R7, unsafe.Offsetof(packet{}.Body), asm.R1)
	const key = unsafe.Offsetof(packet{}.Key)
	p.loadBig(asm.R1, header, asm.Half)
	p.store(asm.R7, key+unsafe.Offsetof(conversationKey{}.SourcePort), asm.R1)
	p.loadBig(asm.R1, header+2, asm.Half)
	p.store(asm.R7, key+unsafe.Offsetof(conversationKey{}.DestinationPort), asm.R1)
	p.loadBig(asm.R1, header+4, asm.Word)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Seq), asm.R1)
	p.add(asm.Add.Reg32(asm.R1, asm.R9))
	p.store(asm.R7, unsafe.Offsetof(packet{}.End), asm.R1)
	p.loadBig(asm.R1, header+8, asm.Word)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Ack), asm.R1)
	p.loadBig(asm.R2, header+12, asm.Half)
	p.add(asm.And.Imm(asm.R2, allFlags))
	p.store(asm.R7, unsafe.Offsetof(packet{}.Flags), asm.R2)

	// R1 gathers the kinds that the flags tell.
	p.add(asm.Mov.Imm(asm.R1, int32(kindPacket|kindSegment)))
	for _, flag := range []struct {
		bit  int32
		kind kind
	}{{flagFIN, kindFIN}, {flagRST, kindRST}} {
		without := p.label("without")
		p.add(
			asm.Mov.Reg(asm.R3, asm.R2),
			asm.And.Imm(asm.R3, flag.bit),
			asm.JEq.Imm(asm.R3, 0, without),
			asm.Or.Imm(asm.R1, int32(flag.kind)),
		)
		p.mark(without)
	}
	noSYN, noACK, sorted := p.label("no_syn"), p.label("no_ack"), p.label("sorted")
	p.add(
		asm.And.Imm(asm.R2, flagSYN|flagACK),
		asm.JEq.Imm(asm.R2, flagSYN, noACK),
		asm.JNE.Imm(asm.R2, flagSYN|flagACK, noSYN),
		asm.Or.Imm(asm.R1, int32(kindSYNACK)),
		asm.Ja.Label(sorted),
	)
	p.mark(noACK)
	p.add(asm.Or.Imm(asm.R1, int32(kindSYN)))
	p.mark(sorted)
	p.mark(noSYN)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Kinds), asm.R1)
}

// findConversation sets R8.
func (p *program) findConversation() {
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
	p.add(
		asm.LoadMapPtr(asm.R1, p.conversations),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Add.Imm(asm.R2, int32(unsafe.Offsetof(packet{}.Key))),
		asm.LoadMapValue(asm.R3, p.blank, 0),
		asm.Mov.Imm(asm.R4, 0), // BPF_ANY
	)
	p.call(asm.FnMapUpdateElem)
	p.add(asm.JNE.Imm(asm.R0, 0, full))
	p.lookUp(p.conversations, p.keyInScratch(unsafe.Offsetof(packet{}.Key)))
	p.add(asm.JNE.Imm(asm.R0, 0, made))
	p.mark(full)
	p.count(p.counters, unsafe.Offsetof(counters{}.Untracked))
	p.goTo("pass")
	p.mark(made)
	p.add(
		asm.LoadMapValue(asm.R1, p.counters, uint32(unsafe.Offsetof(counters{}.Conversations))),
		asm.Mov.Imm(asm.R2, 1),
		fetchAdd(asm.R1, asm.R2),
		asm.StoreMem(asm.R0, int16(unsafe.Offsetof(conversation{}.ID)), asm.R2, asm.DWord),
	)
}

// follow keeps the conversation's account of sequence numbers, and finds the kinds that follow from it.
func (p *program) follow() {
	const (
		kinds = unsafe.Offsetof(packet{}.Kinds)
		seq   = unsafe.Offsetof(packet{}.Seq)
		end   = unsafe.Offsetof(packet{}.End)
		ack   = unsafe.Offsetof(packet{}.Ack)
		flags = unsafe.Offsetof(conversation{}.Flags)
		high  = unsafe.Offsetof(conversation{}.High)
	)
	p.load(asm.R1, asm.R7, kinds)
	p.add(
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R2, int32(kindSegment)),
		asm.JEq.Imm(asm.R2, 0, "rules"),
		asm.And.Imm(asm.R1, int32(kindSYN|kindSYNACK)),
		asm.JEq.Imm(asm.R1, 0, "no_syn"),
	)
	p.followSYN()

	p.mark("no_syn")
	p.load(asm.R1, asm.R8, flags)
	seen := p.label("seen")
	p.add(asm.Mov.Reg(asm.R2, asm.R1), asm.And.Imm(asm.R2, conversationSeen), asm.JNE.Imm(asm.R2, 0, seen))
	p.load(asm.R2, asm.R7, seq)
	p.store(asm.R8, high, asm.R2)
	p.setFlag(asm.R8, flags, conversationSeen)
	p.mark(seen)
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Payload))
	p.add(asm.JEq.Imm(asm.R1, 0, "no_payload"))

	// Payload: it is the first time if it ends above all that came before, modulo 2^32.
	repeated := p.label("repeated")
	p.load(asm.R1, asm.R7, end)
	p.load(asm.R2, asm.R8, high)
	p.add(
		asm.Mov.Reg32(asm.R3, asm.R1),
		asm.Sub.Reg32(asm.R3, asm.R2),
		asm.JSLE.Imm32(asm.R3, 0, repeated),
	)
	p.store(asm.R8, high, asm.R1)
	p.storeConst(asm.R7, unsafe.Offsetof(packet{}.IsFirst), 1)
	p.setFlag(asm.R7, kinds, int32(kindData))
	p.goTo("opening")
	p.mark(repeated)
	p.setFlag(asm.R7, kinds, int32(kindData|kindRetransmission))
	p.goTo("opening")

	p.mark("no_payload")
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Flags))
	p.add(asm.And.Imm(asm.R1, flagFIN|flagRST), asm.JNE.Imm(asm.R1, 0, "rules"))
	p.setFlag(asm.R7, kinds, int32(kindPureACK))

	// The client's first segment after the SYN completes the handshake, and so does each pure ACK that repeats it.
	p.mark("opening")
	pure := p.label("opened")
	p.load(asm.R1, asm.R8, flags)
	p.add(
		asm.Mov.Reg(asm.R2, asm.R1),
		asm.And.Imm(asm.R2, conversationClient),
		asm.JEq.Imm(asm.R2, 0, "rules"),
		asm.And.Imm(asm.R1, conversationOpened),
		asm.JNE.Imm(asm.R1, 0, pure),
	)
	p.setFlag(asm.R8, flags, conversationOpened)
	p.load(asm.R1, asm.R7, seq)
	p.store(asm.R8, unsafe.Offsetof(conversation{}.OpeningSeq), asm.R1)
	p.load(asm.R1, asm.R7, ack)
	p.store(asm.R8, unsafe.Offsetof(conversation{}.OpeningAck), asm.R1)
	p.mark(pure)
	p.load(asm.R3, asm.R7, kinds)
	p.add(asm.Mov.Reg(asm.R1, asm.R3), asm.And.Imm(asm.R1, int32(kindPureACK)), asm.JEq.Imm(asm.R1, 0, "rules"))
	p.load(asm.R1, asm.R7, seq)
	p.load(asm.R2, asm.R8, unsafe.Offsetof(conversation{}.OpeningSeq))
	p.add(asm.JNE.Reg(asm.R1, asm.R2, "rules"))
	p.load(asm.R1, asm.R7, ack)
	p.load(asm.R2, asm.R8, unsafe.Offsetof(conversation{}.OpeningAck))
	p.add(
		asm.JNE.Reg(asm.R1, asm.R2, "rules"),
		asm.Xor.Imm(asm.R3, int32(kindPureACK|kindHandshakeACK)),
	)
	p.store(asm.R7, kinds, asm.R3)
	p.goTo("rules")
}

// followSYN begins a conversation, unless the SYN is a retransmission.
func (p *program) followSYN() {
	const flags, isn = unsafe.Offsetof(conversation{}.Flags), unsafe.Offsetof(conversation{}.ISN)
	begin, blank := p.label("begin"), p.label("blank")
	p.load(asm.R1, asm.R8, flags)
	p.add(
		asm.JEq.Imm(asm.R1, 0, begin),
		asm.And.Imm(asm.R1, conversationISN),
		asm.JEq.Imm(asm.R1, 0, blank),
	)
	p.load(asm.R1, asm.R8, isn)
	p.load(asm.R2, asm.R7, unsafe.Offsetof(packet{}.Seq))
	p.add(asm.JEq.Reg(asm.R1, asm.R2, "rules"))
	p.mark(blank)
	p.newConversation()
	p.add(asm.Mov.Reg(asm.R8, asm.R0))
	p.mark(begin)
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Seq))
	p.store(asm.R8, isn, asm.R1)
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.End))
	p.add(asm.Add.Imm32(asm.R1, 1)) // the SYN's own number
	p.store(asm.R8, unsafe.Offsetof(conversation{}.High), asm.R1)
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

// rule asks rule i whether it selects the packet.
func (p *program) rule(i int) {
	next, matched := p.label("next"), p.label("matched")
	p.add(asm.LoadMapValue(asm.R1, p.settings, 0))
	p.load(asm.R1, asm.R1, unsafe.Offsetof(settings{}.Count))
	p.add(
		asm.JLE.Imm(asm.R1, int32(i), "decided"),
		asm.LoadMapValue(asm.R9, p.settings, uint32(unsafe.Offsetof(settings{}.Rules)+uintptr(i)*ruleSettingsSize)),
	)
	p.filter(next)
	p.number(i, matched, next)

	p.mark(matched)
	own := unsafe.Offsetof(counters{}.Rules) + uintptr(i)*ruleCountersSize
	p.count(p.counters, own+unsafe.Offsetof(ruleCounters{}.Matched))
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Chosen))
	p.add(asm.JNE.Imm(asm.R1, 0, next))
	p.load(asm.R3, asm.R9, unsafe.Offsetof(ruleSettings{}.Limit))
	choose := p.label("choose")
	p.add(
		asm.LoadMapValue(asm.R1, p.counters, uint32(own+unsafe.Offsetof(ruleCounters{}.Acted))),
		asm.Mov.Imm(asm.R2, 1),
		fetchAdd(asm.R1, asm.R2),
		asm.JEq.Imm(asm.R3, 0, choose),
		asm.JLT.Reg(asm.R2, asm.R3, choose),
		asm.Mov.Imm(asm.R2, -1),
		asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
		asm.Ja.Label(next),
	)
	p.mark(choose)
	p.storeConst(asm.R7, unsafe.Offsetof(packet{}.Chosen), int32(i+1))
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Number))
	p.store(asm.R7, unsafe.Offsetof(packet{}.ChosenNo), asm.R1)
	p.mark(next)
}

// filter goes to next if the rule is off, or not about such a packet.
func (p *program) filter(next string) {
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Active))
	p.add(asm.JEq.Imm(asm.R1, 0, next))
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Kinds))
	p.load(asm.R2, asm.R7, unsafe.Offsetof(packet{}.Kinds))
	p.add(asm.And.Reg(asm.R1, asm.R2), asm.JEq.Imm(asm.R1, 0, next))

	unending := p.label("unending")
	p.add(
		asm.LoadMem(asm.R2, asm.R7, int16(unsafe.Offsetof(packet{}.Now)), asm.DWord),
		asm.LoadMem(asm.R1, asm.R9, int16(unsafe.Offsetof(ruleSettings{}.Begin)), asm.DWord),
		asm.JLT.Reg(asm.R2, asm.R1, next),
		asm.LoadMem(asm.R1, asm.R9, int16(unsafe.Offsetof(ruleSettings{}.End)), asm.DWord),
		asm.JEq.Imm(asm.R1, 0, unending),
		asm.JGE.Reg(asm.R2, asm.R1, next),
	)
	p.mark(unending)

	const key = unsafe.Offsetof(packet{}.Key)
	for _, port := range []struct{ rule, packet uintptr }{
		{unsafe.Offsetof(ruleSettings{}.SourcePort), key + unsafe.Offsetof(conversationKey{}.SourcePort)},
		{unsafe.Offsetof(ruleSettings{}.DestinationPort), key + unsafe.Offsetof(conversationKey{}.DestinationPort)},
	} {
		anyPort := p.label("any_port")
		p.load(asm.R1, asm.R9, port.rule)
		p.add(asm.JEq.Imm(asm.R1, 0, anyPort))
		p.load(asm.R2, asm.R7, port.packet)
		p.add(asm.JNE.Reg(asm.R1, asm.R2, next))
		p.mark(anyPort)
	}
	for _, address := range []struct{ has, rule, packet uintptr }{
		{unsafe.Offsetof(ruleSettings{}.HasSource), unsafe.Offsetof(ruleSettings{}.Source), source},
		{unsafe.Offsetof(ruleSettings{}.HasDestination), unsafe.Offsetof(ruleSettings{}.Destination), destination},
	} {
		anyAddress := p.label("any_address")
		p.load(asm.R1, asm.R9, address.has)
		p.add(asm.JEq.Imm(asm.R1, 0, anyAddress))
		for i := uintptr(0); i < 16; i += 8 {
			p.add(
				asm.LoadMem(asm.R1, asm.R9, int16(address.rule+i), asm.DWord),
				asm.LoadMem(asm.R2, asm.R7, int16(address.packet+i), asm.DWord),
				asm.JNE.Reg(asm.R1, asm.R2, next),
			)
		}
		p.mark(anyAddress)
	}
	// Both are 0 where the rule is not about ICMP.
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.ICMP))
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.ICMPMask))
	p.add(asm.And.Reg(asm.R1, asm.R2))
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.ICMP))
	p.add(asm.JNE.Reg(asm.R1, asm.R2, next))
}

// number gives the packet its number in the conversation and compares it with those that the rule wants.
func (p *program) number(i int, matched, next string) {
	own := unsafe.Offsetof(conversation{}.Rules) + uintptr(i)*ruleStateSize
	count, low := own+unsafe.Offsetof(ruleState{}.Count), own+unsafe.Offsetof(ruleState{}.Low)
	high, hasSegment := own+unsafe.Offsetof(ruleState{}.High), own+unsafe.Offsetof(ruleState{}.HasSegment)
	packets, repeated := p.label("packets"), p.label("repeated")

	p.storeConst(asm.R7, unsafe.Offsetof(packet{}.Number), 0)
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.First))
	p.add(asm.JEq.Imm(asm.R1, 0, matched))
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Distinct))
	p.add(asm.JEq.Imm(asm.R1, 0, packets))
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.IsFirst))
	p.add(asm.JEq.Imm(asm.R1, 0, repeated))

	// A distinct segment for the first time.
	p.nextNumber(count, next)
	again := p.label("again")
	p.load(asm.R1, asm.R8, hasSegment)
	p.add(asm.JNE.Imm(asm.R1, 0, again))
	p.storeConst(asm.R8, hasSegment, 1)
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Seq))
	p.store(asm.R8, low, asm.R1)
	p.mark(again)
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.End))
	p.store(asm.R8, high, asm.R1)
	// Later transmissions are counted where the rule wants some of them, but not all.
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Times))
	p.add(asm.JEq.Imm32(asm.R1, 1, matched), asm.JEq.Imm32(asm.R1, -1, matched))
	p.setPiece(i)
	p.setTimes(1)
	p.goTo(matched)

	p.mark(repeated)
	p.transmission(i, low, high, hasSegment, matched, next)

	p.mark(packets)
	p.nextNumber(count, next)
}

// nextNumber counts up, and goes to next if the number is not one of those wanted.
func (p *program) nextNumber(count uintptr, next string) {
	p.load(asm.R1, asm.R8, count)
	p.add(asm.Add.Imm32(asm.R1, 1))
	p.store(asm.R8, count, asm.R1)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Number), asm.R1)
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.First))
	p.add(asm.JLT.Reg(asm.R1, asm.R2, next))
	p.load(asm.R3, asm.R9, unsafe.Offsetof(ruleSettings{}.Last))
	p.add(asm.JGT.Reg(asm.R1, asm.R3, next), asm.Sub.Reg(asm.R1, asm.R2))
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.Step))
	p.add(asm.Mod.Reg32(asm.R1, asm.R2), asm.JNE.Imm(asm.R1, 0, next))
}

// transmission decides on a retransmission: it is about the rule's segments if it carries a byte of them.
func (p *program) transmission(i int, low, high, hasSegment uintptr, matched, next string) {
	fresh, counted := p.label("fresh"), p.label("counted")
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Times))
	p.add(asm.JEq.Imm(asm.R1, 1, next))
	p.load(asm.R1, asm.R8, hasSegment)
	p.add(asm.JEq.Imm(asm.R1, 0, next))
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.End))
	p.load(asm.R2, asm.R8, low)
	p.add(asm.Sub.Reg32(asm.R1, asm.R2), asm.JSLE.Imm32(asm.R1, 0, next)) // it ends before
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Seq))
	p.load(asm.R2, asm.R8, high)
	p.add(asm.Sub.Reg32(asm.R1, asm.R2), asm.JSGE.Imm32(asm.R1, 0, next)) // it begins after
	// Of one segment the number is known still.
	several := p.label("several")
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.First))
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.Last))
	p.add(asm.JNE.Reg(asm.R1, asm.R2, several))
	p.store(asm.R7, unsafe.Offsetof(packet{}.Number), asm.R1)
	p.mark(several)
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Times))
	p.add(asm.JEq.Imm32(asm.R1, -1, matched))

	p.setPiece(i)
	p.lookUp(p.pieces, p.keyInScratch(unsafe.Offsetof(packet{}.Piece)))
	p.add(asm.JEq.Imm(asm.R0, 0, fresh))
	p.load(asm.R1, asm.R0, 0)
	p.add(asm.Add.Imm32(asm.R1, 1))
	p.store(asm.R0, 0, asm.R1)
	p.goTo(counted)
	p.mark(fresh)
	p.setTimes(2) // it starts where none has started before, in the midst of what was sent once
	p.add(asm.Mov.Imm(asm.R1, 2))
	p.mark(counted)
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.Times))
	p.add(asm.JGT.Reg(asm.R1, asm.R2, next))
	p.goTo(matched)
}

// setPiece makes the key of the segment's transmissions.
func (p *program) setPiece(i int) {
	const piece = unsafe.Offsetof(packet{}.Piece)
	p.add(
		asm.LoadMem(asm.R1, asm.R8, int16(unsafe.Offsetof(conversation{}.ID)), asm.DWord),
		asm.StoreMem(asm.R7, int16(piece+unsafe.Offsetof(pieceKey{}.Conversation)), asm.R1, asm.DWord),
	)
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Seq))
	p.store(asm.R7, piece+unsafe.Offsetof(pieceKey{}.Seq), asm.R1)
	p.storeConst(asm.R7, piece+unsafe.Offsetof(pieceKey{}.Rule), int32(i))
}

// setTimes remembers how often the segment was sent.
func (p *program) setTimes(n int32) {
	kept := p.label("kept")
	p.storeConst(asm.R7, unsafe.Offsetof(packet{}.Times), n)
	p.add(
		asm.LoadMapPtr(asm.R1, p.pieces),
		asm.Mov.Reg(asm.R2, asm.R7),
		asm.Add.Imm(asm.R2, int32(unsafe.Offsetof(packet{}.Piece))),
		asm.Mov.Reg(asm.R3, asm.R7),
		asm.Add.Imm(asm.R3, int32(unsafe.Offsetof(packet{}.Times))),
		asm.Mov.Imm(asm.R4, 0), // BPF_ANY
	)
	p.call(asm.FnMapUpdateElem)
	p.add(asm.JEq.Imm(asm.R0, 0, kept))
	p.count(p.counters, unsafe.Offsetof(counters{}.Untracked))
	p.mark(kept)
}

// report puts the packet into the ring, if a rule has chosen it or all are traced. From here on R9 is the settings of
// the rule that acts. Without any the packet passes.
func (p *program) report() {
	chosen := unsafe.Offsetof(packet{}.Chosen)
	write, written := p.label("write"), p.label("written")
	p.load(asm.R1, asm.R7, chosen)
	p.add(asm.JNE.Imm(asm.R1, 0, write), asm.LoadMapValue(asm.R1, p.settings, 0))
	p.load(asm.R1, asm.R1, unsafe.Offsetof(settings{}.Trace))
	p.add(asm.JEq.Imm(asm.R1, 0, "pass"))
	p.mark(write)
	reserved := p.label("reserved")
	p.add(
		asm.LoadMapPtr(asm.R1, p.ring),
		asm.Mov.Imm(asm.R2, int32(unsafe.Sizeof(report{}))),
		asm.Mov.Imm(asm.R3, 0),
	)
	p.call(asm.FnRingbufReserve)
	p.add(asm.JNE.Imm(asm.R0, 0, reserved))
	p.count(p.counters, unsafe.Offsetof(counters{}.Lost))
	p.goTo(written)
	p.mark(reserved)
	p.add(asm.Mov.Reg(asm.R8, asm.R0))
	p.fillReport()
	p.submitReport()
	p.mark(written)

	p.load(asm.R1, asm.R7, chosen)
	p.add(
		asm.JEq.Imm(asm.R1, 0, "pass"),
		asm.Sub.Imm(asm.R1, 1),
		asm.JGE.Imm(asm.R1, maxRules, "pass"), // never: for the verifier
		asm.Mul.Imm(asm.R1, int32(ruleSettingsSize)),
		asm.LoadMapValue(asm.R9, p.settings, uint32(unsafe.Offsetof(settings{}.Rules))),
		asm.Add.Reg(asm.R9, asm.R1),
	)
}

// fillReport writes all of the report in R8.
func (p *program) fillReport() {
	p.call(asm.FnKtimeGetTaiNs)
	p.add(asm.StoreMem(asm.R8, int16(unsafe.Offsetof(report{}.Time)), asm.R0, asm.DWord))
	for _, field := range []struct{ to, from uintptr }{
		{unsafe.Offsetof(report{}.Rule), unsafe.Offsetof(packet{}.Chosen)},
		{unsafe.Offsetof(report{}.Number), unsafe.Offsetof(packet{}.ChosenNo)},
		{unsafe.Offsetof(report{}.Kinds), unsafe.Offsetof(packet{}.Kinds)},
		{unsafe.Offsetof(report{}.ECN), unsafe.Offsetof(packet{}.ECN)},
		{unsafe.Offsetof(report{}.Flags), unsafe.Offsetof(packet{}.Flags)},
	} {
		p.load(asm.R1, asm.R7, field.from)
		p.store(asm.R8, field.to, asm.R1)
	}
	p.storeConst(asm.R8, unsafe.Offsetof(report{}.Flags)+4, 0)
	short, copied := p.label("short"), p.label("copied")
	p.load(asm.R4, asm.R6, skbLen)
	p.store(asm.R8, unsafe.Offsetof(report{}.Length), asm.R4)
	p.storeConst(asm.R8, unsafe.Offsetof(report{}.Captured), 0)
	p.add(
		asm.JLE.Imm(asm.R4, SnapLength, short),
		asm.Mov.Imm(asm.R4, SnapLength),
	)
	p.mark(short)
	p.add(
		asm.JLT.Imm(asm.R4, 1, copied),
		asm.StoreMem(asm.R8, int16(unsafe.Offsetof(report{}.Captured)), asm.R4, asm.Word),
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Imm(asm.R2, 0),
		asm.Mov.Reg(asm.R3, asm.R8),
		asm.Add.Imm(asm.R3, int32(unsafe.Offsetof(report{}.Data))),
	)
	p.call(asm.FnSkbLoadBytes)
	p.mark(copied)
}

// submitReport hands the report in R8 over. It wakes the reader only when the ring is half full: a reader that runs
// after each packet would be in the way of what is measured.
func (p *program) submitReport() {
	const noWakeup, forceWakeup = 1, 2 // BPF_RB_NO_WAKEUP, BPF_RB_FORCE_WAKEUP
	submit := p.label("submit")
	p.add(asm.LoadMapPtr(asm.R1, p.ring), asm.Mov.Imm(asm.R2, 0)) // BPF_RB_AVAIL_DATA
	p.call(asm.FnRingbufQuery)
	p.add(
		asm.Mov.Reg(asm.R1, asm.R8),
		asm.Mov.Imm(asm.R2, noWakeup),
		asm.JLT.Imm(asm.R0, int32(p.ringBytes/2), submit),
		asm.Mov.Imm(asm.R2, forceWakeup),
	)
	p.mark(submit)
	p.call(asm.FnRingbufSubmit)
}

// act does what the rule in R9 says.
func (p *program) act() {
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Verb))
	p.add(
		asm.JEq.Imm(asm.R1, int32(verbHold), "hold"),
		asm.JEq.Imm(asm.R1, int32(verbDuplicate), "duplicate"),
		asm.JEq.Imm(asm.R1, int32(verbMarkCE), "mark_ce"),
		asm.JEq.Imm(asm.R1, int32(verbCorrupt), "corrupt"),
		asm.JEq.Imm(asm.R1, int32(verbBleach), "bleach"),
		asm.JEq.Imm(asm.R1, int32(verbClearFlags), "clear_flags"),
		asm.JNE.Imm(asm.R1, int32(verbDrop), "pass"),
	)
	p.exit(tcStolen)

	p.mark("hold")
	p.setMark()
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Operand))
	p.add(asm.Mov.Imm(asm.R2, 0))
	p.call(asm.FnRedirect)
	p.add(asm.Return())

	p.mark("duplicate")
	p.load(asm.R8, asm.R6, skbMark)
	p.setMark()
	p.add(asm.Mov.Reg(asm.R1, asm.R6))
	p.load(asm.R2, asm.R6, skbIfindex)
	p.add(asm.Mov.Imm(asm.R3, 0))
	p.call(asm.FnCloneRedirect)
	p.store(asm.R6, skbMark, asm.R8)
	// A positive result is the queue's: the link was full (NET_XMIT_DROP).
	p.add(asm.JSGE.Imm32(asm.R0, 0, "pass"))
	p.goTo("failed")

	p.mark("mark_ce")
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.ECN))
	p.add(asm.JEq.Imm(asm.R1, 0, "undone"), asm.Mov.Reg(asm.R1, asm.R6))
	p.call(asm.FnSkbEcnSetCe)
	p.add(asm.JNE.Imm(asm.R0, 0, "pass"))
	p.mark("failed")
	p.count(p.counters, unsafe.Offsetof(counters{}.Failed))
	p.mark("undone")
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Chosen))
	p.add(
		asm.Sub.Imm(asm.R1, 1),
		asm.JGE.Imm(asm.R1, maxRules, "pass"), // never: for the verifier
		asm.Mul.Imm(asm.R1, int32(ruleCountersSize)),
		asm.LoadMapValue(asm.R2, p.counters, uint32(unsafe.Offsetof(counters{}.Rules)+unsafe.Offsetof(ruleCounters{}.Acted))),
		asm.Add.Reg(asm.R2, asm.R1),
		asm.Mov.Imm(asm.R1, -1),
		asm.AddAtomic.Mem(asm.R2, asm.R1, asm.DWord, 0),
	)
	p.goTo("pass")
	p.bleach()
	p.clearFlags()

	// The mark tells the filter after the checksum's which byte to invert.
	p.mark("corrupt")
	const windowLow = 15 // the window's low byte in the TCP header
	payload := p.label("payload")
	p.load(asm.R8, asm.R7, unsafe.Offsetof(packet{}.Body))
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Payload))
	p.add(asm.JNE.Imm(asm.R1, 0, payload))
	p.load(asm.R8, asm.R7, unsafe.Offsetof(packet{}.Offset))
	p.add(asm.Add.Imm(asm.R8, windowLow))
	p.mark(payload)
	p.add(asm.And.Imm(asm.R8, 0xffff), asm.Or.Imm32(asm.R8, markMagic))
	p.store(asm.R6, skbMark, asm.R8)
	p.exit(tcUnspec)
}

// bleach clears the ECN field: the last bits of IPv4's second byte, and in IPv6, which has no checksum, of the traffic
// class, which ends in the middle of it.
func (p *program) bleach() {
	six := p.label("six")
	p.mark("bleach")
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.ECN))
	p.add(asm.JEq.Imm(asm.R1, 0, "undone"), asm.Mov.Imm(asm.R8, ethernetHeader))
	p.loadPair()
	p.load(asm.R1, asm.R6, skbProtocol)
	p.add(
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.JEq.Imm(asm.R1, unix.ETH_P_IPV6, six),
		asm.Mov.Imm(asm.R9, int32(raw(0, 3))),
	)
	const checksum = 10
	p.replacePair(asm.FnL3CsumReplace, checksum)
	p.mark(six)
	p.add(asm.Mov.Imm(asm.R9, int32(raw(0, 3<<4))))
	p.replacePair(asm.FnUnspec, 0)
}

// clearFlags clears flags of the TCP header.
func (p *program) clearFlags() {
	const at, checksum = 12, 16
	p.mark("clear_flags")
	p.load(asm.R9, asm.R9, unsafe.Offsetof(ruleSettings{}.Operand))
	p.load(asm.R8, asm.R7, unsafe.Offsetof(packet{}.Offset))
	p.add(asm.Add.Imm(asm.R8, at))
	p.loadPair()
	p.add(asm.LoadMem(asm.R1, asm.RFP, -2, asm.Half), asm.And.Reg(asm.R1, asm.R9), asm.JEq.Imm(asm.R1, 0, "undone"))
	p.replacePair(asm.FnL4CsumReplace, checksum-at)
}

// raw is what the program sees of two bytes of a header: a number in the machine's byte order.
func raw(first, second byte) uint16 { return binary.NativeEndian.Uint16([]byte{first, second}) }

// loadPair copies the two bytes at R8 in the frame to the stack.
func (p *program) loadPair() {
	p.pair()
	p.call(asm.FnSkbLoadBytes)
	p.add(asm.JNE.Imm(asm.R0, 0, "failed"))
}

// pair sets the arguments of what copies the two bytes at R8 in the frame.
func (p *program) pair() {
	p.add(
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R8),
		asm.Mov.Reg(asm.R3, asm.RFP),
		asm.Add.Imm(asm.R3, -2),
		asm.Mov.Imm(asm.R4, 2),
	)
}

// replacePair clears the bits in R9 of the pair on the stack, puts it back to R8 in the frame, and corrects the checksum
// that is so many bytes behind.
func (p *program) replacePair(correct asm.BuiltinFunc, checksum int32) {
	p.add(
		asm.LoadMem(asm.R3, asm.RFP, -2, asm.Half), // what was there
		asm.Mov.Reg(asm.R4, asm.R9),
		asm.Xor.Imm(asm.R4, -1),
		asm.And.Reg(asm.R4, asm.R3),
		asm.StoreMem(asm.RFP, -2, asm.R4, asm.Half),
	)
	if correct != asm.FnUnspec {
		p.add(
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R2, asm.R8),
			asm.Add.Imm(asm.R2, checksum),
			asm.Mov.Imm(asm.R5, 2), // bytes
		)
		p.call(correct)
		p.add(asm.JNE.Imm(asm.R0, 0, "failed"))
	}
	p.pair()
	p.add(asm.Mov.Imm(asm.R5, 0))
	p.call(asm.FnSkbStoreBytes)
	p.add(asm.JEq.Imm(asm.R0, 0, "pass"))
	p.goTo("failed")
}

// setMark marks the packet as one of ours.
func (p *program) setMark() {
	p.add(asm.Mov.Imm32(asm.R1, markMagic))
	p.store(asm.R6, skbMark, asm.R1)
}

// assembleCorrupt makes the program behind the filter that fills in the checksum: it inverts the byte that the mark
// tells.
func assembleCorrupt(f fds) asm.Instructions {
	p := &program{fds: f}
	p.add(asm.Mov.Reg(asm.R6, asm.R1))
	p.load(asm.R7, asm.R6, skbMark)
	p.add(
		asm.Mov.Reg32(asm.R1, asm.R7),
		asm.RSh.Imm32(asm.R1, 16),
		asm.JNE.Imm(asm.R1, markMagic>>16, "pass"),
		asm.And.Imm(asm.R7, 0xffff),
		asm.Mov.Imm(asm.R1, 0),
	)
	p.store(asm.R6, skbMark, asm.R1)
	oneByte := func() {
		p.add(
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R2, asm.R7),
			asm.Mov.Reg(asm.R3, asm.RFP),
			asm.Add.Imm(asm.R3, -1),
			asm.Mov.Imm(asm.R4, 1),
		)
	}
	oneByte()
	p.call(asm.FnSkbLoadBytes)
	p.add(
		asm.JNE.Imm(asm.R0, 0, "failed"),
		asm.LoadMem(asm.R1, asm.RFP, -1, asm.Byte),
		asm.Xor.Imm(asm.R1, 0xff),
		asm.StoreMem(asm.RFP, -1, asm.R1, asm.Byte),
	)
	oneByte()
	p.add(asm.Mov.Imm(asm.R5, 0))
	p.call(asm.FnSkbStoreBytes)
	p.add(asm.JEq.Imm(asm.R0, 0, "pass"))
	p.mark("failed")
	p.count(p.counters, unsafe.Offsetof(counters{}.Failed))
	p.mark("pass")
	p.exit(tcOK)
	return p.code
}

// assembleReturn makes the program at the far end of a pair that holds packets: it sends them back to the device.
// Whatever else the pair carries ends here.
func assembleReturn(device int) asm.Instructions {
	var a assembler
	a.load(asm.R1, asm.R1, skbMark)
	a.add(
		asm.RSh.Imm32(asm.R1, 16),
		asm.JNE.Imm(asm.R1, markMagic>>16, "foreign"),
		asm.Mov.Imm(asm.R1, int32(device)),
		asm.Mov.Imm(asm.R2, 0),
	)
	a.call(asm.FnRedirect)
	a.add(asm.Return())
	a.mark("foreign")
	a.exit(tcShot)
	return a.code
}
