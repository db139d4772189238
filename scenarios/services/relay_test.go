package services

import (
	"fmt"
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

// A relay runs on the router: clients connect to it, and it connects to the server. Each half of the path has half of the RTT.

// socat relays connections to its port to the server's.
func socat(net *harness.Network, options ...string) peers.Command {
	GinkgoHelper()
	port := func(kind string, rest string) string {
		return fmt.Sprintf("TCP%s%s", harness.ByFamily("4", "6"), kind) + rest
	}
	return peers.Command{
		Path:  harness.ProgramPath("socat"),
		Args:  append(options, port("-LISTEN", ":80,reuseaddr,fork"), port("", ":"+net.Server().Addr(80).String())),
		Ready: peers.Readiness{Port: 80},
	}
}

var _ = Describe("socat as a relay:", harness.Programs("socat"), func() {
	const answer = 1000
	// ask has a client send a request, close its half, and wait for the answer, which the server takes a time for.
	ask := func(lab *harness.Lab, net *harness.Network, thinks time.Duration, options ...string) peers.Connection {
		GinkgoHelper()
		lab.Start(net.Server(), peers.Script{Listen: net.Server().Addr(80), Steps: peers.Steps(peers.ReadAll(), peers.Sleep(thinks), peers.Try(peers.Write(answer)), peers.Try(peers.CloseWrite()))})
		lab.Start(net.Routers[0], socat(net, options...))
		client := lab.Start(net.Client(), peers.Script{
			Connect: net.Routers[0].Addr(80), Steps: peers.Steps(peers.Write(100), peers.CloseWrite(), peers.ReadAll()),
		})
		return client.Wait().Connections[0]
	}

	It("passes on a request, a half-close and the answer", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client(), net.Server())
		got := ask(lab, net, 0)
		lab.Measure("bytes of the answer", int(got.Received), bounds.Exactly(answer), "RFC 9293, 3.6: half-close")
		for _, end := range []string{"client/eth0", "server/eth0"} {
			Expect(wire.Stop().Segments(analysis.On(end), analysis.SYNs)).To(HaveLen(1), end)
		}
		Expect(net.Routers[0].Counters()).To(HaveCounters{"TcpActiveOpens": 1, "TcpPassiveOpens": 1})
	})

	It("passes it on whole, although request, half-close and answer are lost once each", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		losses := []*harness.Rule{
			net.ToServer.Rule(rules.Drop(rules.Data.Number(1)).Named("the request, from the relay")),
			net.Client().Ends()[0].Rule(rules.Drop(rules.FIN.Number(1)).Named("the client's half-close")),
			net.ToClient.Rule(rules.Drop(rules.Data.Number(1)).Named("the answer, from the relay")),
		}
		got := ask(lab, net, 0, "-t", "30")
		lab.Measure("bytes of the answer", int(got.Received), bounds.Exactly(answer), "RFC 9293, 3.8.1")
		lost := 0
		for _, loss := range losses {
			lost += int(loss.Count().Acted)
		}
		lab.Measure("lost", lost, bounds.Exactly(len(losses)), "one packet a rule")
		lab.Measure("retransmits of the client", net.Client().Counters()["TcpRetransSegs"], bounds.AtLeast(1), "RFC 9293, 3.8.1: the half-close")
		lab.Measure("retransmits of the relay", net.Routers[0].Counters()["TcpRetransSegs"], bounds.AtLeast(2), "RFC 9293, 3.8.1: the request, the answer")
	})

	It("wrong: cuts off an answer that comes later than half a second after the client's half-close", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		got := ask(lab, net, 2*time.Second)
		lab.Measure("bytes of the answer", int(got.Received), bounds.Exactly(0), "socat -t: 0.5 s")
		fins := wire.Stop().Segments(analysis.FINs)
		Expect(fins).To(HaveLen(2))
		lab.Measure("closed after", fins[1].At-fins[0].At, oracle.PollTimeout(500*time.Millisecond).Plus(oracle.Exactly(rtt)).LateBy(programDelay), "socat -t: 0.5 s; a connection to the server, and the way back")
	})

	It("passes on a late answer with -t 30", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		got := ask(lab, lab.Path(rtt), 2*time.Second, "-t", "30")
		lab.Measure("bytes of the answer", int(got.Received), bounds.Exactly(answer), "socat -t")
	})
})

