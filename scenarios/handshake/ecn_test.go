package handshake

import (
	"fmt"
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
	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// sinceAccECN: tcp_ecn can be 3 to 5 since Linux 7.0 (tcp_ecn_mode_max in net/ipv4/sysctl_net_ipv4.c). Its default, 2, asks
// for no ECN.
var sinceAccECN = ComponentSemVerConstraint("kernel", ">= 7.0.0")

// Codepoints of the IP header (RFC 3168, section 5).
const (
	notECT = 0
	ect0   = 2
)

// tcpECN is the sysctl tcp_ecn.
func tcpECN(value int) []netns.Setting {
	return []netns.Setting{netns.IPv4("tcp_ecn", value)}
}

// An ecnCase is a connection on which each side sends a segment.
type ecnCase struct {
	lab              *harness.Lab
	net              *harness.Network
	wire             *harness.Capture
	client, server   oracle.Kernel
	connected, taken peers.Connection
	handshake        analysis.Handshake
}

// withECN makes a connection with these values of tcp_ecn, on a path that may change packets.
func withECN(lab *harness.Lab, client, server int, path func(*harness.Network)) ecnCase {
	GinkgoHelper()
	net := lab.Path(shortRTT, netns.Config{ClientSysctls: tcpECN(client), ServerSysctls: tcpECN(server)})
	if path != nil {
		path(net)
	}
	c := ecnCase{
		lab: lab, net: net, wire: lab.Capture(net.Client()), client: net.Client().Oracle(), server: net.Server().Oracle(),
	}
	accept := lab.Start(net.Server(), peers.Script{
		Listen: net.Server().Addr(80),
		Steps:  peers.Steps(peers.ReadAll(), peers.Write(1000), peers.CloseWrite(), peers.Inspect()),
	})
	dial := lab.Start(net.Client(), peers.Script{
		Connect: net.Server().Addr(80),
		Steps:   peers.Steps(peers.Write(1000), peers.CloseWrite(), peers.ReadAll(), peers.Inspect()),
	})
	c.connected, c.taken = dial.Wait().Connections[0], accept.Wait().Connections[0]
	handshakes := analysis.Handshakes(slices.Values(c.wire.Stop().Segments()))
	Expect(handshakes).To(HaveLen(1))
	c.handshake = handshakes[0]
	return c
}

// said is the ECN information of a segment: the codepoint in its IP header, and its ACE.
type said struct{ codepoint, ace uint8 }

// data returns the ECN information of the data segments of a host.
func (c ecnCase) data(from *harness.Host) (all []said) {
	GinkgoHelper()
	for _, s := range c.wire.Stop().DataFrom(from) {
		all = append(all, said{s.ECN, s.Flags.ACE()})
	}
	return all
}

// expectInUse expects both sides to use that mode of ECN, by the wire and by their sockets.
func (c ecnCase) expectInUse(ecn oracle.ECN) {
	GinkgoHelper()
	Expect(c.wire.Stop()).To(Contain(HandshakeWithECN(map[oracle.ECN]analysis.ECNMode{
		oracle.NoECN: analysis.ECNNone, oracle.ClassicECN: analysis.ECNClassic, oracle.AccurateECN: analysis.ECNAccurate,
	}[ecn]), 1))

	// RFC 3168, section 6.1: data is ECN-capable. RFC 9768, section 3.2.2: without a mark, the counter keeps its
	// initial value.
	var expected said
	if ecn != oracle.NoECN {
		expected.codepoint = ect0
	}
	if ecn == oracle.AccurateECN {
		expected.ace = oracle.ACE(0)
	}
	for _, side := range []*harness.Host{c.net.Client(), c.net.Server()} {
		Expect(c.data(side)).To(Equal([]said{expected}), side.Name())
	}
	const ecnOption = 8 // TCPI_OPT_ECN in include/uapi/linux/tcp.h
	for _, info := range []*tcpinfo.Info{c.connected.Steps[3].TCPInfo, c.taken.Steps[3].TCPInfo} {
		Expect(info.Options&ecnOption != 0).To(Equal(ecn != oracle.NoECN))
		if c.client.Version.AtLeast(7, 0) {
			Expect(info.Ecn_mode).To(BeEquivalentTo(ecn)) // TCPI_ECN_MODE_DISABLED, RFC3168, ACCECN
			Expect(info.Accecn_fail_mode).To(BeZero())
		}
	}
}

var _ = DescribeTable("negotiates ECN by the tcp_ecn of both sides:", Label("quick", "netem", "rfc3168", "rfc9768"),
	func(ctx SpecContext, client, server int, expected oracle.ECN) {
		lab := harness.NewLab(ctx)
		c := withECN(lab, client, server, nil)
		Expect(oracle.AgreedECN(c.client, c.server)).To(Equal(expected))
		c.expectInUse(expected)

		// The SYN is Not-ECT (RFC 3168, section 6.1.1), which the ACE of an accurate SYN-ACK reports. The final ACK
		// reports the same of the SYN-ACK.
		h := c.handshake
		Expect([]uint8{h.SYN.ECN, h.SYNACK.ECN}).To(HaveEach(BeEquivalentTo(notECT)))
		asked, answered := h.SYN.Flags.ACE(), h.SYNACK.Flags.ACE()
		lab.Measure("ACE of the SYN", asked, bounds.Exactly(c.client.SYNACE(0)), fmt.Sprintf("tcp_ecn %d", client))
		lab.Measure("ACE of the SYN-ACK", answered, bounds.Exactly(c.server.SYNACKACE(asked, h.SYN.ECN, 0)),
			"RFC 9768, table 2: ECN "+expected.String())
		third := uint8(0)
		if expected == oracle.AccurateECN {
			third = oracle.ReflectedACE(h.SYNACK.ECN)
		}
		Expect(h.ACK.Flags.ACE()).To(Equal(third))

		// RFC 9768, section 3.2.3: the SYN has no AccECN option. The initial values are not zero, so that zeroing by
		// the path is noticed.
		Expect(h.SYN.Options.HasAccECN).To(BeFalse())
		Expect(h.SYNACK.Options.HasAccECN).To(Equal(expected == oracle.AccurateECN))
		if o := h.SYNACK.Options.AccECN; expected == oracle.AccurateECN {
			Expect([]uint32{o.E0B, o.CEB, o.E1B}).To(Equal([]uint32{oracle.FirstE0B, oracle.FirstCEB, oracle.FirstE1B}))
		}
	},
	Entry("classic, if both request it (tcp_ecn 1)", 1, 1, oracle.ClassicECN),
	Entry("classic, with a server at the default (2)", 1, 2, oracle.ClassicECN),
	Entry("none, with a client at the default (2)", 2, 1, oracle.NoECN),
	Entry("none, if the server disables it (0)", 1, 0, oracle.NoECN),
	Entry("accurate, if both request it (3)", sinceAccECN, 3, 3, oracle.AccurateECN),
	Entry("accurate, if the server accepts but does not request it (5)", sinceAccECN, 3, 5, oracle.AccurateECN),
	Entry("classic, if the server supports RFC 3168 only", sinceAccECN, 3, 2, oracle.ClassicECN),
	Entry("classic, if the client requests that (4)", sinceAccECN, 4, 3, oracle.ClassicECN),
	Entry("none, if the client requests accurate and the server disables it", sinceAccECN, 3, 0, oracle.NoECN),
	Entry("none, if the client only accepts it (5)", sinceAccECN, 5, 3, oracle.NoECN),
)

var _ = DescribeTable("ECN fallback on SYN loss,", Label("quick", "netem", "rfc3168", "rfc9768"),
	func(ctx SpecContext, value, lost int, expected oracle.ECN) {
		lab := harness.NewLab(ctx)
		c := withECN(lab, value, value, func(net *harness.Network) { net.ToServer.Rule(rules.Drop(rules.SYN.First(lost))) })

		// RFC 3168, section 6.1.1.1, and RFC 9768, section 3.1.4.1: a middlebox may drop SYNs for their ECN flags.
		var asked, wanted []uint8
		for i, syn := range c.wire.Stop().Segments(analysis.SYNs) {
			asked, wanted = append(asked, syn.Flags.ACE()), append(wanted, c.client.SYNACE(i))
		}
		Expect(asked).To(And(Equal(wanted), HaveLen(lost+1)))
		last := asked[lost]
		Expect(c.handshake.SYNACK.Flags.ACE()).To(Equal(c.server.SYNACKACE(last, notECT, 0)))
		Expect(last != 0).To(Equal(expected != oracle.NoECN))
		c.expectInUse(expected)
		lab.Measure("ACE of the last SYN", last, bounds.Exactly(wanted[lost]), "tcp_ecn_fallback")
	},
	Entry("classic: in the first retransmission", 1, 1, oracle.NoECN),
	Entry("accurate: not yet in the first", sinceAccECN, 3, 1, oracle.AccurateECN),
	Entry("accurate: in the second", sinceAccECN, 3, 2, oracle.NoECN),
)

var _ = DescribeTable("falls back if the path clears ECN flags in the SYN,",
	Label("quick", "netem", "rfc9768"), sinceAccECN, func(ctx SpecContext, cleared rules.Flags, expected oracle.ECN) {
		lab := harness.NewLab(ctx)
		var clear *harness.Rule
		c := withECN(lab, 3, 3, func(net *harness.Network) { clear = net.ToServer.Rule(rules.ClearFlags(cleared, rules.SYN)) })

		// The client requested accurate ECN. The server answers what arrived (RFC 9768, section 3.1.2, table 2).
		came := c.handshake.SYN.Flags.ACE() &^ uint8(cleared/rules.ECE)
		Expect(clear.Hits()).To(HaveExactElements(HaveField("Done", true)))
		Expect(c.handshake.SYN.Flags.ACE()).To(Equal(c.client.SYNACE(0)))
		Expect(c.handshake.SYNACK.Flags.ACE()).To(Equal(c.server.SYNACKACE(came, notECT, 0)))
		c.expectInUse(expected)
	},
	Entry("to classic ECN: AE cleared", rules.AE, oracle.ClassicECN),
	Entry("to no ECN: all cleared", rules.AE|rules.CWR|rules.ECE, oracle.NoECN),
)

// Bits of accecn_fail_mode in TCP_INFO (include/uapi/linux/tcp.h).
const (
	aceFailSend = 1 << iota
	aceFailReceive
	optionFailSend
	optionFailReceive
)

var _ = It("sends Not-ECT if the ACE of the handshake's final ACK arrives as zero",
	Label("quick", "netem", "rfc9768"), sinceAccECN, func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		var clear *harness.Rule
		c := withECN(lab, 3, 3, func(net *harness.Network) {
			clear = net.ToServer.Rule(rules.ClearFlags(rules.AE|rules.CWR|rules.ECE, rules.HandshakeACK))
		})

		// RFC 9768, section 3.2.2.1, table 4: zero is no valid codepoint, so the path may lose marks. The server
		// stays in accurate mode, and still reports to the client, which does not know of it (tcp_accecn_third_ack).
		Expect(clear.Hits()).To(HaveExactElements(HaveField("Done", true)))
		Expect(c.wire.Stop()).To(Contain(HandshakeWithECN(analysis.ECNAccurate), 1))
		Expect(c.data(c.net.Client())).To(Equal([]said{{ect0, oracle.ACE(0)}}))
		Expect(c.data(c.net.Server())).To(Equal([]said{{notECT, oracle.ACE(0)}}))
		Expect(c.taken.Steps[3].TCPInfo.Accecn_fail_mode).To(BeEquivalentTo(aceFailReceive | optionFailReceive))
		Expect(c.connected.Steps[3].TCPInfo.Accecn_fail_mode).To(BeZero())
	})

