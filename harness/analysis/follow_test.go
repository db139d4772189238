package analysis

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// seg is a segment of the client on interface a; back makes it one of the server.
func seg(at time.Duration, flags Flags, seq, ack uint32, length int) Segment {
	return Segment{At: at, Interface: "a", Src: client4, Dst: server4, Flags: flags, Seq: seq, Ack: ack, Length: length}
}

func back(s Segment) Segment { s.Src, s.Dst = s.Dst, s.Src; return s }

func on(name string, s Segment) Segment { s.Interface = name; return s }

const ms = time.Millisecond

func TestHandshakes(t *testing.T) {
	syn := seg(0, FlagSYN, 100, 0, 0)
	syn2 := seg(1000*ms, FlagSYN, 100, 0, 0)
	synack := back(seg(1040*ms, FlagSYN|FlagACK, 900, 101, 0))
	ack := seg(1041*ms, FlagACK, 101, 901, 0)
	data := seg(1042*ms, FlagACK, 101, 901, 10)
	for _, tt := range []struct {
		name string
		in   []Segment
		want string
	}{
		{"nothing", nil, "[]"},
		{"plain", []Segment{syn, synack, ack, data}, "[1 1 1.041s]"},
		{"SYN twice", []Segment{syn, syn2, synack, ack}, "[2 1 41ms]"},
		{"SYN-ACK twice", []Segment{syn2, synack, synack, ack}, "[1 2 41ms]"},
		{"ACK lost", []Segment{syn2, synack, data}, "[1 1 42ms]"},
		{"no ACK", []Segment{syn, synack}, "[]"},
		{"no SYN-ACK", []Segment{syn, ack}, "[]"},
		{"refused", []Segment{syn, back(seg(1*ms, FlagRST|FlagACK, 0, 101, 0)), ack}, "[]"},
		{"answer to another SYN", []Segment{seg(0, FlagSYN, 50, 0, 0), synack, ack}, "[]"},
		{"new SYN, same ports", []Segment{seg(0, FlagSYN, 50, 0, 0), syn2, synack, ack}, "[1 1 41ms]"},
		{"fast open", []Segment{seg(0, FlagSYN, 100, 0, 20), back(seg(40*ms, FlagSYN|FlagACK, 900, 121, 0)), seg(41*ms, FlagACK, 121, 901, 0)}, "[1 1 41ms]"},
		{"wrap around", []Segment{seg(0, FlagSYN, 1<<32-1, 0, 0), back(seg(40*ms, FlagSYN|FlagACK, 1<<32-1, 0, 0)), seg(41*ms, FlagACK, 0, 0, 0)}, "[1 1 41ms]"},
		{"two interfaces", []Segment{syn2, on("b", syn2), on("b", synack), synack, ack, on("b", ack)}, "[1 1 41ms 1 1 41ms]"},
		{"late old ACK", []Segment{syn2, synack, seg(1041*ms, FlagACK, 5, 6, 0), ack}, "[1 1 41ms]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []any
			for _, h := range Handshakes(slices.Values(tt.in)) {
				got = append(got, h.SYNs, h.SYNACKs, h.RTT())
				if !SYNs(h.SYN) || !SYNACKs(h.SYNACK) || h.ACK.Flags&FlagACK == 0 {
					t.Errorf("segments %v", h)
				}
			}
			if s := fmt.Sprint(got); s != tt.want {
				t.Errorf("%s, want %s", s, tt.want)
			}
		})
	}
}

