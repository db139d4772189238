package analysis

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/peers/tcpinfo"
)

func TestRoundTrips(t *testing.T) {
	sent := join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(ms, ackf, 101, 1, 100, 0),
		client(ms, ackf, 201, 1, 100, 0),
	})
	// The handshake's two times are 10 ms each: from here to each host and back.
	for _, tt := range []struct {
		name  string
		lines []line
		want  Times // of the client's segments, less the handshake
		delay []time.Duration
	}{
		{"one ACK for all", []line{server(20*ms, ackf, 1, 301, 0, 0)}, Times{Count: 3, Min: 20 * ms, Mean: 21 * ms, Max: 22 * ms}, []time.Duration{22 * ms}},
		{"an ACK of a part", []line{server(20*ms, ackf, 1, 150, 0, 0)}, Times{Count: 1, Min: 22 * ms, Mean: 22 * ms, Max: 22 * ms}, []time.Duration{22 * ms}},
		{"an ACK with data is not a delayed one", []line{server(20*ms, ackf, 1, 301, 10, 0)}, Times{Count: 3, Min: 20 * ms, Mean: 21 * ms, Max: 22 * ms}, nil},
		{"Karn: retransmitted", []line{
			client(300*ms, ackf, 1, 1, 100, 0),
			server(20*ms, ackf, 1, 101, 0, 0),
			server(10*ms, ackf, 1, 301, 0, 0),
		}, Times{Count: 2, Min: 330 * ms, Mean: 330*ms + 500*µs, Max: 331 * ms}, []time.Duration{331 * ms}},
		{"Karn: what waited with it", []line{
			client(300*ms, ackf, 1, 1, 100, 0),
			server(20*ms, ackf, 1, 301, 0, 0),
		}, Times{}, nil},
		{"a SACK block measures", []line{
			server(18*ms, ackf, 1, 1, 0, 0).opt(sack(201, 301)),
			client(300*ms, ackf, 1, 1, 100, 0),
			server(20*ms, ackf, 1, 301, 0, 0),
		}, Times{Count: 1, Min: 18 * ms, Mean: 18 * ms, Max: 18 * ms}, nil},
		{"and once", []line{
			server(18*ms, ackf, 1, 1, 0, 0).opt(sack(101, 301)),
			server(18*ms, ackf, 1, 1, 0, 0).opt(sack(101, 301)),
		}, Times{Count: 2, Min: 18 * ms, Mean: 18*ms + 500*µs, Max: 19 * ms}, nil},
		{"what was missing here", []line{
			client(ms, ackf, 401, 1, 100, 0),
			client(300*ms, ackf, 301, 1, 100, 0),
			server(20*ms, ackf, 1, 501, 0, 0),
		}, Times{}, nil},
		{"a clock that went back", []line{server(-5*ms, ackf, 1, 301, 0, 0)}, Times{}, nil},
	} {
		for _, v := range variants[:4] {
			segments, _ := segmentsOf(append(slices.Clone(sent), tt.lines...), v.client, v.server, v.isnC, v.isnS)
			c := Conversations(Classify(slices.Values(segments)))[0]
			got := c.Client.RTT
			syn := Times{}
			syn.add(10 * ms)
			rest := Times{Count: got.Count - 1}
			if rest.Count > 0 {
				rest.sum = got.sum - 10*ms
				rest.Mean, rest.Max = rest.sum/time.Duration(rest.Count), got.Max
				rest.Min = tt.want.Min // the minimum of all is the handshake's
			}
			rest.sum, rest.last = 0, 0
			if rest != tt.want || got.Min != 10*ms {
				t.Errorf("%s, from %d: %+v behind the handshake, want %+v", tt.name, v.isnC, rest, tt.want)
			}
			d := c.Server.ACKDelays
			if d.Count != len(tt.delay) || d.Count > 0 && d.Max != tt.delay[0] {
				t.Errorf("%s: ACK delays %+v, want %v", tt.name, d, tt.delay)
			}
		}
	}
}

