package retransmission

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("tolerates the loss of every other ACK, as ACKs are cumulative", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext) {
		const segments = 100
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		drop := net.ToClient.Rule(rules.Drop(rules.PureACK.Every(2)))
		send(lab, net, segments*harness.MSS())

		// RFC 9293, section 3.4: ACKs are cumulative. Only the last ACK has no successor: if it is lost, a TLP brings
		// it.
		retransmitted := net.Client().Counters()["TcpRetransSegs"]
		lab.Measure("retransmits", retransmitted, bounds.Between(0, 1), "RFC 9293, 3.4; RFC 8985, 7.2: a probe")
		Expect(wire.Stop()).To(HaveRetransmissions(retransmitted))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPLossProbes": retransmitted, "TcpExtTCPTimeouts": 0, "TcpExtTCPFastRetrans": 0,
		})
		// At least every second segment is acknowledged (RFC 9293, 3.8.6.3), except those that were coalesced.
		acks := (segments - coalesced(net)) / 2
		lab.Measure("ACKs lost", drop.Count().Acted, bounds.AtLeast(acks/2), "RFC 9293, 3.8.6.3: half of them")
	})

var _ = DescribeTable("loss of one in ten", Label("quick", "netem", "rfc5681"),
	func(ctx SpecContext, ofData bool) {
		const segments = 95 // so that the last one is not dropped: its TLP is another behaviour
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		end, lost := net.ToClient, rules.PureACK.Every(10)
		if ofData {
			end, lost = net.ToServer, rules.Data.Every(10)
		}
		drop := end.Rule(rules.Drop(lost))
		// Reno, as CUBIC could end its slow start for other reasons than loss (HyStart).
		sender := send(lab, net, segments*harness.MSS(), peers.Socket{Congestion: "reno"})

		dropped := len(drop.Hits())
		Expect(dropped).To(BeNumerically(">", 0))
		lab.Note("dropped", dropped)
		retransmitted, threshold := sender.TCPInfo.Total_retrans, sender.TCPInfo.Snd_ssthresh
		if ofData {
			// RFC 5681, section 3.2: each loss is retransmitted and halves the window, which has grown by at most one
			// per segment.
			lab.Measure("retransmits", retransmitted, bounds.Exactly(dropped), "RFC 5681, 3.2")
			most := net.Client().Oracle().InitialWindow(0) + segments
			lab.Check("slow-start threshold", threshold, bounds.AtMost(most/2), "RFC 5681, 3.1 and 3.2") // at least 2, and often 2
		} else {
			// ACKs are cumulative, and not congestion controlled. The loss of the last one can cost a TLP, whose
			// effect the DSACK undoes.
			lab.Measure("retransmits", retransmitted, bounds.Between(0, 1), "RFC 8985, 7.2: a probe")
			Expect(threshold).To(BeEquivalentTo(oracle.InfiniteThreshold))
		}
		Expect(net.Client().Counters()).To(HaveGrown("TcpRetransSegs", retransmitted))
		Expect(wire.Stop()).To(HaveRetransmissions(retransmitted))
	},
	Entry("data segments costs a retransmission each, reduces cwnd", true),
	Entry("ACKs costs one probe at most, and keeps cwnd", false),
)
