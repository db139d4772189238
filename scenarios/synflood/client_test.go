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
	"github.com/tcplab/tcplab/peers"
)

// connect is a real client. It gives up before requests of the flood expire and the queue has room again.
func connect(lab *harness.Lab, net *harness.Network) peers.Connection {
	GinkgoHelper()
	givesUp := net.Client().Oracle().Connect(oracle.ConnectOptions{SYNCount: 1}).End.Latest
	expire := net.Server().Oracle().SYNACKsCrowded().End
	lab.Check("client gives up after", givesUp, bounds.AtMost(expire.Earliest), expire.Source)
	client := lab.Start(net.Client(), peers.Dial{
		Connect: net.Server().Addr(80), Socket: peers.Socket{SYNRetries: 1},
		Hold: rtt, // until the final ACK has arrived
	})
	return client.Wait().Connections[0]
}

var _ = DescribeTable("connects by SYN cookie during a SYN flood", Label("quick", "netem", "rfc4987"),
	func(ctx SpecContext, cookies string) {
		lab := harness.NewLab(ctx)
		net, wire := flooded(lab, cookies)
		sent := net.Server().Oracle().SYNFlood(syns, backlog).Cookies
		connection := connect(lab, net)

		// RFC 4987, section 3.6: the ACK of a cookie makes a connection, without a queued request.
		Expect(connection.Err).To(BeNil())
		Expect(net.Server().Counters()).To(HaveCounters{
			"TcpExtSyncookiesSent": sent + 1, "TcpExtSyncookiesRecv": 1, "TcpExtSyncookiesFailed": 0,
		})
		Expect(wire.Stop().Segments(analysis.Connection(analysis.Flow{Src: connection.Local, Dst: connection.Remote}))).To(Contain(Handshake(), 1))
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
	Expect(wire.Stop().From(net.Client(), analysis.SYNs)).NotTo(BeEmpty())
	Expect(wire.Segments(analysis.SYNACKs, analysis.To(net.Client().IP()))).To(BeEmpty())
	tried := len(wire.From(net.Client(), analysis.SYNs))
	lost := net.Server().Oracle().SYNFlood(syns, backlog).Dropped
	Expect(net.Server().Counters()).To(HaveGrown("TcpExtListenDrops", lost+tried))
})