func TestWindows(t *testing.T) {
	c := conversation(t, cases["closed window"])
	if w := *c.Server.Window; w != (Window{0, 4000, true}) || c.Server.WindowClosed != 603*ms {
		t.Errorf("server's window %+v, closed for %v", w, c.Server.WindowClosed)
	}
	if w := *c.Client.Window; w != (Window{4000, 4000, true}) || c.Client.WindowClosed != 0 {
		t.Errorf("client's window %+v, closed for %v", w, c.Client.WindowClosed)
	}
	c = conversation(t, cases["from mid-connection on"])
	if w := *c.Server.Window; w != (Window{1000, 1000, false}) {
		t.Errorf("window %+v", w)
	}
	c = conversation(t, cases["refused"])
	if c.Client.Window != nil || c.Server.Window != nil {
		t.Error("a SYN and a reset are no offer of a window")
	}
}

func TestOffers(t *testing.T) {
	c := conversation(t, cases["TCP Fast Open, not taken"])
	want := Offer{Frame: 1, ISN: 1000, Length: 300, Window: 1000, Options: usual}
	if *c.Client.SYN != want || c.Server.SYN.ISN != 2000 || c.Server.SYN.Frame != 2 {
		t.Errorf("%+v, want %+v; %+v", *c.Client.SYN, want, *c.Server.SYN)
	}
	if c.ServerRTT != 10*ms || c.ClientRTT != 10*ms || c.InitialRTT != 20*ms {
		t.Errorf("handshake %v: %v and %v", c.InitialRTT, c.ServerRTT, c.ClientRTT)
	}
	if n := c.Client.Causes[CauseFastOpen].Count; n != 1 || len(c.Findings) != 0 {
		t.Errorf("%d of the SYN's data again, findings %v", n, c.Findings)
	}
	// Which of several SYNs was answered cannot be known.
	if c = conversation(t, cases["SYN again and again"]); c.ServerRTT != 0 || c.ClientRTT != 0 {
		t.Errorf("%v and %v", c.ServerRTT, c.ClientRTT)
	}
	if c = conversation(t, cases["both open at once"]); !c.SimultaneousOpen || c.Client.Causes.String() != "" {
		t.Errorf("%+v", c)
	}
}

func (c CauseFrames) String() string {
	var parts []string
	for i, f := range c {
		if f.Count > 0 {
			parts = append(parts, fmt.Sprint(Cause(i), " ", f.First))
		}
	}
	return strings.Join(parts, ", ")
}

