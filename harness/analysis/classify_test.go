package analysis

import (
	"encoding/binary"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// line is a frame of a case: the segment, and what it should be found to be.
// Sequence and acknowledgement numbers are relative.
type line struct {
	after  time.Duration
	server bool
	Segment
	want Mark
}

func client(after time.Duration, flags Flags, seq, ack uint32, length int, want Mark) line {
	return line{after: after, Segment: Segment{Flags: flags, Seq: seq, Ack: ack, Length: length, Window: 1000}, want: want}
}

func server(after time.Duration, flags Flags, seq, ack uint32, length int, want Mark) line {
	l := client(after, flags, seq, ack, length, want)
	l.server = true
	return l
}

func (l line) win(w uint16) line      { l.Window = w; return l }
func (l line) opt(o Options) line     { l.Options = o; return l }
func join(parts ...[]line) []line     { return slices.Concat(parts...) }
func sack(left, right uint32) Options { return Options{sack: [4]Block{{left, right}}, sackCount: 1} }

const (
	µs   = time.Microsecond
	ackf = FlagACK
)

// opened is a handshake with a round-trip time of 20 ms.
func opened(c, s Options) []line {
	return []line{
		client(0, FlagSYN, 0, 0, 0, 0).opt(c),
		server(10*ms, FlagSYN|ackf, 0, 1, 0, 0).opt(s),
		client(10*ms, ackf, 1, 1, 0, 0),
	}
}

var (
	usual   = Options{MSS: 1460, SACKPermitted: true, HasWindowScale: true, WindowScale: 2}
	noScale = Options{MSS: 1460}
)

// cases are the conversations that each rule is about.
var cases = map[string][]line{
	"nothing wrong": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		server(ms, ackf, 1, 101, 0, 0),
		server(ms, ackf|FlagPSH, 1, 101, 200, 0),
		client(ms, ackf, 101, 201, 0, 0),
		client(ms, ackf|FlagFIN, 101, 201, 0, 0),
		server(ms, ackf|FlagFIN, 201, 102, 0, 0),
		client(ms, ackf, 102, 202, 0, 0),
	}),
	"retransmission by timeout": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(ms, ackf, 101, 1, 100, 0),
		client(300*ms, ackf, 1, 1, 100, MarkRetransmission),
		client(600*ms, ackf, 1, 1, 100, MarkRetransmission),
		server(ms, ackf, 1, 201, 0, 0),
	}),
	"fast retransmission without SACK": join(opened(noScale, noScale), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(ms, ackf, 101, 1, 100, 0),
		client(ms, ackf, 201, 1, 100, 0),
		client(ms, ackf, 301, 1, 100, 0),
		client(ms, ackf, 401, 1, 100, 0),
		server(ms, ackf, 1, 101, 0, 0),
		server(ms, ackf, 1, 101, 0, MarkDuplicateACK),
		server(ms, ackf, 1, 101, 0, MarkDuplicateACK),
		server(ms, ackf, 1, 101, 0, MarkDuplicateACK),
		client(µs, ackf, 101, 1, 100, MarkRetransmission|MarkFastRetransmission),
		server(ms, ackf, 1, 501, 0, 0),
	}),
	"fast retransmission with SACK": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(ms, ackf, 101, 1, 100, 0),
		client(ms, ackf, 201, 1, 100, 0),
		client(ms, ackf, 301, 1, 100, 0),
		server(ms, ackf, 1, 101, 0, 0),
		server(ms, ackf, 1, 101, 0, MarkDuplicateACK).opt(sack(201, 301)),
		server(ms, ackf, 1, 101, 0, MarkDuplicateACK).opt(sack(201, 401)),
		client(20*ms-1, ackf, 101, 1, 100, MarkRetransmission|MarkFastRetransmission),
		client(ms, ackf, 401, 1, 100, 0),
		server(ms, ackf, 1, 501, 0, 0),
	}),
	"too late for a fast retransmission": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(ms, ackf, 101, 1, 100, 0),
		server(ms, ackf, 1, 1, 0, MarkWindowUpdate).win(999),
		server(ms, ackf, 1, 1, 0, MarkDuplicateACK).win(999),
		server(ms, ackf, 1, 1, 0, MarkDuplicateACK).win(999),
		client(20*ms, ackf, 1, 1, 100, MarkRetransmission),
	}),
	"spurious retransmission": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		server(ms, ackf, 1, 101, 0, 0),
		client(ms, ackf, 1, 1, 100, MarkRetransmission|MarkSpuriousRetransmission),
		server(ms, ackf, 1, 101, 0, MarkDuplicateACK),
	}),
	"out of order within the initial round trip": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(ms, ackf, 201, 1, 100, MarkLostSegment),
		client(20*ms-1, ackf, 101, 1, 100, MarkOutOfOrder),
	}),
	"retransmission after the initial round trip": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(ms, ackf, 201, 1, 100, MarkLostSegment),
		client(20*ms, ackf, 101, 1, 100, MarkRetransmission),
	}),
	"out of order within 3 ms, in mid-connection": {
		client(0, ackf, 1, 1, 100, 0),
		client(ms, ackf, 201, 1, 100, MarkLostSegment),
		client(3*ms-1, ackf, 101, 1, 100, MarkOutOfOrder),
	},
	"retransmission after 3 ms, in mid-connection": {
		client(0, ackf, 1, 1, 100, 0),
		client(ms, ackf, 201, 1, 100, MarkLostSegment),
		client(3*ms, ackf, 101, 1, 100, MarkRetransmission),
	},
	"keep-alive": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		server(ms, ackf, 1, 101, 0, 0),
		client(75*time.Second, ackf, 100, 1, 0, MarkKeepAlive),
		server(ms, ackf, 1, 101, 0, MarkKeepAliveACK),
		client(75*time.Second, ackf, 100, 1, 1, MarkKeepAlive),
		server(ms, ackf, 1, 101, 0, MarkKeepAliveACK),
		client(75*time.Second, ackf, 100, 1, 0, MarkKeepAlive),
		client(75*time.Second, ackf, 100, 1, 0, MarkKeepAlive),
		client(75*time.Second, FlagRST|ackf, 101, 1, 0, 0),
	}),
	"closed window": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		server(ms, ackf, 1, 101, 0, MarkZeroWindow).win(0),
		client(200*ms, ackf, 101, 1, 1, MarkZeroWindowProbe),
		server(ms, ackf, 1, 101, 0, MarkZeroWindow|MarkZeroWindowProbeACK).win(0),
		client(400*ms, ackf, 101, 1, 1, MarkZeroWindowProbe),
		server(ms, ackf, 1, 101, 0, MarkZeroWindow|MarkZeroWindowProbeACK).win(0),
		server(ms, ackf, 1, 101, 0, MarkWindowUpdate).win(1000),
		client(ms, ackf, 101, 1, 1000, 0),
	}),
	"closed window, probes of Linux": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		server(ms, ackf, 1, 101, 0, MarkZeroWindow).win(0),
		client(200*ms, ackf, 100, 1, 0, MarkKeepAlive),
		server(ms, ackf, 1, 101, 0, MarkZeroWindow).win(0),
		server(ms, ackf, 1, 101, 0, MarkWindowUpdate).win(1000),
	}),
	"new data after a probe": join(opened(usual, usual), []line{
		server(ms, ackf, 1, 1, 0, MarkZeroWindow).win(0),
		client(ms, ackf, 1, 1, 1, MarkZeroWindowProbe),
		server(ms, ackf, 1, 2, 0, MarkACKLostSegment).win(1000),
		client(ms, ackf, 2, 1, 100, MarkLostSegment),
	}),
	"full window": join(opened(usual, usual), []line{
		server(ms, ackf, 1, 1, 0, MarkWindowUpdate).win(100),
		client(ms, ackf, 1, 1, 300, 0),
		client(ms, ackf, 301, 1, 100, MarkWindowFull),
		server(ms, ackf, 1, 401, 0, 0).win(100),
		client(ms, ackf, 401, 1, 400, MarkWindowFull),
		client(300*ms, ackf, 401, 1, 400, MarkRetransmission|MarkWindowFull),
	}),
	"full window, not scaled": join(opened(noScale, usual), []line{
		server(ms, ackf, 1, 1, 0, MarkWindowUpdate).win(100),
		client(ms, ackf, 1, 1, 100, MarkWindowFull),
	}),
	"a window of unknown scale is never full": {
		server(ms, ackf, 1, 1, 0, 0).win(100),
		client(ms, ackf, 1, 1, 100, 0),
		client(ms, ackf, 101, 1, 300, 0),
	},
	"lost segment": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(ms, ackf, 201, 1, 100, MarkLostSegment),
		client(ms, ackf, 301, 1, 100, 0),
		server(ms, ackf, 1, 101, 0, 0),
	}),
	"acknowledged but not captured": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		server(ms, ackf, 1, 201, 0, MarkACKLostSegment),
		client(ms, ackf, 201, 1, 100, MarkLostSegment),
		server(ms, ackf, 1, 301, 0, MarkACKLostSegment),
	}),
	// Random conversations found the following three.
	"acknowledged beyond all that was captured": {
		client(0, ackf, 1, 1, 100, 0),
		client(ms, ackf, 102, 1, 2, MarkLostSegment),
		server(ms, ackf, 1, 105, 0, MarkACKLostSegment),
		server(ms, ackf, 1, 105, 0, MarkACKLostSegment|MarkDuplicateACK),
		server(ms, ackf, 1, 105, 0, MarkDuplicateACK),
	},
	"fast, since ACKs are missing": {
		client(0, ackf, 1, 1, 2, 0),
		server(ms, ackf, 1, 4, 0, MarkACKLostSegment),
		client(ms, ackf, 100_000, 1, 0, MarkLostSegment),
		server(ms, ackf, 9000, 4, 0, MarkLostSegment|MarkACKLostSegment),
		server(µs, ackf|FlagFIN, 1, 4, 0, MarkRetransmission|MarkFastRetransmission),
	},
	"a clock that stands still": {
		client(0, ackf, 1, 1, 100, 0),
		client(µs, ackf, 102, 1, 100, MarkLostSegment),
		client(-µs, ackf, 101, 1, 1, MarkRetransmission),
	},
	"from mid-connection on": {
		server(0, ackf, 7000, 101, 1000, 0),
		client(ms, ackf, 101, 8000, 0, 0),
		server(ms, ackf, 8000, 101, 1000, 0),
		client(ms, ackf, 101, 9000, 0, 0),
		server(ms, ackf, 8000, 101, 1000, MarkRetransmission|MarkSpuriousRetransmission),
	},
	"reused ports": join(opened(usual, usual), []line{
		client(ms, FlagRST|ackf, 1, 1, 0, 0),
		client(time.Second, FlagSYN, 100_000, 0, 0, MarkReusedPorts).opt(noScale),
		server(10*ms, FlagSYN|ackf, 500_000, 100_001, 0, 0).opt(noScale),
		client(10*ms, ackf, 100_001, 500_001, 0, 0),
		client(ms, ackf, 100_001, 500_001, 100, 0),
		server(ms, ackf, 500_001, 100_101, 0, 0),
	}),
	"refused": {
		client(0, FlagSYN, 0, 0, 0, 0).opt(usual),
		server(ms, FlagRST|ackf, 0, 1, 0, 0).win(0),
	},
	"reset in mid-stream": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		server(ms, FlagRST, 1, 0, 0, 0).win(0),
		client(ms, ackf, 101, 1, 100, 0),
		server(ms, FlagRST, 1, 0, 0, 0).win(0),
	}),
	"both close at once": join(opened(usual, usual), []line{
		client(ms, FlagFIN|ackf, 1, 1, 0, 0),
		server(µs, FlagFIN|ackf, 1, 1, 0, 0),
		client(10*ms, ackf, 2, 2, 0, 0),
		server(µs, ackf, 2, 2, 0, 0),
	}),
	"half-close": join(opened(usual, usual), []line{
		client(ms, ackf|FlagPSH, 1, 1, 100, 0),
		client(µs, ackf|FlagFIN, 101, 1, 0, 0),
		server(10*ms, ackf, 1, 102, 0, 0),
		server(50*ms, ackf, 1, 102, 1000, 0),
		client(10*ms, ackf, 102, 1001, 0, 0),
		server(50*ms, ackf, 1001, 102, 1000, 0),
		server(300*ms, ackf, 1001, 102, 1000, MarkRetransmission),
		client(10*ms, ackf, 102, 2001, 0, 0),
		server(ms, ackf|FlagFIN, 2001, 102, 0, 0),
		client(10*ms, ackf, 102, 2002, 0, 0),
	}),
	"keep-alives while the window is closed": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		server(ms, ackf, 1, 101, 0, MarkZeroWindow).win(0),
		client(200*ms, ackf, 100, 1, 1, MarkKeepAlive|MarkWindowFull),
		client(400*ms, ackf, 100, 1, 1, MarkKeepAlive|MarkWindowFull),
		server(ms, ackf, 1, 101, 0, MarkZeroWindow).win(0),
		client(800*ms, ackf, 101, 1, 1, MarkZeroWindowProbe),
		client(1600*ms, ackf, 101, 1, 1, MarkZeroWindowProbe),
		client(ms, FlagRST|ackf, 101, 1, 0, 0),
	}),
	"late, just within and just beyond a round trip": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(ms, ackf, 301, 1, 100, MarkLostSegment),
		client(20*ms-1, ackf, 101, 1, 100, MarkOutOfOrder),
		client(1, ackf, 201, 1, 100, MarkRetransmission),
	}),
	"FIN with data, twice": join(opened(usual, usual), []line{
		client(ms, FlagFIN|ackf, 1, 1, 100, 0),
		client(300*ms, FlagFIN|ackf, 1, 1, 100, MarkRetransmission),
		server(ms, ackf, 1, 102, 0, 0),
	}),
	"both open at once": {
		client(0, FlagSYN, 0, 0, 0, 0).opt(usual),
		server(µs, FlagSYN, 0, 0, 0, 0).opt(usual),
		client(10*ms, FlagSYN|ackf, 0, 1, 0, MarkRetransmission).opt(usual),
		server(µs, FlagSYN|ackf, 0, 1, 0, MarkRetransmission).opt(usual),
		client(10*ms, ackf, 1, 1, 0, MarkDuplicateACK),
	},
	"SYN again and again": {
		client(0, FlagSYN, 0, 0, 0, 0).opt(usual),
		client(time.Second, FlagSYN, 0, 0, 0, MarkRetransmission).opt(usual),
		client(2*time.Second, FlagSYN, 0, 0, 0, MarkRetransmission).opt(usual),
		client(4*time.Second, FlagSYN, 0, 0, 0, MarkRetransmission).opt(usual),
		server(ms, FlagSYN|ackf, 0, 1, 0, 0).opt(usual),
		server(time.Second, FlagSYN|ackf, 0, 1, 0, MarkRetransmission).opt(usual),
		client(ms, ackf, 1, 1, 0, 0),
	},
	"TCP Fast Open": {
		client(0, FlagSYN, 0, 0, 300, 0).opt(usual),
		server(10*ms, FlagSYN|ackf, 0, 301, 0, 0).opt(usual),
		server(µs, ackf, 1, 301, 1000, 0),
		client(10*ms, ackf, 301, 1001, 0, 0),
	},
	"TCP Fast Open, not taken": {
		client(0, FlagSYN, 0, 0, 300, 0).opt(usual),
		server(10*ms, FlagSYN|ackf, 0, 1, 0, 0).opt(usual),
		client(10*ms, ackf, 1, 1, 300, MarkRetransmission),
		server(10*ms, ackf, 1, 301, 0, 0),
	},
	"each frame captured twice": join(
		[]line{client(0, FlagSYN, 0, 0, 0, 0).opt(usual), client(µs, FlagSYN, 0, 0, 0, MarkRetransmission).opt(usual)},
		[]line{server(10*ms, FlagSYN|ackf, 0, 1, 0, 0).opt(usual), server(µs, FlagSYN|ackf, 0, 1, 0, MarkRetransmission).opt(usual)},
		[]line{client(10*ms, ackf, 1, 1, 0, 0), client(µs, ackf, 1, 1, 0, MarkDuplicateACK)},
		[]line{client(10*ms, ackf, 1, 1, 10, 0), client(µs, ackf, 1, 1, 10, MarkRetransmission)},
		[]line{server(10*ms, ackf, 1, 11, 0, 0), server(µs, ackf, 1, 11, 0, MarkDuplicateACK)},
	),
	"super-packets": join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 64000, 0),
		client(ms, ackf, 64001, 1, 64000, 0),
		server(ms, ackf, 1, 30001, 0, 0),
		client(ms, ackf, 30001, 1, 1000, MarkOutOfOrder),
		server(300*ms, ackf, 1, 64001, 0, 0),
		client(ms, ackf, 64001, 1, 1000, MarkRetransmission),
		server(ms, ackf, 1, 128001, 0, 0),
	}),
}

