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
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

const (
	narrow = 1400             // MTU of the link between two routers, which the hosts do not know
	waited = 10 * time.Second // for what never comes: some timeouts
)

// narrowPath is a path whose middle takes smaller packets than the hosts' links.
func narrowPath(lab *harness.Lab, client ...netns.Setting) *harness.Network {
	GinkgoHelper()
	net := lab.Dumbbell(1, netns.Config{BottleneckMTU: narrow, ClientSysctls: client})
	net.Impair(impair.Netem{Delay: rtt / 2})
	return net
}

// bulk has a client make small requests, and then write some full segments and a small one. Where those are stuck it waits, and ends.
func bulk(lab *harness.Lab, net *harness.Network, socket peers.Socket) {
	GinkgoHelper()
	const requests = 3
	bytes := 3*harness.MSS() + bytesEach
	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Socket: socket, Steps: peers.Steps(peers.Repeat(requests, peers.Write(bytesEach), peers.Read(bytesEach)), peers.Write(bytes), peers.Await())},
		peers.Script{Steps: peers.Steps(peers.Repeat(requests, peers.Read(bytesEach), peers.Write(bytesEach)), peers.ReadAll())})
	pair.Client.Waiting()
	time.Sleep(waited)
}

// tooLarge counts the segments that the narrow link does not take.
func tooLarge(wire *harness.Capture, net *harness.Network, at string) int {
	GinkgoHelper()
	return len(wire.DataFrom(net.Client(), analysis.On(at), func(s analysis.Segment) bool { return s.Length > harness.Payload(narrow) }))
}

var _ = It("mtu-black-hole: a link is narrow, and no ICMP says so", Label("quick", "netem", "rfc2923"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := narrowPath(lab, netns.IPv4("tcp_mtu_probing", 0))
	firewall := net.Routers[0].Ends()[1].Rule(rules.Drop(rules.PacketTooBig))
	wire := lab.Capture(net.Client(), net.Server())
	bulk(lab, net, peers.Socket{})
	wire.Stop()
	dropped := int(firewall.Count().Acted)

	// From the sender, and from the receiver.
	report := wire.Report()
	expectFindings(report, "client1/eth0", of(net.Client(), analysis.MTUBlackHole))
	expectFindings(report, "server1/eth0", of(net.Client(), analysis.MTUBlackHole))
	lab.Measure("segments that were too large", tooLarge(wire, net, "client1/eth0"), bounds.Exactly(dropped), "the ICMP messages that a rule dropped")
	Expect(tooLarge(wire, net, "server1/eth0")).To(BeZero())
})

var _ = It("path-mtu-ignored: the client's host takes no notice of ICMP", Label("quick", "netem", "rfc1191"), func(ctx SpecContext) {
	// icmp_unreach discards such messages if net.ipv4.ip_no_pmtu_disc is 2, which also lets sockets forbid no fragments, unless they ask for
	// it; tcp_v6_err does for a socket with IPV6_PMTUDISC_INTERFACE.
	var settings []netns.Setting
	if !harness.IPv6() {
		settings = append(settings, netns.IPv4("ip_no_pmtu_disc", 2))
	}
	lab := harness.NewLab(ctx)
	net := narrowPath(lab, append(settings, netns.IPv4("tcp_mtu_probing", 0))...)
	wire := lab.Capture(net.Client(), net.Server())
	bulk(lab, net, peers.Socket{MTUDiscover: harness.ByFamily("do", "interface")})
	wire.Stop()

	report := wire.Report()
	expectFindings(report, "client1/eth0", of(net.Client(), analysis.PathMTUIgnored))
	expectFindings(report, "server1/eth0", of(net.Client(), analysis.MTUBlackHole)) // all that can be seen from there
	Expect(net.Client().Counters()).To(HaveGrown(harness.ByFamily("IcmpInDestUnreachs", "Icmp6InPktTooBigs"), BeNumerically(">=", 1)))
	lab.Note("segments that were too large", tooLarge(wire, net, "client1/eth0"))
})

var _ = It("missing-data: the path drops one segment each time", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	const segments, number = 30, 12
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := everywhere(lab, net)
	filter := net.ToServer.Rule(rules.Drop(rules.Data.Number(number).Always()))
	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Steps: peers.Steps(peers.Write(segments*harness.MSS()), peers.Await())},
		peers.Script{Steps: peers.Steps(peers.ReadAll())})
	pair.Client.Waiting()
	time.Sleep(waited)
	wire.Stop()
	dropped := filter.Count().Acted

	// The sender sees no more than that it has no ACK.
	report := wire.Report()
	expectAt(report, behind(net), of(net.Client(), analysis.MissingData))
	expectAt(report, before(net), of(net.Client(), analysis.UnansweredData))
	first := wire.DataFrom(net.Client(), analysis.On("client/eth0"))[number-1]
	sent := wire.DataFrom(net.Client(), analysis.On("client/eth0"), func(s analysis.Segment) bool { return s.Seq == first.Seq })
	lab.Measure("transmissions of the segment", len(sent), bounds.Exactly(int(dropped)), "those that the rule dropped")
	Expect(net.Server().Counters()).To(HaveGrown("TcpExtTCPOFOQueue", BeNumerically(">=", 1)))
})

