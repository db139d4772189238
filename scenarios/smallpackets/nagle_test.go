package smallpackets

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

// exchanges is the number of requests, each in two writes, and answers. It is below the number of immediate ACKs at
// the start (oracle.QuickACKs), so that it is the exchange that ends quickack mode, and not that number.
const exchanges = 6

var _ = DescribeTable("a write-write-read exchange", Label("quick", "netem", "linux"),
	func(ctx SpecContext, client peers.Socket, reader []peers.Step, delayed int, expected func(delay oracle.Span) oracle.Span) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())

		pair := lab.Connect(net.Client(), net.Server(),
			peers.Script{Socket: client, Steps: peers.Steps(peers.Repeat(exchanges, peers.Write(1), peers.Write(1), peers.Read(1)))},
			peers.Script{Steps: peers.Steps(peers.Repeat(exchanges, append(reader, peers.Read(2), peers.Write(1))...))})
		steps := pair.Client.Wait().Connections[0].Steps

		var times []time.Duration
		for exchange := range slices.Chunk(steps, 3) {
			times = append(times, exchange[2].End()-exchange[0].Start)
		}
		later := expected(net.Server().Oracle().DelayedACK(rtt + harness.HostDelay))
		for _, took := range times[1:] {
			lab.Measure("exchange", took, later)
		}
		// On a new connection ACKs are not delayed: the first exchange takes at most two RTTs.
		lab.Check("first exchange", times[0], oracle.Between(rtts(1).Earliest, rtts(2).Latest).From("TCP_MAX_QUICKACKS"))
		Expect(net.Server().Counters()).To(HaveGrown("TcpExtDelayedACKs", delayed))
		Expect(wire.Stop().DataFrom(net.Client())).To(HaveLen(2 * exchanges))
	},
	// RFC 9293, section 3.7.4: while a small segment is unacknowledged, the next one waits (Nagle). The reader delays
	// its ACK to send it with an answer, but has none yet: once a program has answered, the connection is interactive
	// (pingpong).
	Entry("stalls on Nagle and delayed ACK, except the first", peers.Socket{}, nil, exchanges-1,
		func(delay oracle.Span) oracle.Span {
			return delay.Plus(rtts(2)).From("RFC 9293, 3.7.4 and 3.8.6.3; tcp_send_delayed_ack")
		}),
	Entry("takes one RTT with TCP_NODELAY", peers.Socket{NoDelay: true}, nil, 0,
		func(oracle.Span) oracle.Span { return rtts(1).From("tcp(7): TCP_NODELAY") }),
	// tcp(7): ACKs are sent immediately, rather than delayed. The option is not permanent, so it is set before each
	// read.
	Entry("takes two RTTs if the reader sets TCP_QUICKACK", peers.Socket{}, peers.Steps(peers.Set("TCP_QUICKACK", 1)), 0,
		func(oracle.Span) oracle.Span { return rtts(2).From("tcp(7): TCP_QUICKACK") }),
)