// segmentsOf makes segments of a case.
func segmentsOf(lines []line, c, s netip.AddrPort, isnC, isnS uint32) ([]Segment, []Mark) {
	var segments []Segment
	var marks []Mark
	at := time.Duration(0)
	for i, l := range lines {
		at += l.after
		x := l.Segment
		x.Frame, x.At, x.TTL = i+1, at, 64
		x.Src, x.Dst = c, s
		own, other := isnC, isnS
		if l.server {
			x.Src, x.Dst = s, c
			own, other = isnS, isnC
		}
		x.Seq += own
		if x.Flags&FlagACK != 0 {
			x.Ack += other
		}
		for i := range x.Options.sackCount {
			x.Options.sack[i].Left += other
			x.Options.sack[i].Right += other
		}
		segments, marks = append(segments, x), append(marks, l.want)
	}
	return segments, marks
}

// variants are the addresses and initial sequence numbers that each case is tried
// with. Some make a number 0, which is special to Wireshark only.
var variants = []struct {
	client, server netip.AddrPort
	isnC, isnS     uint32
}{
	{client4, server4, 1_000_000, 2_000_000},
	{client6, server6, 1_000_000, 2_000_000},
	{client4, server4, math.MaxUint32 - 50, math.MaxUint32 - 500},
	{client4, server4, math.MaxUint32, math.MaxUint32 - 150},
	{client4, server4, math.MaxInt32 - 50, math.MaxInt32},
	{netip.AddrPortFrom(client4.Addr(), 80), netip.AddrPortFrom(client4.Addr(), 40000), 1_000_000, 2_000_000},
}