func TestClosings(t *testing.T) {
	established := opened(usual, usual)
	finC := client(ms, ackf|FlagFIN, 1, 1, 0, 0)
	for _, tt := range []struct {
		name  string
		lines []line
		want  Close
		fins  string // frame and frame of the ACK
	}{
		{"open", nil, Close{How: CloseOpen}, "- -"},
		{"in turn", []line{finC, server(ms, ackf, 1, 2, 0, 0), server(5*ms, ackf|FlagFIN, 1, 2, 0, 0), client(ms, ackf, 2, 2, 0, 0)},
			Close{How: CloseNormal, First: "client", HalfClosed: 6 * ms}, "4/5 6/7"},
		{"in turn, three segments", []line{finC, server(ms, ackf|FlagFIN, 1, 2, 0, 0), client(ms, ackf, 2, 2, 0, 0)},
			Close{How: CloseNormal, First: "client", HalfClosed: ms}, "4/5 5/6"},
		{"by the server first", []line{server(ms, ackf|FlagFIN, 1, 1, 0, 0), client(ms, ackf|FlagFIN, 1, 2, 0, 0), server(ms, ackf, 2, 2, 0, 0)},
			Close{How: CloseNormal, First: "server", HalfClosed: ms}, "5/6 4/5"},
		{"both at once", []line{finC, server(µs, ackf|FlagFIN, 1, 1, 0, 0), client(10*ms, ackf, 2, 2, 0, 0), server(µs, ackf, 2, 2, 0, 0)},
			Close{How: CloseSimultaneous, First: "client"}, "4/7 5/6"},
		{"half", []line{finC, server(ms, ackf, 1, 2, 0, 0), server(50*ms, ackf, 1, 2, 500, 0), client(ms, ackf, 2, 501, 0, 0)},
			Close{How: CloseHalf, First: "client", HalfClosed: 52 * ms, BytesHalfClosed: 500}, "4/5 -"},
		{"half, and then whole", []line{finC, server(ms, ackf, 1, 2, 500, 0), server(49*ms, ackf|FlagFIN, 501, 2, 70, 0), client(ms, ackf, 2, 572, 0, 0)},
			Close{How: CloseNormal, First: "client", HalfClosed: 50 * ms, BytesHalfClosed: 570}, "4/5 6/7"},
		{"half: data on its way does not count", []line{server(ms, ackf, 1, 1, 500, 0), finC, server(ms, ackf, 501, 1, 500, 0)},
			Close{How: CloseHalf, First: "client", HalfClosed: ms}, "5/0 -"},
		{"FIN again", []line{finC, client(300*ms, ackf|FlagFIN, 1, 1, 0, 0), server(ms, ackf, 1, 2, 0, 0)},
			Close{How: CloseHalf, First: "client", HalfClosed: 301 * ms}, "4/6 -"},
		{"reset", []line{client(ms, ackf, 1, 1, 10, 0), server(ms, FlagRST|ackf, 1, 11, 0, 0)}, Close{How: CloseReset, First: "server"}, "- -"},
		{"reset behind a FIN", []line{finC, server(ms, FlagRST|ackf, 1, 2, 0, 0)}, Close{How: CloseReset, First: "client"}, "4/5 -"},
		{"reset behind it all", []line{finC, server(ms, ackf|FlagFIN, 1, 2, 0, 0), client(ms, ackf, 2, 2, 0, 0), server(ms, FlagRST, 2, 0, 0, 0)},
			Close{How: CloseNormal, First: "client", HalfClosed: ms}, "4/5 5/6"},
	} {
		c := conversation(t, append(slices.Clone(established), tt.lines...))
		fin := func(f *FIN) string {
			if f == nil {
				return "-"
			}
			return fmt.Sprintf("%d/%d", f.Frame, f.AckFrame)
		}
		if got := fin(c.Client.FIN) + " " + fin(c.Server.FIN); c.Close != tt.want || got != tt.fins {
			t.Errorf("%s: %+v, FINs %s; want %+v, %s", tt.name, c.Close, got, tt.want, tt.fins)
		}
	}
}

func TestResetReasons(t *testing.T) {
	established := opened(usual, usual)
	finC := client(ms, ackf|FlagFIN, 1, 1, 0, 0)
	data := server(ms, ackf, 1, 1, 100, 0)
	for _, tt := range []struct {
		name  string
		lines []line
		want  ResetReason
	}{
		{"refused", []line{client(0, FlagSYN, 0, 0, 0, 0), server(ms, FlagRST|ackf, 0, 1, 0, 0)}, ResetRefused},
		{"abort", join(established, []line{client(ms, FlagRST|ackf, 1, 1, 0, 0)}), ResetAbort},
		{"abort by the server", join(established, []line{server(ms, FlagRST|ackf, 1, 1, 0, 0)}), ResetAbort},
		{"abort behind the other's FIN", join(established, []line{server(ms, FlagFIN|ackf, 1, 1, 0, 0), client(ms, FlagRST|ackf, 1, 2, 0, 0)}), ResetAfterFIN},
		{"data for a closed program", join(established, []line{finC, data, client(ms, FlagRST, 1, 0, 0, 0)}), ResetDataAfterClose},
		{"no connection", join(established, []line{data, client(ms, FlagRST, 1, 0, 0, 0)}), ResetNoConnection},
		{"no connection, in mid-connection", []line{data, client(ms, FlagRST, 1, 0, 0, 0)}, ResetNoConnection},
		{"a SYN-ACK that nobody asked for", []line{server(0, FlagSYN|ackf, 0, 1, 0, 0), client(ms, FlagRST, 1, 0, 0, 0)}, ResetNoConnection},
		{"keep-alives", cases["keep-alive"], ResetKeepAlive},
		{"keep-alives that were answered", join(established, []line{
			client(time.Minute, ackf, 0, 1, 0, 0), server(ms, ackf, 1, 1, 0, 0), client(ms, FlagRST|ackf, 1, 1, 0, 0),
		}), ResetAbort},
	} {
		c := conversation(t, tt.lines)
		r := c.Client.Reset
		if r == nil {
			r = c.Server.Reset
		}
		if r == nil || r.Reason != tt.want || r.Count != 1 || r.ForeignTTL || r.Frame != len(tt.lines) {
			t.Errorf("%s: %+v, want %s", tt.name, r, tt.want)
		}
		if resetTexts[tt.want] == "" {
			t.Errorf("%s: no text", tt.want)
		}
	}
}

