package rules

import (
	"bytes"
	"encoding/binary"
	"testing"
	"unsafe"

	"github.com/cilium/ebpf/asm"
	. "github.com/onsi/gomega"
)

func encodeProgram(t *testing.T, code asm.Instructions) []byte {
	t.Helper()
	var b bytes.Buffer
	NewWithT(t).Expect(code.Marshal(&b, binary.LittleEndian)).To(Succeed())
	return b.Bytes()
}

// Every jump finds its label, every instruction can be encoded, and twice the same way.
func TestAssemble(t *testing.T) {
	g := NewWithT(t)
	for _, make := range []func() asm.Instructions{
		func() asm.Instructions {
			return assemble(fds{1, 2, 3, 4, 5, 6, 7}, defaultRingBytes, extent{maxRules, true})
		},
		func() asm.Instructions { return assembleCorrupt(fds{1, 2, 3, 4, 5, 6, 7}) },
		func() asm.Instructions { return assembleReturn(1002) },
	} {
		g.Expect(encodeProgram(t, make())).To(Equal(encodeProgram(t, make())))
	}
}

// A jump is 16 bits.
func TestProgramSize(t *testing.T) {
	NewWithT(t).Expect(len(encodeProgram(t, assemble(fds{}, defaultRingBytes, extent{maxRules, true}))) / asm.InstructionSize).To(BeNumerically("<", 1<<15))
}

// linux/bpf.h: BPF_STX | BPF_ATOMIC | BPF_DW is 0xdb, and BPF_ADD | BPF_FETCH is 1.
func TestFetchAdd(t *testing.T) {
	NewWithT(t).Expect(encodeProgram(t, asm.Instructions{fetchAdd(asm.R1, asm.R2)})).
		To(Equal([]byte{0xdb, 0x21, 0, 0, 1, 0, 0, 0}))
}

// The program reads what this package writes field by field: nothing may lie between the fields.
func TestLayout(t *testing.T) {
	g := NewWithT(t)
	for _, v := range []any{
		settings{}, ruleSettings{}, counters{}, ruleCounters{}, conversationKey{}, conversation{}, ruleState{},
		pieceKey{}, packet{}, report{},
	} {
		g.Expect(binary.Size(v)%8).To(BeZero(), "%T", v)
	}
	g.Expect(binary.Size(settings{})).To(BeEquivalentTo(unsafe.Sizeof(settings{})))
	g.Expect(binary.Size(counters{})).To(BeEquivalentTo(unsafe.Sizeof(counters{})))
	g.Expect(binary.Size(conversation{})).To(BeEquivalentTo(unsafe.Sizeof(conversation{})))
	g.Expect(binary.Size(packet{})).To(BeEquivalentTo(unsafe.Sizeof(packet{})))
	g.Expect(binary.Size(report{})).To(BeEquivalentTo(unsafe.Sizeof(report{})))
}
