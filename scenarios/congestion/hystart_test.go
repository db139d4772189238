package congestion

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// HyStart's constants, in net/ipv4/tcp_cubic.c.
const (
	hystartSamples = 8                     // HYSTART_MIN_SAMPLES: ACKs of a round whose round trips are looked at
	hystartSlack   = 2 * hystartSamples    // segments: an ACK tells of one or two
	hystartDelay   = 16 * time.Millisecond // HYSTART_DELAY_MAX
)

// startedRound is the window at the start of the first round of slow start in which it is more than some packets.
func startedRound(packets float64) float64 {
	window := float64(initialWindow)
	for window <= packets {
		window *= 2
	}
	return window
}

// leftByTrain is the window in which HyStart finds that ACKs have come one right after the other for half of the
// shortest round trip: half of what the path holds has come back in this round.
func leftByTrain(bitRate int64, roundTrip time.Duration) float64 {
	half := bandwidthDelay(bitRate, roundTrip) / 2
	return startedRound(half) + half
}

// leftByDelay is the window in which HyStart finds that the first eight round trips of a round were all longer than the
// shortest by an eighth, and by 16 ms at most. These packets were sent when the round before began, into the queue that its
// window had left; meanwhile the window has doubled.
func leftByDelay(bitRate int64, roundTrip time.Duration) float64 {
	return 2*startedRound(bandwidthDelay(bitRate, roundTrip+min(roundTrip/8, hystartDelay))) + hystartSamples
}

var _ = DescribeTable("HyStart leaves slow start before anything is lost", Label("quick", "netem", "linux"),
	func(ctx SpecContext, by, notBy string, bitRate int64, left func(int64, time.Duration) float64) {
		const roundTrip = 100 * time.Millisecond
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		lab.Impair(net.ToServer, impair.Netem{Delay: roundTrip / 2, Rate: impair.Rate{BitsPerSecond: bitRate}, Limit: 1000})
		lab.Impair(net.ToClient, impair.Netem{Delay: roundTrip / 2})

		f := transfer(lab, net, roundTrip/10, peers.BulkClient{
			Connect: harness.Addr(net.Server(), port), Bytes: 500 * segment(), Socket: peers.Socket{Congestion: "cubic"},
		}, peers.Socket{})

		// The window when it left is the threshold from then on; the counters of HyStart have it, too.
		end := int(f.TCPInfo.Snd_ssthresh)
		Expect(plateaus(f.socket, roundTrip, threshold)).To(Equal([]int{infiniteThreshold, end}))
		Expect(end).To(BeNumerically("~", left(bitRate, roundTrip), hystartSlack))
		Expect(lab.Counters(net.Client())).To(And(
			HaveGrown("TcpExtTCPHystart"+by+"Detect", 1), HaveGrown("TcpExtTCPHystart"+by+"Cwnd", end),
			HaveGrown("TcpExtTCPHystart"+notBy+"Detect", 0), HaveGrown("TcpRetransSegs", 0)))
		Expect(lab.Queue(net.ToServer).Drops).To(BeZero())
		lab.Figure("window at the end of slow start", float64(end), "segments", fmt.Sprintf("about %.0f", left(bitRate, roundTrip)))
		lab.Figure("of what the path holds", float64(end)/bandwidthDelay(bitRate, roundTrip), "", "1 to 1.5 by the train, 2 to 4 by the delay")
	},
	// Of packets in a row at 16 Mbit/s, ACKs come less than 2 ms apart (hystart_ack_delta_us), at 4 Mbit/s more.
	Entry("since the ACKs of a round come in a long train", "Train", "Delay", 16*impair.Mbit, leftByTrain),
	Entry("since round trips become longer", "Delay", "Train", 4*impair.Mbit, leftByDelay),
)
