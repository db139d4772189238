package rules

import (
	"fmt"

	"github.com/cilium/ebpf/asm"
)

// An assembler collects the instructions of a program. Its methods are what a line of C would be; registers have the
// roles that the program gives them.
type assembler struct {
	code    asm.Instructions
	pending string // label of the next instruction
	labels  int
}

func (a *assembler) add(instructions ...asm.Instruction) {
	if a.pending != "" {
		instructions[0] = instructions[0].WithSymbol(a.pending)
		a.pending = ""
	}
	a.code = append(a.code, instructions...)
}

// label makes a new name for a place in the program, to be set by mark.
func (a *assembler) label(what string) string {
	a.labels++
	return fmt.Sprintf("%s_%d", what, a.labels)
}

// mark puts a label on the next instruction.
func (a *assembler) mark(label string) {
	if a.pending != "" {
		// An instruction has one label. A jump to the next one joins two of them.
		a.add(asm.Ja.Label(label))
	}
	a.pending = label
}

func (a *assembler) goTo(label string) { a.add(asm.Ja.Label(label)) }

// load reads 32 bits.
func (a *assembler) load(dst, base asm.Register, offset uintptr) {
	a.add(asm.LoadMem(dst, base, int16(offset), asm.Word))
}

// store writes 32 bits.
func (a *assembler) store(base asm.Register, offset uintptr, src asm.Register) {
	a.add(asm.StoreMem(base, int16(offset), src, asm.Word))
}

// storeConst writes a constant of 32 bits.
func (a *assembler) storeConst(base asm.Register, offset uintptr, value int32) {
	a.add(asm.StoreImm(base, int16(offset), int64(value), asm.Word))
}

// setFlag does *(base + offset) |= flag. It uses R1.
func (a *assembler) setFlag(base asm.Register, offset uintptr, flag int32) {
	a.load(asm.R1, base, offset)
	a.add(asm.Or.Imm32(asm.R1, flag))
	a.store(base, offset, asm.R1)
}

// loadBig reads bytes in network byte order.
func (a *assembler) loadBig(dst, base asm.Register, offset uintptr, size asm.Size) {
	a.add(asm.LoadMem(dst, base, int16(offset), size), asm.HostTo(asm.BE, dst, size))
}

// count does *(map's only value + offset) += 1, atomically. It uses R1 and R2.
func (a *assembler) count(mapFD int, offset uintptr) {
	a.add(
		asm.LoadMapValue(asm.R1, mapFD, uint32(offset)),
		asm.Mov.Imm(asm.R2, 1),
		asm.AddAtomic.Mem(asm.R1, asm.R2, asm.DWord, 0),
	)
}

func (a *assembler) call(f asm.BuiltinFunc) { a.add(f.Call()) }

func (a *assembler) exit(value int32) { a.add(asm.Mov.Imm(asm.R0, value), asm.Return()) }

// fetchAdd does *dst += src on 64 bits, atomically, and leaves the old value in src.
func fetchAdd(dst, src asm.Register) asm.Instruction {
	instruction := asm.FetchAdd.Mem(dst, src, asm.DWord, 0)
	// cilium/ebpf v0.22.0 takes the immediate before it moves BPF_FETCH there (Instruction.Marshal), and emits an add
	// that does not fetch. Given here, it is emitted.
	const fetch = 1 // BPF_FETCH in linux/bpf.h
	instruction.Constant = fetch
	return instruction
}
