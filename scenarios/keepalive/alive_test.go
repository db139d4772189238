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
		net := lab.Path(roundTrip)
		wire := lab.Capture(net.Client())

		pair := lab.Connect(net.Client(), net.Server(),
			peers.Script{Socket: keeping, Steps: peers.Steps(peers.Sleep(waited), peers.Write(100))},
			peers.Script{Steps: peers.Steps(peers.ReadAll())})
		Expect(lab.Wait(pair.Server).Connections[0].Received).To(BeEquivalentTo(100))
		lab.Wait(pair.Client)

		// Each answer restarts the idle time (tcp_keepalive_timer: keepalive_time_elapsed). TCP_KEEPINTVL has no
		// effect.
		expected := lab.Oracle(net.Client()).Keepalive(oracle.Keeping{Time: idle, Interval: interval}).Gaps[0]
		server := wire.Segments(analysis.From(harness.IP(net.Server())))
		received := harness.First(server, "segments of the server")
		Expect(received).To(HaveField("Flags", analysis.FlagSYN|analysis.FlagACK))
		sent := wire.Segments(analysis.From(harness.IP(net.Client())), probing(received.Ack))
		answer := oracle.Between(roundTrip, roundTrip+hostDelay)
		due := oracle.Spans{expected}
		for next := expected; next.Earliest < waited; {
			next = next.Plus(answer).Plus(expected)
			due = append(due, next)
		}
		lab.Measure("probes", len(sent), due.By(oracle.Exactly(waited).LateBy(hostDelay)))
		for i, probe := range sent {
			lab.Measure("idle before a probe", probe.At-received.At, expected)
			next := slices.IndexFunc(server, func(s analysis.Segment) bool { return s.At > probe.At })
			Expect(next).NotTo(Equal(-1), "an answer to probe %d", i+1)
			received = server[next]
			lab.Check("probe to answer", received.At-probe.At, answer)
		}
		Expect(lab.Counters(net.Client())).To(And(HaveGrown("TcpExtTCPKeepAlive", len(sent)), HaveGrown("TcpOutRsts", 0)))
	})

var _ = It("sends no keepalive probes without SO_KEEPALIVE", Label("long", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(roundTrip, netns.Config{Sysctls: []netns.Setting{
		{Key: "net.ipv4.tcp_keepalive_time", Value: "2"}, {Key: "net.ipv4.tcp_keepalive_intvl", Value: "1"},
	}})
	forever := peers.Script{Steps: peers.Steps(peers.Sleep(peers.UntilStopped))}
	pair := lab.Connect(net.Client(), net.Server(), forever, forever)
	lab.Silence(net.ToServer)
	wire := lab.Capture(net.Client())
	time.Sleep(time.Minute)

	// RFC 9293, section 3.8.4: keepalives are off by default. The sysctls only affect sockets with SO_KEEPALIVE.
	Expect(wire.Segments()).To(BeEmpty())
	Expect(lab.Counters(net.Client())).To(HaveGrown("TcpExtTCPKeepAlive", 0))
	Expect(lab.Sockets(net.Client(), kernel.SocketFilter{Port: pair.Local.Port()})).To(HaveState(kernel.Established, 1))
})
