package handshake

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("simultaneous open: two crossing SYNs make one connection without a listener", Label("quick", "netem", "tracefs", "rfc9293"),
	func(ctx SpecContext) {
		const rtt = 200 * time.Millisecond // half of it is enough to start both processes
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire, events := lab.Capture(net.Client()), lab.Events()
		left, right := net.Client().Addr(4000), net.Server().Addr(4000)
		start := func(host *harness.Host, from peers.Script) *harness.Peer {
			from.AwaitBegin, from.Steps = true, peers.Steps(peers.Sleep(peers.UntilStopped))
			return lab.Start(host, from)
		}
		client := start(net.Client(), peers.Script{Local: left, Connect: right})
		server := start(net.Server(), peers.Script{Local: right, Connect: left})

		client.Begin()
		server.Begin()
		client.Started()
		server.Started()

		// RFC 9293, figure 7: each side answers the other's SYN with a SYN-ACK, and that completes the handshake.
		for _, side := range []kernel.Path{events.Stop().States(left, right), events.States(right, left)} {
			Expect(side).To(Follow(kernel.SynSent, kernel.SynRecv, kernel.Established))
		}
		for _, host := range []*harness.Host{net.Client(), net.Server()} {
			Expect(wire.Stop().From(host, analysis.SYNs)).To(HaveLen(1))
			Expect(wire.Stop().From(host, analysis.SYNACKs)).To(HaveLen(1))
			Expect(host.Counters()).To(HaveCounters{"TcpActiveOpens": 1, "TcpPassiveOpens": 0})
		}
	})