func TestRetransmissions(t *testing.T) {
	const top = 1<<32 - 1000 // a segment of 1000 from there wraps around after it
	d := func(seq uint32, n int) Segment { return seg(0, FlagACK, seq, 0, n) }
	for _, tt := range []struct {
		name string
		in   []Segment
		want string // index and bytes again of each
	}{
		{"none", []Segment{d(0, 1000), d(1000, 1000), d(2000, 1)}, ""},
		{"whole", []Segment{d(0, 1000), d(1000, 1000), d(0, 1000)}, "2:1000 "},
		{"part in front", []Segment{d(0, 1000), d(500, 1000)}, "1:500 "},
		{"part behind", []Segment{d(1000, 1000), d(500, 1000)}, "1:500 "},
		{"all around", []Segment{d(1000, 100), d(1500, 100), d(500, 2000)}, "2:200 "},
		{"inside", []Segment{d(0, 1000), d(100, 10)}, "1:10 "},
		{"fills a gap", []Segment{d(0, 1000), d(2000, 1000), d(1000, 1000), d(1000, 1000)}, "3:1000 "},
		{"fills gaps out of order", []Segment{d(5000, 100), d(3000, 100), d(4000, 100), d(3000, 100), d(4000, 100), d(5000, 100)}, "3:100 4:100 5:100 "},
		{"wraps around", []Segment{d(top-1000, 1000), d(top, 1000), d(0, 1000), d(top, 1000), d(0, 500)}, "3:1000 4:500 "},
		{"across the wrap", []Segment{d(top, 2000), d(top+500, 1000)}, "1:1000 "},
		{"pure ACKs", []Segment{d(0, 1000), d(0, 0), d(1000, 0), d(1000, 0)}, ""},
		{"keep-alive without data", []Segment{d(0, 1000), d(999, 0)}, ""},
		{"keep-alive with a byte", []Segment{d(0, 1000), d(999, 1), d(999, 1)}, ""},
		{"one byte, again", []Segment{d(0, 1000), d(1000, 1), d(1000, 1)}, "2:1 "},
		{"keep-alive with a byte after the SYN", []Segment{seg(0, FlagSYN, 7, 0, 0), d(8, 0), d(7, 1)}, ""},
		{"byte of a SYN, again", []Segment{seg(0, FlagSYN, 7, 0, 1), d(8, 1)}, "1:1 "},
		{"first and only byte, again", []Segment{d(0, 1), d(0, 1)}, "1:1 "},
		{"SYN", []Segment{seg(0, FlagSYN, 7, 0, 0), seg(0, FlagSYN, 7, 0, 0), d(8, 10)}, "1:1 "},
		{"SYN-ACK of the other side", []Segment{seg(0, FlagSYN, 7, 0, 0), back(seg(0, FlagSYN|FlagACK, 7, 8, 0)), back(seg(0, FlagSYN|FlagACK, 7, 8, 0))}, "2:1 "},
		{"FIN", []Segment{d(0, 10), seg(0, FlagFIN|FlagACK, 10, 0, 0), seg(0, FlagFIN|FlagACK, 10, 0, 0)}, "2:1 "},
		{"data and FIN", []Segment{d(0, 10), seg(0, FlagFIN|FlagACK, 10, 0, 0), seg(0, FlagFIN|FlagACK, 0, 0, 10)}, "2:11 "},
		{"new connection", []Segment{seg(0, FlagSYN, 7, 0, 0), d(8, 1000), seg(0, FlagSYN, 100, 0, 0), d(101, 10)}, ""},
		{"new connection below", []Segment{seg(0, FlagSYN, 1000, 0, 0), d(1001, 1000), seg(0, FlagSYN, 500, 0, 0), d(501, 1000), d(501, 1000)}, "4:1000 "},
		{"RST", []Segment{d(0, 10), seg(0, FlagRST, 0, 0, 10)}, ""},
		{"other interface", []Segment{d(0, 10), on("b", d(0, 10)), d(0, 10)}, "2:10 "},
		{"other direction", []Segment{d(0, 10), back(d(0, 10))}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for i := range tt.in {
				tt.in[i].Frame = i
			}
			var got string
			for r := range Retransmissions(slices.Values(tt.in)) {
				got += fmt.Sprintf("%d:%d ", r.Frame, r.Again)
			}
			if got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// TestRetransmissionsAgainstBytes compares with a map of all bytes, at random.
func TestRetransmissionsAgainstBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		base := random.Uint32()
		var in []Segment
		for range 60 {
			in = append(in, seg(0, FlagACK, base+uint32(random.IntN(300)), 0, 2+random.IntN(40)))
		}
		again := make(map[int]int)
		for i := range in {
			in[i].Frame = i
		}
		for r := range Retransmissions(slices.Values(in)) {
			again[r.Frame] = r.Again
		}
		sent := make(map[uint32]bool)
		for i, s := range in {
			want := 0
			for n := range s.Length {
				at := s.Seq + uint32(n)
				if sent[at] {
					want++
				}
				sent[at] = true
			}
			if again[i] != want {
				t.Fatalf("segment %d of %v: %d again, want %d", i, in, again[i], want)
			}
		}
	}
}

func TestFilters(t *testing.T) {
	all := []Segment{
		{Frame: 1, Interface: "a", Direction: Outbound, Src: client4, Dst: server4, Flags: FlagSYN},
		{Frame: 2, Interface: "a", Direction: Inbound, Src: server4, Dst: client4, Flags: FlagSYN | FlagACK},
		{Frame: 3, Interface: "b", Direction: Inbound, Src: client4, Dst: server4, Flags: FlagACK | FlagPSH, Length: 5},
		{Frame: 4, Interface: "b", Direction: Outbound, Src: server6, Dst: client6, Flags: FlagFIN | FlagACK},
		{Frame: 5, Interface: "b", Src: client6, Dst: server6, Flags: FlagRST},
	}
	flow := Flow{client4, server4}
	for _, tt := range []struct {
		name    string
		filters []Filter
		want    []int
	}{
		{"none", nil, []int{1, 2, 3, 4, 5}},
		{"On", []Filter{On("b")}, []int{3, 4, 5}},
		{"Going", []Filter{Going(Outbound)}, []int{1, 4}},
		{"From", []Filter{From(client4.Addr())}, []int{1, 3}},
		{"From mapped", []Filter{From(netip.AddrFrom16(client4.Addr().As16()))}, []int{1, 3}},
		{"To", []Filter{To(client6.Addr())}, []int{4}},
		{"FromPort", []Filter{FromPort(80)}, []int{2, 4}},
		{"Connection", []Filter{Connection(flow)}, []int{1, 2, 3}},
		{"SYNs", []Filter{SYNs}, []int{1}},
		{"SYNACKs", []Filter{SYNACKs}, []int{2}},
		{"RSTs", []Filter{RSTs}, []int{5}},
		{"FINs", []Filter{FINs}, []int{4}},
		{"WithData", []Filter{WithData}, []int{3}},
		{"With", []Filter{With(FlagACK | FlagPSH)}, []int{3}},
		{"all of two", []Filter{On("b"), Going(Inbound)}, []int{3}},
		{"Not", []Filter{Not(All(On("b"), With(FlagACK)))}, []int{1, 2, 5}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got []int
			for s := range Where(slices.Values(all), tt.filters...) {
				got = append(got, s.Frame)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("%v, want %v", got, tt.want)
			}
			if n := Count(Where(slices.Values(all), tt.filters...)); n != len(tt.want) {
				t.Errorf("count %d, want %d", n, len(tt.want))
			}
		})
	}
}