func TestForeignReset(t *testing.T) {
	segments, _ := segmentsOf(cases["reset in mid-stream"], client4, server4, 1000, 2000)
	for i := range segments {
		if RSTs(segments[i]) {
			segments[i].TTL = 250
		}
	}
	c := Conversations(Classify(slices.Values(segments)))[0]
	if !c.Server.Reset.ForeignTTL || c.Server.Reset.Count != 2 || !strings.Contains(c.Findings[0].Cause, "machine on the path") {
		t.Errorf("%+v, %+v", c.Server.Reset, c.Findings)
	}
}

// probeAndTimeouts is a lone segment whose probe waits as long as a timeout: what it is, the next wait tells.
func probeAndTimeouts() []line {
	return join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(240*ms, ackf, 1, 1, 100, 0),
		client(240*ms, ackf, 1, 1, 100, 0),
		client(480*ms, ackf, 1, 1, 100, 0),
		client(960*ms, ackf, 1, 1, 100, 0),
		server(20*ms, ackf, 1, 101, 0, 0),
	})
}

func TestBackOffBehindATailLossProbe(t *testing.T) {
	c := conversation(t, probeAndTimeouts()).Client
	if got := c.Causes.String(); got != "tail loss probe [5], timeout [6 7 8]" {
		t.Errorf("causes %s", got)
	}
	if want := []time.Duration{240 * ms, 480 * ms, 960 * ms}; !slices.Equal(c.BackOff, want) || !slices.Equal(c.BackOffFrames, []int{6, 7, 8}) {
		t.Errorf("back-off %v in frames %v, want %v", c.BackOff, c.BackOffFrames, want)
	}
	if c.Stalled != 240*ms*8 {
		t.Errorf("stalled for %v", c.Stalled)
	}
}

// wrote is a client that writes two small pieces and waits for the answer, and whose
// second piece waits for the ACK of the first (Nagle), n times.
func wrote(n uint32, delay time.Duration) []line {
	lines := opened(usual, usual)
	for i := range n {
		at := 1 + 200*i
		lines = append(lines,
			client(ms, ackf|FlagPSH, at, 1+10*i, 100, 0),
			server(10*ms+delay, ackf, 1+10*i, at+100, 0, 0),
			client(20*µs, ackf|FlagPSH, at+100, 1+10*i, 100, 0),
			server(11*ms, ackf|FlagPSH, 1+10*i, at+200, 10, 0))
	}
	return lines
}

