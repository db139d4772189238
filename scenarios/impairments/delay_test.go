package impairments

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("delays each packet by the configured delay, in order", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const delay, probes = 50 * time.Millisecond, 200
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: delay})

	link.begin(peers.ProbeSender{Count: probes, Interval: time.Millisecond})
	seen := link.account()

	delays := seen.delays()
	Expect(delays).To(HaveLen(probes))
	lab.Measure("shortest delay", slices.Min(delays), seen.due(delay))
	lab.Measure("longest delay", slices.Max(delays), seen.due(delay))
	Expect(slices.IsSorted(seen.order)).To(BeTrue())
	Expect(seen.received.Reordered).To(BeZero())
	Expect(seen.queue.Drops).To(BeZero())
})
