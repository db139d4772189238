package retransmission

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
)

var _ = DescribeTable("fast retransmits a lost segment on the third duplicate ACK, one RTT later and without RTO,",
	Label("quick", "netem", "rfc5681"),
	func(ctx SpecContext, sack int, recovery string) {
		const segments, lost = 20, 5
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_sack", sack)))
		wire := lab.Capture(net.Client())
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Number(lost)))
		send(lab, net, segments*harness.MSS())

		// RFC 5681, section 3.2: DupThresh is 3. The ACK of the segments before the lost one is no duplicate.
		v := viewOf(wire, net)
		missing := v.first[lost-1]
		Expect(v.retransmitted()).To(Equal([]int{lost}))
		retransmit := v.retransmits[0]
		merged := coalesced(net)
		// There can be more if earlier packets are still in the sender's own queue (tcp_small_queue_check).
		duplicates := len(v.acksOf(missing.Seq, retransmit)) - 1
		lab.Check("duplicate ACKs", duplicates, bounds.AtLeast(3-merged), "RFC 5681, 3.2: DupThresh")
		lab.Measure("retransmitted after", retransmit.At-missing.At, pathRTT, "RFC 5681, 3.2: a round trip")

		Expect(drop.Hits()).To(HaveLen(1))
		Expect(net.Client().Counters()).To(HaveCounters{
			recovery: 1, "TcpExtTCPFastRetrans": 1,
			"TcpRetransSegs": 1, "TcpExtTCPTimeouts": 0, "TcpExtTCPLossProbes": 0,
		})

		// Segments sent after the lost one and before its retransmission wait for it (RFC 9293, 3.4;
		// tcp_data_queue_ofo): what the initial window and its four ACKs allow, and one for each of the first two
		// duplicates (RFC 3042), unless earlier packets are still in the sender's own queue.
		after := 0
		for _, s := range v.first[lost:] {
			if s.Frame < retransmit.Frame {
				after++
			}
		}
		window := net.Client().Oracle().InitialWindow(0)
		allowed := window + 2*(lost-1) - lost
		lab.Check("sent before the retransmission", after, bounds.Between(window-lost, allowed+2), "RFC 6928; RFC 3042")
		lab.Check("queued out of order", net.Server().Counters()["TcpExtTCPOFOQueue"], bounds.Between(after-merged, after),
			"tcp_data_queue_ofo")
	},
	Entry("with SACK", 1, "TcpExtTCPSackRecovery"),
	Entry("without SACK", 0, "TcpExtTCPRenoRecovery"),
)

var _ = It("waits for the RTO after only two duplicate ACKs, without SACK", Label("quick", "netem", "rfc5681"),
	func(ctx SpecContext) {
		const segments, lost = 7, 5
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_sack", 0)))
		wire := lab.Capture(net.Client())
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Number(lost)))
		send(lab, net, segments*harness.MSS())

		// RFC 5681, section 3.2: DupThresh is 3. RFC 6298, 5.3: the timer restarts with the last ACK of new data.
		v := viewOf(wire, net)
		missing := v.first[lost-1]
		Expect(v.retransmitted()).To(Equal([]int{lost}))
		waiting := v.acksOf(missing.Seq, v.retransmits[0])
		lab.Check("ACKs of the segments before it", len(waiting), bounds.Between(1+2-coalesced(net), 1+2), "two are duplicates")
		Expect(waiting).NotTo(BeEmpty())
		lab.Measure("RTO after", v.retransmits[0].At-waiting[0].At, net.Client().Oracle().RetransmissionTimer(pathRTT))

		Expect(drop.Hits()).To(HaveLen(1))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPTimeouts": 1, "TcpExtTCPFastRetrans": 0,
			"TcpRetransSegs": 1,
		})
	})

var _ = DescribeTable("recovers three losses of a window", Label("quick", "netem", "rfc6582"),
	func(ctx SpecContext, sack int, apart time.Duration, source string) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_sack", sack)))
		wire := lab.Capture(net.Client())
		drop := net.ToServer.Rule(rules.Drop(rules.Data.First(3)))
		send(lab, net, 20*harness.MSS())

		// RFC 6675: SACK reports all that is missing, and the third, fourth and fifth duplicate each release one
		// retransmission: with the lost and the arrived segments, less is in flight than the reduced window (RFC
		// 6937). RFC 6582, section 3.2: without SACK, only the ACK of one retransmission reveals the next loss.
		v := viewOf(wire, net)
		Expect(v.retransmitted()).To(Equal([]int{1, 2, 3}))
		for _, gap := range analysis.Gaps(slices.Values(v.retransmits)) {
			lab.Check("gap between retransmissions", gap, oracle.Exactly(apart).LateBy(harness.HostDelay))
		}
		lab.Measure("first to last retransmission", v.retransmits[2].At-v.retransmits[0].At, oracle.Exactly(2*apart).LateBy(2*harness.HostDelay), source)
		Expect(drop.Hits()).To(HaveLen(3))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPFastRetrans": 3, "TcpRetransSegs": 3,
			"TcpExtTCPTimeouts": 0,
		})
	},
	Entry("in one RTT with SACK", 1, time.Duration(0), "RFC 6675: all in one round trip"),
	Entry("in one RTT each with NewReno", 0, rtt, "RFC 6582, 3.2: a round trip each"),
)
