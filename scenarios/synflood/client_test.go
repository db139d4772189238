package synflood

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// connect is a real client. It gives up before requests of the flood expire and the queue has room again.
func connect(lab *harness.Lab, net *netns.Topology) peers.Connection {
	GinkgoHelper()
	givesUp := lab.Oracle(net.Client()).Connect(oracle.Connecting{SYNCount: 1}).End.Latest
	expire := lab.Oracle(net.Server()).SYNACKsCrowded().End
	lab.Check("client gives up after", givesUp, bounds.AtMost(expire.Earliest), expire.Source)
	client := lab.Start(net.Client(), peers.Dial{
		Connect: harness.Addr(net.Server(), 80), Socket: peers.Socket{SYNRetries: 1},
		Hold: roundTrip, // until the final ACK has arrived
	})
	return lab.Wait(client).Connections[0]
}

var _ = DescribeTable("connects by SYN cookie during a SYN flood", Label("quick", "netem", "rfc4987"),
	func(ctx SpecContext, cookies string) {
		lab := harness.NewLab(ctx)
		net, wire := flooded(lab, cookies)
		sent := lab.Oracle(net.Server()).SYNFlood(syns, backlog).Cookies
		connection := connect(lab, net)

		// RFC 4987, section 3.6: the ACK of a cookie makes a connection, without a queued request.
		Expect(connection.Err).To(BeNil())
		Expect(lab.Counters(net.Server())).To(And(
			HaveGrown("TcpExtSyncookiesSent", sent+1), HaveGrown("TcpExtSyncookiesRecv", 1), HaveGrown("TcpExtSyncookiesFailed", 0)))
		Expect(wire.Segments(analysis.Connection(analysis.Flow{Src: connection.Local, Dst: connection.Remote}))).To(Contain(Handshake(), 1))
	},
	Entry("with tcp_syncookies 1", "1"),
	Entry("with tcp_syncookies 2", "2"),
)

var _ = It("times out during a SYN flood without SYN cookies", Label("quick", "netem", "rfc4987"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net, wire := flooded(lab, "0")
	connection := connect(lab, net)

	// RFC 4987, section 2: the queue is full of requests that nobody completes.
	Expect(connection.Err).To(MatchError(unix.ETIMEDOUT))
	Expect(wire.Segments(analysis.SYNs, analysis.From(harness.IP(net.Client())))).NotTo(BeEmpty())
	Expect(wire.Segments(analysis.SYNACKs, analysis.To(harness.IP(net.Client())))).To(BeEmpty())
	tried := len(wire.Segments(analysis.SYNs, analysis.From(harness.IP(net.Client()))))
	lost := lab.Oracle(net.Server()).SYNFlood(syns, backlog).Dropped
	Expect(lab.Counters(net.Server())).To(HaveGrown("TcpExtListenDrops", lost+tried))
})
