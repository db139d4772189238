package impairments

import (
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

// onTheLink is the serialization delay of a packet at that rate (tc-netem(8); packet_time_ns).
func onTheLink(packet int, r impair.Rate) time.Duration {
	bytes := packet + int(r.PacketOverhead)
	if r.CellSize != 0 {
		size := int(r.CellSize)
		cells := (bytes + size - 1) / size
		bytes = cells * (size + int(r.CellOverhead))
	}
	return time.Duration(bytes) * 8 * time.Second / time.Duration(r.BitsPerSecond)
}

var _ = DescribeTable("spaces packets by their serialization delay,", Label("quick", "netem", "linux"),
	func(ctx SpecContext, rate impair.Rate) {
		const delay, packet, probes = 20 * time.Millisecond, 1000, 50
		lab := harness.NewLab(ctx)
		link := newLink(lab, impair.Netem{Delay: delay, Rate: rate})

		link.begin(peers.ProbeSender{Count: probes, Size: packet - probeHeaders()}) // a burst
		seen := link.account()

		// The first packet has the delay and its serialization delay; each further one leaves a serialization delay
		// later.
		each := onTheLink(packet, rate)
		Expect(seen.probes).To(HaveLen(probes))
		start := seen.probes[0].came
		for i, p := range seen.probes {
			Expect(p.went).To(HaveLen(1), "probe %d", i)
			lab.Check("at the server after", p.went[0]-start, seen.due(delay+time.Duration(i+1)*each))
		}
		Expect(seen.queue.Bytes).To(BeEquivalentTo(probes * packet))
		spacing := (seen.probes[probes-1].went[0] - seen.probes[0].went[0]) / (probes - 1)
		// The mean of all gaps: only the first and the last packet matter, and may be late.
		lab.Measure("packet spacing", spacing, bounds.Around(each, seen.late/(probes-1)), "packet_time_ns")
	},
	Entry("1000 bytes at 1 Mbit/s: 8 ms", impair.Rate{BitsPerSecond: impair.Mbit}),
	Entry("1000 bytes at 20 Mbit/s: 0.4 ms", impair.Rate{BitsPerSecond: 20 * impair.Mbit}),
	Entry("plus 24 of preamble, FCS and interframe gap", impair.Rate{BitsPerSecond: impair.Mbit, PacketOverhead: 24}),
	Entry("without the Ethernet header", impair.Rate{BitsPerSecond: impair.Mbit, PacketOverhead: -14}),
	Entry("in 21 ATM cells of 48 + 5 bytes", impair.Rate{BitsPerSecond: impair.Mbit, CellSize: 48, CellOverhead: 5}),
)

var _ = It("limits goodput to rate less headers", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const (
		rate, rtt, bytes = 5 * impair.Mbit, 20 * time.Millisecond, 3 << 20
		packet           = ethernetHeader + netns.DefaultMTU
	)
	lab := harness.NewLab(ctx)
	net := lab.Routed()
	net.ToServer.Impair(impair.Netem{Delay: rtt / 2, Rate: impair.Rate{BitsPerSecond: rate}, Limit: 1000})
	net.ToClient.Impair(impair.Netem{Delay: rtt / 2})

	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(5001)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(5001), Bytes: bytes})
	client.Wait()
	received := server.Wait()

	// The initial window of 10 segments takes 24 ms at this rate, longer than the RTT: the link is busy from the
	// first segment on. Between the first and the last byte are the serialization delays of all segments except the
	// first.
	link := impair.Rate{BitsPerSecond: rate}
	payload := harness.Payload(netns.DefaultMTU)
	afterFirst := (bytes - 1) / payload // segments; the last one is not full
	took := oracle.Exactly(onTheLink(bytes-payload+afterFirst*(packet-payload), link)).LateBy(late(net))
	goodput := func(elapsed float64) float64 { return 8 * bytes / elapsed / 1e6 }
	lab.Measure("goodput", bounds.Mbit(received.Bulk.Goodput),
		bounds.Between(goodput(took.Range().Upper), goodput(took.Range().Lower)), "rate x payload / packet")
	queue := net.ToServer.Queue()
	Expect(queue.Drops).To(BeZero())
	// The link has also carried the SYN, an ACK, the first segment and the FIN: less than two segments.
	busy := onTheLink(int(queue.Bytes), link)
	lab.Check("first byte to last", received.Bulk.Elapsed,
		oracle.Between(busy-onTheLink(2*packet, link), busy).LateBy(late(net)).From("bytes / rate"))
})