var _ = It("disables accurate ECN in the second retransmission of the SYN-ACK, and then sends Not-ECT",
	Label("quick", "netem", "rfc9768"), sinceAccECN, func(ctx SpecContext) {
		const lost = 2
		lab := harness.NewLab(ctx)
		net := lab.Path(shortRTT, netns.Config{ClientSysctls: tcpECN(3), ServerSysctls: tcpECN(3)})
		net.ToServer.Rule(rules.Drop(rules.HandshakeACK.First(lost)))
		wire := lab.Capture(net.Client())
		accept := lab.Start(net.Server(), peers.Script{
			Listen: net.Server().Addr(80), Steps: peers.Steps(peers.Write(1000), peers.ReadAll(), peers.Inspect()),
		})
		client := lab.Start(net.Client(), peers.Script{
			Connect: net.Server().Addr(80), Steps: peers.Steps(peers.Read(1000), peers.Write(1000)),
		})
		client.Wait()
		taken := accept.Wait().Connections[0]

		// RFC 9768, sections 3.1.4.2 and 3.2.3.2.2: neither flags nor option, which a middlebox may block. The option
		// is left out first.
		k := net.Server().Oracle()
		answers := wire.Stop().Segments(analysis.SYNACKs)
		Expect(answers).To(HaveLen(1 + lost))
		for i, synack := range answers {
			Expect(synack.Flags.ACE()).To(Equal(k.SYNACKACE(net.Client().Oracle().SYNACE(0), notECT, i)), "SYN-ACK %d", i)
			Expect(synack.Options.HasAccECN).To(Equal(i == 0), "SYN-ACK %d", i)
		}
		// The client has received the first SYN-ACK, and keeps its mode. It answers each further one with the
		// codepoint that it arrived with.
		for _, ack := range wire.From(net.Client(), analysis.Not(analysis.SYNs))[:1+lost] {
			Expect(ack.Flags.ACE()).To(Equal(oracle.ReflectedACE(notECT)))
		}
		data := wire.Segments(analysis.WithData)
		Expect(data).To(HaveExactElements(
			And(HaveField("Src.Addr()", net.Server().IP()), HaveField("ECN", BeEquivalentTo(notECT))),
			And(HaveField("Src.Addr()", net.Client().IP()), HaveField("ECN", BeEquivalentTo(ect0))),
		))
		Expect(taken.Steps[2].TCPInfo.Accecn_fail_mode).To(BeEquivalentTo(aceFailSend))
	})
