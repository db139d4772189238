package handshake

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("completes a three-way handshake in one RTT", Label("quick", "netem", "tracefs", "rfc9293"), func(ctx SpecContext) {
	const rtt = 50 * time.Millisecond
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire, events := lab.Capture(net.Client()), lab.Events()

	accept := lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Count: 1})
	dial := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80), Hold: peers.UntilStopped})
	accept.Started() // so the final ACK has arrived
	started := dial.Started()

	// RFC 9293, section 3.5: SYN, SYN-ACK, ACK.
	Expect(net.Client().Counters()).To(HaveCounters{
		"TcpActiveOpens": 1, "TcpOutSegs": 2, "TcpInSegs": 1,
	})
	Expect(net.Server().Counters()).To(HaveCounters{
		"TcpPassiveOpens": 1, "TcpInSegs": 2, "TcpOutSegs": 1,
	})
	Expect(net.Client().Sockets()).To(HaveState(kernel.Established, 1))
	client, server := events.Stop().States(started.Local, started.Remote), events.States(started.Remote, started.Local)
	Expect(client).To(Follow(kernel.SynSent, kernel.Established))
	Expect(server).To(Follow(kernel.SynRecv, kernel.Established))

	connection := dial.Stop().Connections[0]
	expected := oracle.Exactly(rtt).LateBy(harness.HostDelay).From("RFC 9293, 3.5: one round trip")
	lab.Measure("connect", connection.ConnectTime, expected)
	Expect(wire.Stop().Segments()[:3]).To(BeExchange("> S", "< S. 0:0(0) ack 1", "> . 1:1(0) ack 1"))
	Expect(wire).To(Contain(Handshake(), 1))
	lab.Check("handshake on the wire", analysis.Handshakes(slices.Values(wire.Segments()))[0].RTT(), expected)
})
