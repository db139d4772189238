package middlebox

import (
	"encoding/binary"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// refused is how a connection from outside ends, and how the rule is called that saw to it.
type refused struct {
	unknown    middlebox.Answer
	rule       string
	ipv4, ipv6 unix.Errno
	after      func(k oracle.Kernel) oracle.Span
	syns       func(k oracle.Kernel) int
}

// answered is how long after the server's SYN the first answer of that kind came to it: a reset, or ICMP.
func answered(wire *harness.Capture, net *harness.Network, kind middlebox.Answer) time.Duration {
	GinkgoHelper()
	syn := harness.First(wire.From(net.Server(), analysis.SYNs), "SYNs of the server")
	if kind == middlebox.Reset {
		later := func(s analysis.Segment) bool { return s.Frame > syn.Frame }
		return harness.First(wire.Segments(analysis.RSTs, analysis.On(syn.Interface), analysis.To(net.Server().IP()), later), "resets").At - syn.At
	}
	frames := slices.DeleteFunc(wire.Frames(), func(f analysis.Frame) bool {
		return f.Frame <= syn.Frame || f.Interface != syn.Interface || f.Direction != analysis.Inbound || !isICMPError(f)
	})
	return harness.First(frames, "errors of ICMP").At - syn.At
}

// isICMPError tells whether a frame carries ICMP, which is an error, as nobody pings; or an error of ICMPv6, whose type is below 128 (RFC
// 4443, 2.1), as that of neighbour discovery is not.
func isICMPError(f analysis.Frame) bool {
	const ethernet, ipv6Header = 14, 40
	if len(f.Data) < ethernet+ipv6Header+1 {
		return false
	}
	ip := f.Data[ethernet:]
	switch binary.BigEndian.Uint16(f.Data[ethernet-2:]) {
	case unix.ETH_P_IP:
		return ip[9] == unix.IPPROTO_ICMP
	case unix.ETH_P_IPV6:
		return ip[6] == unix.IPPROTO_ICMPV6 && ip[ipv6Header] < 128
	}
	return false
}

var _ = DescribeTable("a stateful firewall lets connections out, and from outside", Label("quick", "netem", "linux"),
	func(ctx SpecContext, c refused) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.ServerSysctls(netns.IPv4("tcp_syn_retries", 1)))
		box := net.Routers[0].Middlebox(middlebox.Box{Firewall: true, Outside: net.ToServer.Name(), Unknown: c.unknown})
		wire := lab.Capture(net.Client(), net.Server())

		lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80)})
		lab.Start(net.Client(), peers.Accept{Listen: net.Client().Addr(80)})
		out := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80)}).Wait().Connections[0]
		in := lab.Start(net.Server(), peers.Dial{Connect: net.Client().Addr(80)}).Wait().Connections[0]

		Expect(out.Err).To(BeNil())
		Expect(in.Err).To(MatchError(harness.ByFamily(c.ipv4, c.ipv6)))
		k := net.Server().Oracle()
		if c.unknown == middlebox.Silence {
			lab.Measure("failed after", in.ConnectTime, c.after(k))
		} else {
			lab.Measure("answered after", answered(wire.Stop(), net, c.unknown), c.after(k))
			lab.Check("failed after", in.ConnectTime, c.after(k).LateBy(harness.Settle)) // the program's own time included
		}
		Expect(wire.Stop()).To(Contain(Segments("SYNs of the server", analysis.All(analysis.SYNs, analysis.From(net.Server().IP()))), c.syns(k)))
		Expect(wire.From(net.Server(), analysis.SYNs, analysis.On("client/eth0"))).To(BeEmpty())
		Expect(box.Packets(c.rule)).To(Equal(c.syns(k)))
	},
	Entry("none that it drops: ETIMEDOUT", refused{
		middlebox.Silence, "drop", unix.ETIMEDOUT, unix.ETIMEDOUT,
		func(k oracle.Kernel) oracle.Span {
			return k.Connect(oracle.ConnectOptions{}).End.LateBy(harness.HostDelay)
		},
		func(k oracle.Kernel) int { return 1 + k.Connect(oracle.ConnectOptions{}).Most },
	}),
	Entry("none that it resets: ECONNREFUSED", refused{
		middlebox.Reset, "reject with tcp reset", unix.ECONNREFUSED, unix.ECONNREFUSED,
		func(oracle.Kernel) oracle.Span { return half.From("RFC 9293, 3.10.7.1; half a round trip") },
		func(oracle.Kernel) int { return 1 },
	}),
	// net/ipv4/icmp.c, icmp_err_convert; net/ipv6/icmp.c, tab_unreach.
	Entry("none that it prohibits by ICMP: EHOSTUNREACH, or with IPv6 EACCES", refused{
		middlebox.Prohibited, "reject with icmpx admin-prohibited", unix.EHOSTUNREACH, unix.EACCES,
		func(oracle.Kernel) oracle.Span {
			return half.From("RFC 1812, 5.2.7.1; RFC 4443, 3.1; half a round trip")
		},
		func(oracle.Kernel) int { return 1 },
	}),
)