func TestOtherFindings(t *testing.T) {
	ack := func(n uint32) line { return server(10*ms, ackf, 1, n, 0, 0) }
	mss := uint32(1460)
	for _, tt := range []struct {
		name  string
		lines []line
		want  string
		says  string
	}{
		{"SYN-ACKs without an answer", []line{
			client(0, FlagSYN, 0, 0, 0, 0).opt(usual),
			server(ms, FlagSYN|ackf, 0, 1, 0, 0).opt(usual),
			server(time.Second, FlagSYN|ackf, 0, 1, 0, 0).opt(usual),
		}, "unanswered-syn-ack", "SYN-ACK 2 times"},
		{"silence", join(opened(usual, usual), []line{
			client(ms, ackf, 1, 1, 100, 0), ack(101),
			client(ms, ackf, 101, 1, 100, 0), client(240*ms, ackf, 101, 1, 100, 0), client(240*ms, ackf, 101, 1, 100, 0), client(480*ms, ackf, 101, 1, 100, 0),
		}), "unanswered-data", "frame 5, 961 ms before the end"},
		{"duplicate ACK says it was not lost", join(opened(usual, usual), []line{
			client(ms, ackf, 1, 1, 100, 0), client(µs, ackf, 101, 1, 100, 0), client(µs, ackf, 201, 1, 100, 0),
			server(10*ms, ackf, 1, 1, 0, 0).opt(sack(101, 301)),
			client(µs, ackf, 1, 1, 100, 0),
			server(ms, ackf, 1, 301, 0, 0),
			server(10*ms, ackf, 1, 301, 0, 0).opt(sack(1, 101)),
		}), "spurious-retransmission", "D-SACK"},
		{"Nagle waits for delayed ACKs", wrote(3, 40*ms), "delayed-ack", "3 times"},
		{"twice may be chance", wrote(2, 40*ms), "", ""},
		{"prompt ACKs", wrote(3, 0), "", ""},
		{"a window of two segments", join(opened(usual, usual), func() (lines []line) {
			lines = append(lines, server(ms, ackf, 1, 1, 0, 0).win(800))
			for i := range uint32(6) {
				lines = append(lines, client(ms, ackf, 1+2*i*mss, 1, int(mss), 0), client(µs, ackf, 1+(2*i+1)*mss, 1, int(mss), 0), ack(1+(2*i+2)*mss).win(800))
			}
			return lines
		}()), "window-limited", "3,200 bytes per round trip of 20 ms are 1.28 Mbit/s"},
		{"a duplicated segment", join(opened(usual, usual), []line{
			client(ms, ackf, 1, 1, 100, 0), client(µs, ackf, 1, 1, 100, 0), ack(101),
		}), "captured-twice", "1 segment"},
	} {
		c := conversation(t, tt.lines)
		if got := kinds(c); got != tt.want {
			t.Errorf("%s: %q, want %q: %+v", tt.name, got, tt.want, c.Findings)
			continue
		}
		if tt.says != "" && !strings.Contains(c.Findings[len(c.Findings)-1].Seen, tt.says) {
			t.Errorf("%s: %q, want %q in it", tt.name, c.Findings[len(c.Findings)-1].Seen, tt.says)
		}
	}
}

func TestCongestionMarks(t *testing.T) {
	segments, _ := segmentsOf(join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0), server(10*ms, ackf|FlagECE, 1, 101, 0, 0), client(ms, ackf|FlagCWR, 101, 1, 100, 0),
	}), client4, server4, 1000, 2000)
	segments[3].ECN = 3
	segments[0].Flags |= FlagECE | FlagCWR // asks for ECN
	segments[1].Flags |= FlagECE           // and gets it
	c := Conversations(Classify(slices.Values(segments)))[0]
	if !slices.Equal(c.Client.CE.First, []int{4}) || !slices.Equal(c.Server.ECE.First, []int{5}) || c.Client.ECE.Count != 0 || kinds(c) != "ecn-congestion ecn-congestion" {
		t.Errorf("%+v", c.Findings)
	}
}

func TestGoodput(t *testing.T) {
	c := conversation(t, join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 1000, 0),
		client(500*ms, ackf, 1, 1, 1000, 0),
		server(500*ms, ackf, 1, 1001, 0, 0),
		client(time.Minute, ackf|FlagFIN, 1001, 1, 0, 0), // idle time and its end do not count
		server(10*ms, ackf, 1, 1002, 0, 0),
	})).Client
	if c.Goodput != 8000 || c.Bytes != 2000 || c.BytesAgain != 1000 {
		t.Errorf("%d bit/s, %d bytes, %d again", c.Goodput, c.Bytes, c.BytesAgain)
	}
}

