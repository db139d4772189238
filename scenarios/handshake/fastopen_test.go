package handshake

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("TCP Fast Open: gets a cookie on the first connection, sends data in the second SYN", Label("quick", "netem", "rfc7413"),
	func(ctx SpecContext) {
		const request, answer = 100, 200
		lab := harness.NewLab(ctx)
		// Bit 1 is for clients, bit 2 for servers (ip-sysctl.rst).
		net := lab.Path(shortRTT, harness.Sysctls(netns.IPv4("tcp_fastopen", 3)))
		wire := lab.Capture(net.Server())

		lab.Start(net.Server(), peers.Script{
			Listen: net.Server().Addr(80), Connections: 2, Socket: peers.Socket{FastOpenQueue: 8},
			Steps: peers.Steps(peers.Read(request), peers.Write(answer)),
		})
		client := lab.Start(net.Client(), peers.Script{
			Connect: net.Server().Addr(80), Connections: 2, Socket: peers.Socket{FastOpen: true},
			Steps: peers.Steps(peers.Write(request), peers.Read(answer)),
		})
		connections := client.Wait().Connections

		// RFC 7413, section 3: without a cookie, the SYN requests one, and data waits for the handshake.
		syns := wire.Stop().Segments(analysis.SYNs)
		Expect(syns).To(HaveLen(2))
		Expect(syns[0].Length).To(BeZero())
		Expect(net.Server().Counters()).To(HaveCounters{
			"TcpExtTCPFastOpenCookieReqd": 1, "TcpExtTCPFastOpenPassive": 1,
		})

		// With a cookie, the server gets the data with the SYN, and answers before the handshake completes.
		Expect(syns[1].Length).To(Equal(request))
		Expect(net.Client().Counters()).To(HaveGrown("TcpExtTCPFastOpenActive", 1))
		second := wire.Segments(analysis.Connection(syns[1].Flow()))
		Expect(len(second)).To(BeNumerically(">=", 3))
		Expect(second[1].Flags).To(Equal(analysis.FlagSYN | analysis.FlagACK))
		Expect(second[1].Ack).To(Equal(second[0].Seq + 1 + request))
		Expect(second[2].Src.Port()).To(BeEquivalentTo(80))
		Expect(second[2].Length).To(Equal(answer))

		// The exchange takes one RTT instead of two.
		total := func(c peers.Connection) time.Duration { return c.ConnectTime + c.Steps[0].Elapsed + c.Steps[1].Elapsed }
		rtts := func(n time.Duration) oracle.Span { return oracle.Exactly(n * shortRTT).LateBy(harness.HostDelay) }
		lab.Measure("first exchange", total(connections[0]), rtts(2), "RFC 7413, 3: two round trips")
		lab.Measure("second exchange", total(connections[1]), rtts(1), "RFC 7413, 3: one round trip")
	})

var _ = It("TCP Fast Open: retransmits the SYN without the option if the path drops SYNs with it", Label("quick", "netem", "rfc7413"),
	func(ctx SpecContext) {
		const request, fastOpenOption = 100, 34 // RFC 7413, 4.1.1
		lab := harness.NewLab(ctx)
		net := lab.Path(shortRTT, harness.Sysctls(netns.IPv4("tcp_fastopen", 3)))
		wire := lab.Capture(net.Client(), net.Server())
		path := net.ToServer.Rule(rules.Drop(rules.SYN.Option(fastOpenOption)))

		server := lab.Start(net.Server(), peers.Script{
			Listen: net.Server().Addr(80), Socket: peers.Socket{FastOpenQueue: 8}, Steps: peers.Steps(peers.Read(request)),
		})
		client := lab.Start(net.Client(), peers.Script{
			Connect: net.Server().Addr(80), Socket: peers.Socket{FastOpen: true}, Steps: peers.Steps(peers.Write(request), peers.ReadAll()),
		})
		connection := client.Wait().Connections[0]
		server.Wait()

		// tcp_send_syn_data: "Exclude Fast Open option for SYN retries", as RFC 7413, 4.2.1 wants of whoever meets such a path.
		Expect(path.Hits()).To(HaveLen(1))
		sent := wire.Stop().Segments(analysis.SYNs, analysis.On(net.Client().End("eth0").String()))
		Expect(sent).To(HaveLen(2))
		Expect(wire.Segments(analysis.SYNs, analysis.On(net.Server().End("eth0").String()))).To(HaveLen(1))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPSynRetrans": 1, "TcpExtTCPFastOpenActive": 0})
		Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPFastOpenCookieReqd": 0, "TcpPassiveOpens": 1})
		expected := net.Client().Oracle().Connect(oracle.ConnectOptions{}).Sent[0].Plus(oracle.Exactly(shortRTT)).LateBy(harness.HostDelay)
		lab.Measure("connected after", connection.ConnectTime, expected, "timer wheel, round trip")
	})
