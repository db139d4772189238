package matchers_test

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
)

var (
	client = netip.MustParseAddrPort("10.0.1.1:40000")
	server = netip.MustParseAddrPort("10.0.2.2:80")
)

// connection is a handshake in 50 ms and two segments of which the first is sent twice.
func connection() []analysis.Segment {
	segments := []analysis.Segment{
		{Src: client, Dst: server, Seq: 100, Flags: analysis.FlagSYN},
		{Src: server, Dst: client, Seq: 900, Ack: 101, Flags: analysis.FlagSYN | analysis.FlagACK, At: 50 * time.Millisecond},
		{Src: client, Dst: server, Seq: 101, Ack: 901, Flags: analysis.FlagACK, At: 50 * time.Millisecond},
		{Src: client, Dst: server, Seq: 101, Ack: 901, Flags: analysis.FlagACK, Length: 10, At: 60 * time.Millisecond},
		{Src: client, Dst: server, Seq: 111, Ack: 901, Flags: analysis.FlagACK, Length: 10, At: 61 * time.Millisecond},
		{Src: client, Dst: server, Seq: 101, Ack: 901, Flags: analysis.FlagACK, Length: 10, At: 300 * time.Millisecond},
	}
	for i := range segments {
		segments[i].Frame = i + 1
		segments[i].Time = time.Unix(0, 0).Add(segments[i].At)
	}
	return segments
}

// closed is connection with the end that both sides agree on, or, with a reset, do not.
func closed(reset bool) []analysis.Segment {
	segments := append(connection(),
		analysis.Segment{Src: server, Dst: client, Seq: 901, Ack: 121, Flags: analysis.FlagFIN | analysis.FlagACK},
		analysis.Segment{Src: client, Dst: server, Seq: 121, Ack: 902, Flags: analysis.FlagFIN | analysis.FlagACK},
		analysis.Segment{Src: server, Dst: client, Seq: 902, Ack: 122, Flags: analysis.FlagACK},
	)
	if reset {
		segments[len(segments)-1] = analysis.Segment{Src: server, Dst: client, Seq: 902, Flags: analysis.FlagRST}
	}
	for i := range segments {
		segments[i].Frame = i + 1
	}
	return segments
}

// options are those of a SYN.
func options(mss uint16, sack bool) []analysis.Segment {
	segments := connection()
	for i := range 2 {
		segments[i].Options = analysis.Options{MSS: mss, SACKPermitted: sack, HasWindowScale: true, WindowScale: 7}
	}
	return segments
}

// accurate is connection with accurate ECN.
func accurate() []analysis.Segment {
	segments := connection()
	segments[0].Flags |= analysis.FlagAE | analysis.FlagCWR | analysis.FlagECE
	segments[1].Flags |= analysis.FlagCWR
	segments[2].Flags |= analysis.FlagCWR
	return segments
}

// recording is a capture, as a Lab has it.
type recording []analysis.Segment

func (r recording) Read() ([]analysis.Segment, error) { return r, nil }
func (r recording) File() string                      { return "capture-2.pcapng" }

// running is what cannot be read yet.
type running struct{ recording }

func (running) Read() ([]analysis.Segment, error) { return nil, errors.New("it still runs") }

type runningEvents struct{}

func (runningEvents) Read() ([]kernel.Event, error) { return nil, errors.New("it still runs") }

// sockets are two in TIME-WAIT and one that is connected; they list themselves.
type sockets struct{}

func (sockets) Read() ([]kernel.Socket, error) {
	return []kernel.Socket{
		{Local: client, Remote: server, State: kernel.TimeWait, Timer: kernel.Timer{Kind: kernel.TimerTimeWait, Expires: time.Minute}},
		{Local: client, Remote: server, State: kernel.TimeWait},
		{Local: server, Remote: client, State: kernel.Established, SendQueue: 14, Congestion: "cubic", Memory: &kernel.Memory{SendQueued: 2304}},
	}, nil
}

