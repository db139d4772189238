package rules

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cilium/ebpf"
)

// A content is what a match can look at inside of a packet.
type content struct {
	six     bool
	isTCP   bool
	ecn     Codepoint
	flags   Flags
	options []byte // a multiple of 4 bytes, up to 40
	payload int
}

// frame is the packet of a content.
func (c content) frame() []byte {
	f := make([]byte, ethernetHeader, 1514)
	protocol := byte(17)
	tcp := make([]byte, 20)
	if c.isTCP {
		protocol = 6
		binary.BigEndian.PutUint16(tcp[12:], uint16(5+len(c.options)/4)<<12|uint16(c.flags)|flagACK)
	}
	binary.BigEndian.PutUint16(tcp[2:], 80)
	body := append(append(tcp, c.options...), make([]byte, c.payload)...)
	if c.six {
		f[12], f[13] = 0x86, 0xdd
		ip := make([]byte, 40)
		ip[0], ip[1], ip[6] = 0x60, byte(c.ecn)<<4|0xf, protocol
		binary.BigEndian.PutUint16(ip[4:], uint16(len(body)))
		return append(append(f, ip...), body...)
	}
	f[12], f[13] = 0x08, 0x00
	ip := make([]byte, 20)
	ip[0], ip[1], ip[9] = 0x45, byte(c.ecn)|0xfc, protocol
	binary.BigEndian.PutUint16(ip[2:], uint16(len(ip)+len(body)))
	return append(append(f, ip...), body...)
}

// has is the loop of tcp_parse_options (net/ipv4/tcp_input.c).
func (c content) has(kind byte) bool {
	for b := c.options; len(b) > 0 && b[0] != 0; {
		size := 1
		if b[0] != 1 {
			if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
				return false
			}
			size = int(b[1])
		}
		if b[0] == kind {
			return true
		}
		b = b[size:]
	}
	return false
}

// What the program selects is what a match says, whatever the packet has in it, and with as many rules as there can be.
func TestMatchByContent(t *testing.T) {
	type selects func(content) bool
	var matches []Match
	var wants []selects
	add := func(m Match, want selects) { matches, wants = append(matches, m), append(wants, want) }
	for _, n := range []int{0, 1, 100, 1400} {
		add(AnySegment.Payload(n), func(c content) bool { return c.payload == n })
	}
	add(AnySegment.PayloadAtLeast(100), func(c content) bool { return c.payload >= 100 })
	add(AnySegment.PayloadBetween(1, 99), func(c content) bool { return c.payload >= 1 && c.payload <= 99 })
	add(Data.PayloadBetween(99, 100).ECN(CE), func(c content) bool { return c.payload >= 99 && c.payload <= 100 && c.ecn == CE })
	for _, kind := range []int{1, 2, 3, 4, 5, 8, 34, 172, 254, 255} {
		add(AnySegment.Option(kind), func(c content) bool { return c.has(byte(kind)) })
	}
	for c := NotECT; c <= CE; c++ {
		add(AnySegment.ECN(c), func(one content) bool { return one.ecn == c })
	}
	anyProtocol := len(matches)
	add(AnyPacket.ECN(ECT1, CE), func(c content) bool { return c.ecn == ECT1 || c.ecn == CE })
	add(AnyPacket.ECN(NotECT, ECT0), func(c content) bool { return c.ecn == NotECT || c.ecn == ECT0 })
	for _, f := range []Flags{ECE, CWR, AE, ECE | AE} {
		add(AnySegment.With(f), func(c content) bool { return c.flags&f == f })
	}
	add(AnySegment.Without(ECE|CWR), func(c content) bool { return c.flags&(ECE|CWR) == 0 })
	add(AnySegment.With(CWR).Without(AE|ECE), func(c content) bool { return c.flags == CWR })
	if len(matches) > maxRules {
		t.Fatalf("%d rules", len(matches))
	}

	s, program := loaded(t, extent{maxRules, true})
	for i, m := range matches {
		r := Drop(m)
		if err := r.Validate(); err != nil {
			t.Fatal(err)
		}
		s.settings.Rules[i] = r.encode()
		s.settings.Rules[i].Active = 1
	}
	s.settings.Count = uint32(len(matches))
	if err := s.write(); err != nil {
		t.Fatal(err)
	}
	matched := func() (counts [maxRules]uint64) {
		var c counters
		if err := s.maps.counters.Lookup(uint32(0), &c); err != nil {
			t.Fatal(err)
		}
		for i, one := range c.Rules {
			counts[i] = one.Matched
		}
		return counts
	}
	random := rand.New(rand.NewPCG(1, 2))
	before, selected := matched(), make([]int, len(matches))
	for n := range 3000 {
		c := randomContent(random)
		if _, err := program.Run(&ebpf.RunOptions{Data: c.frame()}); err != nil {
			t.Fatal(err)
		}
		after := matched()
		for i := range matches {
			want := uint64(0)
			if wants[i](c) && (c.isTCP || i == anyProtocol || i == anyProtocol+1) {
				want = 1
				selected[i]++
			}
			if got := after[i] - before[i]; got != want {
				t.Fatalf("packet %d, %+v: %v selected it %d times, expected %d", n, c, matches[i], got, want)
			}
		}
		before = after
	}
	for i, count := range selected {
		if count == 0 {
			t.Errorf("no packet was for %v", matches[i])
		}
	}
}

// randomContent has options as they are, and others that are cut off or have a length that is not possible.
func randomContent(r *rand.Rand) content {
	c := content{
		six: r.IntN(2) == 0, isTCP: r.IntN(8) != 0, ecn: Codepoint(r.IntN(4)), flags: Flags(r.IntN(8)) << 6,
		payload: []int{0, 1, 2, 99, 100, 101, 1399, 1400}[r.IntN(8)],
	}
	if !c.isTCP {
		return c
	}
	room := 4 * r.IntN(11)
	for len(c.options) < room {
		switch kind := byte([]int{0, 1, 1, 1, 2, 3, 4, 5, 8, 34, 172, 254, 255, r.IntN(256)}[r.IntN(14)]); kind {
		case 0, 1:
			c.options = append(c.options, kind)
		default:
			size := 2 + r.IntN(12)
			option := make([]byte, size)
			for i := range option {
				option[i] = byte(r.IntN(256))
			}
			option[0], option[1] = kind, byte(size)
			if r.IntN(10) == 0 {
				option[1] = byte(r.IntN(256))
			}
			c.options = append(c.options, option...)
		}
	}
	c.options = c.options[:room]
	return c
}
