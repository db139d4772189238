package pathmtu

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// blackHole drops the routers' ICMP messages to the client, as a firewall that drops all ICMP does.
func blackHole(net *harness.Network) *harness.Rule {
	GinkgoHelper()
	near := net.Routers[0].Ends()[1] // of the first router, to the client; its first link is the bottleneck
	return near.Rule(rules.Drop(rules.PacketTooBig))
}

func probing(value string) netns.Setting {
	return netns.IPv4("tcp_mtu_probing", value)
}

var _ = It("stalls in a PMTU blackhole on full segments, though small requests pass", Label("long", "netem", "rfc2923"), func(ctx SpecContext) {
	const request, stalled = 1000, 25 * time.Second
	lab := harness.NewLab(ctx)
	net := network(lab, probing("0"))
	hole := blackHole(net)
	wire := lab.Capture(net.Client(), net.Server())
	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Steps: peers.Steps(peers.Repeat(3, peers.Write(request), peers.Read(request)), peers.Write(bytes), peers.Await())},
		peers.Script{Steps: peers.Steps(peers.Repeat(3, peers.Read(request), peers.Write(request)), peers.ReadAll())})
	pair.Client.Waiting() // all requests are answered, and the bulk is written
	time.Sleep(stalled)

	// RFC 2923, section 2.1: the connection opens, and stalls on the first full-sized packet.
	fromClient := analysis.All(analysis.From(net.Client().IP()), analysis.WithData)
	Expect(wire.Stop().Segments(analysis.On("server1/eth0"), fromClient)).To(And(HaveLen(3), HaveEach(HaveField("Length", request))))
	left := wire.Segments(analysis.On("client1/eth0"), fromClient)
	Expect(len(left)).To(BeNumerically(">", 3))
	lost := left[3:]
	Expect(lost).To(HaveEach(HaveField("Length", harness.Payload(wide))))
	// It retransmits the first segment at each RTO, with exponential back-off, until tcp_retries2 ends it.
	retry := net.Client().Oracle().Blackhole(silent(net))
	timeouts := retry.Sent[retry.Probes:]
	var retransmits []time.Duration
	for _, s := range lost[1:] {
		if s.Seq == lost[0].Seq {
			retransmits = append(retransmits, s.At-lost[0].At)
		}
	}
	lab.Measure("retransmits", len(retransmits), timeouts.By(oracle.Exactly(stalled).LateBy(time.Second)), "tcp_mtu_probing 0")
	harness.CheckEach(lab, "retransmits after", retransmits, timeouts[:len(retransmits)])
	Expect(hole.Count().Acted).To(BeEquivalentTo(len(lost)))
	Expect(net.Client().Counters()).To(HaveCounters{tooBig(): 0, "TcpExtTCPTimeouts": len(retransmits)})
	Expect(net.Client().Sockets(kernel.SocketFilter{Port: pair.Local.Port()}).List()).To(ConsistOf(HaveField("SendQueue", BeEquivalentTo(bytes))))
})

var _ = It("escapes a PMTU blackhole with tcp_mtu_probing 1, and searches for the path MTU", Label("long", "netem", "rfc4821"),
	func(ctx SpecContext) {
		const bytes = 800_000 // enough for all steps of the search, even if some are repeated
		lab := harness.NewLab(ctx)
		net := network(lab, probing("1"))
		hole := blackHole(net)
		wire := lab.Capture(net.Client())
		pair := lab.Connect(net.Client(), net.Server(),
			peers.Script{Steps: peers.Steps(peers.Write(bytes), peers.CloseWrite(), peers.ReadAll())},
			peers.Script{Steps: peers.Steps(peers.ReadAll())})
		Expect(pair.Server.Wait().Connections[0].Received).To(BeEquivalentTo(bytes))
		info := pair.Client.Wait().Connections[0].TCPInfo

		// Segments become smaller at the first RTO after the time of tcp_retries1. Then the search begins (RFC 4821,
		// sections 7.3 and 7.7).
		k := net.Client().Oracle()
		out, _ := k.BlackHole(silent(net), harness.Payload(wide))
		fits, successes, tooLarge := search(out.MSS[0]+wide-harness.Payload(wide), wide, net.Client().Sysctl("net.ipv4.tcp_probe_threshold"))
		data := wire.Stop().DataFrom(net.Client())
		through := slices.IndexFunc(data, func(s analysis.Segment) bool { return s.Length < harness.Payload(wide) }) // the first
		Expect(through).To(BeNumerically(">", 0), "it sent something smaller")
		Expect(data[through].Length).To(Equal(out.MSS[0]))
		lab.Measure("smaller segments after", data[through].At-data[0].At, out.Found)
		Expect(info).To(HaveField("Pmtu", BeEquivalentTo(wide)))
		// A probe whose loss is detected by RACK's timer is inconclusive ("Inconclusive MTU probe" in
		// __tcp_retransmit_skb), and is repeated. At the end, the last probe may still be undecided.
		counters := net.Client().Counters()
		Expect(counters).To(HaveCounters{"TcpExtTCPMTUPSuccess": successes, tooBig(): 0})
		lab.Check("failed probes", counters["TcpExtTCPMTUPFail"], bounds.Between(len(tooLarge)-1, len(tooLarge)), "RFC 4821, 7.7")
		lost := slices.Collect(analysis.Where(slices.Values(data), func(s analysis.Segment) bool { return s.Length > harness.Payload(narrow) }))
		Expect(lost).To(HaveLen(int(hole.Count().Acted)))
		var probed []int // MTUs, after the blackhole was detected
		for _, s := range lost {
			if s.Frame > data[through].Frame {
				probed = append(probed, s.Length+wide-harness.Payload(wide))
			}
		}
		Expect(slices.Compact(probed)).To(Equal(tooLarge))
		lab.Measure("MTU found", bounds.In(int(info.Snd_mss)+wide-harness.Payload(wide), "bytes"), bounds.Exactly(fits),
			"RFC 4821, 7.3: by halves from tcp_base_mss to tcp_probe_threshold")
	})

// silent is a flow whose first window of full segments is not acknowledged.
func silent(net *harness.Network) oracle.Flow {
	GinkgoHelper()
	return oracle.Flow{RTT: oracle.Between(rtt, rtt+harness.HostDelay), InFlight: net.Client().Oracle().InitialWindow(0)}
}

// search returns what tcp_mtu_probe finds between an MTU that fits and one that may: each probe is in the middle of
// the remaining range.
func search(low, high, threshold int) (fits, successes int, tooLarge []int) {
	for high-low >= threshold {
		if probe := (low + high) / 2; probe <= narrow {
			low, successes = probe, successes+1
		} else {
			high, tooLarge = probe-1, append(tooLarge, probe)
		}
	}
	return low, successes, tooLarge
}
