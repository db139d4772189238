package retransmission

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = DescribeTable("undoes a spurious RTO when late ACKs show that nothing was lost,", Label("quick", "netem"),
	func(ctx SpecContext, withTimestamps, spuriousRTOs int) {
		// Later than the TLP of the first window, 2 RTT, and than the RTO after it, RTT + 200 ms and its lateness;
		// and not so late that the RTO estimated from these ACKs is too short for the next window.
		const late, segments = 300 * time.Millisecond, 40
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_timestamps", withTimestamps)))
		wire := lab.Capture(net.Client(), net.Server())
		hold := net.ToClient.Rule(rules.Delay(late, rules.PureACK)) // but not the SYN-ACK, so that the measured RTT is short
		// Reno, as CUBIC would end its slow start for the longer RTT (HyStart).
		sender := send(lab, net, segments*(harness.MSS()+int64(harness.TCPTimestamps*(1-withTimestamps))), peers.Socket{Congestion: "reno"})

		// By its timestamp, a late ACK is for the first transmission (RFC 4015, Eifel). Without timestamps, F-RTO
		// sends new data after the first ACK, and the second ACK covers a segment that was not retransmitted (RFC
		// 5682, 2.1).
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPTimeouts": 1, "TcpRetransSegs": 1,
			"TcpExtTCPLossUndo": 1, "TcpExtTCPSpuriousRTOs": spuriousRTOs, "TcpExtTCPDSACKRecv": 1,
		})
		Expect(net.Server().Counters()).To(HaveGrown("TcpExtTCPDSACKOldSent", 1))
		Expect(sender.TCPInfo.Snd_ssthresh).To(BeEquivalentTo(oracle.InfiniteThreshold))
		transits := wire.Stop().Transits(net.Client().End("eth0"), net.Server().End("eth0"), analysis.WithData)
		Expect(transits).To(And(HaveLen(segments+1), HaveEach(HaveField("Lost()", false))))
		Expect(hold.Hits()).NotTo(BeEmpty())
	},
	Entry("by timestamps (Eifel)", Label("rfc4015"), 1, 0),
	Entry("by what they acknowledge (F-RTO)", Label("rfc5682"), 0, 1),
)
