package rules

import (
	"unsafe"

	"github.com/cilium/ebpf/asm"
)

// assembleCorrupt makes the program after the filter that fills in the checksum: it inverts the byte given by the
// mark.
func assembleCorrupt(f fds) asm.Instructions {
	p := &program{fds: f}
	// at = skb->mark;
	// if (at >> 16 != MARK_MAGIC >> 16) goto pass;
	// at &= 0xffff; skb->mark = 0;
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
	// The arguments of what copies the byte: skb, at, &byte, 1.
	oneByte := func() {
		p.add(
			asm.Mov.Reg(asm.R1, asm.R6),
			asm.Mov.Reg(asm.R2, asm.R7),
			asm.Mov.Reg(asm.R3, asm.RFP),
			asm.Add.Imm(asm.R3, -1),
			asm.Mov.Imm(asm.R4, 1),
		)
	}
	// if (bpf_skb_load_bytes(skb, at, &byte, 1)) goto failed;
	// byte ^= 0xff;
	oneByte()
	p.call(asm.FnSkbLoadBytes)
	p.add(
		asm.JNE.Imm(asm.R0, 0, "failed"),
		asm.LoadMem(asm.R1, asm.RFP, -1, asm.Byte),
		asm.Xor.Imm(asm.R1, 0xff),
		asm.StoreMem(asm.RFP, -1, asm.R1, asm.Byte),
	)
	// if (!bpf_skb_store_bytes(skb, at, &byte, 1, 0)) goto pass;
	oneByte()
	p.add(asm.Mov.Imm(asm.R5, 0))
	p.call(asm.FnSkbStoreBytes)
	p.add(asm.JEq.Imm(asm.R0, 0, "pass"))
	// failed: counters.Failed++;
	p.mark("failed")
	p.count(p.counters, unsafe.Offsetof(counters{}.Failed))
	// pass: return TC_ACT_OK;
	p.mark("pass")
	p.exit(tcOK)
	return p.code
}

// assembleReturn makes the program at the far end of a pair that holds packets: it sends them back to the device.
// Whatever else the pair carries ends here.
func assembleReturn(device int) asm.Instructions {
	var a assembler
	// if (skb->mark >> 16 != MARK_MAGIC >> 16) goto foreign;
	// return bpf_redirect(device, 0);
	a.load(asm.R1, asm.R1, skbMark)
	a.add(
		asm.RSh.Imm32(asm.R1, 16),
		asm.JNE.Imm(asm.R1, markMagic>>16, "foreign"),
		asm.Mov.Imm(asm.R1, int32(device)),
		asm.Mov.Imm(asm.R2, 0),
	)
	a.call(asm.FnRedirect)
	a.add(asm.Return())
	// foreign: return TC_ACT_SHOT;
	a.mark("foreign")
	a.exit(tcShot)
	return a.code
}
