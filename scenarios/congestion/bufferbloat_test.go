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

// longestRTT is the longest time from a segment to the ACK of its last byte, until the first SACK block reports
// a loss. After that, ACKs also wait for retransmissions.
func longestRTT(segments []analysis.Segment) time.Duration {
	var longest time.Duration
	for s := range analysis.Classify(slices.Values(segments)) {
		if len(s.Options.SACK()) > 0 {
			break
		}
		longest = max(longest, s.RTT)
	}
	return longest
}

func smoothedRTTs(socket []kernel.Point) []time.Duration {
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

var _ = DescribeTable("bufferbloat: RTT grows by the drain time of a full queue", Label("quick", "netem", "linux"),
	func(ctx SpecContext, limit int) {
		path := oracle.Bottleneck{Rate: 10 * impair.Mbit, RTT: 40 * time.Millisecond}
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		impairBottleneck(net, path, limit)
		queue := net.ToServer.SampleQueue(5 * time.Millisecond)

		f := transfer(lab, net, 5*time.Millisecond, peers.BulkClient{
			Connect: net.Server().Addr(port), Bytes: 1 << 20, Socket: peers.Socket{Congestion: "reno"}, // it has no HyStart
		}, peers.Socket{})

		// The queue stays full for at least one RTT, until the sender learns of a loss. By then SRTT has grown as
		// far.
		full := path.FullQueueRTT(limit).LateBy(harness.HostDelay)
		lab.Measure("longest RTT", longestRTT(f.segments), full)
		lab.Check("longest SRTT", slices.Max(smoothedRTTs(f.socket)), full)
		// The queue alternates between full and one less than full: a sample may see either.
		lab.Check("longest queue", longestQueue(queue.Stop().List()), bounds.Between(limit-1, limit), "netem's limit")
		// Each dropped packet is retransmitted. There is no tolerance, so no margin.
		Expect(net.ToServer.Queue().Drops).To(bounds.Between(1, f.TCPInfo.Total_retrans))
	},
	Entry("of 50 packets", 50),
	Entry("of 100 packets", 100),
	Entry("of 200 packets", 200),
)
