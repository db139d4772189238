package teardown

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

var _ = DescribeTable("closes the connection of a killed program", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, unread int64, ending Pattern, sees types.GomegaMatcher) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())

		client := peers.Steps(peers.Try(peers.ReadAll()))
		if unread > 0 {
			client = append(peers.Steps(peers.Write(unread)), client...)
		}
		c := connect(lab, net, client, peers.Steps(peers.Sleep(peers.UntilStopped)))
		time.Sleep(harness.Settle)
		killed := time.Now()
		c.Server.Kill()
		steps := c.Client.Wait().Connections[0].Steps
		noticed := time.Since(killed)

		// exit(2) closes all files: with FIN as close(2), and with RST if data is unread (RFC 2525, 2.17).
		Expect(wire.Stop().From(net.Server())).To(Contain(ending, 1))
		Expect(steps[len(steps)-1].Err).To(sees)
		lab.Measure("noticed after", noticed, oracle.Between(rtt/2, rtt+harness.Settle), "exit(2); half a round trip")
	},
	Entry("with FIN", int64(0), Segments("FINs", analysis.FINs), BeNil()),
	Entry("with RST, if data is unread", int64(1000), Reset(), MatchError(unix.ECONNRESET)),
)

var _ = It("never detects a dead peer on an idle connection without keepalive", Label("long", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	c := connect(lab, net, peers.Steps(peers.Sleep(peers.UntilStopped)), peers.Steps(peers.Sleep(peers.UntilStopped)))
	time.Sleep(harness.Settle)

	net.ToServer.Blackhole()
	net.ToClient.Blackhole()
	wire := lab.Capture(net.Client())
	c.Server.Kill()
	time.Sleep(5 * time.Minute)

	// RFC 9293, section 3.8.4: without keepalives, nothing is sent on an idle connection.
	Expect(wire.Stop().Segments()).To(BeEmpty())
	Expect(net.Client().Sockets(kernel.SocketFilter{Port: c.Local.Port()})).To(HaveState(kernel.Established, 1))
	Expect(net.Server().Counters()).To(HaveGrown("TcpRetransSegs", BeNumerically(">", 0))) // its FIN
})
