package pathmtu

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

const bytes = 40_000 // of a transfer: somewhat more than the initial window

// send sends bytes from client to server on a new connection, and returns it as the client saw it.
func send(lab *harness.Lab, net *harness.Network) peers.Connection {
	GinkgoHelper()
	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Steps: peers.Steps(peers.Write(bytes), peers.CloseWrite(), peers.ReadAll())},
		peers.Script{Steps: peers.Steps(peers.ReadAll())})
	Expect(pair.Server.Wait().Connections[0].Received).To(BeEquivalentTo(bytes))
	return pair.Client.Wait().Connections[0]
}

var _ = It("learns the path MTU by ICMP, and retransmits too large segments at once", Label("quick", "netem", "rfc8201"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := network(lab)
		wire := lab.Capture(net.Client(), net.Server())
		info := send(lab, net).TCPInfo

		// Neither host's MSS option has the path MTU (RFC 9293, section 3.7.1): each knows its own link only.
		Expect(wire.Stop()).To(Contain(SYN(HaveField("MSS", BeEquivalentTo(wide-harness.IPHeader()-20))), 4))
		left := wire.DataFrom(net.Client(), analysis.On("client1/eth0"))
		var large, small []analysis.Segment
		for _, s := range left {
			if s.Length > harness.Payload(narrow) {
				large = append(large, s)
			} else {
				small = append(small, s)
			}
		}
		Expect(large).To(HaveEach(HaveField("Length", harness.Payload(wide))))
		Expect(large).NotTo(BeEmpty())
		Expect(small).NotTo(BeEmpty())
		Expect(small[0]).To(And(HaveField("Length", harness.Payload(narrow)), HaveField("Seq", large[0].Seq)))
		tooLarge := func(s analysis.Segment) bool { return s.Length > harness.Payload(narrow) }
		Expect(wire.Segments(analysis.On("server1/eth0"), tooLarge)).To(BeEmpty())
		// The router before the slow link answers: there is no RTO, and not even an RTT.
		lab.Measure("retransmitted after", small[0].At-large[0].At, oracle.Exactly(0).LateBy(harness.HostDelay).From("RFC 8201, 4; tcp_simple_retransmit"))
		Expect(net.Client().Counters()).To(HaveCounters{tooBig(): len(large), "TcpExtTCPTimeouts": 0})
		Expect(info).To(And(HaveField("Pmtu", BeEquivalentTo(narrow)), HaveField("Snd_mss", BeEquivalentTo(harness.Payload(narrow)))))
		lab.Measure("segments too large", len(large), bounds.Between(1, net.Client().Oracle().InitialWindow(0)), "RFC 6928: initial window")
		lab.Measure("payload", bounds.In(small[0].Length, "bytes"), bounds.Exactly(harness.Payload(narrow)), "MTU less the headers")
	})

var _ = It("caches the path MTU for mtu_expires, and then tries the link's MTU", Label("long", "netem", "linux"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := network(lab)
	wire := lab.Capture(net.Client())
	first := func(c peers.Connection, filter analysis.Filter) analysis.Segment {
		GinkgoHelper()
		return harness.First(wire.Stop().Segments(analysis.FromPort(c.Local.Port()), filter), "segments of the connection")
	}
	life := net.Client().Oracle().PathMTULife()

	learns := send(lab, net)
	time.Sleep(life - 10*time.Second)
	cached := send(lab, net)
	told := net.Client().Counters()[tooBig()]
	time.Sleep(11 * time.Second)
	expired := send(lab, net)

	// ip_rt_update_pmtu, rt6_update_expires: an exception of the route, with its expiry.
	Expect(first(learns, analysis.WithData).Length).To(Equal(harness.Payload(wide)))
	Expect(first(cached, analysis.WithData).Length).To(Equal(harness.Payload(narrow)))
	Expect(first(expired, analysis.WithData).Length).To(Equal(harness.Payload(wide)))
	// The client advertises the cached MTU to the server, too (ipv4_default_advmss); or its link's, as RFC 9293, 3.7.1, has it, since a change of 2026 that stable
	// kernels got at versions of their own ("advertise TCP MSS from the configured MTU, not the learned PMTU": 6.12.111, not yet 6.1.192 and 7.3.4).
	advertised := int(first(cached, analysis.SYNs).Options.MSS)
	lab.Note("MSS advertised while it was cached", advertised)
	Expect(advertised).To(BeElementOf(narrow-harness.IPHeader()-20, wide-harness.IPHeader()-20))
	Expect(cached.TCPInfo.Total_retrans).To(BeZero())
	Expect(net.Client().Counters()).To(HaveGrown(tooBig(), BeNumerically(">", told)))
	learned := first(learns, analysis.WithData).At
	age := func(c peers.Connection) time.Duration { return first(c, analysis.SYNs).At - learned }
	lab.Measure("still cached after", age(cached), bounds.AtMost(life), "net.ipv4.route.mtu_expires")
	lab.Measure("expired after", age(expired), bounds.AtLeast(life), "net.ipv4.route.mtu_expires")
})
