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

var _ = It("changes in mid-run without losing or hastening what is queued", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const long, short, probes, queued = time.Second, 10 * time.Millisecond, 100, 50
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: long})
	length := func() uint32 { return lab.Queue(link.net.ToServer).QueueLength }

	link.begin(peers.ProbeSender{Count: probes, Interval: 2 * time.Millisecond})
	Eventually(length).Should(BeNumerically(">=", queued))
	lab.Impair(link.net.ToServer, impair.Netem{Delay: short})
	Expect(length()).To(BeNumerically(">=", queued), "packets queued after the change")
	seen := link.account()

	// netem_change leaves the queue alone, and each packet in it knows its time; only those that come later see the change.
	changed := slices.IndexFunc(seen.probes, func(p probe) bool { return p.delay() < long })
	Expect(changed).To(within(queued, probes-1))
	for number, p := range seen.probes {
		delay := long
		if number >= changed {
			delay = short
		}
		Expect(p.delay()).To(within(delay, delay+seen.late), "probe %d", number)
	}
	Expect(seen.queue.Drops).To(BeZero())
	Expect(seen.received).To(Equal(peers.ProbeResult{Received: probes, Distinct: probes, Reordered: changed})) // the later ones overtook them
})
