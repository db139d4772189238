package findings

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = DescribeTable("lossy-link:", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, loss impair.Loss) {
		const bytes = 400_000
		rate := impair.Rate{BitsPerSecond: 20 * impair.Mbit}
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := everywhere(lab, net)
		pair := lab.Connect(net.Client(), net.Server(),
			peers.Script{Steps: peers.Steps(peers.Write(1), peers.Read(1), peers.Await(), peers.Write(bytes), peers.Read(1), peers.CloseWrite(), peers.ReadAll())},
			peers.Script{Steps: peers.Steps(peers.Read(1), peers.Write(1), peers.Read(bytes), peers.Await(), peers.Write(1), peers.ReadAll())})
		pair.Client.Waiting()
		time.Sleep(harness.Settle) // its ACK has passed: the client has nothing to send but data until the server answers
		net.ToServer.Impair(impair.Netem{Delay: rtt / 2, Rate: rate, Loss: loss, Limit: 1000})
		certain := net.ToServer.Rule(rules.Drop(rules.Data.Number(10))) // by chance it may be none, once in 5000 times
		pair.Client.Continue()
		pair.Server.Waiting() // it has got all
		net.ToServer.Impair(impair.Netem{Delay: rtt / 2})
		pair.Server.Continue()
		Expect(pair.Server.Wait().Connections[0].Received).To(BeEquivalentTo(1 + bytes))
		pair.Client.Wait()
		Expect(certain.Hits()).To(HaveLen(1))
		dropped := int(net.ToServer.Queue().Drops) + len(certain.Hits())

		// RFC 9293, section 3.8.1: each segment that is lost is sent again; so is each retransmission that is lost.
		report := wire.Stop().Report()
		expectAt(report, all(net), of(net.Client(), analysis.LossyLink))
		sent := expectFindings(report, "client/eth0", of(net.Client(), analysis.LossyLink))[0]
		lab.Measure("segments lost, as analyze says", sent.Count, bounds.Exactly(dropped), "netem's drops, and the rule's")
		Expect(sent.Cause).To(ContainSubstring("downstream"))
		Expect(expectFindings(report, "server/eth0", of(net.Client(), analysis.LossyLink))[0].Cause).To(ContainSubstring("upstream"))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": dropped})
	},
	Entry("at random, 3 %", impair.RandomLoss{Percent: 3}),
	Entry("in bursts (Gilbert)", impair.SimpleGilbert(3, 30)),
)

// late has one of some requests come late.
func late(lab *harness.Lab, net *harness.Network, d time.Duration, number int) *harness.Rule {
	GinkgoHelper()
	rule := net.ToServer.Rule(rules.Delay(d, rules.Data.Number(number)))
	client, server := exchange(2 * number)
	exchanges := &client.Steps[0]
	exchanges.Steps = append(exchanges.Steps, peers.Sleep(harness.Settle)) // the ACK of the answer is not with the next request
	client.Steps = append(client.Steps, peers.Sleep(2*d))
	run(lab, net, client, server)
	return rule
}

var _ = It("spurious-retransmission: a segment comes later than the timeout", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := everywhere(lab, net)
	delayed := late(lab, net, 500*time.Millisecond, 4)

	report := wire.Stop().Report()
	expectAt(report, all(net), of(net.Client(), analysis.SpuriousRetransmission))
	Expect(delayed.Hits()).To(HaveLen(1))
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 1, "TcpExtTCPDSACKRecv": 1})
})

var _ = It("reordering: a segment is overtaken by one", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	// Overtaken by one that is sent 5 ms later, and found out before RACK takes it for lost, after a quarter of the RTT (RFC 8985, section 6.2).
	const apart, later, writes, number = 5 * time.Millisecond, 7500 * time.Microsecond, 20, 10
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := everywhere(lab, net)
	delayed := net.ToServer.Rule(rules.Delay(later, rules.Data.Number(number)))
	run(lab, net,
		peers.Script{Socket: peers.Socket{NoDelay: true}, Steps: peers.Steps(peers.Repeat(writes, peers.Write(bytesEach), peers.Sleep(apart)), peers.CloseWrite(), peers.ReadAll())},
		peers.Script{Steps: peers.Steps(peers.ReadAll())})

	report := wire.Stop().Report()
	expectAt(report, before(net))
	expectAt(report, behind(net), of(net.Client(), analysis.Reordering))
	seen := expectFindings(report, "server/eth0", of(net.Client(), analysis.Reordering))[0]
	lab.Measure("segments that were overtaken", seen.Count, bounds.Exactly(len(delayed.Hits())), "the rule's hits")
	Expect(net.Server().Counters()).To(HaveGrown("TcpExtTCPOFOQueue", BeNumerically(">=", 1)))
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
})

var _ = It("duplicated: the path has a loop for one segment", Label("quick", "netem", "rfc2883"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := everywhere(lab, net)
	twice := net.ToServer.Rule(rules.Duplicate(rules.Data.Number(3)))
	client, server := exchange(6)
	run(lab, net, client, server)

	expectAt(wire.Stop().Report(), all(net), of(net.Client(), analysis.Duplicated))
	Expect(twice.Hits()).To(HaveLen(1))
	Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPDSACKOldSent": 1})
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
})

var _ = It("ecn-congestion: a queue marks some segments", Label("quick", "netem", "rfc3168"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_ecn", 1)))
	wire := everywhere(lab, net)
	marked := net.ToServer.Rule(rules.MarkCE(rules.Data.Between(5, 8)))
	client, server := exchange(12)
	run(lab, net, client, server)

	// Behind the queue the marks are seen, in front of it only the server's echo (ECE).
	report := wire.Stop().Report()
	expectAt(report, before(net), of(net.Server(), analysis.Congestion))
	expectAt(report, behind(net), of(net.Client(), analysis.Congestion), of(net.Server(), analysis.Congestion))
	seen := expectFindings(report, "server/eth0", of(net.Client(), analysis.Congestion), of(net.Server(), analysis.Congestion))[0]
	lab.Measure("packets with CE", seen.Count, bounds.Exactly(len(marked.Hits())), "the rule's hits")
	Expect(net.Server().Counters()).To(HaveGrown(harness.ByFamily("IpExtInCEPkts", "Ip6InCEPkts"), len(marked.Hits())))
})
