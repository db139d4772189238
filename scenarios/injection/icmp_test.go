package injection

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/inject"
	"github.com/tcplab/tcplab/peers"
)

// opening starts a client whose SYNs nobody answers, and returns the first one.
func opening(lab *harness.Lab, net *harness.Network, wire *harness.Capture) (client *harness.Peer, syn analysis.Segment, dark *harness.Rule) {
	GinkgoHelper()
	lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80)})
	dark = net.ToServer.Blackhole()
	client = lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80)})
	time.Sleep(harness.Settle) // half of the first RTO
	return client, harness.First(wire.SoFar(analysis.SYNs), "SYNs"), dark
}

var _ = DescribeTable("fails connect(2) in SYN-SENT at once when ICMP says", Label("quick", "netem", "rfc5461"),
	func(ctx SpecContext, reason inject.Reason, ipv4, ipv6 unix.Errno) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		client, syn, _ := opening(lab, net, wire)

		sent := net.ToClient.Inject(told(net, reason, inject.Like(syn)))
		connection := client.Wait().Connections[0]

		// RFC 5461, section 3: many hosts give up, though RFC 1122 (4.2.3.9) has soft errors among these; tcp_v4_err, tcp_v6_err.
		Expect(connection.Err).To(MatchError(harness.ByFamily(ipv4, ipv6)))
		Expect(wire.Stop()).To(Contain(Segments("SYNs", analysis.SYNs), 1))
		failed := connection.ConnectTime - sent.At.Sub(syn.Time)
		lab.Measure("failed after", failed, oracle.Exactly(rtt/2).LateBy(harness.HostDelay), "RFC 5461, 3; half a round trip")
		Expect(net.Client().Counters()).To(HaveCounters{"TcpAttemptFails": 1, "TcpExtTCPTimeouts": 0, "TcpExtOutOfWindowIcmps": 0})
	},
	// net/ipv4/icmp.c, icmp_err_convert; net/ipv6/icmp.c, tab_unreach and icmpv6_err_convert.
	Entry("port unreachable", inject.PortUnreachable, unix.ECONNREFUSED, unix.ECONNREFUSED),
	Entry("host unreachable", inject.HostUnreachable, unix.EHOSTUNREACH, unix.EHOSTUNREACH),
	Entry("network unreachable", inject.NetUnreachable, unix.ENETUNREACH, unix.ENETUNREACH),
	Entry("protocol unreachable", inject.ProtocolUnreachable, unix.ENOPROTOOPT, unix.EPROTO),
	Entry("prohibited by a filter", inject.AdminProhibited, unix.EHOSTUNREACH, unix.EACCES),
	Entry("time exceeded", inject.TimeExceeded, unix.EHOSTUNREACH, unix.EHOSTUNREACH),
)

var _ = It("connects although ICMP says port unreachable, about a SYN that it has not sent", Label("quick", "netem", "rfc5927"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		client, syn, dark := opening(lab, net, wire)

		other := inject.Like(syn)
		other.Seq += 2 // SND.NXT is the SYN's number and 1
		net.ToClient.Inject(told(net, inject.PortUnreachable, other))
		time.Sleep(rtt)
		dark.Stop()
		connection := client.Wait().Connections[0]

		// RFC 5927, section 4.1: the number has to be one of data in flight (tcp_v4_err, tcp_v6_err).
		Expect(connection.Err).To(BeNil())
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtOutOfWindowIcmps": 1, "TcpActiveOpens": 1, "TcpAttemptFails": 0})
		expected := net.Client().Oracle().Connect(oracle.ConnectOptions{}).Gaps[0].Plus(oracle.Exactly(rtt)).LateBy(harness.HostDelay)
		lab.Measure("connected after", connection.ConnectTime, expected, "one RTT")
		Expect(wire.Stop()).To(Contain(Segments("SYNs", analysis.SYNs), 2))
	})

