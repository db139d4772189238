package congestion

import (
	"fmt"
	"math"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

// CUBIC's constants, as Linux has them in units of 1/1024 (net/ipv4/tcp_cubic.c): RFC 9438 says 0.7 and 0.4.
const (
	cubicBeta = 717. / 1024 // beta
	cubicC    = 410. / 1024 // bic_scale * 10, in segments per cubic second
)

// cubicSlack, in segments: the window that it was, the one that it aims at and what is sent are whole numbers.
const cubicSlack = 2

// burstSlack, in segments, is of a burst on the curve: a delayed ACK or two move a segment into the round before or after.
const burstSlack = cubicSlack + 2

// cubicWindow is what the window aims at, some time after it was reduced from most to least (RFC 9438, 4.2: W_cubic).
func cubicWindow(most, least float64, after time.Duration) float64 {
	k := math.Cbrt((most - least) / cubicC)
	return most + cubicC*math.Pow(after.Seconds()-k, 3)
}

// betweenCubic is where a window can be that has aimed for a round trip. Each ACK adds what is missing, divided by the
// window (RFC 9438, 4.4), so that 1/e of it is still missing after all of them. But Linux computes what is missing once in
// a jiffy at most, and with ACKs that come in a burst it arrives.
func betweenCubic(before, aim float64) gomegatypes.GomegaMatcher {
	aim = max(aim, before)
	return And(BeNumerically(">=", aim-(aim-before)/math.E-burstSlack), BeNumerically("<=", aim+burstSlack))
}

var _ = It("CUBIC gives up 30 % of its window for a lost segment, returns along a cubic curve, and goes beyond", Label("long", "netem", "rfc9438"),
	func(ctx SpecContext) {
		const roundTrip = longRoundTrip
		const lost, window = 75, 80 + 4 // the fifth segment of the round of 80: four more have been acknowledged until then
		reduced := math.Floor(cubicBeta * window)
		lab := harness.NewLab(ctx)
		net := lab.Path(roundTrip, largeBuffers)
		drop := lab.Rule(net.ToServer, rules.Drop(rules.Data.Number(lost)))

		f := transfer(lab, net, roundTrip/20, peers.BulkClient{
			Connect: harness.Addr(net.Server(), port), Bytes: 1750 * segment(), Socket: peers.Socket{Congestion: "cubic"},
		}, peers.Socket{})

		Expect(drop.Hits()).To(HaveLen(1))
		Expect(lab.Counters(net.Client())).To(And(
			HaveGrown("TcpRetransSegs", 1), HaveGrown("TcpExtTCPSackRecovery", 1), HaveGrown("TcpExtTCPTimeouts", 0)))
		Expect(begin(plateaus(f.socket, roundTrip, threshold), 2)).To(Equal([]int{infiniteThreshold, int(reduced)}))

		// On the wire, a round trip's burst is the window. In the fifth the segment is sent again and the window goes
		// down; in the next one the curve begins.
		rounds := perRound(f.data, roundTrip)
		Expect(len(rounds)).To(BeNumerically(">", 15), "rounds")
		Expect(begin(rounds, 5)).To(HaveExactElements(10, 20, 40, 80, BeNumerically("~", reduced, cubicSlack)))
		curve := rounds[5 : len(rounds)-1] // the last one is what was left
		before, aim := reduced, 0.
		for i, burst := range curve {
			aim = cubicWindow(window, reduced, time.Duration(i+1)*roundTrip)
			Expect(burst).To(betweenCubic(before, aim), "round %d of %v", i+1, curve)
			before = float64(burst)
		}
		Expect(window).To(BeNumerically("<", curve[len(curve)-1]-cubicSlack), "it went beyond")
		lab.Figure("window after the loss", 100*float64(plateaus(f.socket, roundTrip, threshold)[1])/window, "%", "70: RFC 9438, 4.6")
		lab.Figure("at last", float64(curve[len(curve)-1]), "segments",
			fmt.Sprintf("up to %.0f: RFC 9438, 4.2; it was %d", aim, window))
	})
