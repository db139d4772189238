package rules

import (
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/cilium/ebpf"

	"github.com/tcplab/tcplab/internal/testenv"
)

// loaded is the main program in the kernel, on no device: it is run by BPF_PROG_TEST_RUN.
func loaded(t testing.TB, e extent) (*Set, *ebpf.Program) {
	t.Helper()
	s := &Set{}
	t.Cleanup(func() {
		if err := s.release(); err != nil {
			t.Error(err)
		}
	})
	err := s.maps.create(defaultRingBytes)
	var program *ebpf.Program
	if err == nil {
		program, err = s.loadProgram("tcplab_rules", assemble(s.maps.fds(), defaultRingBytes, e))
	}
	if errors.Is(err, ErrNotPermitted) || errors.Is(err, ErrNotSupported) {
		testenv.Need(t, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s, program
}

// frame is a full data segment on IPv4.
func frame(seq uint32) []byte {
	f := make([]byte, 1514)
	f[12], f[13] = 0x08, 0x00
	ip := f[14:]
	ip[0], ip[9] = 0x45, 6
	binary.BigEndian.PutUint16(ip[2:], 1500)
	tcp := ip[20:]
	binary.BigEndian.PutUint16(tcp[2:], 80)
	binary.BigEndian.PutUint32(tcp[4:], seq)
	tcp[12], tcp[13] = 5<<4, flagACK
	return f
}

// What a packet costs that no rule acts on, by how many rules are asked.
func BenchmarkPacket(b *testing.B) {
	for _, n := range []int{0, 1, 8, maxRules} {
		b.Run(fmt.Sprintf("%d rules", n), func(b *testing.B) {
			s, program := loaded(b, extent{capacity: maxRules})
			for i := range n {
				s.settings.Rules[i] = Drop(Data.Number(1 << 30)).encode()
				s.settings.Rules[i].Active = 1
			}
			s.settings.Count = uint32(n)
			if err := s.write(); err != nil {
				b.Fatal(err)
			}
			result, each, err := program.Benchmark(frame(1), max(b.N, 1), nil)
			if err != nil {
				b.Fatal(err)
			}
			if int32(result) != tcOK {
				b.Fatalf("the packet did not pass: %d", int32(result))
			}
			b.ReportMetric(float64(each.Nanoseconds()), "ns/packet")
		})
	}
}

// What the kernel's verifier takes for programs of each size.
func BenchmarkLoad(b *testing.B) {
	for _, e := range extents() {
		b.Run(e.String(), func(b *testing.B) {
			s, _ := loaded(b, e)
			for b.Loop() {
				program, err := s.loadProgram("tcplab_rules", assemble(s.maps.fds(), defaultRingBytes, e))
				if err != nil {
					b.Fatal(err)
				}
				if err := program.Close(); err != nil {
					b.Fatal(err)
				}
				s.programs = s.programs[:1]
			}
		})
	}
}

// extents are all that a set can load.
func extents() (all []extent) {
	for _, options := range []bool{false, true} {
		for capacity := firstCapacity; capacity <= maxRules; capacity *= 2 {
			all = append(all, extent{capacity, options})
		}
	}
	return all
}

func (e extent) String() string {
	if e.options {
		return fmt.Sprintf("%d rules and options", e.capacity)
	}
	return fmt.Sprintf("%d rules", e.capacity)
}
