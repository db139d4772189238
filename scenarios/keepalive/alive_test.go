package keepalive

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
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("keeps the connection while keepalives, one per TCP_KEEPIDLE, are answered", Label("long", "netem", "rfc9293"),
	func(ctx SpecContext) {
		const waited = 30 * time.Second // many times the time after which a blackhole would end it
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())

		pair := lab.Connect(net.Client(), net.Server(),
			peers.Script{Socket: keeping, Steps: peers.Steps(peers.Sleep(waited), peers.Write(100))},
			peers.Script{Steps: peers.Steps(peers.ReadAll())})
		Expect(pair.Server.Wait().Connections[0].Received).To(BeEquivalentTo(100))
		pair.Client.Wait()

		// Each answer restarts the idle time (tcp_keepalive_timer: keepalive_time_elapsed). TCP_KEEPINTVL has no
		// effect.
		expected := net.Client().Oracle().Keepalive(oracle.KeepaliveOptions{Time: idle, Interval: interval}).Gaps[0]
		server := wire.Stop().From(net.Server())
		received := harness.First(server, "segments of the server")
		Expect(received).To(HaveField("Flags", analysis.FlagSYN|analysis.FlagACK))
		sent := wire.From(net.Client(), probing(received.Ack))
		answer := oracle.Between(rtt, rtt+harness.HostDelay)
		due := oracle.Spans{expected}
		for next := expected; next.Earliest < waited; {
			next = next.Plus(answer).Plus(expected)
			due = append(due, next)
		}
		lab.Measure("probes", len(sent), due.By(oracle.Exactly(waited).LateBy(harness.HostDelay)))
		for i, probe := range sent {
			lab.Measure("idle before a probe", probe.At-received.At, expected)
			next := slices.IndexFunc(server, func(s analysis.Segment) bool { return s.At > probe.At })
			Expect(next).NotTo(Equal(-1), "an answer to probe %d", i+1)
			received = server[next]
			lab.Check("probe to answer", received.At-probe.At, answer)
		}
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPKeepAlive": len(sent), "TcpOutRsts": 0})
	})

var _ = It("sends no keepalive probes without SO_KEEPALIVE", Label("long", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_keepalive_time", 2), netns.IPv4("tcp_keepalive_intvl", 1)))
	forever := peers.Script{Steps: peers.Steps(peers.Sleep(peers.UntilStopped))}
	pair := lab.Connect(net.Client(), net.Server(), forever, forever)
	net.ToServer.Blackhole()
	wire := lab.Capture(net.Client())
	time.Sleep(time.Minute)

	// RFC 9293, section 3.8.4: keepalives are off by default. The sysctls only affect sockets with SO_KEEPALIVE.
	Expect(wire.Stop().Segments()).To(BeEmpty())
	Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPKeepAlive": 0})
	Expect(net.Client().Sockets(kernel.SocketFilter{Port: pair.Local.Port()})).To(HaveState(kernel.Established, 1))
})
