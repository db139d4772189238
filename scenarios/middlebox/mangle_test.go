package middlebox

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

const bulk = 40_000 // bytes: somewhat more than the initial window

// send sends from client to server on a new connection, and returns it as the client saw it.
func send(lab *harness.Lab, net *harness.Network) peers.Connection {
	GinkgoHelper()
	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Steps: peers.Steps(peers.Write(bulk), peers.CloseWrite(), peers.ReadAll())},
		peers.Script{Steps: peers.Steps(peers.ReadAll())})
	Expect(pair.Server.Wait().Connections[0].Received).To(BeEquivalentTo(bulk))
	return pair.Client.Wait().Connections[0]
}

var _ = It("a clamp of the MSS spares a narrower path its ICMP", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	const narrow = 1400
	lab := harness.NewLab(ctx)
	net := lab.Dumbbell(1, netns.Config{BottleneckMTU: narrow})
	net.Impair(impair.Netem{Delay: rtt / 2})
	clamp := narrow - harness.IPHeader() - 20
	box := net.Routers[0].Middlebox(middlebox.Box{ClampMSS: uint16(clamp)})
	wire := lab.Capture(net.Client(), net.Server())
	connection := send(lab, net)

	// Each host offers the MSS of its own link (RFC 9293, section 3.7.1), and hears the path's.
	mss := func(host *harness.Host, sender *harness.Host, kind analysis.Filter) uint16 {
		GinkgoHelper()
		return harness.First(wire.Segments(analysis.On(host.Ends()[0].String()), analysis.From(sender.IP()), kind), "SYNs").Options.MSS
	}
	wire.Stop()
	offered := uint16(netns.DefaultMTU - harness.IPHeader() - 20)
	Expect(mss(net.Client(), net.Client(), analysis.SYNs)).To(Equal(offered))
	Expect(mss(net.Server(), net.Client(), analysis.SYNs)).To(BeEquivalentTo(clamp))
	Expect(mss(net.Server(), net.Server(), analysis.SYNACKs)).To(Equal(offered))
	Expect(mss(net.Client(), net.Server(), analysis.SYNACKs)).To(BeEquivalentTo(clamp))
	first := harness.First(wire.DataFrom(net.Client()), "data segments")
	lab.Measure("payload", bounds.In(first.Length, "bytes"), bounds.Exactly(harness.Payload(narrow)), "the clamp less the timestamps")
	Expect(connection.TCPInfo.Total_retrans).To(BeZero())
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0, harness.ByFamily("IcmpInDestUnreachs", "Icmp6InPktTooBigs"): 0})
	Expect(box.Packets(box.Counts()[0].Rule)).To(Equal(2)) // SYN and SYN-ACK
})

var _ = DescribeTable("a connection does without what a box strips from its SYN:", Label("quick", "netem"),
	func(ctx SpecContext, option middlebox.Option, without byte) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		box := net.Routers[0].Middlebox(middlebox.Box{StripOptions: []middlebox.Option{option}})
		wire := lab.Capture(net.Client(), net.Server())
		connection := send(lab, net)
		wire.Stop()

		// RFC 9293, section 3.1: an option is used if both SYNs have it, and the server answers the SYN that it gets.
		has := func(s analysis.Segment) bool {
			return map[middlebox.Option]bool{
				middlebox.Timestamps: s.Options.HasTimestamps, middlebox.SACKPermitted: s.Options.SACKPermitted,
				middlebox.WindowScale: s.Options.HasWindowScale,
			}[option]
		}
		sent := wire.Segments(analysis.On("client/eth0"), analysis.SYNs)
		Expect(sent).To(HaveExactElements(Satisfy(has)))
		others := wire.Segments(analysis.Not(analysis.All(analysis.On("client/eth0"), analysis.SYNs)))
		Expect(others).To(HaveEach(Not(Satisfy(has))))
		Expect(connection.TCPInfo.Options & (timestamps | sack | windowScale)).To(Equal(without))
		lab.Measure("stripped from", bounds.In(box.Packets("reset tcp option "+option.String()), "segments"), bounds.Exactly(1), "nft_exthdr_tcp_strip_eval")
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0, "TcpInCsumErrors": 0})
		Expect(net.Server().Counters()).To(HaveCounters{"TcpInErrs": 0, "TcpInCsumErrors": 0})
	},
	Entry("SACK", Label("rfc2018"), middlebox.SACKPermitted, byte(timestamps|windowScale)),
	Entry("timestamps", Label("rfc7323"), middlebox.Timestamps, byte(sack|windowScale)),
	Entry("window scaling", Label("rfc7323"), middlebox.WindowScale, byte(timestamps|sack)),
)

// TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK, TCPI_OPT_WSCALE of include/uapi/linux/tcp.h.
const (
	timestamps = 1 << iota
	sack
	windowScale
)

var _ = It("a connection falls back to no ECN if a box clears it", Label("quick", "netem", "rfc3168"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_ecn", 1)))
	box := net.Routers[0].Middlebox(middlebox.Box{ClearECN: true})
	wire := lab.Capture(net.Client(), net.Server())
	connection := send(lab, net)
	wire.Stop()

	// RFC 3168, section 6.1.1.1: the server sees a host that does not ask for ECN, and so the client hears.
	const asks = analysis.FlagSYN | analysis.FlagECE | analysis.FlagCWR
	syns := wire.Segments(analysis.SYNs)
	Expect(syns).To(HaveExactElements(
		And(HaveField("Interface", "client/eth0"), HaveField("Flags", asks)),
		And(HaveField("Interface", "server/eth0"), HaveField("Flags", analysis.FlagSYN))))
	Expect(wire.Segments(analysis.SYNACKs)).To(HaveEach(HaveField("Flags", analysis.FlagSYN|analysis.FlagACK)))
	Expect(wire.Segments(analysis.WithData)).To(HaveEach(HaveField("ECN", BeEquivalentTo(0))))
	const ecn = 8 // TCPI_OPT_ECN
	Expect(connection.TCPInfo.Options & ecn).To(BeZero())
	lab.Measure("flags cleared of", bounds.In(box.Packets("clear tcp flags ece, cwr, ae"), "segments"), bounds.Exactly(1), "RFC 3168, 6.1.1: the SYN")
	Expect(net.Server().Counters()).To(HaveCounters{"TcpInErrs": 0, "TcpInCsumErrors": 0})
})
