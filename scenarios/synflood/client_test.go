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

// connect is a real client. It gives up before requests of the flood are forgotten and there is room again.
func connect(lab *harness.Lab, net *harness.Network) peers.Connection {
	GinkgoHelper()
	impatience := net.Client().Oracle().Connect(oracle.Connecting{SYNCount: 1}).End.Latest
	forgotten := net.Server().Oracle().SYNACKsCrowded().End
	lab.Check("client gives up after", impatience, bounds.AtMost(forgotten.Earliest), forgotten.Source)
	client := lab.Start(net.Client(), peers.Dial{
		Connect: net.Server().Addr(80), Socket: peers.Socket{SYNRetries: 1},
		Hold: roundTrip, // until the server has the third segment
	})
	return client.Wait().Connections[0]
}

var _ = DescribeTable("lets a client in during a flood by a cookie", Label("quick", "netem", "rfc4987"),
	func(ctx SpecContext, cookies string) {
		lab := harness.NewLab(ctx)
		net, wire := flooded(lab, cookies)
		sent := net.Server().Oracle().SYNFlood(syns, backlog).Cookies
		connection := connect(lab, net)

		// RFC 4987, section 3.6: the ACK of a cookie is a connection, without a request kept for it.
		Expect(connection.Err).To(BeNil())
		Expect(net.Server().Counters()).To(HaveCounters{
			"TcpExtSyncookiesSent": sent + 1, "TcpExtSyncookiesRecv": 1, "TcpExtSyncookiesFailed": 0,
		})
		Expect(wire.Stop().Segments(analysis.Connection(analysis.Flow{Src: connection.Local, Dst: connection.Remote}))).To(Contain(Handshake(), 1))
	},
	Entry("with tcp_syncookies 1", "1"),
	Entry("with tcp_syncookies 2", "2"),
)

var _ = It("keeps a client out during a flood without cookies", Label("quick", "netem", "rfc4987"), func(ctx SpecContext) {
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