// A proxy closes each connection to the server first, when its client has closed, and so has them all in TIME-WAIT: its ports run out,
// although no connection is open.
var _ = Describe("haproxy with 100 ports:", harness.Programs("haproxy"), func() {
	const ports, requests = 100, 150
	const conf = `
defaults
	mode tcp
	timeout connect 5s
	timeout client 30s
	timeout server 30s
%s
listen relay
	bind %s
	server one %s
`
	serve := func(lab *harness.Lab, options string, sysctls ...netns.Setting) (*harness.Network, int) {
		GinkgoHelper()
		sysctls = append(sysctls, netns.IPv4("ip_local_port_range", fmt.Sprintf("%d %d", 40000, 40000+ports-1)))
		net := lab.Path(rtt, netns.Config{RouterSysctls: sysctls})
		lab.Start(net.Server(), peers.Script{Listen: net.Server().Addr(80), Connections: requests, Steps: peers.Steps(
			peers.Read(100), peers.Write(100), peers.Try(peers.ReadAll()))})
		dir := folder(map[string]string{"haproxy.cfg": fmt.Sprintf(conf, options, net.Routers[0].Addr(80), net.Server().Addr(80))})
		lab.Start(net.Routers[0], peers.Command{
			Path: harness.ProgramPath("haproxy"), Args: []string{"-db", "-f", dir + "/haproxy.cfg"}, Ready: peers.Readiness{Port: 80},
		})
		client := lab.Start(net.Client(), peers.Script{Connect: net.Routers[0].Addr(80), Connections: requests, Steps: peers.Steps(
			peers.Try(peers.Write(100)), peers.Try(peers.Read(100)))})
		served := 0
		for _, connection := range client.Wait().Connections {
			if connection.Received == 100 {
				served++
			}
		}
		return net, served
	}
	// waiting are the proxy's sockets in TIME-WAIT towards the server.
	waiting := func(net *harness.Network) (count int) {
		GinkgoHelper()
		for _, socket := range net.Routers[0].Sockets(kernel.SocketFilter{States: []kernel.State{kernel.TimeWait}}).List() {
			if socket.Remote == net.Server().Addr(80) {
				count++
			}
		}
		return count
	}

	It("wrong: serves 100 of 150 requests, one after the other, and has a hundred sockets in TIME-WAIT", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, served := serve(lab, "")
		lab.Measure("served", served, bounds.Exactly(net.Routers[0].Oracle().EphemeralPorts()), "ip_local_port_range; RFC 9293, 3.6.1")
		lab.Measure("sockets in TIME-WAIT", waiting(net), bounds.Exactly(ports), "one a port")
	})

	It("serves all of them if it closes with a reset (option nolinger)", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, served := serve(lab, "	option nolinger")
		lab.Measure("served", served, bounds.Exactly(requests), "a reset leaves no TIME-WAIT: RFC 9293, 3.10.5")
		lab.Measure("sockets in TIME-WAIT", waiting(net), bounds.Exactly(0), "RFC 9293, 3.10.5")
		Expect(net.Server().Counters()).To(HaveCounters{"TcpEstabResets": requests})
	})

	It("serves all of them if it may take a port again after a second (tcp_tw_reuse 1)", Label("quick", "netem", "rfc6191"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, served := serve(lab, "", netns.IPv4("tcp_tw_reuse", 1))
		lab.Measure("served", served, bounds.Exactly(requests), "RFC 6191; tcp_twsk_unique")
		Expect(net.Routers[0].Counters()).To(HaveGrown("TcpExtTWRecycled", BeNumerically(">=", requests-ports)))
	})
})
