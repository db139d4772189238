package impairments

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("tail-drops a burst that is longer than its limit", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const limit, probes = 20, 50
	lab := harness.NewLab(ctx)
	// A packet takes 80 ms: the first has not left when the last one arrives.
	link := newLink(lab, impair.Netem{Rate: impair.Rate{BitsPerSecond: 100 * impair.Kbit}, Limit: limit})

	link.begin(peers.ProbeSender{Count: probes, Size: 1000 - probeHeaders()})
	seen := link.account()

	for number, p := range seen.probes {
		Expect(p.lost()).To(Equal(number >= limit), "probe %d", number)
	}
	Expect(seen.queue.Drops).To(BeEquivalentTo(probes - limit))
	Expect(seen.received.Distinct).To(Equal(limit))
})

// inFlight is the largest number of probes between the two captures at a time.
func (a account) inFlight() int {
	type change struct {
		at time.Duration
		by int
	}
	var changes []change
	for _, p := range a.probes {
		if !p.lost() {
			changes = append(changes, change{p.came, 1}, change{p.went[0], -1})
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return int(a.at - b.at) })
	most, now := 0, 0
	for _, c := range changes {
		now += c.by
		most = max(most, now)
	}
	return most
}

var _ = It("counts delayed packets towards its limit", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const limit, delay, interval, probes = 20, 100 * time.Millisecond, time.Millisecond, 1000
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Delay: delay, Limit: limit})

	link.begin(peers.ProbeSender{Count: probes, Interval: interval})
	seen := link.account()

	// There is no rate and so no queue. Still, no more than the limit passes in the time of one delay.
	const duration = probes * interval
	// A packet that arrives just when another leaves is counted with it: the captures are on both sides of the qdisc.
	lab.Measure("most in flight", seen.inFlight(), bounds.Between(limit, limit+1), "netem_enqueue: limit")
	passed := probes - count(seen.losses())
	lab.Measure("passed", passed,
		bounds.Between(int((duration-delay)/(delay+interval+hostDelay))*limit, int(duration/delay+1)*limit), "limit / delay")
	Expect(seen.queue.Drops).To(BeEquivalentTo(probes - passed))
	Expect(seen.received.Distinct).To(Equal(passed))
})

var _ = It("fills a deep queue up to limit times the serialization delay (bufferbloat)", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const (
		rate, delay, limit = 10 * impair.Mbit, 10 * time.Millisecond, 200
		packet             = ethernetHeader + netns.DefaultMTU
	)
	lab := harness.NewLab(ctx)
	net := lab.Routed()
	net.ToServer.Impair(impair.Netem{Delay: delay, Rate: impair.Rate{BitsPerSecond: rate}, Limit: limit})
	net.ToClient.Impair(impair.Netem{Delay: delay})
	wire := lab.Capture(net.Routers[0].End("eth0"), net.Server().End("eth0"))

	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(5001)})
	client := lab.Start(net.Client(), peers.BulkClient{
		Connect: net.Server().Addr(5001), Socket: peers.Socket{Congestion: "reno"}, Duration: 3 * time.Second,
	})
	client.Wait()
	server.Wait()

	// Slow start fills any queue until it drops. The last queued packet has limit - 1 before it. Their time includes
	// the delay, as the limit counts delayed packets: bufferbloat.
	delays, dropped := passage(wire.Stop().Segments(), net)
	Expect(delays).NotTo(BeEmpty())
	Expect(dropped).NotTo(BeEmpty())
	Expect(net.ToServer.Queue().Drops).To(BeEquivalentTo(len(dropped)))
	each := onTheLink(packet, impair.Rate{BitsPerSecond: rate})
	lab.Measure("longest one-way delay", slices.Max(delays),
		oracle.Between((limit-1)*each, limit*each).LateBy(late(net)).From("limit x 1514 x 8 / rate"))
})
