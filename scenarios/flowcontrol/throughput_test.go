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
	farRTT = 100 * time.Millisecond // RTT of the path in this file
	rate   = 20 * impair.Mbit       // where the path has one

	asked = 32 << 10 // SO_RCVBUF, where it is set

	// tolerance of a goodput: slow start, the last window, which is not full, and rounding to whole segments cost up
	// to three of about thirty RTTs.
	tolerance = 0.1
	// limited is the least share of the time, in percent, that the sender reports to be limited by the receive
	// window. The rest is slow start.
	limited = 75.
)

// transfer sends bytes from client to server, and returns the results of both.
func transfer(lab *harness.Lab, net *harness.Network, bytes int64, server peers.Socket) (sent, received peers.Result) {
	GinkgoHelper()
	s := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(80), Socket: server})
	c := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(80), Bytes: bytes})
	return c.Wait(), s.Wait()
}

// firstWindow is the window of the SYN-ACK, in bytes.
func firstWindow(wire *harness.Capture) int {
	GinkgoHelper()
	return int(harness.First(wire.Stop().Segments(analysis.SYNACKs), "SYN-ACKs").Window)
}

// largestWindow is the largest window that the server advertised, in bytes.
func largestWindow(wire *harness.Capture) int {
	GinkgoHelper()
	return max(firstWindow(wire), harness.First(wire.Stop().Report().Conversations, "conversations").Server.Window.Max)
}

// waited is the share of its busy time in which the sender was limited by the receive window, by tcpi_rwnd_limited.
func waited(sent peers.Result) bounds.Value {
	info := sent.Connections[0].TCPInfo
	return bounds.Percent(float64(info.Rwnd_limited) / float64(info.Busy_time))
}

func sysctl(key, value string) []netns.Setting { return []netns.Setting{{Key: key, Value: value}} }

var _ = DescribeTable("sends one window per RTT", Label("long", "netem", "rfc7323"),
	func(ctx SpecContext, scaling string, server peers.Socket, size bounds.Range) {
		const bytes = 2_000_000
		lab := harness.NewLab(ctx)
		net := lab.Path(farRTT, netns.Config{ServerSysctls: sysctl("net.ipv4.tcp_window_scaling", scaling)})
		wire := lab.Capture(net.Server())
		sent, received := transfer(lab, net, bytes, server)
		window := largestWindow(wire)

		// At most one window per RTT (RFC 7323, section 1.1).
		limit := oracle.Throughput(window, farRTT)
		Expect(wire.Stop().Segments(analysis.SYNACKs)[0].Options.HasWindowScale).To(Equal(scaling == "1"))
		if server.ReceiveBuffer > 0 {
			// socket(7): the kernel doubles SO_RCVBUF for its overhead. The first window is half of that, in whole
			// segments.
			mss := harness.Payload(netns.DefaultMTU)
			lab.Measure("first window", bounds.In(firstWindow(wire), "bytes"), bounds.Exactly(server.ReceiveBuffer/mss*mss), "tcp_select_initial_window")
		}
		lab.Measure("window", bounds.In(window, "bytes"), size)
		lab.Measure("goodput", bounds.Mbit(received.Bulk.Goodput), bounds.Around(limit/1e6, tolerance*limit/1e6), "RFC 7323, 1.1: window / RTT")
		// The sender reports why it was not faster.
		lab.Check("limited by the receive window", waited(sent), bounds.AtLeast(limited).In("%"), "tcpi_rwnd_limited")
	},
	Entry("with a window limited by SO_RCVBUF", "1", peers.Socket{ReceiveBuffer: asked},
		bounds.AtMost(2*asked).From("SO_RCVBUF, doubled")),
	// RFC 7323, section 2.2: without the option, the window is the 16-bit field.
	Entry("without window scaling", "0", peers.Socket{},
		bounds.Exactly(oracle.UnscaledWindow).From("RFC 7323, 2.2")),
)

// defaultBuffer is the receive buffer without SO_RCVBUF and autotuning, in bytes: tcp_rmem[1], as Linux sets it.
const defaultBuffer = 131072

// product is the bandwidth-delay product of the path, in bytes.
const product = int(rate / 8 * int64(farRTT/time.Millisecond) / 1000)

var _ = DescribeTable("on a long fat network the window", Label("long", "netem", "linux"),
	func(ctx SpecContext, moderate string, bytes int64, size, waiting bounds.Range) {
		lab := harness.NewLab(ctx)
		net := lab.Path(farRTT, netns.Config{ServerSysctls: slices.Concat(sysctl("net.ipv4.tcp_moderate_rcvbuf", moderate),
			sysctl("net.ipv4.tcp_rmem", fmt.Sprintf("4096 %d 6291456", defaultBuffer)))})
		net.ToServer.Impair(impair.Netem{Delay: farRTT / 2, Rate: impair.Rate{BitsPerSecond: rate}})
		wire := lab.Capture(net.Server())
		sent, received := transfer(lab, net, bytes, peers.Socket{})
		window := largestWindow(wire)

		// tcp_rcv_space_adjust: the buffer holds twice what the program read in an RTT, which is tcpi_rcv_space.
		lab.Measure("window", bounds.In(window, "bytes"), size)
		lab.Check("rcv_space", bounds.In(received.Connections[0].TCPInfo.Rcv_space, "bytes"), size)
		lab.Measure("limited by the receive window", waited(sent), waiting.In("%"), "tcpi_rwnd_limited")
		lab.Note("goodput", bounds.Mbit(received.Bulk.Goodput))
	},
	Entry("is autotuned beyond the bandwidth-delay product", "1", int64(3_000_000),
		bounds.AtLeast(product).From("bandwidth x RTT"), bounds.AtMost(10.)),
	Entry("is fixed with tcp_moderate_rcvbuf 0, and limits the flow", "0", int64(1_500_000),
		bounds.AtMost(defaultBuffer).From("tcp_rmem[1]"), bounds.AtLeast(limited)),
)
