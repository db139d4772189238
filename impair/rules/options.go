package rules

import (
	"unsafe"

	"github.com/cilium/ebpf/asm"
)

const (
	optionText   = unsafe.Offsetof(packet{}.options) + unsafe.Offsetof(options{}.Text)
	optionLength = unsafe.Offsetof(packet{}.options) + unsafe.Offsetof(options{}.Length)
	optionNext   = unsafe.Offsetof(packet{}.options) + unsafe.Offsetof(options{}.Next)
	optionSeen   = unsafe.Offsetof(packet{}.options) + unsafe.Offsetof(options{}.Seen)
)

// tcpHeader is the length of a TCP header without options.
const tcpHeader = 20

// parseOptions finds the kinds of options in the header at R8 (RFC 9293, section 3.2). It ends at "parsed".
func (p *program) parseOptions() {
	if !p.options {
		return
	}
	// memset(&p->options, 0, sizeof(p->options));
	// So the options end where they are shorter than their room, and none is seen.
	p.add(asm.Mov.Imm(asm.R1, 0))
	for offset := uintptr(0); offset < unsafe.Sizeof(options{}); offset += 8 {
		p.add(asm.StoreMem(asm.R7, int16(optionText+offset), asm.R1, asm.DWord))
	}
	// hlen = p->Body - p->Offset;
	// if (hlen <= sizeof(struct tcphdr)) goto parsed;
	// length = hlen - sizeof(struct tcphdr);
	// if (length > sizeof(p->options.Text)) goto parsed;  // never; the verifier does not know
	p.load(asm.R4, asm.R7, unsafe.Offsetof(packet{}.Body))
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Offset))
	p.add(
		asm.Sub.Reg(asm.R4, asm.R1),
		asm.JSLE.Imm(asm.R4, tcpHeader, "parsed"),
		asm.Sub.Imm(asm.R4, tcpHeader),
		asm.JGT.Imm(asm.R4, maxOptions, "parsed"),
	)
	p.store(asm.R7, optionLength, asm.R4)
	// if (bpf_skb_load_bytes(skb, at + sizeof(struct tcphdr), p->options.Text, length)) goto parsed;
	p.add(
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R8),
		asm.Add.Imm(asm.R2, tcpHeader),
		asm.Mov.Reg(asm.R3, asm.R7),
		asm.Add.Imm(asm.R3, int32(optionText)),
	)
	p.call(asm.FnSkbLoadBytes)
	p.add(asm.JNE.Imm(asm.R0, 0, "parsed"))
	for i := range uintptr(maxOptions) {
		p.option(i)
	}
}

// option looks at the option that begins at byte i, if one does. A loop over the options would be a path of the verifier for each
// way in which 40 bytes can be divided. Like this, what it knows is the same before each byte, since the place of the next
// option is in memory: it goes over the bytes once.
func (p *program) option(i uintptr) {
	// if (p->options.Next != i) goto none;
	// kind = p->options.Text[i];
	// if (kind == TCPOPT_EOL) goto parsed;
	none, one := p.label("none"), p.label("one")
	p.load(asm.R1, asm.R7, optionNext)
	p.add(
		asm.JNE.Imm(asm.R1, int32(i), none),
		asm.LoadMem(asm.R2, asm.R7, int16(optionText+i), asm.Byte),
		asm.JEq.Imm(asm.R2, 0, "parsed"),
	)
	// end = i + 1;
	// if (kind != TCPOPT_NOP) {
	// 	if (p->options.Text[i + 1] < 2) goto parsed;
	// 	end = i + p->options.Text[i + 1];
	// 	if (end > p->options.Length) goto parsed;
	// }
	p.add(
		asm.Mov.Imm(asm.R3, int32(i+1)),
		asm.JEq.Imm(asm.R2, 1, one),
	)
	if i+1 == maxOptions {
		p.goTo("parsed") // there is no room for its length
	} else {
		p.add(
			asm.LoadMem(asm.R3, asm.R7, int16(optionText+i+1), asm.Byte),
			asm.JLT.Imm(asm.R3, 2, "parsed"),
			asm.Add.Imm(asm.R3, int32(i)),
		)
		p.load(asm.R4, asm.R7, optionLength)
		p.add(asm.JGT.Reg(asm.R3, asm.R4, "parsed"))
	}
	// p->options.Next = end;
	// p->options.Seen[kind] = 1;
	// none: ;
	p.mark(one)
	p.store(asm.R7, optionNext, asm.R3)
	p.add(
		asm.Add.Reg(asm.R2, asm.R7),
		asm.StoreImm(asm.R2, int16(optionSeen), 1, asm.Byte),
	)
	p.mark(none)
}

// filterContent goes to next if the rule is about segments with other flags, payload, codepoint or options.
func (p *program) filterContent(next string) {
	// Both are 0 where the rule is not about flags.
	// if ((p->Flags & r->FlagMask) != r->Flags) goto next;
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Flags))
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.FlagMask))
	p.add(asm.And.Reg(asm.R1, asm.R2))
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.Flags))
	p.add(asm.JNE.Reg(asm.R1, asm.R2, next))
	// if (p->Payload < r->PayloadMin || p->Payload > r->PayloadMax) goto next;
	p.load(asm.R1, asm.R7, unsafe.Offsetof(packet{}.Payload))
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.PayloadMin))
	p.add(asm.JLT.Reg(asm.R1, asm.R2, next))
	p.load(asm.R2, asm.R9, unsafe.Offsetof(ruleSettings{}.PayloadMax))
	p.add(asm.JGT.Reg(asm.R1, asm.R2, next))
	// if (r->ECN && !(r->ECN & p->Codepoint)) goto next;
	anyECN, anyOption := p.label("any_ecn"), p.label("any_option")
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.ECN))
	p.add(asm.JEq.Imm(asm.R1, 0, anyECN))
	p.load(asm.R2, asm.R7, unsafe.Offsetof(packet{}.Codepoint))
	p.add(asm.And.Reg(asm.R1, asm.R2), asm.JEq.Imm(asm.R1, 0, next))
	p.mark(anyECN)
	if !p.options {
		return
	}
	// if (r->Option && !p->options.Seen[(u8)r->Option]) goto next;
	p.load(asm.R1, asm.R9, unsafe.Offsetof(ruleSettings{}.Option))
	p.add(
		asm.JEq.Imm(asm.R1, 0, anyOption),
		asm.And.Imm(asm.R1, 0xff),
		asm.Add.Reg(asm.R1, asm.R7),
		asm.LoadMem(asm.R1, asm.R1, int16(optionSeen), asm.Byte),
		asm.JEq.Imm(asm.R1, 0, next),
	)
	p.mark(anyOption)
}