// unreadable are sockets that cannot be read.
type unreadable struct{}

func (unreadable) Read() ([]kernel.Socket, error) { return nil, errors.New("the server is gone") }

// What can never be there is not waited for.
func TestSocketsThatCannotBeRead(t *testing.T) {
	began := time.Now()
	var failures []string
	g := NewGomega(func(message string, _ ...int) { failures = append(failures, message) })
	g.Eventually(unreadable{}).WithTimeout(time.Hour).Should(HaveState(kernel.Listen))
	if len(failures) != 1 || !strings.Contains(failures[0], "the server is gone") || time.Since(began) > time.Minute {
		t.Errorf("after %v: %q", time.Since(began), failures)
	}
}

// path is a client's that closes first.
func path() kernel.Path {
	change := func(from, to kernel.State) kernel.Event {
		return kernel.Event{Kind: kernel.StateChange, Local: client, Remote: server, Old: from, New: to}
	}
	return kernel.PathOf([]kernel.Event{
		change(kernel.Close, kernel.SynSent), change(kernel.SynSent, kernel.Established),
		{Kind: kernel.Probe, Local: client, Remote: server, Probe: &kernel.ProbeValues{SndCwnd: 10}},
		{Kind: kernel.StateChange, Local: server, Remote: client, Old: kernel.SynRecv, New: kernel.Established},
		change(kernel.Established, kernel.FinWait1), change(kernel.FinWait1, kernel.FinWait2), change(kernel.FinWait2, kernel.Close),
	}, client, server)
}

// resent is a retransmission, and another that could not be sent (EHOSTUNREACH).
func resent() []kernel.Event {
	return []kernel.Event{
		{Kind: kernel.Retransmit, Local: client, Remote: server, State: kernel.Established},
		{Kind: kernel.Retransmit, Local: client, Remote: server, State: kernel.Established, Err: -113},
	}
}

func TestMatchersHold(t *testing.T) {
	g := NewWithT(t)
	g.Expect(connection()).To(Contain(Handshake()))
	g.Expect(slices.Values(connection())).To(Contain(Handshake(BeNumerically("~", 50*time.Millisecond, time.Millisecond))))
	g.Expect(connection()).To(HaveRetransmissions(1))
	g.Expect(connection()).To(HaveRetransmissions(And(BeNumerically(">", 0), BeNumerically("<", 2))))
	g.Expect(connection()).To(Contain(Segments("SYNs", analysis.SYNs)))
	g.Expect(connection()).NotTo(Contain(Segments("resets", analysis.RSTs)))
	g.Expect(recording(connection())).To(Contain(Handshake(), 1))
	g.Expect(connection()).To(Contain(HandshakeWithECN(analysis.ECNNone), 1))
	g.Expect(accurate()).To(Contain(HandshakeWithECN(analysis.ECNAccurate), 1))
	g.Expect(accurate()).To(Contain(Handshake(), 1))
	g.Expect(recording(connection())).To(Contain(Segments("segments", analysis.From(client.Addr())), BeNumerically(">", 2)))
	g.Expect(connection()).To(Contain(Reset(), 0))
	g.Expect(options(1460, true)).To(Contain(SYN(HaveField("MSS", BeEquivalentTo(1460)), HaveField("SACKPermitted", true)), 2))
	g.Expect(options(1460, true)).NotTo(Contain(SYN(HaveField("SACKPermitted", false))))
	g.Expect(options(1460, true)).To(Contain(SYN()))
	g.Expect(closed(false)).To(Contain(FourWayClose(), 1))
	g.Expect(closed(false)).To(Contain(FourWayClose(server)))
	g.Expect(closed(false)).NotTo(Contain(FourWayClose(client)))
	g.Expect(closed(true)).NotTo(Contain(FourWayClose()))
	g.Expect(closed(false)[:8]).NotTo(Contain(FourWayClose()), "the second FIN was not acknowledged")
	g.Expect(sockets{}).To(HaveState(kernel.TimeWait, 2))
	g.Eventually(sockets{}).Should(HaveState(kernel.Established))
	listed, _ := sockets{}.Read()
	g.Expect(listed).To(HaveState(kernel.TimeWait, BeNumerically(">", 1)))
	g.Expect(sockets{}).NotTo(HaveState(kernel.Listen))
	g.Expect(path()).To(Follow(kernel.SynSent, kernel.Established, kernel.FinWait1, kernel.FinWait2, kernel.TimeWait))
	g.Expect(path()).NotTo(Follow(kernel.SynSent, kernel.Established))
	g.Expect(resent()).To(HaveRetransmissions(1))
	g.Expect([]kernel.Event{}).To(HaveRetransmissions(0))
	counters := kernel.Counters{"TcpRetransSegs": 1, "TcpOutSegs": 5}
	g.Expect(counters).To(HaveGrown("TcpRetransSegs", 1))
	g.Expect(counters).To(HaveGrown("TcpOutSegs", BeNumerically(">=", 5)))
	counters["TcpExtTCPTimeouts"] = 0
	g.Expect(counters).To(HaveCounters{"TcpRetransSegs": 1, "TcpExtTCPTimeouts": 0, "TcpOutSegs": BeNumerically(">", 4)})
	g.Expect(counters).NotTo(HaveCounters{"TcpRetransSegs": 1, "TcpExtTCPTimeouts": 1})
	g.Expect(counters).To(HaveCounters{"TcpRetransSegs": uint32(1)})
}

