package retransmission

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
)

// A tail loss causes no duplicate ACKs: no segment follows that could trigger them.

// last is the number of a transfer's last segment. The receiver acknowledges the first 16 at once (oracle:
// Kernel.QuickACKs). With more segments an ACK could be delayed, which counts as an RTT of 60 ms.
const last = 12

// slowAgain delays retransmissions, so that they take longer than any packet before. RACK ignores the ACK of a
// retransmission that arrives sooner than the least RTT, as it could be for the first transmission (tcp_rack_advance;
// RFC 8985, 6.2, step 2). On a path of constant delay, a lone probe is the fastest packet.
func slowAgain(net *harness.Network) {
	GinkgoHelper()
	net.ToServer.Rule(rules.Delay(harness.HostDelay, rules.Retransmission))
}

// slowRTT is the RTT of such a retransmission.
var slowRTT = pathRTT.Plus(oracle.Exactly(harness.HostDelay))

var _ = It("recovers two lost tail segments by a tail loss probe (TLP) after two RTTs", Label("quick", "netem", "rfc8985"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		slowAgain(net)
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Between(last-1, last)))
		send(lab, net, last*harness.MSS())

		// RFC 8985, 7.2 and 7.3: the TLP retransmits the last segment 2 SRTT and TCP_TIMEOUT_MIN after the last ACK.
		// Its SACK reveals, an RTT later, that the segment before is lost.
		v := viewOf(wire, net)
		Expect(v.retransmitted()).To(Equal([]int{last, last - 1}))
		probe := v.retransmits[0]
		waited := probe.At - v.lastACKBefore(probe).At
		lab.Measure("probe after", waited, net.Client().Oracle().TailLossProbe(pathRTT, 2))
		lab.Check("repaired after", v.retransmits[1].At-probe.At, slowRTT, "RFC 8985, 7.3: a round trip")

		Expect(drop.Hits()).To(HaveLen(2))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPLossProbes": 1, "TcpExtTCPFastRetrans": 1,
			"TcpExtTCPSackRecovery": 1, "TcpExtTCPTimeouts": 0, "TcpRetransSegs": 2,
		})
	})

var _ = It("recovers a lost last segment by a tail loss probe (TLP), no later than the RTO", Label("quick", "netem", "rfc8985"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Number(last)))
		send(lab, net, last*harness.MSS())

		// RFC 8985, 7.2: the ACK of a single segment may be delayed, so the TLP would wait for 2 SRTT + TCP_RTO_MIN.
		// The RTO, SRTT + TCP_RTO_MIN, is sooner.
		v := viewOf(wire, net)
		Expect(v.retransmitted()).To(Equal([]int{last}))
		waited := v.retransmits[0].At - v.lastACKBefore(v.retransmits[0]).At
		lab.Measure("probe after", waited, net.Client().Oracle().TailLossProbe(pathRTT, 1))

		Expect(drop.Hits()).To(HaveLen(1))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPLossProbes": 1, "TcpExtTCPTimeouts": 0,
			"TcpExtTCPFastRetrans": 0, "TcpRetransSegs": 1,
		})
	})

var _ = It("recovers a lost last segment by RTO alone, with tcp_early_retrans 0", Label("quick", "netem", "rfc6298"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_early_retrans", 0))) // ip-sysctl.rst: no tail loss probes
		wire := lab.Capture(net.Client())
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Number(last)))
		send(lab, net, last*harness.MSS())

		// RFC 6298, 5.3: the last ACK restarts the timer.
		v := viewOf(wire, net)
		Expect(v.retransmitted()).To(Equal([]int{last}))
		waited := v.retransmits[0].At - v.lastACKBefore(v.retransmits[0]).At
		lab.Measure("RTO after", waited, net.Client().Oracle().RetransmissionTimer(pathRTT))

		Expect(drop.Hits()).To(HaveLen(1))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPTimeouts": 1, "TcpExtTCPLossProbes": 0,
			"TcpRetransSegs": 1,
		})
	})

var _ = It("recovers a whole lost window by a TLP, without RTO", Label("quick", "netem", "rfc8985"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := lab.Capture(net.Client())
	window := net.Client().Oracle().InitialWindow(0)
	slowAgain(net)
	drop := net.ToServer.Rule(rules.Drop(rules.Data.First(window)))
	send(lab, net, int64(window)*harness.MSS())

	// RFC 8985, 7.2 and 6.2: the TLP is the last segment. Its SACK reveals that all before it are lost.
	v := viewOf(wire, net)
	Expect(v.retransmitted()).To(HaveExactElements(window, 1, 2, 3, 4, 5, 6, 7, 8, 9))
	probe := v.retransmits[0]
	lab.Measure("probe after", probe.At-v.first[window-1].At, net.Client().Oracle().TailLossProbe(pathRTT, window))
	lab.Check("repaired after", v.retransmits[1].At-probe.At, slowRTT, "RFC 8985, 6.2: a round trip")

	Expect(drop.Hits()).To(HaveLen(window))
	Expect(net.Client().Counters()).To(HaveCounters{
		"TcpExtTCPLossProbes": 1, "TcpExtTCPFastRetrans": window - 1,
		"TcpRetransSegs": window, "TcpExtTCPTimeouts": 0,
	})
})
