package rules

import (
	"unsafe"

	"github.com/cilium/ebpf/asm"
)

// rule asks rule i whether it selects the packet.
func (p *program) rule(i int) {
	// if (settings.Count <= i) goto decided;
	// r = &settings.Rules[i];
	next, matched := p.label("next"), p.label("matched")
	p.add(asm.LoadMapValue(asm.R1, p.settings, 0))
	p.load(asm.R1, asm.R1, unsafe.Offsetof(settings{}.Count))
	p.add(
		asm.JLE.Imm(asm.R1, int32(i), "decided"),
		asm.LoadMapValue(asm.R9, p.settings, uint32(unsafe.Offsetof(settings{}.Rules)+uintptr(i)*ruleSettingsSize)),
	)
	// if (!filter() || !number()) goto next;
	p.filter(next)
	p.number(i, matched, next)

	// matched: counters.Rules[i].Matched++;
	// if (p->Chosen) goto next;
	p.mark(matched)
	own := unsafe.Offsetof(counters{}.Rules) + uintptr(i)*ruleCountersSize
	p.count(p.counters, own+unsafe.Offsetof(ruleCounters{}.Matched))
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Chosen))
	p.add(asm.JNE.Imm(asm.R1, 0, next))
	// acted = __sync_fetch_and_add(&counters.Rules[i].Acted, 1);
	// if (r->Limit && acted >= r->Limit) {
	// 	__sync_fetch_and_add(&counters.Rules[i].Acted, -1);
	// 	goto next;
	// }
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
	// p->Chosen = i + 1; p->ChosenNo = p->Number;
	// next: ;
	p.mark(choose)
	p.storeConst(asm.R7, unsafe.Offsetof(packet{}.Chosen), int32(i+1))
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Number))
	p.store(asm.R7, unsafe.Offsetof(packet{}.ChosenNo), asm.R1)
	p.mark(next)
}

// filter goes to next if the rule is off, or not about such a packet.
func (p *program) filter(next string) {
	// if (!r->Active || !(r->Kinds & p->Kinds)) goto next;
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Active))
	p.add(asm.JEq.Imm(asm.R1, 0, next))
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Kinds))
	p.load(asm.R2, asm.R7, unsafe.Offsetof(packet{}.Kinds))
	p.add(asm.And.Reg(asm.R1, asm.R2), asm.JEq.Imm(asm.R1, 0, next))

	// if (p->Now < r->Begin || r->End && p->Now >= r->End) goto next;
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

	p.filterEnds(next)
	// Both are 0 where the rule is not about ICMP.
	// if ((p->ICMP & r->ICMPMask) != r->ICMP) goto next;
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.ICMP))
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.ICMPMask))
	p.add(asm.And.Reg(asm.R1, asm.R2))
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.ICMP))
	p.add(asm.JNE.Reg(asm.R1, asm.R2, next))
	p.filterContent(next)
}

// filterEnds goes to next if the rule is about other ports or addresses.
func (p *program) filterEnds(next string) {
	// if (r->SourcePort && r->SourcePort != p->Key.SourcePort) goto next;
	// if (r->DestinationPort && r->DestinationPort != p->Key.DestinationPort) goto next;
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
	// if (r->HasSource && memcmp(r->Source, p->Key.Source, 16)) goto next;
	// if (r->HasDestination && memcmp(r->Destination, p->Key.Destination, 16)) goto next;
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
}

