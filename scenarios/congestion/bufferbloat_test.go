package congestion

import (
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// longestRoundTrip is by how much an ACK came later than the segment whose last byte it acknowledges, at most, before the
// first SACK block tells of a loss: after that, ACKs also wait for retransmissions.
func longestRoundTrip(segments []analysis.Segment) time.Duration {
	var longest time.Duration
	for s := range analysis.Classify(slices.Values(segments)) {
		if len(s.Options.SACK()) > 0 {
			break
		}
		longest = max(longest, s.RTT)
	}
	return longest
}

func smoothedRoundTrips(socket []kernel.Point) []time.Duration {
	var all []time.Duration
	for _, p := range socket {
		all = append(all, time.Duration(p.TCPInfo.Rtt)*time.Microsecond)
	}
	return all
}

func longestQueue(samples []kernel.QdiscSample) uint64 {
	var longest uint64
	for _, s := range samples {
		longest = max(longest, s.Length)
	}
	return longest
}

var _ = DescribeTable("a queue makes round trips longer by the time that it takes to empty", Label("quick", "netem", "linux"),
	func(ctx SpecContext, limit int) {
		const roundTrip, bitRate = 40 * time.Millisecond, 10 * impair.Mbit
		const perPacket = packet * 8 * time.Second / time.Duration(bitRate)
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		lab.Impair(net.ToServer, impair.Netem{Delay: roundTrip / 2, Rate: impair.Rate{BitsPerSecond: bitRate}, Limit: limit})
		lab.Impair(net.ToClient, impair.Netem{Delay: roundTrip / 2})
		queue := lab.SampleQueue(net.ToServer, 5*time.Millisecond)

		f := transfer(lab, net, 5*time.Millisecond, peers.BulkClient{
			Connect: harness.Addr(net.Server(), port), Bytes: 1 << 20, Socket: peers.Socket{Congestion: "reno"}, // it has no HyStart
		}, peers.Socket{})

		// The limit is netem's, which counts what is in its delay line, too: only the rest is the queue.
		queued := float64(limit) - bandwidthDelay(bitRate, roundTrip/2)
		expected := roundTrip + time.Duration(queued*float64(perPacket))
		const slack = 2 * perPacket // the packet that is being sent, and hosts
		Expect(longestRoundTrip(f.segments)).To(BeNumerically("~", expected, slack))
		Expect(slices.Max(smoothedRoundTrips(f.socket))).To(BeNumerically("~", expected, slack))
		// It is full from when a packet comes until one leaves: a sample may have seen one less.
		Expect(longestQueue(queue.List())).To(And(BeNumerically(">=", limit-1), BeNumerically("<=", limit)))
		Expect(lab.Queue(net.ToServer).Drops).To(And(BeNumerically(">", 0), BeNumerically("<=", f.TCPInfo.Total_retrans)))
		lab.Figure("longest round trip", longestRoundTrip(f.segments).Seconds()*1e3, "ms",
			fmt.Sprintf("about %.0f, of which %.0f in the queue", expected.Seconds()*1e3, (expected-roundTrip).Seconds()*1e3))
	},
	Entry("of 50 packets", 50),
	Entry("of 100 packets", 100),
	Entry("of 200 packets", 200),
)
