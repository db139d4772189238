package rules

import (
	"unsafe"

	"github.com/cilium/ebpf/asm"
)

// report puts the packet into the ring, if a rule has chosen it or all are traced. From here on R9 is the settings of
// the rule that acts. Without any the packet passes.
func (p *program) report() {
	// if (!p->Chosen && !settings.Trace) goto pass;
	chosen := unsafe.Offsetof(packet{}.Chosen)
	write, written := p.label("write"), p.label("written")
	p.load(asm.R1, asm.R7, chosen)
	p.add(asm.JNE.Imm(asm.R1, 0, write), asm.LoadMapValue(asm.R1, p.settings, 0))
	p.load(asm.R1, asm.R1, unsafe.Offsetof(settings{}.Trace))
	p.add(asm.JEq.Imm(asm.R1, 0, "pass"))
	p.mark(write)
	// report = bpf_ringbuf_reserve(&ring, sizeof(*report), 0);
	// if (report) { fillReport(); submitReport(); } else { counters.Lost++; }
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

	// if (!p->Chosen) goto pass;
	// r = &settings.Rules[p->Chosen - 1];
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
	// report->Time = bpf_ktime_get_tai_ns();
	p.call(asm.FnKtimeGetTaiNs)
	p.add(asm.StoreMem(asm.R8, int16(unsafe.Offsetof(report{}.Time)), asm.R0, asm.DWord))
	// report->Rule = p->Chosen; report->Number = p->ChosenNo; report->Kinds = p->Kinds;
	// report->ECN = p->ECN; report->Flags = p->Flags; report->_ = 0;
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
	// report->Length = skb->len; report->Captured = 0;
	// n = min(skb->len, SNAP_LENGTH);
	// if (n >= 1) { report->Captured = n; bpf_skb_load_bytes(skb, 0, report->Data, n); }
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
	// half = bpf_ringbuf_query(&ring, BPF_RB_AVAIL_DATA) >= ringBytes / 2;
	// bpf_ringbuf_submit(report, half ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
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
