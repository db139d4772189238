package handshake

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// fill makes connections to a server that does not accept, and waits until they are in its accept queue.
func fill(lab *harness.Lab, net *harness.Network, connections int) {
	GinkgoHelper()
	lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80), Count: connections, Hold: peers.UntilStopped})
	net.Server().AwaitSockets(connections, kernel.SocketFilter{States: []kernel.State{kernel.Established}})
}

var _ = DescribeTable("fills the accept queue with backlog + 1 connections, and drops further SYNs",
	Label("quick", "netem", "linux"),
	func(ctx SpecContext, backlog int) {
		lab := harness.NewLab(ctx)
		net := lab.Path(shortRTT)
		wire := lab.Capture(net.Server())
		k := net.Server().Oracle()

		lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Backlog: backlog, Never: true})
		fill(lab, net, k.AcceptQueue(backlog))
		late := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80), Socket: peers.Socket{SYNRetries: 1}})
		Expect(late.Wait().Connections[0].Err).To(MatchError(unix.ETIMEDOUT))

		// The queue is full when it is longer than the backlog (sk_acceptq_is_full). Then SYNs are dropped
		// (tcp_conn_request).
		listener := net.Server().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.Listen}}).List()
		Expect(listener).To(HaveLen(1))
		lab.Measure("queued", bounds.In(listener[0].ReceiveQueue, "connections"), bounds.Exactly(k.AcceptQueue(backlog)),
			"sk_acceptq_is_full: backlog + 1")
		Expect(listener[0].SendQueue).To(BeEquivalentTo(backlog))
		syns := len(wire.Stop().Segments(analysis.SYNs))
		dropped := syns - k.AcceptQueue(backlog)
		retry := net.Client().Oracle().Connect(oracle.ConnectOptions{SYNCount: 1})
		lab.Check("unanswered SYNs", dropped, bounds.Between(1+retry.Fewest, 1+retry.Most), retry.End.Source)
		Expect(wire.Segments(analysis.SYNACKs)).To(HaveLen(k.AcceptQueue(backlog)))
		Expect(net.Server().Counters()).To(HaveCounters{
			"TcpExtListenOverflows": dropped, "TcpExtListenDrops": dropped,
		})
	},
	Entry("with a backlog of 1", 1),
	Entry("with a backlog of 5", 5),
)

var _ = DescribeTable("on accept queue overflow the final ACK of the handshake", Label("quick", "netem", "linux"),
	func(ctx SpecContext, abort string, state kernel.State, write types.GomegaMatcher, resets, pending int) {
		const backlog = 3
		lab := harness.NewLab(ctx)
		net := lab.Path(shortRTT, harness.ServerSysctls(netns.IPv4("tcp_abort_on_overflow", abort)))
		wire := lab.Capture(net.Server())

		lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Backlog: backlog, Never: true})
		fill(lab, net, net.Server().Oracle().AcceptQueue(backlog)-1)
		// One place is left. Both SYNs arrive before the first handshake completes.
		two := lab.Start(net.Client(), peers.Script{
			Connect: net.Server().Addr(80), Connections: 2, Together: true,
			Steps: peers.Steps(peers.Sleep(harness.Settle), peers.Inspect(), peers.Try(peers.Write(1)), peers.Await()),
		})
		two.Waiting()
		sockets := net.Server().Sockets().List()
		two.Continue()
		connections := two.Wait().Connections

		// tcp_check_req: listen_overflow. The final ACK is dropped, or answered with RST.
		for i, expected := range []kernel.State{kernel.Established, state} {
			Expect(kernel.State(connections[i].Steps[1].TCPInfo.State)).To(Equal(expected), "the client's connection %d", i+1)
		}
		Expect(connections[0].Steps[2].Err).To(BeNil())
		Expect(connections[1].Steps[2].Err).To(write)
		Expect(sockets).To(HaveState(kernel.SynRecv, pending))
		Expect(wire.Stop()).To(Contain(Reset(), resets))
		Expect(net.Server().Counters()).To(HaveCounters{
			"TcpOutRsts": resets, "TcpExtEmbryonicRsts": resets, "TcpExtListenOverflows": BeNumerically(">=", 1),
		})
	},
	Entry("is dropped, and the client stays ESTABLISHED", "0", kernel.Established, BeNil(), 0, 1),
	Entry("is answered with RST, with tcp_abort_on_overflow 1", "1", kernel.Close, MatchError(unix.ECONNRESET), 1, 0),
)
