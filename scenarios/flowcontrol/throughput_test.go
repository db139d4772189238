package flowcontrol

import (
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

const (
	farTrip = 100 * time.Millisecond // the round trip of the path in this file
	rate    = 20 * impair.Mbit       // where there is one

	asked = 32 << 10 // SO_RCVBUF, where it is set

	// tolerance of a goodput: slow start, the last window, which is not full, and windows of whole segments cost up to
	// three of some thirty round trips.
	tolerance = 0.1
	// limited is the least share of the time, in percent, that a flow has to wait for the window, by its sender's own
	// account. The rest is slow start.
	limited = 75.
)

// transfer sends bytes from client to server, and returns what both know of it.
func transfer(lab *harness.Lab, net *harness.Network, bytes int64, server peers.Socket) (sent, received peers.Result) {
	GinkgoHelper()
	s := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(80), Socket: server})
	c := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(80), Bytes: bytes})
	return c.Wait(), s.Wait()
}

// firstWindow is the one that the server offered with its SYN-ACK, in bytes.
func firstWindow(wire *harness.Capture) int {
	GinkgoHelper()
	return int(harness.First(wire.Stop().Segments(analysis.SYNACKs), "SYN-ACKs").Window)
}

// largestWindow is the largest that the server offered, in bytes: with its SYN-ACK, or later.
func largestWindow(wire *harness.Capture) int {
	GinkgoHelper()
	return max(firstWindow(wire), harness.First(wire.Stop().Report().Conversations, "conversations").Server.Window.Max)
}

// waited is the share of its time that the sender waited for the receiver's window, by its own account.
func waited(sent peers.Result) bounds.Value {
	info := sent.Connections[0].TCPInfo
	return bounds.Percent(float64(info.Rwnd_limited) / float64(info.Busy_time))
}

func sysctl(key, value string) []netns.Setting { return []netns.Setting{{Key: key, Value: value}} }

var _ = DescribeTable("takes a round trip for each window", Label("long", "netem", "rfc7323"),
	func(ctx SpecContext, scaling string, server peers.Socket, size bounds.Range) {
		const bytes = 2_000_000
		lab := harness.NewLab(ctx)
		net := lab.Path(farTrip, netns.Config{ServerSysctls: sysctl("net.ipv4.tcp_window_scaling", scaling)})
		wire := lab.Capture(net.Server())
		sent, received := transfer(lab, net, bytes, server)
		window := largestWindow(wire)

		// No more than a window each round trip (RFC 7323, section 1.1).
		limit := oracle.Throughput(window, farTrip)
		Expect(wire.Stop().Segments(analysis.SYNACKs)[0].Options.HasWindowScale).To(Equal(scaling == "1"))
		if server.ReceiveBuffer > 0 {
			// socket(7): the kernel doubles SO_RCVBUF, for its overhead. The first window is half of that, in whole segments.
			mss := harness.Payload(netns.DefaultMTU)
			lab.Measure("first window", bounds.In(firstWindow(wire), "bytes"), bounds.Exactly(server.ReceiveBuffer/mss*mss), "tcp_select_initial_window")
		}
		lab.Measure("window", bounds.In(window, "bytes"), size)
		lab.Measure("goodput", bounds.Mbit(received.Bulk.Goodput), bounds.Around(limit/1e6, tolerance*limit/1e6), "RFC 7323, 1.1: window / RTT")
		// The sender's own account of why it was not faster.
		lab.Check("waited for the window", waited(sent), bounds.AtLeast(limited).In("%"), "tcpi_rwnd_limited")
	},
	Entry("where SO_RCVBUF bounds the window", "1", peers.Socket{ReceiveBuffer: asked},
		bounds.AtMost(2*asked).From("SO_RCVBUF, doubled")),
	// RFC 7323, section 2.2: without the option the field of 16 bits is the window.
	Entry("where the option window scale is off", "0", peers.Socket{},
		bounds.Exactly(oracle.UnscaledWindow).From("RFC 7323, 2.2")),
)

// defaultBuffer is what a receiver has without SO_RCVBUF and autotuning, in bytes: tcp_rmem[1], as Linux sets it.
const defaultBuffer = 131072

// product of bandwidth and delay: what the path holds, in bytes.
const product = int(rate / 8 * int64(farTrip/time.Millisecond) / 1000)

var _ = DescribeTable("on a long fat path the window", Label("long", "netem", "linux"),
	func(ctx SpecContext, moderate string, bytes int64, size, waiting bounds.Range) {
		lab := harness.NewLab(ctx)
		net := lab.Path(farTrip, netns.Config{ServerSysctls: slices.Concat(sysctl("net.ipv4.tcp_moderate_rcvbuf", moderate),
			sysctl("net.ipv4.tcp_rmem", fmt.Sprintf("4096 %d 6291456", defaultBuffer)))})
		net.ToServer.Impair(impair.Netem{Delay: farTrip / 2, Rate: impair.Rate{BitsPerSecond: rate}})
		wire := lab.Capture(net.Server())
		sent, received := transfer(lab, net, bytes, peers.Socket{})
		window := largestWindow(wire)

		// tcp_rcv_space_adjust: room for twice of what the program read in a round trip, which is tcpi_rcv_space.
		lab.Measure("window", bounds.In(window, "bytes"), size)
		lab.Check("rcv_space", bounds.In(received.Connections[0].TCPInfo.Rcv_space, "bytes"), size)
		lab.Measure("waited for the window", waited(sent), waiting.In("%"), "tcpi_rwnd_limited")
		lab.Note("goodput", bounds.Mbit(received.Bulk.Goodput))
	},
	Entry("grows by itself beyond the product of bandwidth and delay", "1", int64(3_000_000),
		bounds.AtLeast(product).From("bandwidth x RTT"), bounds.AtMost(10.)),
	Entry("stays as it is with tcp_moderate_rcvbuf 0, and holds the flow back", "0", int64(1_500_000),
		bounds.AtMost(defaultBuffer).From("tcp_rmem[1]"), bounds.AtLeast(limited)),
)