func TestFailuresExplainThemselves(t *testing.T) {
	for _, c := range []struct {
		name    string
		actual  any
		matcher types.GomegaMatcher
		says    []string
	}{
		{
			"counter", kernel.Counters{"TcpRetransSegs": 3, "TcpExtTCPTimeouts": 2}, HaveGrown("TcpRetransSegs", 1),
			[]string{"Expected to have grown in TcpRetransSegs", "3, expected 1", "TcpExtTCPTimeouts                2"},
		},
		{
			"counter by a matcher", kernel.Counters{"TcpRetransSegs": 3}, HaveGrown("TcpRetransSegs", And(BeNumerically(">", 1), BeNumerically("<", 3))),
			[]string{"TcpRetransSegs: Expected <int64>: 3 to be < <int>: 3"},
		},
		{
			"counters", kernel.Counters{"TcpRetransSegs": 3, "TcpExtTCPTimeouts": 2, "TcpOutSegs": 9, "TcpInSegs": 4},
			HaveCounters{"TcpRetransSegs": 1, "TcpExtTCPTimeouts": 0, "TcpOutSegs": 9, "TcpInSegs": BeNumerically(">", 4)},
			[]string{
				"Expected to have counters grown by TcpExtTCPTimeouts 0, TcpInSegs as its matcher says, TcpOutSegs 9, TcpRetransSegs 1\n",
				"Seen: TcpExtTCPTimeouts: 2, expected 0; TcpInSegs: Expected <int64>: 4 to be > <int>: 4; TcpRetransSegs: 3, expected 1\n",
				"All that changed:\n", "TcpOutSegs                       9",
			},
		},
		{
			"retransmissions", connection(), HaveRetransmissions(0),
			[]string{"retransmissions: 1, expected 0", "Packets 1 to 6 of 6, frames 1 to 6:", " > #6 "},
		},
		{
			"handshake", connection(), Contain(Handshake(BeNumerically("<", 10*time.Millisecond))),
			[]string{"1 handshakes; frames 1, 2, 3: 1 SYNs, 1 SYN ACKs, round trip 50ms"},
		},
		{
			"ECN", accurate(), Contain(HandshakeWithECN(analysis.ECNClassic)),
			[]string{"contain a handshake with ECN classic", "1 handshakes", "ECN accurate", " > #1 "},
		},
		{"nothing", []analysis.Segment{}, Contain(Handshake()), []string{"0 handshakes", "No packets."}},
		{
			"in a capture", recording(connection()), Contain(Reset()),
			[]string{"Expected to contain resets", "0 of 6 segments are resets", "Packets 1 to 6 of 6 in capture-2.pcapng, frames 1 to 6:"},
		},
		{"how often", connection(), Contain(Handshake(), 2), []string{"contain a handshake, 2 of them", "how often: 1, expected 2"}},
		{
			"options", options(1400, false), Contain(SYN(HaveField("MSS", BeEquivalentTo(1460)))),
			[]string{"contain SYNs with such options", "frame 1: mss 1400, wscale 7; frame 2: mss 1400, wscale 7", " > #1 "},
		},
		{"no close", connection(), Contain(FourWayClose()), []string{"contain a close in order", "Seen: no FIN"}},
		{
			"half a close", closed(false)[:7], Contain(FourWayClose()),
			[]string{"FIN of 10.0.2.2:80 in frame 7, not acknowledged, no FIN of 10.0.1.1:40000", " > #7 "},
		},
		{
			"a reset", closed(true), Contain(FourWayClose()),
			[]string{"FIN of 10.0.2.2:80 in frame 7, acknowledged in frame 8, FIN of 10.0.1.1:40000 in frame 8, not acknowledged, reset in frame 9"},
		},
		{
			"sockets", sockets{}, HaveState(kernel.TimeWait, 3),
			[]string{
				"Expected to have sockets in TIME-WAIT, 3 of them", "sockets in TIME-WAIT: 2, expected 3", "Sockets, 3:",
				"TIME-WAIT recv-q 0 send-q 0 10.0.1.1:40000 10.0.2.2:80 timer timewait 1m0s", "cubic\n        skmem wmem_queued:2304",
			},
		},
		{"no sockets", []kernel.Socket{}, HaveState(kernel.Listen), []string{"Expected <int>: 0 to be >= <int>: 1", "No sockets."}},
		{
			"path", path(), Follow(kernel.SynSent, kernel.Established, kernel.CloseWait),
			[]string{
				"Expected to follow SYN-SENT > ESTAB > CLOSE-WAIT", "Seen: SYN-SENT > ESTAB > FIN-WAIT-1 > FIN-WAIT-2 > TIME-WAIT: differs at state 3",
				"Events of 10.0.1.1:40000 to 10.0.2.2:80:", "inet_sock_set_state FIN-WAIT-1 > FIN-WAIT-2",
			},
		},
		{
			"events", resent(), HaveRetransmissions(2),
			[]string{"retransmissions: 1, expected 2", "The first of them, among 2 events:", "10.0.2.2:80 tcp_retransmit_skb in ESTAB"},
		},
		{"no events", []kernel.Event{}, HaveRetransmissions(2), []string{"None among 0 events."}},
		{"no path", kernel.Path{Local: client, Remote: server}, Follow(kernel.Listen), []string{"Seen: no states", "No events of 10.0.1.1:40000 to 10.0.2.2:80"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			ok, err := c.matcher.Match(c.actual)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(ok).To(BeFalse())
			for _, text := range c.says {
				g.Expect(c.matcher.FailureMessage(c.actual)).To(ContainSubstring(text))
			}
		})
	}
}

