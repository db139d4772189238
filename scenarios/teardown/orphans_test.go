package teardown

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// seen is the measured duration of a state whose begin and end are polled ([harness.Host.AwaitSockets]). Each is
// noticed up to 5 ms late, the end up to a hundredth of the wait if that is more, and polling takes time.
func seen(expected oracle.Span) oracle.Span {
	const looking = 20 * time.Millisecond
	expected.Earliest -= looking
	return expected.LateBy(expected.Latest/100 + looking)
}

// pathRTT is the RTT that a sender measures: the path, and up to 2 ms in the hosts.
var pathRTT = oracle.Between(rtt, rtt+2*time.Millisecond)

var _ = It("stays in CLOSE-WAIT forever if the program does not close", Label("long", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := lab.Capture(net.Server())

	c := connect(lab, net, peers.Steps(peers.Close()), peers.Steps(peers.ReadAll(), peers.Sleep(peers.UntilStopped)))
	// The client's half ends by its timer, and the client has no state of the connection any more.
	net.Client().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.FinWait2}})
	net.Client().AwaitSockets(0, kernel.SocketFilter{Port: c.Local.Port()})
	time.Sleep(time.Minute)

	// RFC 9293, section 3.3.2: CLOSE-WAIT waits for the local user, without a timer.
	Expect(net.Server().Sockets()).To(HaveState(kernel.CloseWait, 1))
	Expect(wire.Stop().From(net.Server(), analysis.FINs)).To(BeEmpty())
	// The client no longer knows the connection, and answers the late FIN with RST.
	c.Server.Stop()
	time.Sleep(harness.Settle)
	Expect(net.Client().Counters()).To(HaveGrown("TcpOutRsts", 1))
})

var _ = It("drops an orphaned connection in FIN-WAIT-2 after tcp_fin_timeout", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.ClientSysctls(netns.IPv4("tcp_fin_timeout", 3)))
		wire := lab.Capture(net.Client())

		c := connect(lab, net, peers.Steps(peers.Close()), peers.Steps(peers.ReadAll(), peers.Await(), peers.Write(1), peers.Sleep(harness.Settle), peers.Try(peers.Write(1))))
		net.Client().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.FinWait2}})
		began := time.Now()
		net.Client().AwaitSockets(0, kernel.SocketFilter{Port: c.Local.Port()})
		waited := time.Since(began)

		// tcp(7), tcp_fin_timeout; the RTO of 250 ms is too short to matter (tcp_rcv_state_process).
		expected, _ := net.Client().Oracle().FINWait2(net.Client().Oracle().RTOAfterHandshake(rtt), 0)
		lab.Measure("FIN-WAIT-2", waited, seen(expected))

		// Later segments are for a connection that no longer exists. The server is in CLOSE-WAIT, where RST means
		// EPIPE (tcp_reset).
		c.Server.Continue()
		Expect(c.Server.Wait().Connections[0].Steps[4].Err).To(MatchError(unix.EPIPE))
		Expect(net.Client().Counters()).To(HaveGrown("TcpOutRsts", 1))
		Expect(wire.Stop()).To(Contain(Reset(), 1))
	})

var _ = DescribeTable("skips FIN-WAIT-2 with TCP_LINGER2 -1, and sends RST:", Label("quick", "netem", "linux"),
	func(ctx SpecContext, steps []peers.Step, counter string) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire, events := lab.Capture(net.Client()), lab.Events(net.Client())

		c := lab.Connect(net.Client(), net.Server(),
			peers.Script{Socket: peers.Socket{Linger2: peers.NoFINWait2}, Steps: steps},
			peers.Script{Steps: peers.Steps(peers.ReadAll(), peers.Sleep(2*harness.Settle), peers.Try(peers.Write(1)))}) // after all RSTs
		server := c.Server.Wait().Connections[0]

		// RFC 9293, section 3.3.2: FIN-WAIT-2 ends only by the FIN of the other side. tcp(7) lets programs skip the
		// state.
		Expect(net.Client().Sockets(kernel.SocketFilter{Port: c.Local.Port()}).List()).To(BeEmpty())
		lasts, _ := net.Client().Oracle().FINWait2(0, peers.NoFINWait2)
		Expect(lasts.Latest).To(BeZero())
		fin := harness.First(wire.Stop().Segments(analysis.FINs), "FINs")
		reset := harness.First(wire.Segments(analysis.RSTs), "resets")
		states := events.Stop().States(c.Local, c.Remote)
		Expect(states.States[len(states.States)-1]).To(Equal(kernel.Close))
		Expect(states.States).NotTo(ContainElement(kernel.TimeWait))
		Expect(reset.At).To(BeNumerically(">", fin.At))
		// The server is in CLOSE-WAIT, where RST means EPIPE (tcp_reset).
		Expect(server.Steps[2].Err).To(MatchError(unix.EPIPE))
		Expect(net.Client().Counters()).To(HaveCounters{counter: 1, "TcpOutRsts": 1})
	},
	// The ACK of the FIN finds an orphan in FIN-WAIT-1 (tcp_rcv_state_process).
	Entry("closed at once", peers.Steps(peers.Close()), "TcpExtTCPAbortOnData"),
	// close(2) finds FIN-WAIT-2 (__tcp_close).
	Entry("closed in FIN-WAIT-2", peers.Steps(peers.CloseWrite(), peers.Sleep(harness.Settle), peers.Close()), "TcpExtTCPAbortOnLinger"),
)

var _ = It("retransmits an orphan's FIN with exponential back-off up to tcp_orphan_retries", Label("long", "netem", "rfc9293"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())

		c := connect(lab, net, peers.Steps(peers.Await()), peers.Steps(peers.Sleep(peers.UntilStopped)))
		net.ToServer.Blackhole()
		c.Client.Continue()
		net.Client().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.FinWait1}})
		began := time.Now()
		net.Client().AwaitSockets(0, kernel.SocketFilter{Port: c.Local.Port()})
		waited := time.Since(began)

		// tcp_orphan_retries 0 means 8 retransmissions with exponential back-off (tcp_orphan_retries,
		// tcp_write_timeout).
		expected := net.Client().Oracle().Blackhole(oracle.Flow{RTT: pathRTT, Orphan: true})
		fins := wire.Stop().Segments(analysis.FINs)
		lab.Measure("retransmits", len(fins)-1, expected.Count())
		harness.CheckEach(lab, "gaps between FINs", analysis.Gaps(slices.Values(fins)), expected.Gaps[:len(fins)-1])
		lab.Measure("FIN-WAIT-1", waited, seen(expected.End))
		Expect(net.Client().Counters()).To(HaveGrown("TcpExtTCPAbortOnTimeout", 1))
	})
