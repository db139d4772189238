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
	"github.com/tcplab/tcplab/netns"
)

// Linux 6.17 removed the loss detection of RFC 6675, which tcp_recovery could select: since then there is only RACK.
var _ = DescribeTable("with tcp_recovery 0 recovers a lost retransmission", Label("quick", "netem", "rfc8985"),
	func(ctx SpecContext, byRACK bool) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_recovery", 0)))
		k := net.Client().Oracle()
		Expect(k.RACK()).To(Equal(byRACK))
		wire := lab.Capture(net.Client())
		drop := net.ToServer.Rule(rules.Drop(rules.Data.Number(5).Times(2)))
		send(lab, net, 40*harness.MSS()) // 20 of them are sent after the retransmission: they are left when the third duplicate ACK arrives

		v := viewOf(wire, net)
		Expect(v.retransmitted()).To(Equal([]int{5, 5}))
		Expect(drop.Hits()).To(HaveLen(2))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPLostRetransmit": 1, "TcpRetransSegs": 2})
		if !byRACK {
			// RFC 6675, section 4: a segment is lost if enough SACK blocks are above it, which says nothing of a
			// retransmission. Each SACK of a segment sent before the retransmission restarts the timer; SACKs of
			// later ones do not (tcp_clean_rtx_queue).
			retransmit := v.retransmits[0]
			sent := slices.IndexFunc(v.first, func(s analysis.Segment) bool { return s.At > retransmit.At })
			last := v.sackOf(v.first[sent-1].NextSeq())
			Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPTimeouts": 1, "TcpExtTCPFastRetrans": 1})
			lab.Measure("RTO after", v.retransmits[1].At-last.At, k.RetransmissionTimer(pathRTT))
			return
		}
		// RFC 8985, 6.2: it is lost if a later transmission has been delivered, which takes one or two RTTs: see
		// "recovers a lost retransmission by RACK".
		waited := v.retransmits[1].At - v.retransmits[0].At
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPTimeouts": 0, "TcpExtTCPFastRetrans": 2})
		lab.Measure("retransmitted again after", waited, oracle.Between(rtt, 2*(rtt+harness.HostDelay)), "RFC 8985, 6.2")
	},
	Entry("by RACK, always on", ComponentSemVerConstraint("kernel", ">= 6.17.0"), true),
	Entry("by RTO, as RACK is off", ComponentSemVerConstraint("kernel", "< 6.17.0"), false),
)