// number gives the packet its number in the conversation and compares it with those that the rule wants. In C own is
// &c->Rules[i].
func (p *program) number(i int, matched, next string) {
	own := unsafe.Offsetof(conversation{}.Rules) + uintptr(i)*ruleStateSize
	count, low := own+unsafe.Offsetof(ruleState{}.Count), own+unsafe.Offsetof(ruleState{}.Low)
	high, hasSegment := own+unsafe.Offsetof(ruleState{}.High), own+unsafe.Offsetof(ruleState{}.HasSegment)
	packets, repeated := p.label("packets"), p.label("repeated")

	// p->Number = 0;
	// if (!r->First) goto matched;
	// if (!r->Distinct) goto packets;
	// if (!p->IsFirst) goto repeated;
	p.storeConst(asm.R7, unsafe.Offsetof(packet{}.Number), 0)
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.First))
	p.add(asm.JEq.Imm(asm.R1, 0, matched))
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Distinct))
	p.add(asm.JEq.Imm(asm.R1, 0, packets))
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.IsFirst))
	p.add(asm.JEq.Imm(asm.R1, 0, repeated))

	// A distinct segment for the first time.
	// if (!nextNumber()) goto next;
	// if (!own->HasSegment) { own->HasSegment = 1; own->Low = p->Seq; }
	// own->High = p->End;
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
	// if (r->Times == 1 || r->Times == ALWAYS) goto matched;
	// setPiece(); setTimes(1);
	// goto matched;
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Times))
	p.add(asm.JEq.Imm32(asm.R1, 1, matched), asm.JEq.Imm32(asm.R1, -1, matched))
	p.setPiece(i)
	p.setTimes(1)
	p.goTo(matched)

	// repeated: if (transmission()) goto matched; goto next;
	p.mark(repeated)
	p.transmission(i, low, high, hasSegment, matched, next)

	// packets: if (!nextNumber()) goto next;
	p.mark(packets)
	p.nextNumber(count, next)
}

// nextNumber counts up, and goes to next if the number is not one of those wanted.
func (p *program) nextNumber(count uintptr, next string) {
	// n = p->Number = ++own->Count;
	// if (n < r->First || n > r->Last || (n - r->First) % r->Step) goto next;
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
	// if (r->Times == 1 || !own->HasSegment) goto next;
	fresh, counted := p.label("fresh"), p.label("counted")
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Times))
	p.add(asm.JEq.Imm(asm.R1, 1, next))
	p.load(asm.R1, asm.R8, hasSegment)
	p.add(asm.JEq.Imm(asm.R1, 0, next))
	// if ((s32)(p->End - own->Low) <= 0) goto next;
	// if ((s32)(p->Seq - own->High) >= 0) goto next;
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.End))
	p.load(asm.R2, asm.R8, low)
	p.add(asm.Sub.Reg32(asm.R1, asm.R2), asm.JSLE.Imm32(asm.R1, 0, next)) // it ends before
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Seq))
	p.load(asm.R2, asm.R8, high)
	p.add(asm.Sub.Reg32(asm.R1, asm.R2), asm.JSGE.Imm32(asm.R1, 0, next)) // it begins after
	// Of one segment the number is known still.
	// if (r->First == r->Last) p->Number = r->First;
	several := p.label("several")
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.First))
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.Last))
	p.add(asm.JNE.Reg(asm.R1, asm.R2, several))
	p.store(asm.R7, unsafe.Offsetof(packet{}.Number), asm.R1)
	// if (r->Times == ALWAYS) goto matched;
	p.mark(several)
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Times))
	p.add(asm.JEq.Imm32(asm.R1, -1, matched))

	// setPiece();
	// times = bpf_map_lookup_elem(&pieces, &p->Piece);
	// if (times) n = ++*times; else { setTimes(2); n = 2; }
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
	// if (n > r->Times) goto next;
	// goto matched;
	p.mark(counted)
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.Times))
	p.add(asm.JGT.Reg(asm.R1, asm.R2, next))
	p.goTo(matched)
}

// setPiece makes the key of the segment's transmissions.
func (p *program) setPiece(i int) {
	// p->Piece = (struct pieceKey){ .Conversation = c->ID, .Seq = p->Seq, .Rule = i };
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
	// p->Times = n;
	// if (bpf_map_update_elem(&pieces, &p->Piece, &p->Times, BPF_ANY)) counters.Untracked++;
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