func TestClassify(t *testing.T) {
	for name, lines := range cases {
		t.Run(name, func(t *testing.T) {
			for _, v := range variants {
				segments, want := segmentsOf(lines, v.client, v.server, v.isnC, v.isnS)
				i := 0
				for c := range Classify(slices.Values(segments)) {
					if c.Marks != want[i] {
						t.Errorf("from %d and %d:\n%v\nis %q, want %q", v.isnC, v.isnS, c.Segment, c.Marks, want[i])
					}
					i++
				}
				if i != len(segments) {
					t.Errorf("%d segments classified of %d", i, len(segments))
				}
			}
		})
	}
}

func TestClassifyAgreesOnCases(t *testing.T) {
	needTshark(t)
	var names []string
	var all [][]Segment
	for name, lines := range cases {
		for _, v := range variants {
			// The numbers of ports are given anew.
			c, s := netip.AddrPortFrom(v.client.Addr(), 40000), netip.AddrPortFrom(v.server.Addr(), 80)
			segments, _ := segmentsOf(lines, c, s, v.isnC, v.isnS)
			if touchesZero(segments) {
				continue
			}
			names, all = append(names, name), append(all, segments)
		}
	}
	var total agreement
	for i, differences := range differing(t, all, &total) {
		if len(differences) > 0 {
			t.Errorf("%s:\n%s", names[i], describe(all[i], differences))
		}
	}
	t.Log(&total)
}

