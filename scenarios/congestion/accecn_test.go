package congestion

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
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// sinceAccECN: tcp_ecn can be 3 since Linux 7.0 (tcp_ecn_mode_max in net/ipv4/sysctl_net_ipv4.c).
var sinceAccECN = ComponentSemVerConstraint("kernel", ">= 7.0.0")

// The codepoints of RFC 3168, section 5.
const (
	notECT = 0
	ce     = 3
)

// An accurateFlow is a transfer with accurate ECN, as seen by captures at both ends and by both sockets.
type accurateFlow struct {
	lab            *harness.Lab
	net            *harness.Network
	sender         tcpinfo.Info
	receiver       tcpinfo.Info
	sent, came     []analysis.Segment // data, at the client and at the server
	acks           []analysis.Segment // the server's, at the client, after its SYN-ACK
	client, server analysis.Conversation
	segment        int // payload of a full segment, in bytes
}

// accurately sends a number of full segments with accurate ECN over a path that may change them.
func accurately(lab *harness.Lab, segments int64, path func(*harness.Network)) accurateFlow {
	GinkgoHelper()
	const rtt = 40 * time.Millisecond
	net := lab.Path(rtt, netns.Config{
		Sysctls: append(slices.Clone(largeBuffers.Sysctls), netns.IPv4("tcp_ecn", 3)),
	})
	path(net)
	f := accurateFlow{lab: lab, net: net, segment: int(harness.MSS()) - net.Client().Oracle().AccECNOption()}
	bytes := segments * int64(f.segment)
	near, far := lab.Capture(net.Client()), lab.Capture(net.Server())
	accept := lab.Start(net.Server(), peers.Script{
		Listen: net.Server().Addr(port), Steps: peers.Steps(peers.ReadAll(), peers.Inspect()),
	})
	dial := lab.Start(net.Client(), peers.Script{
		Connect: net.Server().Addr(port),
		Socket:  peers.Socket{Congestion: "reno"}, // without HyStart, which would end slow start too
		// The client closes first. If it did not, it would get an ACK from a socket in TIME-WAIT, where Linux keeps
		// no counter: the ACE of 0 would count as marks (tcp_v4_timewait_ack).
		Steps: peers.Steps(peers.Write(bytes), peers.Sleep(time.Second), peers.Inspect(), peers.CloseWrite(), peers.ReadAll()),
	})
	f.sender = *dial.Wait().Connections[0].Steps[2].TCPInfo
	f.receiver = *accept.Wait().Connections[0].Steps[1].TCPInfo

	Expect(near.Stop()).To(Contain(HandshakeWithECN(analysis.ECNAccurate), 1))
	f.sent = near.DataFrom(net.Client())
	f.came = far.Stop().DataFrom(net.Client())
	f.acks = near.From(net.Server(), analysis.Not(analysis.SYNACKs))
	f.client = harness.First(near.Report().Conversations, "conversations")
	f.server = harness.First(far.Report().Conversations, "conversations")
	Expect(f.sent).To(HaveLen(int(segments)), "segments sent, none of them retransmitted")
	Expect(f.sent).To(HaveEach(And(HaveField("Length", f.segment), HaveField("ECN", Not(BeEquivalentTo(notECT))))))
	Expect(f.acks).NotTo(BeEmpty())
	return f
}

// codepoints of the data as it came to the server.
func (f accurateFlow) codepoints() (all []uint8) {
	for _, s := range f.came {
		all = append(all, s.ECN)
	}
	return all
}

// option is the last AccECN option of the server.
func (f accurateFlow) option() analysis.AccECN {
	GinkgoHelper()
	for _, s := range slices.Backward(f.acks) {
		if s.Options.HasAccECN {
			return s.Options.AccECN
		}
	}
	Fail("no AccECN option in any segment of the server")
	return analysis.AccECN{}
}

// findings are what the analysis finds, by kind.
func findings(c analysis.Conversation) (kinds []analysis.FindingKind) {
	for _, f := range c.Findings {
		kinds = append(kinds, f.Kind)
	}
	return kinds
}

