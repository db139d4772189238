package impairments

import (
	"math"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/statistics"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// overtaken is the chance that a packet is overtaken by the next, which comes an interval later, if both are
// delayed by the same with a uniform jitter: that the difference of two such delays, whose
// density is a triangle from -2 to +2 jitters, is more than the interval.
func overtaken(interval, jitter time.Duration) float64 {
	return math.Pow(1-float64(interval)/float64(2*jitter), 2) / 2
}

// neighbours counts the probes of even number that came to the server after their successor: pairs that
// share no probe, and are independent.
func (a account) neighbours() (pairs, swapped int) {
	for i := 0; i+1 < len(a.probes); i += 2 {
		pairs++
		if a.probes[i].came+a.probes[i].delay() > a.probes[i+1].came+a.probes[i+1].delay() {
			swapped++
		}
	}
	return pairs, swapped
}

var _ = It("reorders packets by jitter", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const delay, jitter, interval = 50 * time.Millisecond, 20 * time.Millisecond, 3 * time.Millisecond
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: delay, Jitter: jitter})

	link.begin(peers.ProbeSender{Count: 2000, Interval: interval})
	seen := link.account()

	Expect(seen.queue.Drops).To(BeZero())
	pairs, swapped := seen.neighbours()
	least, _ := statistics.Binomial(pairs, overtaken(interval+hostDelay, jitter), miss)
	_, most := statistics.Binomial(pairs, overtaken(interval-hostDelay, jitter), miss)
	Expect(swapped).To(within(least, most))
	Expect(seen.received.Reordered).To(And(Equal(seen.reordered()), BeNumerically(">=", swapped)))
	lab.Figure("pairs swapped", 100*float64(swapped)/float64(pairs), "%", "43: (1 - interval / 2 jitter)^2 / 2")
})

var _ = It("keeps the order in spite of jitter where a rate is set", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const delay, jitter, interval = 50 * time.Millisecond, 20 * time.Millisecond, 3 * time.Millisecond
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: delay, Jitter: jitter, Rate: impair.Rate{BitsPerSecond: impair.Gbit}})

	link.begin(peers.ProbeSender{Count: 2000, Interval: interval})
	seen := link.account()

	// With a rate, netem_enqueue counts a packet's delay from when the last one in the queue will have left.
	Expect(slices.IsSorted(seen.order)).To(BeTrue())
	Expect(seen.received.Reordered).To(BeZero())
	Expect(slices.Max(seen.delays()) - slices.Min(seen.delays())).To(BeNumerically(">", jitter)) // it is jitter all the same
})
