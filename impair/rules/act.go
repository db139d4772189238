package rules

import (
	"encoding/binary"
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// act does what the rule in R9 says.
func (p *program) act() {
	// switch (r->Verb) {
	// case DELAY:       goto delay;
	// case DUPLICATE:   goto duplicate;
	// case MARK_CE:     goto mark_ce;
	// case CORRUPT:     goto corrupt;
	// case BLEACH:      goto bleach;
	// case CLEAR_FLAGS: goto clear_flags;
	// default:          goto pass;
	// case DROP:        return TC_ACT_STOLEN;
	// }
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Verb))
	p.add(
		asm.JEq.Imm(asm.R1, int32(verbDelay), "delay"),
		asm.JEq.Imm(asm.R1, int32(verbDuplicate), "duplicate"),
		asm.JEq.Imm(asm.R1, int32(verbMarkCE), "mark_ce"),
		asm.JEq.Imm(asm.R1, int32(verbCorrupt), "corrupt"),
		asm.JEq.Imm(asm.R1, int32(verbBleach), "bleach"),
		asm.JEq.Imm(asm.R1, int32(verbClearFlags), "clear_flags"),
		asm.JNE.Imm(asm.R1, int32(verbDrop), "pass"),
	)
	p.exit(tcStolen)

	p.delay()
	p.duplicate()
	p.markCE()
	p.undo()
	p.bleach()
	p.clearFlags()
	p.corrupt()
}

// delay sends the packet to the pair that delays packets by that time.
func (p *program) delay() {
	// delay: skb->mark = MARK_MAGIC;
	// return bpf_redirect(r->Operand, 0);
	p.mark("delay")
	p.setMark()
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Operand))
	p.add(asm.Mov.Imm(asm.R2, 0))
	p.call(asm.FnRedirect)
	p.add(asm.Return())
}

// duplicate sends a clone ahead, which enter lets pass by its mark.
func (p *program) duplicate() {
	// duplicate: mark = skb->mark;
	// skb->mark = MARK_MAGIC;
	// err = bpf_clone_redirect(skb, skb->ifindex, 0);
	// skb->mark = mark;
	p.mark("duplicate")
	p.load(asm.R8, asm.R6, skbMark)
	p.setMark()
	p.add(asm.Mov.Reg(asm.R1, asm.R6))
	p.load(asm.R2, asm.R6, skbIfindex)
	p.add(asm.Mov.Imm(asm.R3, 0))
	p.call(asm.FnCloneRedirect)
	p.store(asm.R6, skbMark, asm.R8)
	// A positive result is the queue's: the link was full (NET_XMIT_DROP).
	// if (err >= 0) goto pass; goto failed;
	p.add(asm.JSGE.Imm32(asm.R0, 0, "pass"))
	p.goTo("failed")
}

// markCE sets CE where the packet is ECN-capable.
func (p *program) markCE() {
	// mark_ce: if (!p->ECN) goto undone;
	// if (bpf_skb_ecn_set_ce(skb)) goto pass;
	p.mark("mark_ce")
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.ECN))
	p.add(asm.JEq.Imm(asm.R1, 0, "undone"), asm.Mov.Reg(asm.R1, asm.R6))
	p.call(asm.FnSkbEcnSetCe)
	p.add(asm.JNE.Imm(asm.R0, 0, "pass"))
}

// undo takes back that the rule has acted: the kernel has refused it, or there was nothing to do.
func (p *program) undo() {
	// failed: counters.Failed++;
	p.mark("failed")
	p.count(p.counters, unsafe.Offsetof(counters{}.Failed))
	// undone: counters.Rules[p->Chosen - 1].Acted--;
	// goto pass;
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
}