var _ = DescribeTable("keeps an established connection when ICMP says", Label("quick", "netem", "rfc1122"),
	func(ctx SpecContext, reason inject.Reason) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		pair := idle(lab, net)

		net.ToClient.Inject(told(net, reason, inject.Like(last(wire, net.Client()))))
		time.Sleep(harness.Settle)

		// RFC 5927, section 5.2: no ICMP error aborts it, hard ones of RFC 1122 neither (tcp_v4_err, tcp_v6_err: sk_err_soft).
		Expect(net.Client().Sockets(kernel.SocketFilter{Port: pair.Local.Port()})).To(HaveState(kernel.Established, 1))
		Expect(wire.Stop()).To(BeExchange("> S", "< S.", "> ."))
		Expect(net.Client().Counters()).To(HaveCounters{
			harness.ByFamily("IcmpInMsgs", "Icmp6InMsgs"): 1, "TcpExtOutOfWindowIcmps": 0, "TcpEstabResets": 0,
		})
		expectAlive(pair)
	},
	Entry("port unreachable", inject.PortUnreachable),
	Entry("protocol unreachable", inject.ProtocolUnreachable),
	Entry("prohibited by a filter", inject.AdminProhibited),
)

var _ = It("fails with the soft error that ICMP told, instead of ETIMEDOUT, when it gives up", Label("quick", "netem", "rfc1122"),
	func(ctx SpecContext) {
		const userTimeout = 2 * time.Second
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		pair := lab.Connect(net.Client(), net.Server(),
			peers.Script{
				Socket: peers.Socket{UserTimeout: userTimeout},
				Steps:  peers.Steps(peers.Await(), peers.Write(1), peers.Await(), peers.Try(peers.ReadAll())),
			},
			peers.Script{Steps: peers.Steps(peers.Sleep(peers.UntilStopped))})
		pair.Client.Waiting()
		net.ToServer.Blackhole()
		pair.Client.Continue()
		pair.Client.Waiting() // the byte has left
		net.ToClient.Inject(told(net, inject.PortUnreachable, inject.Like(last(wire, net.Client(), analysis.WithData))))
		pair.Client.Continue()
		steps := pair.Client.Wait().Connections[0].Steps

		// tcp_write_err: what ICMP said since the last ACK says why.
		Expect(steps[3].Err).To(MatchError(unix.ECONNREFUSED))
		path := oracle.Between(rtt, rtt+harness.HostDelay)
		expected := net.Client().Oracle().Blackhole(oracle.Flow{RTT: path, UserTimeout: userTimeout})
		lab.Measure("gave up after", steps[3].End()-steps[1].Start, expected.End.LateBy(harness.HostDelay))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPAbortOnTimeout": 1, "TcpExtOutOfWindowIcmps": 0})
	})

var _ = DescribeTable("believes packet too big, with the MTU of the next hop,", Label("quick", "netem", "rfc5927"),
	func(ctx SpecContext, offset uint32, mtu int, ignored int) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		pair := lab.Connect(net.Client(), net.Server(),
			peers.Script{Steps: peers.Steps(peers.Await(), peers.Write(5*harness.MSS()), peers.CloseWrite(), peers.ReadAll())},
			peers.Script{Steps: peers.Steps(peers.ReadAll())})

		quote := inject.Like(last(wire, net.Client()))
		quote.Seq += offset
		tooBig := told(net, inject.TooBig, quote)
		tooBig.MTU = narrow
		net.ToClient.Inject(tooBig)
		time.Sleep(harness.Settle)
		pair.Client.Continue()
		pair.Server.Wait()
		info := pair.Client.Wait().Connections[0].TCPInfo

		// RFC 5927, section 7.1: it has to quote what is in flight. RFC 1191, section 3; RFC 8201, section 4.
		data := harness.First(wire.Stop().DataFrom(net.Client()), "data segments")
		Expect(info.Pmtu).To(BeEquivalentTo(mtu))
		lab.Measure("payload", bounds.In(data.Length, "bytes"), bounds.Exactly(harness.Payload(mtu)), "MTU less the headers")
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtOutOfWindowIcmps": ignored, "TcpRetransSegs": 0})
	},
	Entry("about what it has sent", uint32(0), narrow, 0),
	Entry("but not about what it has not", uint32(1), 1500, 1),
)

// narrow is the MTU that a router claims: above the least of IPv6 (1280) and of Linux (net.ipv4.route.min_pmtu, 552).
const narrow = 1300
