package impairments

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// A burst is a group of packets that arrived together at the server.
type burst struct {
	at    time.Duration // of the first
	count int
}

// burstsByTime splits the packets at pauses of more than hostDelay.
func (a account) burstsByTime() []burst {
	var all []burst
	var last time.Duration
	for _, number := range a.order {
		at := a.probes[number].went[0]
		if all == nil || at-last > hostDelay {
			all = append(all, burst{at: at})
		}
		all[len(all)-1].count++
		last = at
	}
	return all
}

var _ = DescribeTable("releases packets in bursts, one per slot,", Label("quick", "netem", "linux"),
	func(ctx SpecContext, slot impair.Slot, perSlot int, least, most time.Duration) {
		const size, probes = 1000, 100
		lab := harness.NewLab(ctx)
		link := newLink(lab, impair.Netem{Slot: slot})

		link.begin(peers.ProbeSender{Count: probes, Size: size - probeHeaders()}) // a burst
		seen := link.account()

		arrived := seen.burstsByTime()
		Expect(arrived).To(HaveLen(probes / perSlot))
		for i, b := range arrived {
			Expect(b.count).To(Equal(perSlot), "burst %d", i)
			if i > 0 {
				// A slot begins when netem serves the one before, which its timer may delay.
				lab.Measure("burst interval", b.at-arrived[i-1].at,
					oracle.Between(least, most).LateBy(hostDelay).From("get_slot_next"))
			}
		}
		Expect(slices.IsSorted(seen.order)).To(BeTrue())
		Expect(seen.queue.Drops).To(BeZero())
	},
	Entry("10 packets every 20 ms", impair.Slot{MinDelay: 20 * time.Millisecond, MaxDelay: 20 * time.Millisecond, Packets: 10},
		10, 20*time.Millisecond, 20*time.Millisecond),
	Entry("5000 bytes every 20 ms", impair.Slot{MinDelay: 20 * time.Millisecond, MaxDelay: 20 * time.Millisecond, Bytes: 5000},
		5, 20*time.Millisecond, 20*time.Millisecond),
	Entry("10 packets every 10 to 30 ms", impair.Slot{MinDelay: 10 * time.Millisecond, MaxDelay: 30 * time.Millisecond, Packets: 10},
		10, 10*time.Millisecond, 30*time.Millisecond),
	// netem's tables reach four times the jitter to both sides.
	Entry("10 packets every 40 ms, with a normal jitter of 5 ms", impair.Slot{Delay: 40 * time.Millisecond, Jitter: 5 * time.Millisecond, Distribution: impair.Normal, Packets: 10},
		10, 20*time.Millisecond, 60*time.Millisecond),
)
