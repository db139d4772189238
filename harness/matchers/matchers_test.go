package matchers_test

import (
	"net/netip"
	"slices"
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

func TestMatchersHold(t *testing.T) {
	g := NewWithT(t)
	g.Expect(connection()).To(Contain(Handshake()))
	g.Expect(slices.Values(connection())).To(Contain(Handshake(BeNumerically("~", 50*time.Millisecond, time.Millisecond))))
	g.Expect(connection()).To(HaveRetransmissions(1))
	g.Expect(connection()).To(HaveRetransmissions(And(BeNumerically(">", 0), BeNumerically("<", 2))))
	g.Expect(connection()).To(Contain(Segments("SYNs", analysis.SYNs)))
	g.Expect(connection()).NotTo(Contain(Segments("resets", analysis.RSTs)))
	g.Expect(connection()[3:]).To(HaveGaps(TimerWheel, time.Millisecond, 230*time.Millisecond))
	counters := kernel.Counters{"TcpRetransSegs": 1, "TcpOutSegs": 5}
	g.Expect(counters).To(HaveGrown("TcpRetransSegs", 1))
	g.Expect(counters).To(HaveGrown("TcpOutSegs", BeNumerically(">=", 5)))
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
			"retransmissions", connection(), HaveRetransmissions(0),
			[]string{"retransmissions: 1, expected 0", "Packets 1 to 6 of 6:", " > "},
		},
		{
			"handshake", connection(), Contain(Handshake(BeNumerically("<", 10*time.Millisecond))),
			[]string{"1 handshakes; frames 1, 2, 3: 1 SYNs, 1 SYN ACKs, round trip 50ms"},
		},
		{"nothing", []analysis.Segment{}, Contain(Handshake()), []string{"0 handshakes", "No packets."}},
		{
			"early", connection()[:2], HaveGaps(TimerWheel, 60*time.Millisecond),
			[]string{"gap 1 is 50ms, allowed are 60ms to 77.5ms"},
		},
		{"late", connection()[:2], HaveGaps(TimerWheel, 20*time.Millisecond), []string{"allowed are 20ms to 32.5ms"}},
		{"too few", connection()[:2], HaveGaps(TimerWheel, 50*time.Millisecond, time.Second), []string{"gaps of [50ms]"}},
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

func TestWhatCannotBeJudgedIsAnError(t *testing.T) {
	g := NewWithT(t)
	_, err := HaveGrown("TcpRetransSegz", 1).Match(kernel.Counters{"TcpRetransSegs": 1})
	var unknown *kernel.UnknownCounterError
	g.Expect(err).To(BeAssignableToTypeOf(unknown), "a slip of the pen does not read as zero")
	for _, m := range []types.GomegaMatcher{HaveGrown("x", 1), Contain(Handshake()), HaveRetransmissions(1), HaveGaps(TimerWheel)} {
		_, err := m.Match("text")
		g.Expect(err).To(MatchError(ContainSubstring("not a string")))
	}
}
