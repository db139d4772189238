package impairments

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/statistics"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// after returns what became of the probes behind those that were lost, and behind those that were not.
// In a chain of two states each is an independent trial of one chance: the past is known when it begins.
func after(lost []bool) (behindLost, behindReceived []bool) {
	for i := 1; i < len(lost); i++ {
		if lost[i-1] {
			behindLost = append(behindLost, lost[i])
		} else {
			behindReceived = append(behindReceived, lost[i])
		}
	}
	return behindLost, behindReceived
}

// allowed is how many of the trials can be true. The number of trials is one of some thousand that it can be, so the
// chance to miss for some number of them is some thousand times miss.
func allowed(trials []bool, chance float64) bounds.Range {
	GinkgoHelper()
	Expect(trials).NotTo(BeEmpty())
	return statistics.Successes(len(trials), chance, miss)
}

// expectTrials expects of the trials as many to be true as can be.
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
		// Independent: behind a packet that was lost as many are lost as anywhere.
		behindLost, _ := after(lost)
		lab.Check("lost behind a loss", count(behindLost), allowed(behindLost, float64(percent)/100))
		Expect(seen.queue.Drops).To(BeEquivalentTo(count(lost)))
		Expect(seen.received.Distinct).To(Equal(probes - count(lost)))
	},
	Entry("1 %: as many as a binomial distribution allows, one independent of the other", impair.Percent(1)),
	Entry("10 %: as many as a binomial distribution allows, one independent of the other", impair.Percent(10)),
	Entry("50 %: as many as a binomial distribution allows, one independent of the other", impair.Percent(50)),
)

var _ = It("loses what TCP sends again: link, wire and counters agree", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	const bytes, percent = 1 << 20, 10
	lab := harness.NewLab(ctx)
	net := lab.Routed()
	net.ToServer.Impair(impair.Netem{Delay: 5 * time.Millisecond, Loss: impair.RandomLoss{Percent: percent}})
	net.ToClient.Impair(impair.Netem{Delay: 5 * time.Millisecond})
	wire := lab.Capture(net.Routers[0].End("eth0"), net.Server().End("eth0"))

	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(5001)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(5001), Bytes: bytes})
	sent, received := client.Wait(), server.Wait()

	// RFC 9293, section 3.8.1: what takes sequence numbers is sent again when it is lost. A mere ACK is not.
	delays, lost := passage(wire.Stop().Segments(), net)
	again := 0
	for _, s := range lost {
		if s.SequenceLength() > 0 {
			again++
		}
	}
	lab.Measure("lost", len(lost), statistics.Successes(len(delays)+len(lost), percent/100., miss))
	Expect(net.ToServer.Queue().Drops).To(BeEquivalentTo(len(lost)))
	// What is sent again without need comes twice, and the receiver says so (RFC 2883); but not of a FIN that it has answered.
	counters := net.Server().Counters()
	again += int(counters["TcpExtTCPDSACKOldSent"] + counters["TcpExtTCPDSACKOfoSent"])
	retransmits := bounds.Between(again, again+1).From("RFC 9293, 3.8.1; RFC 2883")
	lab.Measure("retransmits", net.Client().Counters()["TcpRetransSegs"], retransmits)
	lab.Check("retransmits by TCP_INFO", sent.Connections[0].TCPInfo.Total_retrans, retransmits)
	Expect(received.Bulk.Bytes).To(BeEquivalentTo(bytes))
})