func ExampleGaps() {
	// SYNs to a host that does not answer, as Linux sends them: the time out
	// doubles from 1 s (RFC 6298).
	segments := slices.Values([]Segment{
		{At: 0, Flags: FlagSYN}, {At: 1 * time.Second, Flags: FlagSYN}, {At: 3 * time.Second, Flags: FlagSYN}, {At: 7 * time.Second, Flags: FlagSYN},
	})
	fmt.Println(Gaps(Where(segments, SYNs)))
	// Output: [1s 2s 4s]
}

func ExampleRetransmissions() {
	segments := slices.Values([]Segment{
		{Frame: 1, Src: client4, Dst: server4, Seq: 1, Length: 1000},
		{Frame: 2, Src: client4, Dst: server4, Seq: 1001, Length: 1000},
		{Frame: 3, Src: client4, Dst: server4, Seq: 1, Length: 1000},
	})
	for r := range Retransmissions(segments) {
		fmt.Printf("frame %d: %d bytes again\n", r.Frame, r.Again)
	}
	// Output: frame 3: 1000 bytes again
}

// repeated is n segments of a bulk transfer, of which every hundredth is sent
// again.
func repeated(n int) iter.Seq[Segment] {
	return func(yield func(Segment) bool) {
		s := seg(0, FlagACK, 0, 0, 1448)
		for i := range n {
			if i%100 != 99 {
				s.Seq += 1448
			}
			if !yield(s) {
				return
			}
		}
	}
}

func BenchmarkRetransmissions(b *testing.B) {
	const n = 100000
	for b.Loop() {
		for range Retransmissions(repeated(n)) {
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/segment")
}
