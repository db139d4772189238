package retransmission

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("hardly notices that every other ACK is lost, as the next one says the same", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := network(lab)
		wire := lab.Capture(net.Client())
		drop := lab.Rule(net.ToClient, rules.Drop(rules.PureACK.Every(2)))
		send(lab, net, 100*mss())

		// RFC 9293, section 3.4: ACKs are cumulative. Only behind the last one is there no next: a probe brings it.
		retransmitted := lab.Counters(net.Client())["TcpRetransSegs"]
		Expect(retransmitted).To(BeNumerically("<=", 1))
		Expect(wire).To(HaveRetransmissions(retransmitted))
		Expect(lab.Counters(net.Client())).To(And(
			HaveGrown("TcpExtTCPLossProbes", retransmitted), HaveGrown("TcpExtTCPTimeouts", 0), HaveGrown("TcpExtTCPFastRetrans", 0)))
		lost := drop.Count()
		Expect(lost.Acted).To(BeNumerically(">=", 20)) // of an ACK for two segments at least: 50 or more
		lab.Figure("ACKs lost", float64(lost.Acted), "", "")
		lab.Figure("retransmitted", float64(retransmitted), "", "0 or 1")
	})

var _ = DescribeTable("pays for one loss in ten", Label("quick", "netem", "rfc5681"),
	func(ctx SpecContext, ofData bool, retransmissions func(dropped int) types.GomegaMatcher, threshold types.GomegaMatcher) {
		const segments = 95 // not the last of them: what costs a probe is another behaviour
		lab := harness.NewLab(ctx)
		net := network(lab)
		wire := lab.Capture(net.Client())
		end, lost := net.ToClient, rules.PureACK.Every(10)
		if ofData {
			end, lost = net.ToServer, rules.Data.Every(10)
		}
		drop := lab.Rule(end, rules.Drop(lost))
		// Reno, as CUBIC could end its slow start for other reasons than loss (HyStart).
		sender := send(lab, net, segments*mss(), peers.Socket{Congestion: "reno"})

		dropped := len(drop.Hits())
		Expect(dropped).To(BeNumerically(">", 0))
		Expect(lab.Counters(net.Client())).To(HaveGrown("TcpRetransSegs", retransmissions(dropped)))
		Expect(wire).To(HaveRetransmissions(retransmissions(dropped)))
		Expect(sender.TCPInfo.Snd_ssthresh).To(threshold)
		lab.Figure("dropped", float64(dropped), "", "")
		lab.Figure("retransmitted", float64(sender.TCPInfo.Total_retrans), "", "")
	},
	// RFC 5681, section 3.2: each loss of data is repaired, and the window halved for it.
	Entry("of data with a retransmission each, and with its window", true,
		func(dropped int) types.GomegaMatcher { return BeNumerically("==", dropped) }, BeNumerically("<", 95)),
	// ACKs are cumulative, and are not congestion controlled; the last one can cost a probe (RFC 8985, 7.3), which
	// the receiver's DSACK takes the cost off.
	Entry("of ACKs with a probe at most, and keeps its window", false,
		func(int) types.GomegaMatcher { return BeNumerically("<=", 1) }, BeEquivalentTo(0x7fffffff)), // TCP_INFINITE_SSTHRESH
)
