package congestion

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("CUBIC reduces cwnd by 30 % on a loss, regrows along a cubic curve, and exceeds W_max", Label("long", "netem", "rfc9438"),
	func(ctx SpecContext) {
		const rtt = longRTT
		const lost, window = 75, 80 + 4 // the fifth segment of the round of 80: by then four more are acknowledged
		curve := oracle.CubicCurveAfter(window)
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, largeBuffers)
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Number(lost)))

		f := transfer(lab, net, rtt/20, peers.BulkClient{
			Connect: net.Server().Addr(port), Bytes: 1750 * harness.MSS(), Socket: peers.Socket{Congestion: "cubic"},
		}, peers.Socket{})

		Expect(drop.Hits()).To(HaveLen(1))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpRetransSegs": 1, "TcpExtTCPSackRecovery": 1, "TcpExtTCPTimeouts": 0,
		})
		thresholds := plateaus(f.socket, rtt, threshold)
		Expect(begin(thresholds, 2)).To(HaveExactElements(oracle.InfiniteThreshold, Not(BeZero())))
		lab.Measure("ssthresh after a loss at 84 segments", bounds.In(thresholds[1], "segments"), bounds.Exactly(curve.Least),
			"RFC 9438, 4.6; tcp_cubic.c: beta")

		// On the wire, the burst of an RTT is the window. In the fifth round the segment is retransmitted and the
		// window is reduced; the cubic curve begins in the round after.
		rounds := perRound(f.data, rtt)
		Expect(len(rounds)).To(BeNumerically(">", 15), "rounds")
		Expect(begin(rounds, 4)).To(Equal([]int{10, 20, 40, 80}))
		lab.Check("segments in the round of the loss", rounds[4], curve.Reduced())
		grown := rounds[5 : len(rounds)-1] // the last round has only the rest
		before := curve.Least
		for n, burst := range grown {
			lab.Check("segments in a round", burst, curve.Round(n, before, rtt))
			before = burst
		}
		beyond := bounds.AtLeast(window + 1 + cubicSlack) // windows and bursts are rounded
		lab.Measure("segments in the last round", bounds.In(last(grown), "segments"), beyond, "RFC 9438, 4.2: beyond W_max")
	})