var _ = It("unanswered-data: the path goes dark", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt, impatient())
	wire := everywhere(lab, net)
	client, server := exchange(3)
	client.Steps = append(client.Steps, peers.Await(), peers.Write(bytesEach), peers.Try(peers.ReadAll()))
	pair := lab.Connect(net.Client(), net.Server(), client, server)
	pair.Client.Waiting()
	time.Sleep(harness.Settle) // until all is acknowledged
	dark := net.ToServer.Blackhole()
	pair.Client.Continue()
	steps := pair.Client.Wait().Connections[0].Steps
	Expect(steps[len(steps)-1].Err).To(MatchError(unix.ETIMEDOUT))

	report := wire.Stop().Report()
	expectAt(report, before(net), of(net.Client(), analysis.UnansweredData))
	expectAt(report, behind(net))
	counters := net.Client().Counters()
	Expect(counters).To(HaveCounters{"TcpExtTCPAbortOnTimeout": 1})
	lab.Measure("transmissions", int(dark.Count().Acted), bounds.Exactly(int(counters["TcpRetransSegs"])+1), "the first, and TcpRetransSegs")
})

var _ = DescribeTable("keep-alive-unanswered: the path goes dark under an idle connection,", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, socket peers.Socket) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := everywhere(lab, net)
		client, server := exchange(3)
		client.Socket = socket
		client.Steps = append(client.Steps, peers.Await(), peers.Try(peers.ReadAll()))
		pair := lab.Connect(net.Client(), net.Server(), client, server)
		pair.Client.Waiting()
		time.Sleep(harness.Settle) // until all is acknowledged
		net.ToServer.Blackhole()
		pair.Client.Continue()
		steps := pair.Client.Wait().Connections[0].Steps
		Expect(steps[len(steps)-1].Err).To(MatchError(unix.ETIMEDOUT))

		report := wire.Stop().Report()
		expectAt(report, before(net), of(net.Client(), analysis.KeepAliveUnanswered))
		expectAt(report, behind(net))
		seen := expectFindings(report, "client/eth0", of(net.Client(), analysis.KeepAliveUnanswered))[0]
		lab.Measure("keep-alives", seen.Count, bounds.Exactly(socket.KeepProbes), "TCP_KEEPCNT")
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPKeepAlive": socket.KeepProbes, "TcpExtTCPAbortOnTimeout": 1, "TcpRetransSegs": 0})
	},
	Entry("of three keep-alives", peers.Socket{KeepAlive: true, KeepIdle: 2 * time.Second, KeepInterval: time.Second, KeepProbes: 3}),
	Entry("of a single one", peers.Socket{KeepAlive: true, KeepIdle: 2 * time.Second, KeepInterval: time.Second, KeepProbes: 1}),
)

var _ = It("reset: the program on the client aborts", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := everywhere(lab, net)
	client, server := exchange(3)
	client.Steps = append(client.Steps, peers.Abort())
	server.Steps[len(server.Steps)-1] = peers.Try(peers.ReadAll())
	_, received := run(lab, net, client, server)

	expectAt(wire.Stop().Report(), all(net), of(net.Client(), analysis.ResetSeen))
	Expect(received.Steps[len(received.Steps)-1].Err).To(MatchError(unix.ECONNRESET))
	Expect(net.Client().Counters()).To(HaveCounters{"TcpOutRsts": 1})
	Expect(net.Server().Counters()).To(HaveCounters{"TcpEstabResets": 1})
})

var _ = It("reset: a NAT has forgotten the idle connection", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	const forgets, idle = 35 * time.Second, 40 * time.Second
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	box := net.Routers[0].Middlebox(middlebox.Box{NAT: true, Outside: net.ToServer.Name(), IdleTimeout: forgets, Unknown: middlebox.Reset})
	wire := everywhere(lab, net)
	client, server := exchange(3)
	client.Steps = append(client.Steps, peers.Sleep(idle), peers.Write(bytesEach), peers.Try(peers.ReadAll()))
	pair := lab.Connect(net.Client(), net.Server(), client, server)
	steps := pair.Client.Wait().Connections[0].Steps
	Expect(steps[len(steps)-1].Err).To(MatchError(unix.ECONNRESET))

	// It speaks in the server's name.
	report := wire.Stop().Report()
	expectAt(report, before(net), of(net.Server(), analysis.ResetSeen))
	expectAt(report, behind(net))
	seen := expectFindings(report, "client/eth0", of(net.Server(), analysis.ResetSeen))[0]
	Expect(seen.Cause).To(And(ContainSubstring("idle timeout of 40 s or less"), ContainSubstring("made it up")))
	Expect(box.Packets("reject with tcp reset")).To(Equal(1))
	Expect(net.Server().Counters()).To(HaveCounters{"TcpOutRsts": 0})
})
