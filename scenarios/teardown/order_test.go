package teardown

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("completes a four-way close, and leaves TIME-WAIT to the active closer", Label("quick", "netem", "tracefs", "rfc9293"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire, events := lab.Capture(net.Client()), lab.Events()

		c := connect(lab, net, peers.Steps(peers.Close()), peers.Steps(peers.ReadAll(), peers.Await()))
		net.Client().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.FinWait2}})
		Expect(net.Server().Sockets()).To(HaveState(kernel.CloseWait, 1))
		c.Server.Continue() // which then closes its connection
		net.Client().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.TimeWait}})
		net.Server().AwaitSockets(0, kernel.SocketFilter{Port: c.Local.Port()})

		// RFC 9293, figure 12.
		Expect(wire.Stop()).To(BeExchange("> S", "< S.", "> .", "> F. 1:1(0) ack 1", "< . 1:1(0) ack 2", "< F. 1:1(0) ack 2", "> . 2:2(0) ack 2"))
		Expect(events.Stop().States(c.Local, c.Remote)).To(Follow(
			kernel.SynSent, kernel.Established, kernel.FinWait1, kernel.FinWait2, kernel.TimeWait))
		Expect(events.States(c.Remote, c.Local)).To(Follow(
			kernel.SynRecv, kernel.Established, kernel.CloseWait, kernel.LastAck, kernel.Close))
	})

var _ = It("still receives data after a half-close by shutdown(SHUT_WR)", Label("quick", "netem", "tracefs", "rfc9293"), func(ctx SpecContext) {
	const bytes = 100_000
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire, events := lab.Capture(net.Client()), lab.Events(net.Client())

	c := connect(lab, net,
		peers.Steps(peers.CloseWrite(), peers.ReadAll()),
		peers.Steps(peers.ReadAll(), peers.Write(bytes)))

	// RFC 9293, section 3.6: after its CLOSE a user continues to RECEIVE until the other side closes, too.
	Expect(c.Client.Wait().Connections[0].Received).To(BeEquivalentTo(bytes))
	fins := wire.Stop().From(net.Client(), analysis.FINs)
	Expect(fins).To(HaveLen(1))
	data := wire.Segments(analysis.WithData)
	Expect(data).NotTo(BeEmpty())
	Expect(data).To(HaveEach(HaveField("Frame", BeNumerically(">", fins[0].Frame))))
	Expect(events.Stop().States(c.Local, c.Remote)).To(Follow(
		kernel.SynSent, kernel.Established, kernel.FinWait1, kernel.FinWait2, kernel.TimeWait))
})

var _ = It("simultaneous close: goes through CLOSING to TIME-WAIT on both sides", Label("quick", "netem", "tracefs", "rfc9293"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(4 * rtt) // a FIN is in flight for longer than it takes to signal two processes
		wire, events := lab.Capture(net.Client()), lab.Events()

		c := connect(lab, net, peers.Steps(peers.Await()), peers.Steps(peers.Await()))
		c.Client.Continue()
		c.Server.Continue() // while the client's FIN is in flight

		timeWait := kernel.SocketFilter{States: []kernel.State{kernel.TimeWait}}
		net.Client().AwaitSockets(1, timeWait)
		net.Server().AwaitSockets(1, timeWait)

		// RFC 9293, figure 13.
		Expect(wire.Stop()).To(BeExchange("> S", "< S.", "> .", "> F. 1:1(0) ack 1", "< F. 1:1(0) ack 1", "> . 2:2(0) ack 2", "< . 2:2(0) ack 2"))
		Expect(events.Stop().States(c.Local, c.Remote)).To(Follow(
			kernel.SynSent, kernel.Established, kernel.FinWait1, kernel.Closing, kernel.TimeWait))
		Expect(events.States(c.Remote, c.Local)).To(Follow(
			kernel.SynRecv, kernel.Established, kernel.FinWait1, kernel.Closing, kernel.TimeWait))
	})
