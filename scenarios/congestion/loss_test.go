package congestion

import (
	"fmt"
	"math"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

const (
	rate      = 20 * impair.Mbit
	roundTrip = 40 * time.Millisecond
	lossRate  = 0.01
	duration  = 10 * time.Second
	period    = 100 * time.Millisecond // of looking at the socket and at the queue

	packet = netns.DefaultMTU + 14 // bytes of a full segment on the link, with the Ethernet header, which netem counts
)

// segment is the payload of a full segment in bytes.
func segment() int64 { return int64(harness.Payload(netns.DefaultMTU)) }

func last[T any](list []T) T { return list[len(list)-1] }

// cubicShare is the share of the link that CUBIC gets with random loss: its average window by
// RFC 9438, section 5.1 (with C = 0.4 and beta = 0.7), or by the Reno-friendly equation
// of section 4.3, whichever is larger, divided by the round-trip time.
func cubicShare() float64 {
	rtt := roundTrip.Seconds()
	window := 1.054 * math.Pow(rtt, 0.75) / math.Pow(lossRate, 0.75)
	window = max(window, math.Sqrt(1.5/lossRate))
	return window * packet * 8 / rtt / float64(rate)
}

var _ = DescribeTable("1 % random loss on 20 Mbit/s and 40 ms", Label("long", "netem"),
	func(ctx SpecContext, congestion, expected string, share gomegatypes.GomegaMatcher) {
		lab := harness.NewLab(ctx)
		net := lab.Routed()
		lab.Impair(net.ToServer, impair.Netem{
			Delay: roundTrip / 2, Loss: impair.RandomLoss{Percent: 100 * lossRate}, Rate: impair.Rate{BitsPerSecond: rate},
		})
		lab.Impair(net.ToClient, impair.Netem{Delay: roundTrip / 2})

		server := lab.Start(net.Server(), peers.BulkServer{Listen: harness.Addr(net.Server(), 5001)})
		client := lab.Start(net.Client(), peers.BulkClient{
			Connect: harness.Addr(net.Server(), 5001), Socket: peers.Socket{Congestion: congestion}, Duration: duration,
		})
		queue := lab.SampleQueue(net.ToServer, period)
		samples := lab.Sample(net.Client(), period, kernel.SocketFilter{States: []kernel.State{kernel.Established}, Port: 5001})
		lab.Wait(client)
		received := lab.Wait(server)

		// The receiver's goodput, and the link's count of what it carried, as shares of the
		// link's rate; the second has headers and retransmissions in it, and ACKs the other way have not.
		goodput := received.Bulk.Goodput / float64(segment()) * packet / float64(rate)
		carried := float64(last(queue.List()).Bytes) * 8 / received.Bulk.Elapsed.Seconds() / float64(rate)
		Expect(goodput).To(share)
		Expect(carried).To(share)
		connection := received.Connections[0]
		Expect(samples.Connection(connection.Remote, connection.Local)).To(HaveEach(HaveField("Congestion", congestion)))
		lab.Figure("goodput", received.Bulk.Goodput/1e6, "Mbit/s", "")
		lab.Figure("share of the link", 100*goodput, "%", expected)
	},
	// BBR's model, in the version that Linux has, is of bandwidth and round-trip time; loss does not enter it until a fifth of
	// all is lost (draft-cardwell-iccrg-bbr-congestion-control-00; bbr_lt_loss_thresh in net/ipv4/tcp_bbr.c).
	// What it gives away: the lost 1 %, start-up, and 200 ms of each 10 s with 4 packets in flight.
	Entry("BBR fills more than 80 % of the link", Label("linux"), "bbr", "above 80", BeNumerically(">", 0.8)),
	Entry("CUBIC fills less than half of it", Label("rfc9438"), "cubic", fmt.Sprintf("below 50; by RFC 9438 about %.0f", 100*cubicShare()), BeNumerically("<", 0.5)),
)
