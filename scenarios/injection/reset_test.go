package injection

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/inject"
	"github.com/tcplab/tcplab/peers"
)

// forgedReset is a reset as the server could send it now.
func forgedReset(wire *harness.Capture, net *harness.Network) inject.Segment {
	GinkgoHelper()
	reset := inject.After(last(wire, net.Server()))
	reset.Flags = analysis.FlagRST
	return reset
}

var _ = It("is reset by a forged RST at exactly RCV.NXT", Label("quick", "netem", "rfc5961"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := lab.Capture(net.Client())
	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Steps: peers.Steps(peers.Try(peers.ReadAll()))},
		peers.Script{Steps: peers.Steps(peers.Sleep(peers.UntilStopped))})

	sent := net.ToClient.Inject(forgedReset(wire, net))
	client := pair.Client.Wait().Connections[0]
	noticed := time.Since(sent.At)

	// RFC 5961, section 3.2, 2): the connection MUST be reset. Nobody is told, so the server keeps its half.
	Expect(client.Steps[0].Err).To(MatchError(unix.ECONNRESET))
	Expect(wire.Stop()).To(BeExchange("> S", "< S.", "> .", "< R 1:1(0)"))
	Expect(net.Client().Counters()).To(HaveCounters{"TcpEstabResets": 1, "TcpExtTCPChallengeACK": 0})
	Expect(net.Server().Sockets(kernel.SocketFilter{Port: pair.Local.Port()})).To(HaveState(kernel.Established, 1))
	lab.Measure("reset after", noticed, oracle.Between(rtt/2, rtt/2+harness.Settle), "RFC 5961, 3.2; half a round trip")
})

// window is the client's receive window, as it has announced it.
func window(wire *harness.Capture, net *harness.Network) uint32 {
	GinkgoHelper()
	syn := last(wire, net.Client(), analysis.SYNs)
	return uint32(last(wire, net.Client()).Window) << syn.Options.WindowScale
}

var _ = DescribeTable("answers a RST in the window, but not at RCV.NXT, with a challenge ACK", Label("quick", "netem", "rfc5961"),
	func(ctx SpecContext, offset func(window uint32) uint32) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		pair := idle(lab, net)

		reset := forgedReset(wire, net)
		ahead := offset(window(wire, net))
		reset.Seq += ahead
		net.ToClient.Inject(reset)
		time.Sleep(harness.Settle)

		// RFC 5961, section 3.2, 3). Who has really sent a RST answers that ACK with one at exactly RCV.NXT.
		Expect(wire.Stop()).To(BeExchange("> S", "< S.", "> .", fmt.Sprintf("< R %d:%d(0)", 1+ahead, 1+ahead), "> . 1:1(0) ack 1"))
		challenge := wire.From(net.Client())[2]
		forged := harness.First(wire.Segments(analysis.RSTs), "resets")
		lab.Measure("challenge ACK after", challenge.At-forged.At, oracle.Exactly(0).LateBy(harness.HostDelay), "RFC 5961, 3.2")
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPChallengeACK": 1, "TcpEstabResets": 0})
		expectAlive(pair)
	},
	Entry("one byte ahead", func(uint32) uint32 { return 1 }),
	Entry("at the window's last byte", func(window uint32) uint32 { return window - 1 }),
)

var _ = DescribeTable("ignores a RST", Label("quick", "netem", "rfc5961"),
	func(ctx SpecContext, forge func(reset *inject.Segment, window uint32), counters HaveCounters) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		pair := idle(lab, net)

		reset := forgedReset(wire, net)
		forge(&reset, window(wire, net))
		net.ToClient.Inject(reset)
		time.Sleep(harness.Settle)

		// RFC 5961, section 3.2, 1): silently dropped, without a challenge ACK.
		Expect(wire.Stop()).To(BeExchange("> S", "< S.", "> .", "< R"))
		Expect(net.Client().Counters()).To(And(counters, HaveCounters{"TcpExtTCPChallengeACK": 0, "TcpEstabResets": 0}))
		expectAlive(pair)
	},
	Entry("before the window", func(reset *inject.Segment, _ uint32) { reset.Seq-- }, HaveCounters{"TcpInErrs": 0}),
	Entry("beyond the window", func(reset *inject.Segment, window uint32) { reset.Seq += window + 1 }, HaveCounters{"TcpInErrs": 0}),
	// RFC 9293, section 3.1 (MUST-3): the receiver must check the checksum.
	Entry("with a wrong checksum, at RCV.NXT", func(reset *inject.Segment, _ uint32) { reset.BadChecksum = true },
		HaveCounters{"TcpInErrs": 1, "TcpInCsumErrors": 1}),
)

var _ = It("limits challenge ACKs to one per tcp_invalid_ratelimit", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := lab.Capture(net.Client())
	pair := idle(lab, net)

	reset := forgedReset(wire, net)
	reset.Seq++
	limit := time.Duration(net.Client().Sysctl("net.ipv4.tcp_invalid_ratelimit")) * time.Millisecond
	for range 3 { // two of them at once, far within the limit
		net.ToClient.Inject(reset)
	}
	time.Sleep(limit + rtt)
	net.ToClient.Inject(reset)
	time.Sleep(harness.Settle)

	// RFC 5961, section 7; __tcp_oow_rate_limited, per connection.
	challenges := wire.Stop().From(net.Client())[2:]
	Expect(challenges).To(HaveLen(2))
	lab.Measure("between challenge ACKs", challenges[1].At-challenges[0].At, oracle.Between(limit, limit+rtt+harness.Settle), "tcp_invalid_ratelimit")
	Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPChallengeACK": 2, "TcpExtTCPACKSkippedChallenge": 2})
	expectAlive(pair)
})
