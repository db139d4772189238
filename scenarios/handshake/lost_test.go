package handshake

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

// firstFlight returns the data segments sent within an RTT of the first: before an ACK can arrive, which may seem to
// be a grain early.
func firstFlight(data []analysis.Segment, rtt time.Duration) []analysis.Segment {
	for i, segment := range data {
		if segment.At-data[0].At >= rtt-oracle.Grain {
			return data[:i]
		}
	}
	return data
}

var _ = DescribeTable("retransmits a lost SYN", Label("quick", "netem", "rfc6298"),
	func(ctx SpecContext, lost int) {
		lab := harness.NewLab(ctx)
		net := lab.Path(shortRTT)
		rule := net.ToServer.Rule(rules.Drop(rules.SYN.First(lost)))
		wire := lab.Capture(net.Client())

		lab.Start(net.Server(), peers.Script{Listen: net.Server().Addr(80), Steps: peers.Steps(peers.ReadAll())})
		client := lab.Start(net.Client(), peers.Script{
			Connect: net.Server().Addr(80), Steps: peers.Steps(peers.Inspect(), peers.Write(30_000)),
		})
		connection := client.Wait().Connections[0]

		// RFC 6298, section 2.1: the RTO is one second. The retransmitted SYN is answered after an RTT.
		k := net.Client().Oracle()
		expected := k.Connect(oracle.ConnectOptions{}).Sent[lost-1].Plus(oracle.Exactly(shortRTT)).LateBy(harness.HostDelay)
		lab.Measure("connect", connection.ConnectTime, expected, "timer wheel, round trip")
		Expect(rule.Count().Acted).To(BeEquivalentTo(lost))
		Expect(net.Client().Counters()).To(HaveGrown("TcpExtTCPSynRetrans", lost))

		// tcp_init_transfer ignores one lost SYN. After more, the initial window is one segment (RFC 5681, 3.1).
		window := k.InitialWindow(lost)
		Expect(connection.Steps[0].TCPInfo.Snd_cwnd).To(BeEquivalentTo(window))
		data := wire.Stop().DataFrom(net.Client())
		flight := bounds.In(len(firstFlight(data, shortRTT)), "segments")
		lab.Measure("initial window", flight, bounds.Exactly(window), "RFC 6928; RFC 5681, 3.1")
	},
	Entry("once, and has an initial window of 10", 1),
	Entry("twice, and has an initial window of 1", 2),
)

var _ = It("connects after SYN-ACK loss, with both sides retransmitting", Label("quick", "netem", "rfc6298"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(shortRTT)
	net.ToClient.Rule(rules.Drop(rules.SYNACK.Number(1)))
	wire := lab.Capture(net.Server())

	lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80)})
	client := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80), Hold: harness.Settle})
	connection := client.Wait().Connections[0]

	// The client's timer starts with its SYN, and the server's with its SYN-ACK: half an RTT later, but its
	// retransmission also arrives half an RTT sooner. Whichever expires first, the connection takes an RTO and an
	// RTT.
	k := net.Client().Oracle()
	expected := k.Connect(oracle.ConnectOptions{}).Sent[0].Plus(oracle.Exactly(shortRTT)).LateBy(harness.HostDelay)
	lab.Measure("connect", connection.ConnectTime, expected, "timer wheel, round trip")

	// The client's timer always expires, as it was set first. The server answers the retransmitted SYN
	// (tcp_check_req). If its own timer expired before, it has already retransmitted the SYN-ACK.
	syns, answers := wire.Stop().Segments(analysis.SYNs), wire.Segments(analysis.SYNACKs)
	Expect(syns).To(HaveLen(2))
	Expect(len(answers)).To(BeNumerically(">", 1))
	retransmits := 1
	if answers[1].Time.Before(syns[1].Time) {
		retransmits = 2
	}
	Expect(answers).To(HaveLen(1 + retransmits))
	Expect(net.Client().Counters()).To(HaveGrown("TcpExtTCPSynRetrans", 1))
	Expect(net.Server().Counters()).To(HaveGrown("TcpExtTCPSynRetrans", retransmits))
	// A redundant SYN-ACK is answered by a challenge ACK (RFC 5961, section 4.2).
	Expect(net.Client().Counters()).To(HaveGrown("TcpExtTCPSYNChallenge", retransmits-1))
})

var _ = It("stays in SYN-RECV if the final ACK is lost, until the SYN-ACK is retransmitted",
	Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(shortRTT)
		rule := net.ToServer.Rule(rules.Drop(rules.HandshakeACK.Number(1)))
		wire := lab.Capture(net.Server())

		// The client sends no data, which would carry the ACK.
		accept := lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Count: 1})
		dial := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80), Hold: peers.UntilStopped})
		local := dial.Started().Local
		time.Sleep(shortRTT)
		Expect(net.Client().Sockets()).To(HaveState(kernel.Established, 1))
		Expect(net.Server().Sockets(kernel.SocketFilter{Port: local.Port()})).To(HaveState(kernel.SynRecv, 1))
		accept.Started()
		connection := dial.Stop().Connections[0]

		// The client connects in one RTT. The server needs the RTO of its SYN-ACK and two RTTs.
		lab.Check("connect", connection.ConnectTime, oracle.Exactly(shortRTT).LateBy(harness.HostDelay), "one round trip")
		Expect(rule.Count().Acted).To(BeEquivalentTo(1))
		handshakes := analysis.Handshakes(slices.Values(wire.Stop().Segments()))
		Expect(handshakes).To(HaveLen(1))
		Expect(handshakes[0].SYNACKs).To(Equal(2))
		accepted := handshakes[0].ACK.At - handshakes[0].SYN.At
		expected := net.Server().Oracle().SYNACKs().Sent[0].Plus(oracle.Exactly(shortRTT)).LateBy(harness.HostDelay)
		lab.Measure("accepted after", accepted, expected, "timer wheel, round trip")

		// RFC 5961, section 4.2: a SYN-ACK on a connection is answered by a challenge ACK, which completes the
		// handshake.
		Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPSynRetrans": 1, "TcpExtTCPTimeouts": 1})
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPSYNChallenge": 1, "TcpExtTCPChallengeACK": 1, "TcpExtTCPSynRetrans": 0,
		})
	})
