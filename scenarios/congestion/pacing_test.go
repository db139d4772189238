package congestion

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/vishvananda/netlink"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// pacingSlack, in percent: TCP_INFO has the rate of before and the SRTT of after an ACK that comes just then (in
// net/ipv4/tcp.c, tcp_get_info reads the former without the lock), and one sample moves SRTT by an eighth.
const pacingSlack = 6

// pacingRatio is a socket's pacing rate, in percent of its window in each round trip.
func pacingRatio(p kernel.Point) float64 {
	info := p.TCPInfo
	window := float64(info.Snd_mss) * float64(info.Snd_cwnd)
	return 100 * float64(info.Pacing_rate) * float64(info.Rtt) / 1e6 / window
}

// inSlowStart says whether TCP paces for slow start (tcp_update_pacing_rate in net/ipv4/tcp_input.c).
func inSlowStart(p kernel.Point) bool { return p.TCPInfo.Snd_cwnd < p.TCPInfo.Snd_ssthresh/2 }

var _ = It("keeps a pacing rate of 200 % of its window in a round trip in slow start, and of 120 % after", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		const roundTrip = 100 * time.Millisecond
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		lab.Impair(net.ToServer, impair.Netem{Delay: roundTrip / 2, Rate: impair.Rate{BitsPerSecond: 16 * impair.Mbit}, Limit: 1000})
		lab.Impair(net.ToClient, impair.Netem{Delay: roundTrip / 2})
		slowStart := float64(lab.Sysctl(net.Client(), "net.ipv4.tcp_pacing_ss_ratio"))
		after := float64(lab.Sysctl(net.Client(), "net.ipv4.tcp_pacing_ca_ratio"))

		f := transfer(lab, net, roundTrip/10, peers.BulkClient{
			Connect: harness.Addr(net.Server(), port), Bytes: 1000 * segment(), Socket: peers.Socket{Congestion: "cubic"},
		}, peers.Socket{})

		samples, before := map[float64]int{}, slowStart
		for _, p := range f.socket {
			expected := after
			if inSlowStart(p) {
				expected = slowStart
			}
			// With the ACK that ends slow start the rate can still be that of before: see pacingSlack.
			Expect(pacingRatio(p)).To(Or(BeNumerically("~", expected, pacingSlack), BeNumerically("~", before, pacingSlack)), "at %v", p.At)
			samples[expected]++
			before = expected
		}
		// HyStart ended slow start in between, so both were seen.
		Expect(lab.Counters(net.Client())).To(HaveGrown("TcpExtTCPHystartTrainDetect", 1))
		Expect(samples).To(And(HaveKeyWithValue(slowStart, BeNumerically(">", 10)), HaveKeyWithValue(after, BeNumerically(">", 10))))
		lab.Figure("pacing rate at last", pacingRatio(f.socket[len(f.socket)-1]), "%", "120 of the window in a round trip: tcp_pacing_ca_ratio")
	})

// fairQueue has the qdisc fq on a host's first link: sockets that send through it are paced (SK_PACING_FQ).
func fairQueue(host *netns.Host) {
	GinkgoHelper()
	Expect(host.Netlink().QdiscReplace(netlink.NewFq(netlink.QdiscAttrs{
		LinkIndex: host.Ends()[0].Index(), Parent: netlink.HANDLE_ROOT,
	}))).To(Succeed())
}

var _ = DescribeTable("CUBIC sends a window", Label("quick", "netem", "linux"),
	func(ctx SpecContext, pace func(*netns.Host), least, most float64) {
		const roundTrip = longRoundTrip
		lab := harness.NewLab(ctx)
		net := lab.Path(roundTrip, largeBuffers)
		pace(net.Client())

		f := transfer(lab, net, roundTrip/10, peers.BulkClient{
			Connect: harness.Addr(net.Server(), port), Bytes: 150 * segment(), Socket: peers.Socket{Congestion: "cubic"},
		}, peers.Socket{})

		Expect(perRound(f.data, roundTrip)).To(Equal([]int{10, 20, 40, 80})) // RFC 6928, RFC 5681
		fourth := f.data[10+20+40:]
		took := fourth[len(fourth)-1].At - fourth[0].At
		Expect(took.Seconds() / roundTrip.Seconds()).To(And(BeNumerically(">=", least), BeNumerically("<=", most)))
		// Whether it is obeyed or not, there is a rate.
		for _, p := range f.socket {
			Expect(pacingRatio(p)).To(BeNumerically("~", lab.Sysctl(net.Client(), "net.ipv4.tcp_pacing_ss_ratio"), pacingSlack))
		}
		Expect(lab.Counters(net.Client())).To(HaveGrown("TcpRetransSegs", 0))
		lab.Figure("80 segments sent in", took.Seconds()*1e3, "ms", "")
	},
	// The ACKs of a window come at once, as it was sent, and let twice as many segments go. One ACK in each of the two
	// rounds before may be delayed by 40 ms.
	Entry("in a burst, as nothing paces it", func(*netns.Host) {}, 0.0, 0.25),
	// The pacing rate is twice the window in a round trip, while the window grows from 40 segments to 80: 80 segments
	// take between 80/(2*80) and 80/(2*40) of a round trip.
	Entry("spread over half a round trip or more, where the qdisc fq paces it", fairQueue, 0.5*79/80, 1.0),
)
