package congestion

import (
	"math"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// pacingRate is the pacing rate of a socket, in percent of cwnd per SRTT, rounded.
func pacingRate(p kernel.Point) int {
	info := p.TCPInfo
	window := float64(info.Snd_mss) * float64(info.Snd_cwnd)
	return int(math.Round(100 * float64(info.Pacing_rate) * float64(info.Rtt) / 1e6 / window))
}

// expectPaced checks that the pacing rate is the expected ratio of cwnd / SRTT in each sample. It returns the
// measured percentages by expected ratio. longest is the longest RTT.
func expectPaced(lab *harness.Lab, k oracle.Kernel, socket []kernel.Point, longest time.Duration) map[int][]int {
	GinkgoHelper()
	rates := map[int][]int{}
	before := socket[0]
	for _, p := range socket {
		rate, ratio := pacingRate(p), k.PacingRatio(window(p), threshold(p))
		// If an ACK has just ended slow start, the socket still has the rate of before.
		if was := k.PacingRatio(window(before), threshold(before)); distance(rate, was) < distance(rate, ratio) {
			ratio = was
		}
		srtt, least := time.Duration(p.TCPInfo.Rtt)*time.Microsecond, time.Duration(p.TCPInfo.Min_rtt)*time.Microsecond
		lab.Check("pacing rate, as an ACK may come", bounds.In(rate, "%"),
			oracle.PacingAsACKComes(ratio, window(p), srtt, oracle.Between(least, longest)))
		rates[ratio] = append(rates[ratio], rate)
		before = p
	}
	return rates
}

func distance(a, b int) int { return max(a-b, b-a) }

// median returns the median. Most samples are taken while no ACK arrives.
func median(values []int) int {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

var _ = It("paces at 200 % of cwnd/SRTT in slow start, and at 120 % in congestion avoidance", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		path := oracle.Bottleneck{Rate: 16 * impair.Mbit, RTT: 100 * time.Millisecond}
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		impairBottleneck(net, path, queueLimit)

		f := transfer(lab, net, path.RTT/10, peers.BulkClient{
			Connect: net.Server().Addr(port), Bytes: 1000 * harness.MSS(), Socket: peers.Socket{Congestion: "cubic"},
		}, peers.Socket{})

		k := net.Client().Oracle()
		rates := expectPaced(lab, k, f.socket, longestRTT(f.segments)+harness.HostDelay)
		// HyStart has ended slow start, so that both ratios were sampled.
		Expect(net.Client().Counters()).To(HaveGrown("TcpExtTCPHystartTrainDetect", 1))
		slowStart, after := k.PacingRatio(1, oracle.InfiniteThreshold), k.PacingRatio(1, 1)
		Expect(len(rates[slowStart])).To(BeNumerically(">", 10), "samples in slow start")
		Expect(len(rates[after])).To(BeNumerically(">", 10), "samples after it")
		inSlowStart, afterIt := bounds.In(median(rates[slowStart]), "%"), bounds.In(median(rates[after]), "%")
		lab.Measure("pacing rate in slow start", inSlowStart, bounds.Exactly(slowStart), "tcp_pacing_ss_ratio")
		lab.Measure("pacing rate after it", afterIt, bounds.Exactly(after), "tcp_pacing_ca_ratio")
	})

// fairQueue sets the fq qdisc on the first link of a host, which paces its sockets (SK_PACING_FQ).
func fairQueue(host *harness.Host) {
	GinkgoHelper()
	Expect(host.Netlink().QdiscReplace(netlink.NewFq(netlink.QdiscAttrs{
		LinkIndex: host.End("eth0").Index(), Parent: netlink.HANDLE_ROOT,
	}))).To(Succeed())
}

// delayedACK bounds how late an ACK in a burst of segments can be: by the least delay, whatever the RTT.
func delayedACK(receiver *harness.Host) time.Duration {
	return receiver.Oracle().DelayedACK(0).Latest
}

// unpaced bounds the duration of a slow-start burst without pacing. The ACKs of a window arrive back to back, as the
// window was sent, and release twice as many segments. In each of the two rounds before, one ACK may be a delayed
// one.
func unpaced(net *harness.Network, _ int) bounds.Range {
	return bounds.AtMost(2*delayedACK(net.Server()) + harness.HostDelay).From("RFC 5681, 3.1: as the ACKs come, two of them late")
}

// paced bounds the duration of the burst with pacing. A delayed ACK makes the RTT longer.
func paced(net *harness.Network, burst int) bounds.Range {
	srtt := oracle.Exactly(longRTT).LateBy(delayedACK(net.Server()) + harness.HostDelay)
	return net.Client().Oracle().PacedBurst(burst, srtt).LateBy(harness.HostDelay).Range()
}

var _ = DescribeTable("CUBIC sends a window", Label("quick", "netem", "linux"),
	func(ctx SpecContext, pace func(*harness.Host), expected func(*harness.Network, int) bounds.Range) {
		const rtt = longRTT
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, largeBuffers)
		pace(net.Client())

		f := transfer(lab, net, rtt/10, peers.BulkClient{
			Connect: net.Server().Addr(port), Bytes: 150 * harness.MSS(), Socket: peers.Socket{Congestion: "cubic"},
		}, peers.Socket{})

		Expect(perRound(f.data, rtt)).To(Equal([]int{10, 20, 40, 80})) // RFC 6928, RFC 5681
		fourth := f.data[10+20+40:]
		lab.Measure("80 segments sent in", last(fourth).At-fourth[0].At, expected(net, len(fourth)))
		// The socket has a pacing rate, whether anything obeys it or not.
		k := net.Client().Oracle()
		rates := expectPaced(lab, k, f.socket, longestRTT(f.segments)+harness.HostDelay)
		ratio := k.PacingRatio(1, oracle.InfiniteThreshold)
		Expect(rates).To(HaveLen(1))
		lab.Check("pacing rate", bounds.In(median(rates[ratio]), "%"), bounds.Exactly(ratio), "tcp_pacing_ss_ratio")
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	},
	Entry("in a burst without pacing", func(*harness.Host) {}, unpaced),
	Entry("spread over half an RTT or more with the fq qdisc's pacing", fairQueue, paced),
)
