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

// A loss at the end has no duplicate ACKs: there is nothing behind it that could cause them.

// last is the number of a transfer's last segment. The receiver acknowledges the first 16 at once (oracle:
// Kernel.QuickACKs): with more of them, an ACK could be delayed, which counts as a round trip of 60 ms.
const last = 12

// slowAgain lets a retransmission take longer than anything before it. RACK does not believe one that is back sooner
// than the least RTT: the answer could be to the first transmission (tcp_rack_advance; RFC 8985, 6.2, step 2). On a path
// whose delay never varies, a probe that travels alone is the fastest of all.
func slowAgain(net *harness.Network) {
	GinkgoHelper()
	net.ToServer.Rule(rules.Hold(harness.HostDelay, rules.Retransmission))
}

// slowRTT is the round trip of such a retransmission.
var slowRTT = pathRTT.Plus(oracle.Exactly(harness.HostDelay))

var _ = It("probes for a loss of the last two segments after two round trips, and learns of both", Label("quick", "netem", "rfc8985"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(roundTrip)
		wire := lab.Capture(net.Client())
		slowAgain(net)
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Between(last-1, last)))
		send(lab, net, last*harness.MSS())

		// RFC 8985, 7.2 and 7.3: the last segment again, 2 SRTT and TCP_TIMEOUT_MIN after the last ACK. The SACK of it tells,
		// a round trip later, that the one before is lost.
		v := viewOf(wire, net)
		Expect(v.repeated()).To(Equal([]int{last, last - 1}))
		probe := v.again[0]
		waited := probe.At - v.lastACKBefore(probe).At
		lab.Measure("probe after", waited, net.Client().Oracle().TailLossProbe(pathRTT, 2))
		lab.Check("repaired after", v.again[1].At-probe.At, slowRTT, "RFC 8985, 7.3: a round trip")

		Expect(drop.Hits()).To(HaveLen(2))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPLossProbes": 1, "TcpExtTCPFastRetrans": 1,
			"TcpExtTCPSackRecovery": 1, "TcpExtTCPTimeouts": 0, "TcpRetransSegs": 2,
		})
	})

var _ = It("probes for a loss of the last segment no later than its RTO, and calls it no time-out", Label("quick", "netem", "rfc8985"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(roundTrip)
		wire := lab.Capture(net.Client())
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Number(last)))
		send(lab, net, last*harness.MSS())

		// RFC 8985, 7.2: the ACK of a single segment may be delayed, which the probe waits for: 2 SRTT + TCP_RTO_MIN; the
		// RTO, SRTT + TCP_RTO_MIN, is less.
		v := viewOf(wire, net)
		Expect(v.repeated()).To(Equal([]int{last}))
		waited := v.again[0].At - v.lastACKBefore(v.again[0]).At
		lab.Measure("probe after", waited, net.Client().Oracle().TailLossProbe(pathRTT, 1))

		Expect(drop.Hits()).To(HaveLen(1))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPLossProbes": 1, "TcpExtTCPTimeouts": 0,
			"TcpExtTCPFastRetrans": 0, "TcpRetransSegs": 1,
		})
	})

var _ = It("has but its time-out for a loss of the last segment, with tcp_early_retrans 0", Label("quick", "netem", "rfc6298"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(roundTrip, harness.Sysctls(netns.IPv4("tcp_early_retrans", 0))) // ip-sysctl.rst: no tail loss probes
		wire := lab.Capture(net.Client())
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Number(last)))
		send(lab, net, last*harness.MSS())

		// RFC 6298, 5.3: the timer starts anew with the last ACK.
		v := viewOf(wire, net)
		Expect(v.repeated()).To(Equal([]int{last}))
		waited := v.again[0].At - v.lastACKBefore(v.again[0]).At
		lab.Measure("time-out after", waited, net.Client().Oracle().RetransmissionTimer(pathRTT))

		Expect(drop.Hits()).To(HaveLen(1))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPTimeouts": 1, "TcpExtTCPLossProbes": 0,
			"TcpRetransSegs": 1,
		})
	})

var _ = It("repairs the loss of a whole window by a probe, without a time-out", Label("quick", "netem", "rfc8985"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(roundTrip)
	wire := lab.Capture(net.Client())
	window := net.Client().Oracle().InitialWindow(0)
	slowAgain(net)
	drop := net.ToServer.Rule(rules.Drop(rules.Data.First(window)))
	send(lab, net, int64(window)*harness.MSS())

	// RFC 8985, 7.2 and 6.2: the probe is the last segment; its SACK tells that all before it are lost.
	v := viewOf(wire, net)
	Expect(v.repeated()).To(HaveExactElements(window, 1, 2, 3, 4, 5, 6, 7, 8, 9))
	probe := v.again[0]
	lab.Measure("probe after", probe.At-v.first[window-1].At, net.Client().Oracle().TailLossProbe(pathRTT, window))
	lab.Check("repaired after", v.again[1].At-probe.At, slowRTT, "RFC 8985, 6.2: a round trip")

	Expect(drop.Hits()).To(HaveLen(window))
	Expect(net.Client().Counters()).To(HaveCounters{
		"TcpExtTCPLossProbes": 1, "TcpExtTCPFastRetrans": window - 1,
		"TcpRetransSegs": window, "TcpExtTCPTimeouts": 0,
	})
})
