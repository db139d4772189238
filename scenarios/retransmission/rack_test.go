package retransmission

import (
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
)

// Linux 6.17 removed the loss detection of RFC 6675, which tcp_recovery could select: since then there is only RACK.
var _ = DescribeTable("with tcp_recovery 0 recovers a lost retransmission", Label("quick", "netem", "rfc8985"),
	func(ctx SpecContext, byRACK bool) {
		lab := harness.NewLab(ctx)
		net := network(lab, setting("tcp_recovery", 0))
		k := lab.Oracle(net.Client())
		Expect(k.RACK()).To(Equal(byRACK))
		wire := lab.Capture(net.Client())
		drop := lab.Rule(net.ToServer, rules.Drop(rules.Data.Number(5).Times(2)))
		send(lab, net, 40*mss()) // 20 of them are sent after the retransmission: they are left when the third duplicate ACK arrives

		v := viewOf(wire, net)
		Expect(v.repeated()).To(Equal([]int{5, 5}))
		Expect(drop.Hits()).To(HaveLen(2))
		Expect(lab.Counters(net.Client())).To(And(HaveGrown("TcpExtTCPLostRetransmit", 1), HaveGrown("TcpRetransSegs", 2)))
		if !byRACK {
			// RFC 6675, section 4: a segment is lost if enough SACK blocks are above it, which says nothing of a
			// retransmission. Each SACK of a segment sent before the retransmission restarts the timer; SACKs of
			// later ones do not (tcp_clean_rtx_queue).
			repeated := v.again[0]
			sent := slices.IndexFunc(v.first, func(s analysis.Segment) bool { return s.At > repeated.At })
			last := v.sackOf(v.first[sent-1].NextSeq())
			Expect(lab.Counters(net.Client())).To(And(HaveGrown("TcpExtTCPTimeouts", 1), HaveGrown("TcpExtTCPFastRetrans", 1)))
			lab.Measure("RTO after", v.again[1].At-last.At, k.RetransmissionTimer(pathRTT))
			return
		}
		// RFC 8985, 6.2: it is lost if a later transmission has been delivered, which takes one or two RTTs: see
		// "recovers a lost retransmission by RACK".
		waited := v.again[1].At - v.again[0].At
		Expect(lab.Counters(net.Client())).To(And(HaveGrown("TcpExtTCPTimeouts", 0), HaveGrown("TcpExtTCPFastRetrans", 2)))
		lab.Measure("retransmitted again after", waited, oracle.Between(roundTrip, 2*(roundTrip+hostDelay)), "RFC 8985, 6.2")
	},
	Entry("by RACK, always on", ComponentSemVerConstraint("kernel", ">= 6.17.0"), true),
	Entry("by RTO, as RACK is off", ComponentSemVerConstraint("kernel", "< 6.17.0"), false),
)