// touchesZero reports whether a number is 0 that Wireshark takes for "none".
func touchesZero(segments []Segment) bool {
	return slices.ContainsFunc(segments, func(s Segment) bool {
		return s.Flags&FlagRST == 0 && (s.Seq == 0 || s.NextSeq() == 0) || s.Ack == 0 && s.Flags&FlagACK != 0
	})
}

func TestClassifyKeepsInterfacesApart(t *testing.T) {
	segments, want := segmentsOf(cases["fast retransmission with SACK"], client4, server4, 1000, 2000)
	var records []record
	for _, s := range segments {
		data := wire(t, s, tcpOptions(s.Options))
		records = append(records, record{at: s.At, data: data}, record{at: s.At + µs, data: data, intf: 1})
	}
	file := writeFile(t, "two.pcapng", pcapng(t, records...))
	for i, c := range classifyFile(t, file, &Classifier{}) {
		if c.Marks != want[i/2] || c.Stream != i%2 {
			t.Errorf("%v on stream %d is %q, want %q", c.Segment, c.Stream, c.Marks, want[i/2])
		}
	}
	needTshark(t)
	agree(t, file, nil)
	names, parts := splitByInterface(t, file)
	together := classifyFile(t, file, &Classifier{})
	for i, part := range parts {
		agree(t, part, nil)
		sameAsAlone(t, names[i], together, classifyFile(t, part, &Classifier{}))
	}
}