// TestKernelEvents: what the events say, without a kernel. TestKernelTellsCauses has one.
func TestKernelEvents(t *testing.T) {
	lines := join(opened(usual, usual), []line{
		client(ms, ackf, 1, 1, 100, 0),
		client(240*ms, ackf, 1, 1, 100, 0),   // 5
		client(300*ms, ackf, 1, 1, 100, 0),   // 6
		client(500*ms, ackf, 1, 1, 100, 0),   // 7
		server(20*ms, ackf, 1, 101, 0, 0),    // 8
		client(µs, ackf, 101, 1, 100, 0),     // 9
		client(µs, ackf, 201, 1, 100, 0),     // 10
		client(300*ms, ackf, 101, 1, 100, 0), // 11
	})
	segments, _ := segmentsOf(lines, client4, server4, 1000, 2000)
	for i := range segments {
		segments[i].Time = epoch.Add(segments[i].At)
	}
	at := func(frame int) time.Time { return segments[frame-1].Time.Add(30 * µs) }
	event := func(kind KernelEventKind, at time.Time) KernelEvent {
		return KernelEvent{Kind: kind, Time: at, Local: client4, Remote: server4, Established: true}
	}
	state := func(frame int, s tcpinfo.CongestionState) KernelEvent {
		e := event(KernelCongestionState, at(frame).Add(-40*µs))
		e.State = s
		return e
	}
	window := func(frame int, n uint32) KernelEvent {
		e := event(KernelReceive, at(frame))
		e.Window = n
		return e
	}
	sent := func(frame int) KernelEvent { return event(KernelRetransmit, at(frame)) }
	other := sent(5)
	other.Remote = netip.AddrPortFrom(server4.Addr(), 81)
	for _, tt := range []struct {
		name   string
		events []KernelEvent
		want   string
		known  int
	}{
		{"none", nil, "tail loss probe [5], timeout [6 7 11]", 0},
		{"retransmissions only", []KernelEvent{sent(5), sent(6), sent(7), sent(11)}, "tail loss probe [5], timeout [6 7 11]", 0},
		{"states", []KernelEvent{sent(5), state(6, tcpinfo.CongestionLoss), sent(6), sent(7), state(11, tcpinfo.CongestionRecovery), sent(11)},
			"fast [11], tail loss probe [5], timeout [6], recovery [7]", 4},
		{"states: all timeouts", []KernelEvent{state(5, tcpinfo.CongestionLoss), sent(5), state(6, tcpinfo.CongestionLoss), sent(6), state(7, tcpinfo.CongestionLoss), sent(7)},
			"timeout [5 6 7 11]", 3},
		{"another connection's", []KernelEvent{state(1, tcpinfo.CongestionOpen), other}, "tail loss probe [5], timeout [6 7 11]", 0},
		{"windows: one timer, and the window is 1", []KernelEvent{window(3, 10), sent(7), window(8, 1)}, "tail loss probe [5], timeout [6 7 11]", 1},
		{"windows: one timer, and the window is as before", []KernelEvent{window(3, 10), sent(11), window(11, 10)}, "tail loss probe [5 11], timeout [6 7]", 1},
		{"windows: further timers", []KernelEvent{window(3, 10), sent(5), sent(6), sent(7), window(8, 1)}, "tail loss probe [5], timeout [6 7 11]", 2},
		{"windows: asked for", []KernelEvent{window(3, 10), window(11, 10), sent(11)}, "fast [11], tail loss probe [5], timeout [6 7]", 1},
	} {
		c := Conversations(Classify(slices.Values(segments)), tt.events...)[0].Client
		if got := c.Causes.String(); got != tt.want || c.KernelKnows != tt.known {
			t.Errorf("%s: %s, %d of them by the kernel; want %s, %d", tt.name, got, c.KernelKnows, tt.want, tt.known)
		}
	}
	// Further on, after a delay, they are not the kernel's own times any more.
	for i := range segments {
		segments[i].Time = segments[i].Time.Add(20 * ms)
	}
	events := []KernelEvent{state(5, tcpinfo.CongestionLoss), sent(5)}
	for i := range events {
		events[i].Time = events[i].Time.Add(-20 * ms)
	}
	if c := Conversations(Classify(slices.Values(segments)), events...)[0].Client; c.KernelKnows != 0 {
		t.Errorf("%d by the kernel, of packets that are 20 ms late", c.KernelKnows)
	}
}
