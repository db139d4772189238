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

// leftByTrain is the window in which HyStart finds that ACKs have come one right after the other for half of the
// shortest round trip: half of what the path holds has come back in this round.
func leftByTrain(k oracle.Kernel, path oracle.Bottleneck) bounds.Range {
	GinkgoHelper()
	window, ok := k.HyStartTrainWindow(path, harness.HostDelay)
	Expect(ok).To(BeTrue(), "ACKs come close enough to each other")
	return window
}

// leftByDelay is the window in which HyStart finds that the first eight round trips of a round were all longer than the
// shortest by an eighth, and by 16 ms at most.
func leftByDelay(k oracle.Kernel, path oracle.Bottleneck) bounds.Range {
	return k.HyStartDelayWindow(path, harness.HostDelay)
}

var _ = DescribeTable("HyStart leaves slow start before anything is lost", Label("quick", "netem", "linux"),
	func(ctx SpecContext, by, notBy string, bitRate int64, left func(oracle.Kernel, oracle.Bottleneck) bounds.Range) {
		path := oracle.Bottleneck{Rate: bitRate, RTT: 100 * time.Millisecond}
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		impairBottleneck(net, path, queueLimit)

		f := transfer(lab, net, path.RTT/10, peers.BulkClient{
			Connect: net.Server().Addr(port), Bytes: 500 * harness.MSS(), Socket: peers.Socket{Congestion: "cubic"},
		}, peers.Socket{})

		// The window when it left is the threshold from then on; the counters of HyStart have it, too.
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
	// Of packets in a row at 16 Mbit/s, ACKs come less than 2 ms apart (hystart_ack_delta_us), at 4 Mbit/s more.
	Entry("since the ACKs of a round come in a long train", "Train", "Delay", 16*impair.Mbit, leftByTrain),
	Entry("since round trips become longer", "Delay", "Train", 4*impair.Mbit, leftByDelay),
)
