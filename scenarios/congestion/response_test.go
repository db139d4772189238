package congestion

import (
	"fmt"
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
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/internal/statistics"
	"github.com/tcplab/tcplab/peers"
)

// How a receiver acknowledges what comes.
type acknowledging string

const (
	everySegment acknowledging = "each segment" // the route says so: quickack 1
	everyOther   acknowledging = "every other"  // RFC 5681, 4.2: a window that does not grow lets it
)

// A lossyFlow loses one segment in n, and is limited by nothing else.
type lossyFlow struct {
	congestion string
	n          int
	rtt        time.Duration
	cycles     int // that are measured
	acks       acknowledging
}

// start starts the flow of some segments, and samples its socket until wait has returned.
func (f lossyFlow) start(lab *harness.Lab, net *harness.Network, segments int) (wait func() []kernel.Point) {
	GinkgoHelper()
	var server peers.Socket
	switch f.acks {
	case everySegment:
		acknowledgeAll(net.Server())
	case everyOther:
		server.ReceiveBuffer = 128 << 10 // more than any window here
	}
	samples := net.Client().Sample(f.rtt/4, kernel.SocketFilter{States: []kernel.State{kernel.Established, kernel.FinWait1}, Port: port})
	lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port), Socket: server})
	client := lab.Start(net.Client(), peers.BulkClient{
		Connect: net.Server().Addr(port), Bytes: int64(segments) * harness.MSS(), Socket: peers.Socket{Congestion: f.congestion},
	})
	return func() []kernel.Point {
		GinkgoHelper()
		c := client.Wait().Connections[0]
		expectUnlimited(lab, c)
		return samples.Stop().Connection(c.Local, c.Remote)
	}
}

// expectACKs checks that the receiver acknowledged as it should: how many segments it sent for each that the client sent.
func (f lossyFlow) expectACKs(lab *harness.Lab, net *harness.Network) {
	GinkgoHelper()
	sent := net.Client().Counters()["TcpOutSegs"] + net.Client().Counters()["TcpRetransSegs"]
	each := net.Server().Counters()["TcpOutSegs"]
	coalesced := net.Server().Counters()["TcpExtTCPBacklogCoalesce"] // while the program held the socket: one ACK for several
	if f.acks == everySegment {
		lab.Check("ACKs for each segment", float64(each+coalesced)/float64(sent), bounds.AtLeast(0.95), "RTAX_QUICKACK")
		return
	}
	// Each loss has a round of ACKs at once, for what came after the hole; and a round may end with a delayed one.
	rounds := oracle.RenoCycle(f.n)
	most := 0.5 + (rounds.Most/2+rounds.Rounds)/float64(f.n)
	lab.Check("ACKs for each segment", float64(each)/float64(sent), bounds.AtMost(most), "RFC 5681, 4.2")
}

// acknowledgeAll has a host acknowledge each segment at once: ip route change ... quickack 1 (tcp_in_quickack_mode).
func acknowledgeAll(host *harness.Host) {
	GinkgoHelper()
	routes, err := host.Netlink().RouteList(nil, netlink.FAMILY_ALL)
	Expect(err).NotTo(HaveOccurred())
	changed := 0
	for _, route := range routes {
		if route.Gw == nil {
			continue
		}
		route.QuickACK = 1
		Expect(host.Netlink().RouteReplace(&route)).To(Succeed())
		changed++
	}
	Expect(changed).To(BeNumerically(">", 0), "routes through a router")
}

// warmUp is how many losses go by before it is measured: each takes half or more of what the window has from before.
const warmUp = 6

