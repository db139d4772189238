package impairments

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/netns/netdev"
	"github.com/tcplab/tcplab/peers"
)

// The codepoints of RFC 3168, section 5.
const (
	notECT = 0
	ect0   = 2
	ce     = 3
)

// markedPackets is the counter of packets received with CE.
func markedPackets() string { return harness.ByFamily("IpExtInCEPkts", "Ip6InCEPkts") }

// expectAccount checks the numbers of lost and of marked packets against the qdisc's statistics.
func expectAccount(net *harness.Network, queue netdev.Stats, lost, marked int) {
	GinkgoHelper()
	dropped := lost
	if net.Server().Oracle().NetemDropsMarks() {
		dropped += marked
		Expect(queue.Injected).To(BeNil())
	} else {
		Expect(queue.Injected.Marked).To(BeEquivalentTo(marked))
		Expect(queue.Injected.Lost).To(BeEquivalentTo(lost))
	}
	Expect(queue.Drops).To(BeEquivalentTo(dropped))
}

var _ = DescribeTable("marks ECT packets, and drops Not-ECT ones:", Label("quick", "netem", "rfc3168"),
	func(ctx SpecContext, codepoint, markedAs uint8) {
		const percent, probes = 20, 1000
		lab := harness.NewLab(ctx)
		link := newLink(lab, impair.Netem{Loss: impair.RandomLoss{Percent: percent}, ECN: true})

		link.begin(peers.ProbeSender{Count: probes, TrafficClass: int(codepoint)})
		seen := link.account()

		chosen := make([]bool, probes)
		for number, p := range seen.probes {
			chosen[number] = p.lost()
			if !p.lost() && p.ecn != codepoint {
				Expect(p.ecn).To(Equal(markedAs), "probe %d", number)
				chosen[number] = true
			}
		}
		expectTrials("marked or lost", chosen, percent/100.)
		marks := 0
		if codepoint != notECT {
			marks = count(chosen)
		}
		expectAccount(link.net, seen.queue, count(chosen)-marks, marks)
		Expect(seen.received.Distinct).To(Equal(probes-count(chosen)+marks), "probes received")
		Expect(link.net.Server().Counters()).To(HaveGrown(markedPackets(), marks))
	},
	Entry("ECT(0) is marked, not lost", uint8(ect0), uint8(ce)),
	Entry("Not-ECT is lost, not marked", uint8(notECT), uint8(notECT)),
)

var _ = It("makes TCP reduce cwnd on a CE mark without retransmitting", Label("quick", "netem", "rfc3168"), func(ctx SpecContext) {
	const delay, rate, bytes, marks = 10 * time.Millisecond, 10 * impair.Mbit, 2 << 20, 5
	perfect := impair.Netem{Delay: delay, Rate: impair.Rate{BitsPerSecond: rate}, Limit: 2000}
	marking := perfect
	marking.Loss, marking.ECN = impair.RandomLoss{Percent: 5}, true
	lab := harness.NewLab(ctx)
	net := lab.Routed(harness.Sysctls(netns.IPv4("tcp_ecn", 1)))
	net.ToServer.Impair(perfect)
	net.ToClient.Impair(impair.Netem{Delay: delay})
	wire := lab.Capture(net.Server().End("eth0"))

	// Only data is ECN-capable (RFC 3168, section 6.1): SYN and FIN pass while no packet is marked.
	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(5001)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(5001), Bytes: bytes})
	client.Started()
	net.ToServer.Impair(marking)
	Eventually(func() int64 { return net.Server().Counters()[markedPackets()] }).WithTimeout(time.Minute).Should(BeNumerically(">=", marks))
	net.ToServer.Impair(perfect)
	client.Wait()
	received := server.Wait()

	marked, answered, reduced := 0, 0, 0
	for _, s := range wire.Stop().Segments() {
		switch {
		case s.Flags&analysis.FlagSYN != 0:
		case s.ECN == ce:
			marked++
		case s.Flags&analysis.FlagECE != 0:
			answered++
		}
		if s.Flags&analysis.FlagCWR != 0 && s.Flags&analysis.FlagSYN == 0 {
			reduced++
		}
	}
	Expect(received.Bulk.Bytes).To(BeEquivalentTo(bytes))
	expectAccount(net, net.ToServer.Queue(), 0, marked)
	Expect(marked).To(BeNumerically(">=", marks))
	Expect(net.Server().Counters()).To(HaveGrown(markedPackets(), marked))
	// RFC 3168, section 6.1: the receiver echoes the mark until the sender reports that it has reduced its window,
	// once per window.
	Expect(answered).To(BeNumerically(">", 0))
	lab.Measure("windows reduced", reduced, bounds.Between(1, marked), "RFC 3168, 6.1: at most once for each mark")
	Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPDeliveredCE": BeNumerically(">=", reduced), "TcpRetransSegs": 0})
	lab.Note("marks", marked)
})