// corrupt passes the packet to the filters that fill in the checksum and invert a byte. The mark says which: the
// first of the payload, or else the low byte of the window.
func (p *program) corrupt() {
	// corrupt: at = p->Payload ? p->Body : p->Offset + 15;
	// skb->mark = MARK_MAGIC | (u16)at;
	// return TC_ACT_UNSPEC;
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
	// bleach: if (!p->ECN) goto undone;
	// at = ETH_HLEN; loadPair();
	six := p.label("six")
	p.mark("bleach")
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.ECN))
	p.add(asm.JEq.Imm(asm.R1, 0, "undone"), asm.Mov.Imm(asm.R8, ethernetHeader))
	p.loadPair()
	// if (skb->protocol == htons(ETH_P_IPV6)) goto six;
	// replacePair(htons(3), bpf_l3_csum_replace, offsetof(struct iphdr, check));
	p.load(asm.R1, asm.R6, skbProtocol)
	p.add(
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.JEq.Imm(asm.R1, unix.ETH_P_IPV6, six),
		asm.Mov.Imm(asm.R9, int32(raw(0, 3))),
	)
	const checksum = 10
	p.replacePair(asm.FnL3CsumReplace, checksum)
	// six: replacePair(htons(3 << 4), NULL, 0);
	p.mark(six)
	p.add(asm.Mov.Imm(asm.R9, int32(raw(0, 3<<4))))
	p.replacePair(asm.FnUnspec, 0)
}

// clearFlags clears flags of the TCP header.
func (p *program) clearFlags() {
	// clear_flags: flags = r->Operand;
	// at = p->Offset + 12; loadPair();
	const at, checksum = 12, 16
	p.mark("clear_flags")
	p.load(asm.R9, asm.R9, unsafe.Offsetof(ruleSettings{}.Operand))
	p.load(asm.R8, asm.R7, unsafe.Offsetof(packet{}.Offset))
	p.add(asm.Add.Imm(asm.R8, at))
	p.loadPair()
	// if (!(pair & flags)) goto undone;
	// replacePair(flags, bpf_l4_csum_replace, offsetof(struct tcphdr, check));
	p.add(asm.LoadMem(asm.R1, asm.RFP, -2, asm.Half), asm.And.Reg(asm.R1, asm.R9), asm.JEq.Imm(asm.R1, 0, "undone"))
	p.replacePair(asm.FnL4CsumReplace, checksum-at)
}

// raw is what the program sees of two bytes of a header: a number in the machine's byte order.
func raw(first, second byte) uint16 { return binary.NativeEndian.Uint16([]byte{first, second}) }

// loadPair copies the two bytes at R8 in the frame to the stack.
func (p *program) loadPair() {
	// if (bpf_skb_load_bytes(skb, at, &pair, 2)) goto failed;
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

// replacePair clears the bits in R9 of the pair on the stack, writes it back to R8 in the frame, and corrects the
// checksum, which is at an offset after it.
func (p *program) replacePair(correct asm.BuiltinFunc, checksum int32) {
	// old = pair; pair = old & ~bits;
	p.add(
		asm.LoadMem(asm.R3, asm.RFP, -2, asm.Half), // what was there
		asm.Mov.Reg(asm.R4, asm.R9),
		asm.Xor.Imm(asm.R4, -1),
		asm.And.Reg(asm.R4, asm.R3),
		asm.StoreMem(asm.RFP, -2, asm.R4, asm.Half),
	)
	// if (correct && correct(skb, at + checksum, old, pair, 2)) goto failed;
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
	// if (!bpf_skb_store_bytes(skb, at, &pair, 2, 0)) goto pass;
	// goto failed;
	p.pair()
	p.add(asm.Mov.Imm(asm.R5, 0))
	p.call(asm.FnSkbStoreBytes)
	p.add(asm.JEq.Imm(asm.R0, 0, "pass"))
	p.goTo("failed")
}

// setMark marks the packet as one of ours.
func (p *program) setMark() {
	// skb->mark = MARK_MAGIC;
	p.add(asm.Mov.Imm32(asm.R1, markMagic))
	p.store(asm.R6, skbMark, asm.R1)
}
