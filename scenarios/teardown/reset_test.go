package teardown

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("resets a connection that is closed with data unread", Label("quick", "netem", "rfc2525"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(roundTrip)
	wire := lab.Capture(net.Client())

	c := connect(lab, net,
		peers.Steps(peers.Write(1000), peers.Try(peers.ReadAll())),
		peers.Steps(peers.Sleep(harness.Settle), peers.Close())) // by then the data is there
	client := c.Client.Wait().Connections[0]

	// RFC 2525, section 2.17: the other side must learn that its data was lost.
	Expect(client.Steps[1].Err).To(MatchError(unix.ECONNRESET))
	Expect(wire.Stop()).To(BeExchange("> S", "< S.", "> .", "> P. 1:1001(1000)", "< . ack 1001", "< R. 1:1(0) ack 1001"))
	Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPAbortOnClose": 1, "TcpOutRsts": 1})
})

var _ = It("resets instead of closing with SO_LINGER and 0 s, and leaves no TIME-WAIT", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(roundTrip)
	wire := lab.Capture(net.Client())

	c := connect(lab, net, peers.Steps(peers.Abort()), peers.Steps(peers.Try(peers.ReadAll())))
	server := c.Server.Wait().Connections[0]

	// RFC 9293, section 3.10.5: ABORT sends a reset, and forgets the connection at once.
	Expect(server.Steps[0].Err).To(MatchError(unix.ECONNRESET))
	Expect(wire.Stop()).To(BeExchange("> S", "< S.", "> .", "> R. 1:1(0) ack 1"))
	Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPAbortOnData": 1, "TcpOutRsts": 1})
	Expect(net.Client().Sockets(kernel.SocketFilter{Port: 80}).List()).To(BeEmpty())
})

var _ = It("takes one write after the other side has closed, and fails the next with EPIPE", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(roundTrip)
	wire := lab.Capture(net.Client())

	c := connect(lab, net, peers.Steps(
		peers.ReadAll(), // the server has closed: that it reads no more, its FIN does not say
		peers.Try(peers.Write(1)), peers.Sleep(harness.Settle),
		peers.Try(peers.Write(1)), peers.Try(peers.Write(1)),
	), peers.Steps(peers.Close()))
	steps := c.Client.Wait().Connections[0].Steps

	// RFC 9293, section 3.6.1 (SHLD-3): data for a program that has closed is answered with a reset; in CLOSE-WAIT that is
	// EPIPE (tcp_reset).
	Expect(steps[1].Err).To(BeNil())
	Expect(steps[3].Err).To(MatchError(unix.EPIPE))
	Expect(steps[4].Err).To(MatchError(unix.EPIPE))
	Expect(wire.Stop()).To(Contain(Reset(), 1))
	Expect(net.Server().Counters()).To(HaveGrown("TcpOutRsts", 1))
})
