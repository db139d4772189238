package handshake

import (
	"cmp"
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// options are the options of a SYN that sysctls control.
type options struct{ windowScale, sack, timestamps, accECN bool }

// offered returns the options of the only SYN that passes the filter.
func offered(wire *harness.Capture, filter analysis.Filter) options {
	GinkgoHelper()
	syns := wire.Stop().Segments(filter)
	Expect(syns).To(HaveLen(1))
	o := syns[0].Options
	return options{o.HasWindowScale, o.SACKPermitted, o.HasTimestamps, o.HasAccECN}
}

// inUse returns the options that a connection uses (include/uapi/linux/tcp.h: TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK,
// TCPI_OPT_WSCALE; TCP_ACCECN_OPT_NOT_SEEN, since Linux 7.0).
func inUse(c peers.Connection) options {
	bits := c.TCPInfo.Options
	return options{windowScale: bits&4 != 0, sack: bits&2 != 0, timestamps: bits&1 != 0, accECN: c.TCPInfo.Accecn_opt_seen != 0}
}

var _ = DescribeTable("negotiates the options that both sides enable:", Label("quick", "netem", "rfc7323"),
	func(ctx SpecContext, client, server []netns.Setting, syn, synack options) {
		lab := harness.NewLab(ctx)
		net := lab.Path(shortRTT, netns.Config{ClientSysctls: client, ServerSysctls: server})
		wire := lab.Capture(net.Client())

		accept := lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Count: 1})
		dial := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80)})
		connected, accepted := dial.Wait().Connections[0], accept.Wait().Connections[0]

		// RFC 7323, sections 2.2 and 3.2, and RFC 2018, section 2: a SYN-ACK has an option only if the SYN had it;
		// and AccECN only if the SYN requested accurate ECN.
		Expect(offered(wire, analysis.SYNs)).To(Equal(syn))
		Expect(offered(wire, analysis.SYNACKs)).To(Equal(synack))
		Expect(inUse(connected)).To(Equal(synack))
		Expect(inUse(accepted)).To(Equal(synack))
	},
	Entry("defaults", nil, nil, options{true, true, true, false}, options{true, true, true, false}),
	Entry("no window scaling from the client", off("window_scaling"), nil, options{false, true, true, false}, options{false, true, true, false}),
	Entry("no window scaling from the server", nil, off("window_scaling"), options{true, true, true, false}, options{false, true, true, false}),
	Entry("no SACK from the client", off("sack"), nil, options{true, false, true, false}, options{true, false, true, false}),
	Entry("no SACK from the server", nil, off("sack"), options{true, true, true, false}, options{true, false, true, false}),
	Entry("no timestamps from the client", off("timestamps"), nil, options{true, true, false, false}, options{true, true, false, false}),
	Entry("no timestamps from the server", nil, off("timestamps"), options{true, true, true, false}, options{true, true, false, false}),
	// RFC 9768, section 3.2.3: a SYN requests accurate ECN by flags, not by the option.
	Entry("AccECN too, with accurate ECN", sinceAccECN, tcpECN(3), tcpECN(3), options{true, true, true, false}, options{true, true, true, true}),
	Entry("no AccECN from the server", sinceAccECN, tcpECN(3), slices.Concat(tcpECN(3), off("ecn_option")),
		options{true, true, true, false}, options{true, true, true, false}),
)

func off(option string) []netns.Setting {
	return []netns.Setting{netns.IPv4("tcp_"+option, 0)}
}

var _ = DescribeTable("limits segments to the smaller MSS of both sides:", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, clientMSS, serverMSS int) {
		const (
			mtu        = 1500
			timestamps = 12 // RFC 7323, appendix A; they are part of what an MSS counts (RFC 6691)
		)
		lab := harness.NewLab(ctx)
		net := lab.Path(shortRTT, netns.Config{MTU: mtu})
		wire := lab.Capture(net.Client())

		server := lab.Start(net.Server(), peers.Script{
			Listen: net.Server().Addr(80), Socket: peers.Socket{MSS: serverMSS},
			Steps: peers.Steps(peers.ReadAll(), peers.Inspect(), peers.Write(10_000)),
		})
		client := lab.Start(net.Client(), peers.Script{
			Connect: net.Server().Addr(80), Socket: peers.Socket{MSS: clientMSS},
			Steps: peers.Steps(peers.Write(10_000), peers.CloseWrite(), peers.ReadAll(), peers.Inspect()),
		})
		sent, answered := client.Wait().Connections[0], server.Wait().Connections[0]

		// RFC 9293, section 3.7.1: the MTU less the headers, or TCP_MAXSEG. Each side advertises its own.
		whole := mtu - harness.IPHeader() - 20
		Expect(offeredMSS(wire, analysis.SYNs)).To(Equal(orWhole(clientMSS, whole)))
		Expect(offeredMSS(wire, analysis.SYNACKs)).To(Equal(orWhole(serverMSS, whole)))
		smaller := min(orWhole(clientMSS, whole), orWhole(serverMSS, whole)) - timestamps
		for _, side := range []*harness.Host{net.Client(), net.Server()} {
			Expect(longest(wire.Stop().From(side))).To(Equal(smaller))
		}
		Expect(sent.Steps[3].TCPInfo.Snd_mss).To(BeEquivalentTo(smaller))
		Expect(answered.Steps[1].TCPInfo.Snd_mss).To(BeEquivalentTo(smaller))
	},
	Entry("the link's", 0, 0),
	Entry("the client's", 1000, 0),
	Entry("the server's", 0, 1000),
	Entry("the server's, if both are below the link's", 1200, 800),
)

func orWhole(mss, whole int) int { return min(cmp.Or(mss, whole), whole) }

func offeredMSS(wire *harness.Capture, filter analysis.Filter) int {
	GinkgoHelper()
	syns := wire.Stop().Segments(filter)
	Expect(syns).To(HaveLen(1))
	return int(syns[0].Options.MSS)
}

// longest is the longest payload.
func longest(segments []analysis.Segment) (length int) {
	for _, s := range segments {
		length = max(length, s.Length)
	}
	return length
}
