package impairments

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("changes mid-run without dropping or advancing queued packets", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const long, short, probes, queued = time.Second, 10 * time.Millisecond, 100, 50
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: long})
	length := func() uint64 { return link.net.ToServer.Queue().Length }

	link.begin(peers.ProbeSender{Count: probes, Interval: 2 * time.Millisecond})
	Eventually(length).Should(BeNumerically(">=", queued))
	link.net.ToServer.Impair(impair.Netem{Delay: short})
	lab.Check("queued after the change", int(length()), bounds.AtLeast(queued), "netem_change")
	seen := link.account()

	// netem_change leaves the queue alone: each queued packet keeps its time to send, and only later packets get the
	// new delay.
	changed := slices.IndexFunc(seen.probes, func(p probe) bool { return p.delay() < long })
	lab.Check("first probe after the change", changed, bounds.Between(queued, probes-1), "netem_change")
	for number, p := range seen.probes {
		if number < changed {
			lab.Measure("delay before the change", p.delay(), seen.due(long))
		} else {
			lab.Measure("delay after the change", p.delay(), seen.due(short))
		}
	}
	Expect(seen.queue.Drops).To(BeZero())
	Expect(seen.received).To(Equal(peers.ProbeResult{Received: probes, Distinct: probes, Reordered: changed})) // the later ones overtook the queued ones
})

var _ = It("adds a rule mid-run without dropping queued packets", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const delay, probes = time.Second, 50
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: delay})
	link.begin(peers.ProbeSender{Count: probes})
	link.sender.Wait()
	Eventually(func() uint64 { return link.net.ToServer.Queue().Length }).Should(BeEquivalentTo(probes))

	// Attaching rules deactivates the device, which empties its queue (qdisc_graft, dev_deactivate).
	rule := link.net.ToServer.Rule(rules.Drop(rules.Data))

	seen := link.account()
	for _, p := range seen.probes {
		lab.Measure("delay", p.delay(), seen.due(delay))
	}
	Expect(rule.Hits()).To(BeEmpty())
})
