package findings

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// impatient has a host give up soon.
func impatient() netns.Config {
	return harness.Sysctls(netns.IPv4("tcp_syn_retries", 2), netns.IPv4("tcp_synack_retries", 2), netns.IPv4("tcp_retries2", 5))
}

// dial connects, and returns why it did not.
func dial(lab *harness.Lab, net *harness.Network) error {
	GinkgoHelper()
	return lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(port)}).Wait().Connections[0].Err
}

// exchange is a request and an answer, some times.
func exchange(times int) (client, server peers.Script) {
	return peers.Script{Steps: peers.Steps(peers.Repeat(times, peers.Write(bytesEach), peers.Read(bytesEach)))},
		peers.Script{Steps: peers.Steps(peers.Repeat(times, peers.Read(bytesEach), peers.Write(bytesEach)), peers.ReadAll())}
}

// run has a pair of scripts do all of their steps.
func run(lab *harness.Lab, net *harness.Network, client, server peers.Script) (sent, received peers.Connection) {
	GinkgoHelper()
	pair := lab.Connect(net.Client(), net.Server(), client, server)
	return pair.Client.Wait().Connections[0], pair.Server.Wait().Connections[0]
}

var _ = It("unanswered-syn: the way to the server is a blackhole", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt, impatient())
	hole := net.ToServer.Blackhole()
	wire := everywhere(lab, net)
	Expect(dial(lab, net)).To(MatchError(unix.ETIMEDOUT))

	report := wire.Stop().Report()
	expectAt(report, before(net), of(net.Client(), analysis.UnansweredSYN))
	Expect(report.Conversations).To(HaveLen(2), "nothing came through")
	seen := expectFindings(report, "client/eth0", of(net.Client(), analysis.UnansweredSYN))[0]
	lab.Measure("SYNs", seen.Count, bounds.Exactly(int(hole.Count().Acted)), "those that the rule dropped")
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": seen.Count - 1, "TcpExtTCPTimeouts": seen.Count}) // one gave up
})

var _ = It("unanswered-syn-ack: the way back drops each SYN-ACK", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt, impatient())
	firewall := net.ToClient.Rule(rules.Drop(rules.SYNACK))
	lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(port)})
	wire := everywhere(lab, net)
	Expect(dial(lab, net)).To(MatchError(unix.ETIMEDOUT))
	time.Sleep(waited) // until the server has given up, too
	wire.Stop()
	dropped, again := firewall.Count().Acted, net.Server().Counters()["TcpRetransSegs"]

	report := wire.Report()
	expectAt(report, before(net), of(net.Client(), analysis.UnansweredSYN))
	expectAt(report, behind(net), of(net.Server(), analysis.UnansweredSYNACK))
	seen := expectFindings(report, "server/eth0", of(net.Server(), analysis.UnansweredSYNACK))[0]
	lab.Measure("SYN-ACKs", seen.Count, bounds.Exactly(int(again)+1), "the first, and the server's TcpRetransSegs")
	lab.Check("SYN-ACKs, by the rule", seen.Count, bounds.Exactly(int(dropped)), "those that the rule dropped")
})

var _ = DescribeTable("lost-syn: the path loses", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, toServer bool, match rules.Match) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		end, seesIt := net.ToServer, before(net)
		if !toServer {
			end, seesIt = net.ToClient, all(net) // the server sends its SYN-ACK again
		}
		lost := end.Rule(rules.Drop(match.First(1)))
		wire := everywhere(lab, net)
		client, server := exchange(3)
		run(lab, net, client, server)

		report := wire.Stop().Report()
		expectAt(report, seesIt, of(net.Client(), analysis.LostSYN))
		if toServer {
			expectAt(report, behind(net))
		}
		Expect(lost.Hits()).To(HaveLen(1))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 1, "TcpExtTCPTimeouts": 1})
	},
	Entry("a SYN", true, rules.SYN),
	Entry("a SYN-ACK", false, rules.SYNACK),
)

var _ = It("handshake-ignored: the server waits for data (TCP_DEFER_ACCEPT)", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := everywhere(lab, net)
	client, server := exchange(3)
	client.Steps = append(peers.Steps(peers.Sleep(2*time.Second)), client.Steps...)
	server.DeferAccept = time.Second
	server.Listen = net.Server().Addr(port)
	client.Connect = server.Listen
	answers := lab.Start(net.Server(), server)
	lab.Start(net.Client(), client).Wait()
	answers.Wait()

	// reqsk_timer_handler, syn_ack_recalc: it is sent again after a second, which ends the time of TCP_DEFER_ACCEPT.
	report := wire.Stop().Report()
	expectAt(report, all(net), of(net.Server(), analysis.HandshakeIgnored))
	seen := expectFindings(report, "client/eth0", of(net.Server(), analysis.HandshakeIgnored))[0]
	lab.Measure("SYN-ACKs after the client's ACK", seen.Count, bounds.Exactly(1), "syn_ack_recalc")
	Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPDeferAcceptDrop": 1, "TcpRetransSegs": 1, "TcpExtListenOverflows": 0})
})

var _ = It("refused: nobody listens", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := everywhere(lab, net)
	Expect(dial(lab, net)).To(MatchError(unix.ECONNREFUSED))

	expectAt(wire.Stop().Report(), all(net), of(net.Server(), analysis.Refused))
	Expect(net.Server().Counters()).To(HaveGrown("TcpOutRsts", 1))
	Expect(net.Client().Counters()).To(HaveGrown("TcpAttemptFails", 1))
})

var _ = It("icmp-error: the router has no way to the server", Label("quick", "netem", "rfc5461"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	net.Routers[0].Unreachable(net.Server().IP())
	wire := everywhere(lab, net)
	Expect(dial(lab, net)).To(MatchError(harness.ByFamily(unix.EHOSTUNREACH, unix.ENETUNREACH)))

	report := wire.Stop().Report()
	expectAt(report, before(net), of(net.Client(), analysis.ICMPErrorSeen))
	Expect(report.Conversations).To(HaveLen(2), "nothing came through")
	Expect(net.Client().Counters()).To(HaveCounters{harness.ByFamily("IcmpInDestUnreachs", "Icmp6InDestUnreachs"): 1, "TcpAttemptFails": 1})
})
