package flowcontrol

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

// small is an SO_RCVBUF that overflows. The limit counts the memory of segments, about 1 KB each, however short they
// are; the window counts only their bytes.
const small = 8 << 10

// fill connects a client that writes until the receive buffer is full to a server that does not read, and returns the
// state of the server's socket at that time. Then the server reads, and has to get all that was written.
func fill(lab *harness.Lab, net *harness.Network, client peers.Socket, steps []peers.Step, bytes int) kernel.Socket {
	GinkgoHelper()
	net.Server().AllowMemoryPressure()
	pair := lab.Connect(net.Client(), net.Server(), peers.Script{Socket: client, Steps: append(steps, peers.Await())},
		peers.Script{Socket: peers.Socket{ReceiveBuffer: small}, Steps: peers.Steps(peers.Await(), peers.ReadAll())})
	pair.Client.Waiting()
	time.Sleep(settle)
	socket := harness.First(net.Server().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.Established}}).List(), "sockets")
	// A segment is accepted while those before it are within the limit (tcp_try_rmem_schedule).
	const oneMore = 2 << 10
	lab.Check("receive memory", bounds.In(socket.Memory.ReceiveAlloc, "bytes"), bounds.AtMost(socket.Memory.ReceiveLimit+oneMore),
		"tcp_try_rmem_schedule")
	pair.Server.Continue()
	pair.Client.Continue()
	Expect(pair.Server.Wait().Connections[0].Received).To(BeEquivalentTo(bytes))
	return socket
}

var _ = It("collapses small segments in a full receive buffer, and loses no byte", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		const writes = 400
		lab := harness.NewLab(ctx)
		net := lab.Path(time.Millisecond)
		wire := lab.Capture(net.Server())
		full := fill(lab, net, peers.Socket{NoDelay: true},
			peers.Steps(peers.Repeat(writes, peers.Write(1), peers.Sleep(time.Millisecond))), writes)

		// tcp_collapse copies the bytes of many segments into the memory of few.
		Expect(net.Server().Counters()).To(HaveCounters{
			"TcpExtPruneCalled":     BeNumerically(">", 0),
			"TcpExtTCPRcvCollapsed": BeNumerically(">", 0),
			"TcpExtOfoPruned":       0,
		})
		Expect(full.ReceiveQueue).To(BeEquivalentTo(writes))
		lab.Check("segments", len(wire.Stop().Segments(analysis.WithData)), bounds.AtLeast(writes/2+1), "TCP_NODELAY: most have a byte")
		collapsed := net.Server().Counters()["TcpExtTCPRcvCollapsed"]
		lab.Measure("collapsed", bounds.In(collapsed, "segments"), bounds.AtLeast(1), "tcp_collapse")
	})

var _ = It("prunes the out-of-order queue of a full receive buffer, and gets it retransmitted", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		const bytes = 7000
		lab := harness.NewLab(ctx)
		net := lab.Path(time.Millisecond)
		// A hole after each segment: the remaining ones cannot be collapsed.
		holes := net.ToServer.Rule(rules.Drop(rules.Data.Between(50, 150).Every(2)))
		full := fill(lab, net, peers.Socket{MSS: 100}, peers.Steps(peers.Write(bytes)), bytes)

		// RFC 2018, section 8: a receiver that runs out of memory may discard what it has reported in a SACK option.
		Expect(net.Server().Counters()).To(HaveCounters{
			"TcpExtPruneCalled": BeNumerically(">", 0),
			"TcpExtOfoPruned":   BeNumerically(">", 0),
		})
		lost := holes.Count().Acted
		lab.Note("lost by the link", bounds.In(lost, "segments"))
		lab.Measure("discarded", bounds.In(full.Memory.Drops, "segments"), bounds.AtLeast(1), "tcp_prune_ofo_queue")
		// There are more retransmissions than losses on the link.
		lab.Measure("retransmits", bounds.In(net.Client().Counters()["TcpRetransSegs"], "segments"), bounds.AtLeast(lost+1), "RFC 2018, 8")
	})