var _ = DescribeTable("accurate ECN counts every CE mark in ACE, and its bytes in the AccECN option,",
	Label("quick", "netem", "rfc9768"), sinceAccECN, func(ctx SpecContext, first, marks int) {
		const segments = 100
		lab := harness.NewLab(ctx)
		var mark *harness.Rule
		f := accurately(lab, segments, func(net *harness.Network) {
			mark = net.ToServer.Rule(rules.MarkCE(rules.Data.Between(first, first+marks-1)))
		})
		Expect(mark.Hits()).To(And(HaveLen(marks), HaveEach(HaveField("Done", true))))
		marked := marks * f.segment

		// What arrived: by the capture, by the server's IP counters, and by its socket.
		Expect(slices.DeleteFunc(f.codepoints(), func(c uint8) bool { return c != ce })).To(HaveLen(marks))
		Expect(f.net.Server().Counters()).To(HaveGrown(harness.ByFamily("IpExtInCEPkts", "Ip6InCEPkts"), marks))
		Expect(f.receiver.Received_ce).To(BeEquivalentTo(marks))
		Expect(f.receiver.Received_ce_bytes).To(BeEquivalentTo(marked))
		Expect(f.receiver.Received_e0_bytes).To(BeEquivalentTo(segments*f.segment - marked))

		// What the server reports (RFC 9768, sections 3.2.2 and 3.2.3): packets modulo 8, starting at 5, and bytes
		// modulo 2^24.
		Expect(f.acks[len(f.acks)-1].Flags.ACE()).To(Equal(oracle.ACE(marks)))
		option := f.option()
		Expect(option.CEB).To(BeEquivalentTo(oracle.FirstCEB + marked))
		Expect(option.E0B).To(BeEquivalentTo(oracle.FirstE0B + segments*f.segment - marked))
		Expect(option.E1B).To(BeEquivalentTo(oracle.FirstE1B))
		Expect([]int{f.client.Server.CEReported, int(f.client.Server.CEBytesReported)}).To(Equal([]int{marks, marked}))
		Expect(findings(f.client)).To(ContainElement(analysis.Congestion))

		// What the client counts: each mark, although not every segment has an ACK of its own.
		lab.Measure("counted by ACE", f.sender.Delivered_ce, bounds.Exactly(marks), "RFC 9768, 3.2.2")
		lab.Measure("counted by the option", bounds.In(f.sender.Delivered_ce_bytes, "bytes"), bounds.Exactly(marked), "RFC 9768, 3.2.3")
		Expect(f.sender.Delivered_e0_bytes).To(BeEquivalentTo(segments*f.segment - marked))
		Expect(f.net.Client().Counters()).To(HaveCounters{"TcpExtTCPDeliveredCE": marks, "TcpRetransSegs": 0})

		// Reno reacts as to the echo of RFC 3168: it leaves slow start.
		Expect(f.sender.Snd_ssthresh).To(BeNumerically("<", infiniteThreshold))
	},
	Entry("one", 40, 1),
	Entry("twelve in a row, more than ACE's three bits", 40, 12),
)

var _ = It("accurate ECN reports no CE marks if the path bleaches them, which its counters show",
	Label("quick", "netem", "rfc9768"), sinceAccECN, func(ctx SpecContext) {
		const segments, marks = 100, 10
		lab := harness.NewLab(ctx)
		var mark, bleach *harness.Rule
		f := accurately(lab, segments, func(net *harness.Network) {
			mark = net.Client().End("eth0").Rule(rules.MarkCE(rules.Data.Between(40, 40+marks-1))) // as a queue near the client would
			bleach = net.ToServer.Rule(rules.Bleach(rules.Data))
		})
		Expect(mark.Hits()).To(And(HaveLen(marks), HaveEach(HaveField("Done", true))))
		Expect(bleach.Hits()).To(And(HaveLen(segments), HaveEach(HaveField("Done", true))))

		// The client's capture is taken after the rule on its own link, and has the marks. Nothing that arrived was
		// ECN-capable, so ACE and the option keep their initial values. A sender can detect this: all was sent as
		// ECT(0), and E0B does not grow (RFC 9768, section 3.2.2.3).
		Expect(f.client.Client.CE.Count).To(Equal(marks))
		Expect(f.codepoints()).To(HaveEach(BeEquivalentTo(notECT)))
		Expect(f.net.Server().Counters()).To(HaveCounters{harness.ByFamily("IpExtInCEPkts", "Ip6InCEPkts"): 0})
		Expect([]uint32{f.receiver.Received_ce, f.receiver.Received_e0_bytes, f.receiver.Received_ce_bytes}).To(HaveEach(BeZero()))
		Expect(f.acks[len(f.acks)-1].Flags.ACE()).To(Equal(oracle.ACE(0)))
		option := f.option()
		Expect([]uint32{option.E0B, option.CEB, option.E1B}).To(Equal([]uint32{oracle.FirstE0B, oracle.FirstCEB, oracle.FirstE1B}))

		// The sender learns of no congestion. Linux does not react to bleaching: it still sends ECT(0).
		Expect([]uint32{f.sender.Delivered_ce, f.sender.Delivered_e0_bytes, f.sender.Delivered_ce_bytes}).To(HaveEach(BeZero()))
		Expect(f.sender.Accecn_fail_mode).To(BeZero())
		Expect(f.sender.Snd_ssthresh).To(BeEquivalentTo(infiniteThreshold))
		Expect(f.net.Client().Counters()).To(HaveCounters{"TcpExtTCPDeliveredCE": 0, "TcpRetransSegs": 0})
		Expect([]int{f.client.Server.CEReported, f.server.Client.CE.Count}).To(HaveEach(BeZero()))
		lab.Note("marks", marks)
		lab.Measure("counted by ACE", f.sender.Delivered_ce, bounds.Exactly(0), "RFC 9768, 3.2.2.3: bleached")
	})