var _ = DescribeTable("one loss in n segments:", Label("quick", "netem"), func(ctx SpecContext, f lossyFlow, expected func(n int) oracle.Cycles) {
	lab := harness.NewLab(ctx)
	net := lab.Path(f.rtt, largeBuffers)
	first := f.n/20 + 20 // in slow start, before the window is far above
	drop := net.ToServer.Rule(rules.Drop(rules.Data.From(first).Every(f.n)))
	losses := 1 + warmUp + f.cycles
	socket := f.start(lab, net, first+losses*f.n-f.n/2)()

	hits := drop.Hits()
	Expect(hits).To(HaveLen(losses))
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": losses, "TcpExtTCPFastRetrans": losses, "TcpExtTCPTimeouts": 0})
	f.expectACKs(lab, net)

	// The link: what was sent from loss to loss. Its average window is segments by round trips.
	cycles := expected(f.n)
	took := hits[losses-1].Time.Sub(hits[warmUp].Time)
	period := took.Seconds() / float64(f.cycles) / f.rtt.Seconds()
	window := float64(f.n) / period
	lab.Measure("average window", bounds.In(window, "segments"), cycles.Window())
	lab.Measure("from loss to loss", bounds.In(period, "RTT"), cycles.Period())
	lab.Note("average window, as C of the law C / sqrt(p)", window/math.Sqrt(float64(f.n)))
	lab.Note("average window by RFC 9438, 5", bounds.In(oracle.ResponseByRFC(f.congestion, 1/float64(f.n), f.rtt), "segments"))

	// The socket: what it takes for the window at the loss, once the flow goes in cycles.
	thresholds := plateaus(socket, f.rtt, threshold)
	for _, after := range thresholds[min(len(thresholds)-1, warmUp):] {
		lab.Check("ssthresh", bounds.In(after, "segments"), cycles.AfterLoss(f.congestion))
	}
},
	Entry("Reno, one in 1000, each segment acknowledged", Label("rfc5681"), lossyFlow{"reno", 1000, longRTT, 4, everySegment}, oracle.RenoCycles),
	Entry("Reno, one in 300, each segment acknowledged", Label("rfc5681"), lossyFlow{"reno", 300, longRTT, 8, everySegment}, oracle.RenoCycles),
	Entry("Reno, one in 100, each segment acknowledged", Label("rfc5681"), lossyFlow{"reno", 100, longRTT, 16, everySegment}, oracle.RenoCycles),
	Entry("Reno, one in 1000, every other acknowledged: the same, as Linux counts what is acknowledged", Label("rfc3465"),
		lossyFlow{"reno", 1000, longRTT, 4, everyOther}, oracle.RenoCycles),
	Entry("Reno, one in 100, every other acknowledged: the same", Label("rfc3465"), lossyFlow{"reno", 100, longRTT, 16, everyOther}, oracle.RenoCycles),
	Entry("CUBIC, one in 1000 at 400 ms", Label("rfc9438"), lossyFlow{"cubic", 1000, longRTT, 4, everySegment}, cubicAt(longRTT)),
	Entry("CUBIC, one in 4000 at 200 ms", Label("rfc9438"), lossyFlow{"cubic", 4000, longRTT / 2, 3, everySegment}, cubicAt(longRTT/2)),
	Entry("CUBIC in its Reno-friendly region, one in 1000 at 40 ms", Label("rfc9438"), lossyFlow{"cubic", 1000, longRTT / 10, 4, everySegment}, cubicAt(longRTT/10)),
)

// cubicAt are CUBIC's cycles at an RTT.
func cubicAt(rtt time.Duration) func(n int) oracle.Cycles {
	return func(n int) oracle.Cycles { return oracle.CubicCycles(n, rtt) }
}

var _ = DescribeTable("Reno's square-root law where each segment may be lost:", Label("long", "netem", "linux"), func(ctx SpecContext, n int, losses int, acks acknowledging) {
	lab := harness.NewLab(ctx)
	net := lab.Routed(largeBuffers)
	p := 1 / float64(n)
	net.ToServer.Impair(impair.Netem{Delay: longRTT / 2, Loss: impair.RandomLoss{Percent: impair.Percent(100 * p)}})
	net.ToClient.Impair(impair.Netem{Delay: longRTT / 2})
	net.ToServer.Rule(rules.Drop(rules.Data.Number(n/20 + 20))) // it ends slow start, which at times would reach a window that takes many losses to forget
	f := lossyFlow{"reno", n, longRTT, losses, acks}
	const begin = 4 // so many losses later the window has nothing of slow start's any more
	socket := f.start(lab, net, n*(begin+losses))()

	from := slices.IndexFunc(socket, func(s kernel.Point) bool { return int(s.TCPInfo.Delivered) >= n*begin })
	Expect(from).To(BeNumerically(">", 0), "the beginning")
	to := len(socket) - 1
	for socket[to].TCPInfo.Unacked == 0 || socket[to].TCPInfo.Notsent_bytes == 0 { // before the end, at which the window is not full
		to--
	}
	segments := int(socket[to].TCPInfo.Delivered - socket[from].TCPInfo.Delivered)
	window := float64(segments) * f.rtt.Seconds() / (socket[to].At - socket[from].At).Seconds()

	mean, deviation := oracle.RenoAtRandom(p, segments, 400)
	reach := statistics.Sigmas(miss) * deviation
	lab.Measure("average window", bounds.In(window, "segments"), bounds.Around(mean, reach).In("segments"),
		fmt.Sprintf("Mathis and others, 1997: %.3g / sqrt(p); simulated with its recovery and chance", mean*math.Sqrt(p)))
	lab.Note("average window, as C of the law C / sqrt(p)", window*math.Sqrt(p))
	lost := statistics.Successes(int(net.ToServer.Queue().Packets)+int(net.ToServer.Queue().Drops), p, miss)
	lab.Check("lost", int(net.ToServer.Queue().Drops), lost)
	Expect(int(net.Client().Counters()["TcpRetransSegs"])).To(BeNumerically(">=", int(net.ToServer.Queue().Drops)-1), "retransmitted") // the FIN's own
},
	Entry("one in 1000", 1000, 30, everySegment),
	Entry("one in 300", 300, 80, everySegment),
	Entry("one in 100", 100, 150, everySegment),
	Entry("one in 100, every other segment acknowledged", 100, 150, everyOther),
)
