package retransmission

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
)

var _ = It("recovers a lost retransmission by RTO, if nothing was sent after it", Label("quick", "netem", "rfc6298"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Number(5).Times(2)))
		send(lab, net, 12*harness.MSS()) // the window of 10, and what the first ACK allows: all sent before the third duplicate

		// RFC 6298, 5.1 and 5.3: the retransmission starts the timer, and each SACK of a segment sent before it
		// restarts it (tcp_clean_rtx_queue). There are no loss probes in recovery (RFC 8985, 7.2).
		v := viewOf(wire, net)
		Expect(v.retransmitted()).To(Equal([]int{5, 5}))
		waited := v.retransmits[1].At - v.lastACKBefore(v.retransmits[1]).At
		lab.Measure("RTO after", waited, net.Client().Oracle().RetransmissionTimer(pathRTT))

		Expect(drop.Hits()).To(HaveLen(2))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPLostRetransmit": 1, "TcpExtTCPTimeouts": 1,
			"TcpExtTCPFastRetrans": 1, "TcpRetransSegs": 2,
		})
	})

var _ = It("recovers a lost retransmission by RACK, once a later transmission is delivered", Label("quick", "netem", "rfc8985"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Number(5).Times(2)))
		send(lab, net, 40*harness.MSS()) // 20 of them are still to be sent when the third duplicate ACK arrives

		// RFC 8985, 6.2: the retransmission is lost if a later transmission has been delivered. In recovery each SACK
		// releases a new segment (RFC 6937), the first of them at once or an RTT later, and its own SACK arrives an
		// RTT after that.
		v := viewOf(wire, net)
		Expect(v.retransmitted()).To(Equal([]int{5, 5}))
		waited := v.retransmits[1].At - v.retransmits[0].At
		expected := oracle.Between(pathRTT.Earliest, 2*pathRTT.Latest)
		lab.Measure("retransmitted again after", waited, expected, "RFC 8985, 6.2: one or two round trips")

		Expect(drop.Hits()).To(HaveLen(2))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPLostRetransmit": 1, "TcpExtTCPTimeouts": 0,
			"TcpExtTCPFastRetrans": 2, "TcpRetransSegs": 2,
		})
	})
