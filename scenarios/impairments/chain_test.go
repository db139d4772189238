package impairments

import (
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("adds up the delays of a chain of five routers, each of which decrements the TTL by one", Label("quick", "netem", "rfc1812"), func(ctx SpecContext) {
	const routers, port = 5, 80
	lab := harness.NewLab(ctx)
	var graph netns.Graph
	last := graph.Host("client")
	for i := 1; i <= routers; i++ {
		router := graph.Router(fmt.Sprintf("r%d", i))
		graph.Link(last, router)
		last = router
	}
	graph.Link(last, graph.Host("server"))
	net := lab.Build(&graph)
	// 10 ms in the first router, 20 ms in the second: if one were left out, or one came twice, it would show.
	var delays time.Duration
	for i, router := range net.Routers {
		delay := time.Duration(i+1) * 10 * time.Millisecond
		for _, end := range router.Ends() {
			end.Impair(impair.Netem{Delay: delay})
		}
		delays += 2 * delay
	}
	client, server := net.Host("client"), net.Host("server")
	var places []harness.Place
	for _, host := range net.Hosts() {
		places = append(places, host)
	}
	wire := lab.Capture(places...)

	accept := lab.Start(server, peers.Accept{Listen: server.Addr(port), Count: 1})
	dial := lab.Start(client, peers.Dial{Connect: server.Addr(port), Hold: peers.UntilStopped})
	accept.Started()
	dial.Started()
	connection := dial.Stop().Connections[0]

	lab.Measure("connect", connection.ConnectTime,
		oracle.Exactly(delays).LateBy(2*routers*hostDelay).From("netem_dequeue: not before time_to_send, in each router"))
	ttl := client.Sysctl(harness.ByFamily("net.ipv4.ip_default_ttl", "net.ipv6.conf.eth0.hop_limit"))
	segments := slices.Values(wire.Stop().Segments())
	for hop, link := range net.Links {
		for _, end := range []*harness.End{link.A, link.B} {
			passed := slices.Collect(analysis.Where(segments, analysis.On(end.String()), analysis.From(client.IP())))
			Expect(passed).NotTo(BeEmpty(), "%v", end)
			Expect(passed).To(HaveEach(HaveField("TTL", BeEquivalentTo(ttl-hop))), "%v", end)
		}
	}
	syn := slices.Collect(analysis.Where(segments, analysis.SYNs, analysis.On(server.End("eth0").String())))
	Expect(syn).To(HaveLen(1))
	lab.Measure("TTL at the server", int(syn[0].TTL), bounds.Exactly(ttl-routers), "RFC 1812, 5.3.1: each router decrements it by one")
})
