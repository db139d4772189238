package congestion

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// longestRoundTrip is by how much an ACK came later than the segment whose last byte it acknowledges, at most, before
// the first SACK block tells of a loss: after that, ACKs also wait for retransmissions.
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
		path := oracle.Bottleneck{Rate: 10 * impair.Mbit, RTT: 40 * time.Millisecond}
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		impairBottleneck(net, path, limit)
		queue := net.ToServer.SampleQueue(5 * time.Millisecond)

		f := transfer(lab, net, 5*time.Millisecond, peers.BulkClient{
			Connect: net.Server().Addr(port), Bytes: 1 << 20, Socket: peers.Socket{Congestion: "reno"}, // it has no HyStart
		}, peers.Socket{})

		// The queue is full for a round trip at least, until the sender learns of a loss: SRTT has come that far, too.
		full := path.FullQueueRTT(limit).LateBy(harness.HostDelay)
		lab.Measure("longest RTT", longestRoundTrip(f.segments), full)
		lab.Check("longest SRTT", slices.Max(smoothedRoundTrips(f.socket)), full)
		// It is full from when a packet comes until one leaves: a sample may have seen one less.
		lab.Check("longest queue", longestQueue(queue.Stop().List()), bounds.Between(limit-1, limit), "netem's limit")
		// Each packet that is dropped is retransmitted: no tolerance, so no margin.
		Expect(net.ToServer.Queue().Drops).To(bounds.Between(1, f.TCPInfo.Total_retrans))
	},
	Entry("of 50 packets", 50),
	Entry("of 100 packets", 100),
	Entry("of 200 packets", 200),
)
