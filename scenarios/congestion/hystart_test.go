package congestion

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// leftByTrain bounds the window at which HyStart has seen a train of closely spaced ACKs for half of the least RTT:
// half of the BDP has been acknowledged in this round.
func leftByTrain(k oracle.Kernel, path oracle.Bottleneck) bounds.Range {
	GinkgoHelper()
	window, ok := k.HyStartTrainWindow(path, harness.HostDelay)
	Expect(ok).To(BeTrue(), "ACKs come close enough to each other")
	return window
}

// leftByDelay bounds the window at which the first eight RTTs of a round all exceed the least RTT by an eighth of it,
// or by 16 ms if that is less.
func leftByDelay(k oracle.Kernel, path oracle.Bottleneck) bounds.Range {
	return k.HyStartDelayWindow(path, harness.HostDelay)
}

var _ = DescribeTable("HyStart exits slow start before any loss", Label("quick", "netem", "linux"),
	func(ctx SpecContext, by, notBy string, bitRate int64, left func(oracle.Kernel, oracle.Bottleneck) bounds.Range) {
		path := oracle.Bottleneck{Rate: bitRate, RTT: 100 * time.Millisecond}
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		impairBottleneck(net, path, queueLimit)

		f := transfer(lab, net, path.RTT/10, peers.BulkClient{
			Connect: net.Server().Addr(port), Bytes: 500 * harness.MSS(), Socket: peers.Socket{Congestion: "cubic"},
		}, peers.Socket{})

		// cwnd at the exit becomes ssthresh. The HyStart counters report it, too.
		end := int(f.TCPInfo.Snd_ssthresh)
		Expect(plateaus(f.socket, path.RTT, threshold)).To(Equal([]int{oracle.InfiniteThreshold, end}))
		lab.Measure("window at the end of slow start", bounds.In(end, "segments"), left(net.Client().Oracle(), path))
		lab.Note("share of the BDP", bounds.Percent(float64(end)/path.BDP()))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPHystart" + by + "Detect": 1, "TcpExtTCPHystart" + by + "Cwnd": end,
			"TcpExtTCPHystart" + notBy + "Detect": 0, "TcpRetransSegs": 0,
		})
		Expect(net.ToServer.Queue().Drops).To(BeZero())
	},
	// At 16 Mbit/s consecutive ACKs are less than 2 ms apart (hystart_ack_delta_us), at 4 Mbit/s more.
	Entry("on a long ACK train", "Train", "Delay", 16*impair.Mbit, leftByTrain),
	Entry("on a growing RTT", "Delay", "Train", 4*impair.Mbit, leftByDelay),
)