func TestNegatedFailuresReadWell(t *testing.T) {
	for _, c := range []struct {
		actual  any
		matcher types.GomegaMatcher
		says    string
	}{
		{kernel.Counters{"TcpRetransSegs": 3}, HaveGrown("TcpRetransSegs", 3), "Expected not to have grown in TcpRetransSegs by 3\nSeen: TcpRetransSegs: 3\n"},
		{
			kernel.Counters{"TcpRetransSegs": 3}, HaveGrown("TcpRetransSegs", BeNumerically(">", 1)),
			"Expected not to have grown in TcpRetransSegs\nSeen: TcpRetransSegs: Expected <int64>: 3 not to be > <int>: 1\n",
		},
		{
			kernel.Counters{"TcpRetransSegs": 3}, HaveCounters{"TcpRetransSegs": 3},
			"Expected not to have counters grown by TcpRetransSegs 3\nSeen: all of them\nAll that changed:",
		},
		{closed(true), Contain(Reset()), "Expected not to contain resets\nSeen: 1 of 9 segments are resets\nPackets 1 to 9"},
		{sockets{}, HaveState(kernel.Established), "Expected not to have sockets in ESTAB\nSeen: sockets in ESTAB: Expected <int>: 1 not to be >= <int>: 1\n"},
		{connection(), HaveRetransmissions(1), "Expected not to have 1 retransmissions\nSeen: retransmissions: 1\n"},
		{path(), Follow(path().States...), "Expected not to follow SYN-SENT > ESTAB > FIN-WAIT-1 > FIN-WAIT-2 > TIME-WAIT\nSeen: SYN-SENT"},
		{closed(false), Contain(FourWayClose()), "Expected not to contain a close in order\nSeen: FIN of 10.0.2.2:80 in frame 7, acknowledged in frame 8"},
	} {
		g := NewWithT(t)
		g.Expect(c.matcher.Match(c.actual)).To(BeTrue())
		g.Expect(c.matcher.NegatedFailureMessage(c.actual)).To(HavePrefix(c.says))
	}
}

