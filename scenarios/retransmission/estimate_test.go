package retransmission

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("computes the RTO from SRTT and RTTVAR, as RFC 6298 does from the captured RTTs",
	Label("long", "netem", "rfc6298"), func(ctx SpecContext) {
		// The RTT is 120 to 280 ms. Its range is below 200 ms, the minimum of RTO - SRTT, so that no RTO is spurious;
		// and it is large enough that four times the first RTTVAR, RTT / 2, exceeds 200 ms.
		const mean, jitter, exchanges = 100 * time.Millisecond, 40 * time.Millisecond, 40
		lab := harness.NewLab(ctx)
		net := lab.Routed()
		net.Impair(impair.Netem{Delay: mean, Jitter: jitter})
		wire := lab.Capture(net.Client())

		lab.Start(net.Server(), peers.Script{Listen: net.Server().Addr(80), Steps: peers.Steps(
			peers.Repeat(exchanges, peers.Read(1), peers.Write(1)), peers.Sleep(peers.UntilStopped))})
		client := lab.Start(net.Client(), peers.Script{Connect: net.Server().Addr(80), Steps: peers.Steps(
			peers.Repeat(exchanges, peers.Write(1), peers.Read(1), peers.Inspect()))})
		steps := client.Wait().Connections[0].Steps

		k := net.Client().Oracle()
		estimate := k.NewEstimator()
		rtts := rttsOf(wire.Stop().Segments(), exchanges)
		estimate.Sample(rtts[0], true) // the handshake
		// The RTO is a whole number of jiffies (usecs_to_jiffies). The kernel measures a longer RTT than the capture:
		// it includes the time from the socket to the link.
		beyond := func(variance time.Duration) oracle.Span {
			return oracle.Between(variance, variance+k.Tick()).LateBy(harness.HostDelay)
		}
		least := k.RTOMax()
		for i, rtt := range rtts[1:] {
			estimate.Sample(rtt, true) // a round has one segment
			info := steps[3*i+2].TCPInfo
			rto, srtt := time.Duration(info.Rto)*time.Microsecond, time.Duration(info.Rtt)*time.Microsecond
			lab.Check("SRTT", srtt, oracle.Exactly(estimate.SRTT()).LateBy(harness.HostDelay), "RFC 6298, 2.3")
			lab.Check("RTO - SRTT", rto-srtt, beyond(4*estimate.RTTVar()), "RFC 6298, 2.3: 4 RTTVAR")
			if i == 0 { // RTTVAR does not fall in the first round, so 4 RTTVAR still exceed 200 ms
				lab.Measure("RTO - SRTT, first", rto-srtt, beyond(4*estimate.RTTVar()), "RFC 6298, 2.2: 4 RTTVAR, of RTT / 2")
				lab.Check("RTO - SRTT, first, above the minimum", rto-srtt, bounds.AtLeast(k.RTOMin()+2*k.Tick()), "TCP_RTO_MIN")
			}
			least = min(least, rto-srtt)
		}
		// RTTVAR falls by a quarter each round. Some late ACKs in a row can raise it again.
		lab.Measure("RTO - SRTT, minimum", least, beyond(k.RTOMin()), "TCP_RTO_MIN")
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0, "TcpExtTCPTimeouts": 0})
	})

// rttsOf returns the RTTs of the SYN and of a number of exchanges of one segment each: from each segment of the
// client that takes a sequence number to the first ACK of it.
func rttsOf(segments []analysis.Segment, exchanges int) []time.Duration {
	GinkgoHelper()
	var times []time.Duration
	var waiting *analysis.Segment
	client := segments[0].Src
	for _, s := range segments {
		switch {
		case s.Src == client && s.SequenceLength() > 0 && len(times) <= exchanges:
			waiting = &s
		case s.Src != client && waiting != nil && s.Ack == waiting.NextSeq():
			times = append(times, s.At-waiting.At)
			waiting = nil
		}
	}
	Expect(times).To(HaveLen(1 + exchanges))
	return times
}
