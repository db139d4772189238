package impairments

import (
	"math"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/statistics"
	"github.com/tcplab/tcplab/peers"
)

// overtaken is the probability that a packet is overtaken by the next one, an interval later, if both have the same
// delay and a uniform jitter: that the difference of two such delays exceeds the interval. The density of the
// difference is a triangle from -2 to +2 jitters.
func overtaken(interval, jitter time.Duration) float64 {
	return math.Pow(1-float64(interval)/float64(2*jitter), 2) / 2
}

// neighbours counts the probes of even number that arrived after their successor. These pairs share no probe, and are
// independent.
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
	// The hosts may change the interval between the two.
	expected := statistics.Successes(pairs, overtaken(interval, jitter), miss)
	expected.Lower = statistics.Successes(pairs, overtaken(interval+hostDelay, jitter), miss).Lower
	expected.Upper = statistics.Successes(pairs, overtaken(interval-hostDelay, jitter), miss).Upper
	lab.Measure("pairs swapped", swapped, expected, "(1 - interval / 2 jitter)^2 / 2")
	Expect(seen.received.Reordered).To(Equal(seen.reordered()))
	lab.Check("reordered", seen.received.Reordered, bounds.AtLeast(swapped), "RFC 4737, 3.3")
})

var _ = It("keeps the order despite jitter if a rate is set", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const delay, jitter, interval = 50 * time.Millisecond, 20 * time.Millisecond, 3 * time.Millisecond
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: delay, Jitter: jitter, Rate: impair.Rate{BitsPerSecond: impair.Gbit}})

	link.begin(peers.ProbeSender{Count: 2000, Interval: interval})
	seen := link.account()

	// With a rate, netem_enqueue adds the delay of a packet to the time at which the last queued one leaves.
	Expect(slices.IsSorted(seen.order)).To(BeTrue())
	Expect(seen.received.Reordered).To(BeZero())
	// There is still jitter: delays vary by up to twice the jitter. A packet has a delay below the middle unless an
	// earlier one holds it back. None of them does with a probability of .5 * .575 * .65 * ... (the next ones may be
	// 3 ms longer each): 0.09. So some of 2000 have one, except with a probability below miss.
	lab.Measure("range of the delays", slices.Max(seen.delays())-slices.Min(seen.delays()), bounds.AtLeast(jitter), "netem_enqueue")
})
