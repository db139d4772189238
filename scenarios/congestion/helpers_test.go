package congestion

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// port that the servers listen on.
const port = 5001

// largeBuffers hold more than any flow here has in flight, so that only cwnd limits a flow.
var largeBuffers = harness.Sysctls(netns.IPv4("tcp_wmem", "4096 4194304 16777216"),
	netns.IPv4("tcp_rmem", "4096 4194304 16777216"))

// A flow is a bulk transfer from a client to a server.
type flow struct {
	peers.Connection                    // as the client saw it
	segments         []analysis.Segment // of both directions, at the client
	data             []analysis.Segment // of those, the data that the client sent
	socket           []kernel.Point     // samples of the client's socket during the transfer
}

// transfer makes a bulk transfer, and records the client's packets and, once a period, its socket.
func transfer(lab *harness.Lab, net *harness.Network, period time.Duration, client peers.BulkClient, server peers.Socket) flow {
	GinkgoHelper()
	wire := lab.Capture(net.Client())
	samples := net.Client().Sample(period, kernel.SocketFilter{
		States: []kernel.State{kernel.Established, kernel.FinWait1}, Port: port, // the client closes once all is written, and still sends
	})
	lab.Start(net.Server(), peers.BulkServer{Listen: client.Connect, Socket: server})
	f := flow{Connection: lab.Start(net.Client(), client).Wait().Connections[0]}

	expectUnlimited(lab, f.Connection)
	f.segments = wire.Stop().Segments()
	for _, s := range f.segments {
		if s.Length > 0 && s.Src == f.Local {
			f.data = append(f.data, s)
		}
	}
	f.socket = samples.Stop().Connection(f.Local, f.Remote)
	Expect(f.data).NotTo(BeEmpty(), "segments with data")
	Expect(f.socket).NotTo(BeEmpty(), "samples of the socket")
	return f
}

// expectUnlimited checks that neither buffer has limited a flow: only cwnd and the path do.
func expectUnlimited(lab *harness.Lab, c peers.Connection) {
	GinkgoHelper()
	info := c.TCPInfo
	lab.Check("limited by buffers", bounds.Percent(float64(info.Rwnd_limited+info.Sndbuf_limited)/float64(info.Busy_time)),
		bounds.AtMost(1.).In("%"), "TCP_INFO: tcpi_rwnd_limited, tcpi_sndbuf_limited")
}

// longRTT keeps the rounds of slow start apart: in each round a delayed ACK can be 40 ms late (TCP_DELACK_MIN
// in include/net/tcp.h), and so is what it releases in the next round.
const longRTT = 400 * time.Millisecond

// perRound returns the number of segments sent in each RTT. A round begins with the first segment that is sent almost
// one RTT, or more, after the begin of the round before: what a delayed ACK releases belongs to the same round.
func perRound(segments []analysis.Segment, rtt time.Duration) []int {
	var numbers []int
	var began time.Duration
	for i, s := range segments {
		if i == 0 || s.At-began > rtt-rtt/16 {
			numbers = append(numbers, 0)
			began = s.At
		}
		numbers[len(numbers)-1]++
	}
	return numbers
}

// begin returns the first elements of a list, or all if it is shorter: comparing that explains more than a panic.
func begin[T any](list []T, some int) []T { return list[:min(some, len(list))] }

// plateaus returns the values that a socket keeps for at least some time, in order.
func plateaus[T comparable](socket []kernel.Point, least time.Duration, value func(kernel.Point) T) []T {
	var kept []T
	for first := 0; first < len(socket); {
		next := first + 1
		for next < len(socket) && value(socket[next]) == value(socket[first]) {
			next++
		}
		if socket[next-1].At-socket[first].At >= least {
			kept = append(kept, value(socket[first]))
		}
		first = next
	}
	return kept
}

// window is the congestion window, in segments.
func window(p kernel.Point) int { return int(p.TCPInfo.Snd_cwnd) }

func threshold(p kernel.Point) int { return int(p.TCPInfo.Snd_ssthresh) }

// impairBottleneck gives the path between client and server the rate and the delay of a bottleneck.
func impairBottleneck(net *harness.Network, path oracle.Bottleneck, limit int) {
	GinkgoHelper()
	net.ToServer.Impair(impair.Netem{Delay: path.RTT / 2, Rate: impair.Rate{BitsPerSecond: path.Rate}, Limit: limit})
	net.ToClient.Impair(impair.Netem{Delay: path.RTT / 2})
}

// queueLimit is a netem limit, in packets, at which nothing is dropped.
const queueLimit = 1000

func last[T any](list []T) T { return list[len(list)-1] }

// Of ecn_test.go.
const (
	cubicBeta         = oracle.CubicBeta
	cubicSlack        = 2
	infiniteThreshold = oracle.InfiniteThreshold
)
