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
		net := lab.Path(roundTrip)
		wire, events := lab.Capture(net.Client()), lab.Events()

		c := connect(lab, net, peers.Steps(peers.Close()), peers.Steps(peers.ReadAll(), peers.Await()))
		lab.AwaitSockets(net.Client(), 1, kernel.SocketFilter{States: []kernel.State{kernel.FinWait2}})
		Expect(lab.Sockets(net.Server())).To(HaveState(kernel.CloseWait, 1))
		lab.Continue(c.Server) // which then closes its connection
		lab.AwaitSockets(net.Client(), 1, kernel.SocketFilter{States: []kernel.State{kernel.TimeWait}})
		lab.AwaitSockets(net.Server(), 0, kernel.SocketFilter{Port: c.Local.Port()})

		// RFC 9293, figure 12.
		Expect(wire).To(Contain(FourWayClose(c.Local), 1))
		Expect(wire.Segments()).To(HaveLen(3 + 4))
		Expect(events.States(c.Local, c.Remote)).To(Follow(
			kernel.SynSent, kernel.Established, kernel.FinWait1, kernel.FinWait2, kernel.TimeWait))
		Expect(events.States(c.Remote, c.Local)).To(Follow(
			kernel.SynRecv, kernel.Established, kernel.CloseWait, kernel.LastAck, kernel.Close))
	})

var _ = It("still receives data after a half-close by shutdown(SHUT_WR)", Label("quick", "netem", "tracefs", "rfc9293"), func(ctx SpecContext) {
	const bytes = 100_000
	lab := harness.NewLab(ctx)
	net := lab.Path(roundTrip)
	wire, events := lab.Capture(net.Client()), lab.Events(net.Client())

	c := connect(lab, net,
		peers.Steps(peers.CloseWrite(), peers.ReadAll()),
		peers.Steps(peers.ReadAll(), peers.Write(bytes)))

	// RFC 9293, section 3.6: after its CLOSE a user continues to RECEIVE until the other side closes, too.
	Expect(lab.Wait(c.Client).Connections[0].Received).To(BeEquivalentTo(bytes))
	fins := wire.Segments(analysis.FINs, analysis.From(harness.IP(net.Client())))
	Expect(fins).To(HaveLen(1))
	data := wire.Segments(analysis.WithData)
	Expect(data).NotTo(BeEmpty())
	Expect(data).To(HaveEach(HaveField("Frame", BeNumerically(">", fins[0].Frame))))
	Expect(events.States(c.Local, c.Remote)).To(Follow(
		kernel.SynSent, kernel.Established, kernel.FinWait1, kernel.FinWait2, kernel.TimeWait))
})

var _ = It("simultaneous close: goes through CLOSING to TIME-WAIT on both sides", Label("quick", "netem", "tracefs", "rfc9293"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(4 * roundTrip) // a FIN is in flight for longer than it takes to signal two processes
		wire, events := lab.Capture(net.Client()), lab.Events()

		c := connect(lab, net, peers.Steps(peers.Await()), peers.Steps(peers.Await()))
		lab.Continue(c.Client)
		lab.Continue(c.Server) // while the client's FIN is in flight

		timeWait := kernel.SocketFilter{States: []kernel.State{kernel.TimeWait}}
		lab.AwaitSockets(net.Client(), 1, timeWait)
		lab.AwaitSockets(net.Server(), 1, timeWait)

		// RFC 9293, figure 13.
		Expect(wire).To(Contain(FourWayClose(), 1))
		Expect(events.States(c.Local, c.Remote)).To(Follow(
			kernel.SynSent, kernel.Established, kernel.FinWait1, kernel.Closing, kernel.TimeWait))
		Expect(events.States(c.Remote, c.Local)).To(Follow(
			kernel.SynRecv, kernel.Established, kernel.FinWait1, kernel.Closing, kernel.TimeWait))
	})
