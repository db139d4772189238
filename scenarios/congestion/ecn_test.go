package congestion

import (
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("reduces cwnd once for a CE mark, as for a loss, and retransmits nothing", Label("quick", "netem", "rfc3168"),
	func(ctx SpecContext) {
		const rtt = longRTT
		const marked = 75 // in the round of 80
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, netns.Config{Sysctls: append(slices.Clone(largeBuffers.Sysctls), netns.IPv4("tcp_ecn", 1))})
		mark := net.ToServer.Rule(rules.MarkCE(rules.Data.Number(marked)))

		f := transfer(lab, net, rtt/20, peers.BulkClient{
			Connect: net.Server().Addr(port), Bytes: 300 * harness.MSS(), Socket: peers.Socket{Congestion: "cubic"},
		}, peers.Socket{})

		Expect(len(f.data)).To(BeNumerically(">", marked))
		Expect(mark.Hits()).To(HaveExactElements(HaveField("Done", true)))
		Expect(net.Server().Counters()).To(HaveGrown(harness.ByFamily("IpExtInCEPkts", "Ip6InCEPkts"), 1))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0, "TcpExtTCPDeliveredCE": BeNumerically(">=", 1)})

		// RFC 3168, 6.1.2: the sender reduces its window on the first echo and sets CWR in the next segment. It
		// ignores the further echoes of this round. 6.1.3: the echoes end with CWR.
		answers := slices.Collect(analysis.Where(slices.Values(f.data), analysis.With(analysis.FlagCWR)))
		Expect(answers).To(HaveLen(1))
		acks := slices.Collect(analysis.Where(slices.Values(f.segments), analysis.From(f.Remote.Addr()), analysis.Not(analysis.SYNACKs)))
		first := slices.IndexFunc(acks, analysis.With(analysis.FlagECE))
		Expect(first).To(BeNumerically(">", 0), "the first echo")
		Expect(acks[first].Ack).To(Equal(f.data[marked-1].NextSeq()))
		lab.Check("CWR after the first echo", answers[0].At-acks[first].At, oracle.Between(0, harness.HostDelay), "RFC 3168, 6.1.2")
		for _, ack := range acks[first:] {
			answered := int32(ack.Ack-answers[0].Seq) > 0
			Expect(ack.Flags&analysis.FlagECE == 0).To(Equal(answered), "%v", ack)
		}

		// The round of 80 begins with segment 71. Until the echo, each acknowledged segment of it has increased the
		// window by one.
		window := 80 + int(acks[first-1].Ack-f.data[10+20+40].Seq)/int(harness.MSS())
		reduced := oracle.CubicAfterLoss(window)
		Expect(plateaus(f.socket, rtt, threshold)).To(Equal([]int{oracle.InfiniteThreshold, reduced}))
		Expect(begin(perRound(f.data, rtt), 5)).To(HaveExactElements(10, 20, 40, 80, BeNumerically("~", reduced, cubicSlack)))
		lab.Measure("window after the mark", bounds.In(f.TCPInfo.Snd_ssthresh, "segments"), bounds.Exactly(reduced), "RFC 9438, 4.6")
	})
