package congestion

import (
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
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

// A regrowth is how a window grows again after a loss, by samples of its socket.
type regrowth struct {
	points []kernel.Point // from the end of the recovery on
	curve  oracle.CubicCurve
}

// grownAfter is the regrowth after the loss that has set ssthresh to a value, until the next one.
func grownAfter(socket []kernel.Point, ssthresh int, curve oracle.CubicCurve) regrowth {
	GinkgoHelper()
	const open = 0 // TCP_CA_Open
	after := slices.IndexFunc(socket, func(p kernel.Point) bool { return threshold(p) == ssthresh && p.TCPInfo.Ca_state == open })
	Expect(after).To(BeNumerically(">=", 0), "the end of the recovery")
	points := socket[after:]
	if next := slices.IndexFunc(points, func(p kernel.Point) bool { return threshold(p) != ssthresh }); next > 0 {
		points = points[:next]
	}
	return regrowth{points, curve}
}

// reaches is when the window is so many segments, since the end of the recovery.
func (r regrowth) reaches(segments int) time.Duration {
	GinkgoHelper()
	i := slices.IndexFunc(r.points, func(p kernel.Point) bool { return window(p) >= segments })
	Expect(i).To(BeNumerically(">=", 0), "the window reaches %d", segments)
	return r.points[i].At - r.points[0].At
}

// at is the window some time after the recovery.
func (r regrowth) at(t time.Duration) int {
	GinkgoHelper()
	i := slices.IndexFunc(r.points, func(p kernel.Point) bool { return p.At-r.points[0].At >= t })
	Expect(i).To(BeNumerically(">=", 0), "a sample after %v", t)
	return window(r.points[i])
}

// check measures where the curve is level, and how it bends.
func (r regrowth) check(lab *harness.Lab, rtt time.Duration) {
	GinkgoHelper()
	away := (r.curve.Most - r.curve.Least) / 2
	middle := (r.reaches(r.curve.Most-away) + r.reaches(r.curve.Most+away)) / 2
	level := r.curve.Level(away, rtt)
	lab.Measure("level after", middle, level)
	k := (level.Earliest + level.Latest) / 2
	for half, part := range []struct {
		from, to float64
		name     string
	}{{0, .5, "concave: fast at first"}, {.5, 1, "and slowly as it comes near W_max"}, {1, 1.5, "convex: slowly at first"}, {1.5, 2, "and fast then"}} {
		from, to := time.Duration(part.from*float64(k)), time.Duration(part.to*float64(k))
		grown := bounds.In(r.at(to)-r.at(from), "segments")
		lab.Measure(fmt.Sprintf("grown in quarter %d of 2 K, %s", half+1, part.name), grown, r.curve.Grown(part.from, part.to, rtt))
	}
}

var _ = It("CUBIC's window is concave until K after a loss, level at W_max, and convex beyond", Label("long", "netem", "rfc9438"), func(ctx SpecContext) {
	const rtt = longRTT / 2
	const lost, window = 75, 80 + 4 // as above
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt, largeBuffers)
	net.ToServer.Rule(rules.Drop(rules.Data.Number(lost)))
	f := transfer(lab, net, rtt/20, peers.BulkClient{
		Connect: net.Server().Addr(port), Bytes: 4500 * harness.MSS(), Socket: peers.Socket{Congestion: "cubic"},
	}, peers.Socket{})
	curve := oracle.CubicCurveAfter(window)
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 1, "TcpExtTCPTimeouts": 0})
	grownAfter(f.socket, curve.Least, curve).check(lab, rtt)
})

var _ = It("CUBIC's fast convergence: after a loss below the last W_max the curve is level at (1 + beta)/2 of the window", Label("long", "netem", "rfc9438"),
	func(ctx SpecContext) {
		const rtt = longRTT / 2
		const first, second, window = 75, 600, 80 + 4 // some rounds later it is still below the first W_max
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, largeBuffers)
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Number(first)))
		again := net.ToServer.Rule(rules.Drop(rules.Data.Number(second)))
		f := transfer(lab, net, rtt/20, peers.BulkClient{
			Connect: net.Server().Addr(port), Bytes: 4500 * harness.MSS(), Socket: peers.Socket{Congestion: "cubic"},
		}, peers.Socket{})
		Expect(drop.Hits()).To(HaveLen(1))
		Expect(again.Hits()).To(HaveLen(1))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 2, "TcpExtTCPTimeouts": 0})

		thresholds := plateaus(f.socket, rtt, threshold)
		Expect(thresholds).To(HaveExactElements(oracle.InfiniteThreshold, oracle.CubicAfterLoss(window), Not(BeZero())))
		at := oracle.CubicWindowBefore(thresholds[2])
		lab.Measure("window at the second loss", bounds.In(at, "segments"), bounds.AtMost(window-1), "below the first: fast convergence")
		curve := oracle.CubicCurveConverging(at)
		lab.Note("W_max of the curve", bounds.In(curve.Most, "segments"))
		grownAfter(f.socket, thresholds[2], curve).check(lab, rtt)
		// Without it the curve would be level at the window of the loss.
		without := oracle.CubicCurveAfter(at).Level((at-curve.Least)/2, rtt)
		lab.Note("level without fast convergence, after", (without.Earliest+without.Latest)/2)
	})
