package impairments

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/statistics"
	"github.com/tcplab/tcplab/peers"
)

// after returns, for each probe that follows a lost one and for each that follows a received one, whether it was
// lost. In a chain of two states each is an independent trial of one probability: the past is known when it begins.
func after(lost []bool) (afterLost, afterReceived []bool) {
	for i := 1; i < len(lost); i++ {
		if lost[i-1] {
			afterLost = append(afterLost, lost[i])
		} else {
			afterReceived = append(afterReceived, lost[i])
		}
	}
	return afterLost, afterReceived
}

// allowed bounds how many of the trials are true. The number of trials is itself random, one of some thousand: the
// probability to miss for any of them is some thousand times miss.
func allowed(trials []bool, chance float64) bounds.Range {
	GinkgoHelper()
	Expect(trials).NotTo(BeEmpty())
	return statistics.Successes(len(trials), chance, miss)
}

// expectTrials checks the number of trials that are true.
func expectTrials(what string, trials []bool, chance float64) {
	GinkgoHelper()
	Expect(count(trials)).To(allowed(trials, chance), "%s, of %d", what, len(trials))
}

var _ = DescribeTable("loses packets at random", Label("quick", "netem", "linux"),
	func(ctx SpecContext, percent impair.Percent) {
		const probes = 4000
		lab := harness.NewLab(ctx)
		link := newLink(lab, impair.Netem{Loss: impair.RandomLoss{Percent: percent}})

		link.begin(peers.ProbeSender{Count: probes})
		seen := link.account()

		lost := seen.losses()
		lab.Measure("lost", count(lost), allowed(lost, float64(percent)/100))
		// Independent: after a lost packet as many are lost as anywhere.
		afterLost, _ := after(lost)
		lab.Check("lost after a loss", count(afterLost), allowed(afterLost, float64(percent)/100))
		Expect(seen.queue.Drops).To(BeEquivalentTo(count(lost)))
		Expect(seen.received.Distinct).To(Equal(probes - count(lost)))
	},
	Entry("1 %: binomially distributed and independent", impair.Percent(1)),
	Entry("10 %: binomially distributed and independent", impair.Percent(10)),
	Entry("50 %: binomially distributed and independent", impair.Percent(50)),
)

var _ = It("drops what TCP retransmits: link, wire and counters agree", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	const bytes, percent = 1 << 20, 10
	lab := harness.NewLab(ctx)
	net := lab.Routed()
	net.ToServer.Impair(impair.Netem{Delay: 5 * time.Millisecond, Loss: impair.RandomLoss{Percent: percent}})
	net.ToClient.Impair(impair.Netem{Delay: 5 * time.Millisecond})
	wire := lab.Capture(net.Routers[0].End("eth0"), net.Server().End("eth0"))

	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(5001)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(5001), Bytes: bytes})
	sent, received := client.Wait(), server.Wait()

	// RFC 9293, section 3.8.1: what takes sequence numbers is retransmitted if it is lost. A pure ACK is not.
	delays, lost := passage(wire.Stop().Segments(), net)
	toRepair := 0
	for _, s := range lost {
		if s.SequenceLength() > 0 {
			toRepair++
		}
	}
	lab.Measure("lost", len(lost), statistics.Successes(len(delays)+len(lost), percent/100., miss))
	Expect(net.ToServer.Queue().Drops).To(BeEquivalentTo(len(lost)))
	// A spurious retransmission arrives as a duplicate, and the receiver reports it (RFC 2883), except for a FIN that
	// it has already answered.
	counters := net.Server().Counters()
	toRepair += int(counters["TcpExtTCPDSACKOldSent"] + counters["TcpExtTCPDSACKOfoSent"])
	retransmits := bounds.Between(toRepair, toRepair+1).From("RFC 9293, 3.8.1; RFC 2883")
	lab.Measure("retransmits", net.Client().Counters()["TcpRetransSegs"], retransmits)
	lab.Check("retransmits by TCP_INFO", sent.Connections[0].TCPInfo.Total_retrans, retransmits)
	Expect(received.Bulk.Bytes).To(BeEquivalentTo(bytes))
})