// What is different from Wireshark is so on purpose: see docs/analysis.md.

func TestNumberZeroIsNotSpecial(t *testing.T) {
	lines := join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(time.Second, ackf, 1, 1, 100, MarkRetransmission),
	})
	segments, want := segmentsOf(lines, client4, server4, math.MaxUint32-100, 1000)
	for i, c := range slices.Collect(Classify(slices.Values(segments))) {
		if c.Marks != want[i] {
			t.Errorf("%v is %q, want %q", c.Segment, c.Marks, want[i])
		}
	}
	needTshark(t)
	differences := differing(t, [][]Segment{segments}, nil)[0]
	if len(differences) == 0 {
		t.Error("tshark agrees: strike the difference from the list")
	}
}

func TestOptionsThatWereCutOff(t *testing.T) {
	segments, want := segmentsOf(cases["fast retransmission with SACK"], client4, server4, 1000, 2000)
	var records []record
	for _, s := range segments {
		data := wire(t, s, tcpOptions(s.Options))
		records = append(records, record{at: s.At, data: data[:min(len(data), 14+20+20+6)], length: len(data)})
	}
	file := writeFile(t, "cut.pcapng", pcapng(t, records...))
	for i, c := range classifyFile(t, file, &Classifier{}) {
		if c.Marks != want[i] {
			t.Errorf("%v is %q, want %q", c.Segment, c.Marks, want[i])
		}
		if c.Flags&FlagSYN == 0 && c.ScaleKnown {
			t.Errorf("%v: the scale was cut off, but is known", c.Segment)
		}
	}
	needTshark(t)
	w := tshark(t, file)
	const duplicate = 9
	if w[duplicate]["duplicate_ack"] != "" {
		t.Error("tshark agrees: strike the difference from the list")
	}
}

