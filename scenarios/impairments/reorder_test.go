package impairments

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// early returns the numbers of the probes that were not delayed. All others had the configured delay.
func (a account) early(lab *harness.Lab, delay time.Duration) []int {
	GinkgoHelper()
	var numbers []int
	for number, p := range a.probes {
		if p.delay() < delay/2 {
			numbers = append(numbers, number)
			lab.Check("delay of reordered packets", p.delay(), a.due(0))
		} else {
			lab.Check("delay", p.delay(), a.due(delay))
		}
	}
	return numbers
}

var _ = It("reorders by sending some packets without delay", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const delay, percent, probes = 50 * time.Millisecond, 10, 2000
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: delay, Reorder: impair.Reorder{Percent: percent}})

	link.begin(peers.ProbeSender{Count: probes, Interval: time.Millisecond})
	seen := link.account()

	atOnce := make([]bool, probes)
	for _, number := range seen.early(lab, delay) {
		atOnce[number] = true
	}
	lab.Measure("sent without delay", count(atOnce), allowed(atOnce, percent/100.))
	Expect(seen.queue.Requeues).To(BeEquivalentTo(count(atOnce)))
	// RFC 4737: a packet that is overtaken is reordered, here all that were in flight. The receiver counts the same
	// as the capture.
	Expect(seen.received.Reordered).To(Equal(seen.reordered()))
	lab.Measure("reordered", seen.received.Reordered, bounds.AtLeast(count(atOnce)+1), "RFC 4737, 3.3")
	Expect(seen.queue.Drops).To(BeZero())
})

var _ = It("sends every fifth packet without delay with gap 5", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const delay, gap, probes = 50 * time.Millisecond, 5, 100
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: delay, Reorder: impair.Reorder{Percent: 100, Gap: gap}})

	link.begin(peers.ProbeSender{Count: probes, Interval: time.Millisecond})
	seen := link.account()

	// netem_enqueue delays gap - 1 packets after each that it reorders.
	var every []int
	for number := gap - 1; number < probes; number += gap {
		every = append(every, number)
	}
	Expect(seen.early(lab, delay)).To(Equal(every))
	Expect(seen.queue.Requeues).To(BeEquivalentTo(len(every)))
})