func TestWhatCannotBeJudgedIsAnError(t *testing.T) {
	g := NewWithT(t)
	_, err := HaveGrown("TcpRetransSegz", 1).Match(kernel.Counters{"TcpRetransSegs": 1})
	var unknown *kernel.UnknownCounterError
	g.Expect(err).To(BeAssignableToTypeOf(unknown), "a slip of the pen does not read as zero")
	_, err = HaveCounters{"TcpRetransSegz": 1, "TcpRetransSegs": 1, "TcpOutSegz": 0}.Match(kernel.Counters{"TcpRetransSegs": 1})
	g.Expect(err).To(MatchError(And(ContainSubstring("TcpRetransSegz"), ContainSubstring("TcpOutSegz"))), "each of them")
	_, err = HaveCounters{}.Match(kernel.Counters{"TcpRetransSegs": 1})
	g.Expect(err).To(MatchError("HaveCounters names no counter"))
	_, err = HaveCounters{"TcpRetransSegs": "one"}.Match(kernel.Counters{"TcpRetransSegs": 1})
	g.Expect(err).To(MatchError(HavePrefix("TcpRetransSegs: ")))
	for actual, m := range map[any]types.GomegaMatcher{
		sockets{}: HaveState(kernel.Listen, 1, 2), "no field": Contain(SYN(HaveField("Mss", 1))), "two addresses": Contain(FourWayClose(client, server)),
	} {
		if _, isText := actual.(string); isText {
			actual = connection()
		}
		_, err := m.Match(actual)
		g.Expect(err).To(HaveOccurred())
	}
	_, err = Contain(Handshake()).Match(running{})
	g.Expect(err).To(MatchError(HaveSuffix("it still runs")))
	_, err = BeExchange("> S").Match(running{})
	g.Expect(err).To(MatchError(HaveSuffix("it still runs")))
	_, err = HaveRetransmissions(0).Match(runningEvents{})
	g.Expect(err).To(MatchError(HaveSuffix("it still runs")))
	for _, m := range []types.GomegaMatcher{
		HaveGrown("x", 1), Contain(Handshake()), HaveRetransmissions(1), HaveState(kernel.Listen), Follow(kernel.Listen),
		HaveCounters{"x": 1},
	} {
		_, err := m.Match("text")
		g.Expect(err).To(MatchError(ContainSubstring("not a string")))
	}
}