func TestFINBehindManySegments(t *testing.T) {
	var lines []line
	for i := range uint32(maxUnacked) {
		lines = append(lines, client(µs, ackf, 1+i, 1, 1, 0))
	}
	fin := client(ms, ackf|FlagFIN, 1+maxUnacked, 1, 0, 0)
	lines = append(lines, fin, fin)
	lines[len(lines)-1].want = MarkRetransmission
	segments, want := segmentsOf(lines, client4, server4, 1000, 2000)
	all := slices.Collect(Classify(slices.Values(segments)))
	for i, c := range all {
		if c.Marks != want[i] {
			t.Errorf("%v is %q, want %q", c.Segment, c.Marks, want[i])
		}
	}
	if got := all[maxUnacked-1].BytesInFlight; got != maxUnacked {
		t.Errorf("%d bytes in flight, want %d", got, maxUnacked)
	}
	needTshark(t)
	if len(differing(t, [][]Segment{segments}, nil)[0]) == 0 {
		t.Error("tshark agrees: strike the difference from the list")
	}
}

func TestCompleteness(t *testing.T) {
	for name, want := range map[string]Completeness{
		"nothing wrong":          SawSYN | SawSYNACK | SawACK | SawData | SawFIN,
		"refused":                SawSYN | SawACK | SawRST, // the reset acknowledges
		"both close at once":     SawSYN | SawSYNACK | SawACK | SawFIN,
		"SYN again and again":    SawSYN | SawSYNACK | SawACK,
		"from mid-connection on": SawACK | SawData,
		"TCP Fast Open":          SawSYN | SawSYNACK | SawACK | SawData,
	} {
		segments, _ := segmentsOf(cases[name], client4, server4, 1000, 2000)
		all := slices.Collect(Classify(slices.Values(segments)))
		got := all[len(all)-1].Completeness
		if got != want {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
}

// FuzzClassify: nothing that a capture can hold breaks the classifier or makes it
// remember more than it should.
func FuzzClassify(f *testing.F) {
	const size = 16
	for _, lines := range cases {
		segments, _ := segmentsOf(lines, client4, server4, 1000, 2000)
		var b []byte
		for _, s := range segments {
			from := byte(0)
			if s.Src == server4 {
				from = 1
			}
			b = append(b, from, byte(s.Flags))
			b = binary.BigEndian.AppendUint32(b, s.Seq)
			b = binary.BigEndian.AppendUint32(b, s.Ack)
			b = binary.BigEndian.AppendUint16(b, s.Window)
			b = binary.BigEndian.AppendUint16(b, uint16(s.Length))
			b = append(b, byte(s.At/ms), s.Options.WindowScale)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		b = b[:min(len(b), 16*size)] // as much as any seed has, or each takes longer than the one before
		c := Classifier{MergeInterfaces: len(b)%2 == 0}
		var at time.Duration
		var all []Classified
		frame := 0
		for ; len(b) >= size; b = b[size:] {
			frame++
			at += time.Duration(int8(b[14])) * ms
			s := Segment{
				Frame: frame, At: at, Src: client4, Dst: server4, Flags: Flags(b[1]),
				Seq: binary.BigEndian.Uint32(b[2:]), Ack: binary.BigEndian.Uint32(b[6:]),
				Window: binary.BigEndian.Uint16(b[10:]), Length: int(binary.BigEndian.Uint16(b[12:])),
			}
			if b[0]&1 != 0 {
				s.Src, s.Dst = s.Dst, s.Src
			}
			if b[0]&2 != 0 {
				s.Options = Options{HasWindowScale: true, WindowScale: b[15]}
			}
			if b[0]&4 != 0 {
				s.Options.sack, s.Options.sackCount = [4]Block{{s.Ack, s.Seq}, {s.Seq, s.Ack}}, b[15]%5
			}
			if b[0]&8 != 0 {
				s.Interface = "other"
			}
			if b[0]&16 != 0 {
				s.Dst = s.Src
			}
			if b[0]&32 != 0 {
				s.Flags |= FlagAE
				s.Options.HasAccECN, s.Options.AccECN = true, AccECN{CEB: s.Ack & (1<<24 - 1), Fields: b[15] % 4}
			}
			got := c.Add(s)
			all = append(all, got)
			if got.Segment != s {
				t.Fatalf("%v became %v", s, got.Segment)
			}
			if got.Marks>>len(markNames) != 0 || got.BytesInFlight < 0 || got.PushBytesSent < 0 {
				t.Fatalf("%+v", got)
			}
			if got.AcksFrame > frame || got.DuplicateOf > frame || got.RTOFrame > frame {
				t.Fatalf("%+v: a frame of the future", got)
			}
		}
		// To render takes three times as long as all else, and is FuzzReader's.
		if report := checkConversations(t, all); frame%8 == 0 {
			checkRendering(t, report)
		}
		if len(c.connections) > 6 {
			t.Fatalf("%d connections", len(c.connections))
		}
		for _, conn := range c.connections {
			for i := range conn.sides {
				checkUnacked(t, &conn.sides[i].unacked)
			}
		}
	})
}

// checkUnacked makes sure that the list is within its bounds, and ordered where it
// is taken to be.
func checkUnacked(t *testing.T, u *unacked) {
	t.Helper()
	live := u.live()
	if len(live) > maxUnacked || cap(u.list) > 4*maxUnacked {
		t.Fatalf("%d segments remembered, room for %d", len(live), cap(u.list))
	}
	if u.disordered {
		return
	}
	for i := 1; i < len(live); i++ {
		if before(live[i].seq, live[i-1].next) || live[i].next-live[0].seq >= maxSpan {
			t.Fatalf("%v is not in order", live)
		}
	}
}

// TestUnackedFastPath compares with a list without shortcuts.
func TestUnackedFastPath(t *testing.T) {
	for seed := range uint64(200) {
		segments := randomConversation(seed)
		var fast, slow unacked
		for i, s := range segments {
			if s.SequenceLength() > 0 && s.Src.Port() == 80 {
				e := sentSegment{s.Seq, s.NextSeq(), i + 1, s.At}
				fast.add(e)
				slow.add(e)
				slow.disordered = true
			}
			if s.Src.Port() != 80 {
				a, okA := fast.acknowledge(s.Ack)
				b, okB := slow.acknowledge(s.Ack)
				slow.disordered = true
				if a != b || okA != okB {
					t.Fatalf("seed %d, segment %d: %v %v, want %v %v", seed, i, a, okA, b, okB)
				}
			}
			checkUnacked(t, &fast)
			if !slices.Equal(fast.live(), slow.live()) || fast.extent(s.Seq) != slow.extent(s.Seq) {
				t.Fatalf("seed %d, segment %d: %v, want %v", seed, i, fast.live(), slow.live())
			}
		}
	}
}
