package impairments

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// early returns the numbers of the probes that were not delayed. All others were delayed by what was asked.
func (a account) early(delay time.Duration) []int {
	GinkgoHelper()
	var numbers []int
	for number, p := range a.probes {
		least := delay
		if p.delay() < delay/2 {
			numbers = append(numbers, number)
			least = 0
		}
		Expect(p.delay()).To(within(least, least+a.late), "probe %d", number)
	}
	return numbers
}

var _ = It("reorders by sending a share of the packets at once", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const delay, percent, probes = 50 * time.Millisecond, 10, 2000
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: delay, Reorder: impair.Reorder{Percent: percent}})

	link.begin(peers.ProbeSender{Count: probes, Interval: time.Millisecond})
	seen := link.account()

	atOnce := make([]bool, probes)
	for _, number := range seen.early(delay) {
		atOnce[number] = true
	}
	expectTrials("sent at once", atOnce, percent/100.)
	Expect(seen.queue.Requeues).To(BeEquivalentTo(count(atOnce)))
	// RFC 4737: what is overtaken is reordered, which is all that was on its way. The receiver counts as the capture does.
	Expect(seen.received.Reordered).To(And(Equal(seen.reordered()), BeNumerically(">", count(atOnce))))
	Expect(seen.queue.Drops).To(BeZero())
	lab.Figure("sent at once", 100*float64(count(atOnce))/probes, "%", fmt.Sprintf("about %d", percent))
})

var _ = It("sends every fifth packet at once with a gap of five", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const delay, gap, probes = 50 * time.Millisecond, 5, 100
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: delay, Reorder: impair.Reorder{Percent: 100, Gap: gap}})

	link.begin(peers.ProbeSender{Count: probes, Interval: time.Millisecond})
	seen := link.account()

	// netem_enqueue leaves gap - 1 packets alone behind each that it reorders.
	var every []int
	for number := gap - 1; number < probes; number += gap {
		every = append(every, number)
	}
	Expect(seen.early(delay)).To(Equal(every))
	Expect(seen.queue.Requeues).To(BeEquivalentTo(len(every)))
})
