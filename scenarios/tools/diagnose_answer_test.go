package tools

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/internal/diagnose"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = Describe("diagnose: the server's program:", func() {
	It("reads, and never answers", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		odd(lab, path.Server(), oddServer{Kind: reading})
		wire := lab.Capture(path.Client())
		expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{}), diagnose.SilentServer)
		Expect(wire.Stop().DataFrom(path.Server())).To(BeEmpty())
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	})

	It("never reads: its window closes", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		odd(lab, path.Server(), oddServer{Kind: deaf})
		wire := lab.Capture(path.Client())
		expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{Upload: 10_000_000}), diagnose.NotReading)
		Expect(wire.Stop().From(path.Server(), shut(wire))).NotTo(BeEmpty())
	})

	It("never reads a small request, seen on its machine", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		odd(lab, path.Server(), oddServer{Kind: deaf})
		f := expectOnly(diagnosed(lab, path.Server(), path.Server(), diagnose.Options{Send: []byte("PING\r\n")}), diagnose.NotReading)
		Expect(f.Seen).To(ContainSubstring("has 6 bytes that its program does not read"))
	})

	It("closes in place of an answer", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		odd(lab, path.Server(), oddServer{Kind: closing})
		wire := lab.Capture(path.Client())
		expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{}), diagnose.ClosedUnanswered)
		Expect(wire.Stop().DataFrom(path.Server())).To(BeEmpty())
	})

	It("resets in place of an answer", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		odd(lab, path.Server(), oddServer{Kind: resetting})
		wire := lab.Capture(path.Client())
		expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{}), diagnose.Reset)
		Expect(wire.Stop().From(path.Server(), analysis.RSTs)).NotTo(BeEmpty())
	})

	It("answers late", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		const thinks = 2 * time.Second
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{Bytes: 1000, Thinks: thinks})
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{})
		expectOnly(report, diagnose.LateAnswer)
		for _, a := range report.Attempts {
			if a.FirstByte > 0 {
				lab.Measure("first byte", a.FirstByte, oracle.Between(rtt, rtt+programDelay).From("1 RTT").Plus(oracle.PollTimeout(thinks)), "1 RTT, and what the server takes")
			}
		}
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	})

	It("is late with TLS", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		const shakes = 2 * time.Second
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{Bytes: 1000, TLS: true, Shakes: shakes})
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{HTTP: "/", TLS: true, Insecure: true})
		f := expectOnly(report, diagnose.LateAnswer)
		Expect(f.Seen).To(HavePrefix("TLS took 2."))
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	})

	It("has a certificate that is not trusted", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{Bytes: 1000, TLS: true})
		f := expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{HTTP: "/", TLS: true}), diagnose.TLSFailed)
		Expect(f.Seen).To(ContainSubstring("certificate"))
	})

	It("does not speak TLS", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		odd(lab, path.Server(), oddServer{Kind: greeting})
		f := expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{TLS: true}), diagnose.TLSFailed)
		Expect(f.Seen).To(ContainSubstring("does not look like a TLS handshake"))
	})

	It("does not speak HTTP", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		odd(lab, path.Server(), oddServer{Kind: greeting})
		f := expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{HTTP: "/"}), diagnose.NotHTTP)
		Expect(f.Seen).To(ContainSubstring("malformed HTTP"))
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	})

	It("writes in pieces, with Nagle's algorithm", Label("quick", "netem", "rfc1122"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		odd(lab, path.Server(), oddServer{Kind: pieces})
		wire := lab.Capture(path.Client())
		expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{}), diagnose.DelayedACK)
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
		Expect(path.Client().Counters()["TcpExtDelayedACKs"]).To(BeNumerically(">=", 3))
		Expect(wire.Stop().DataFrom(path.Server())).NotTo(BeEmpty())
	})
})

// shut selects a server's ACKs whose window has no room for a full segment.
func shut(wire *harness.Capture) analysis.Filter {
	GinkgoHelper()
	scale := harness.First(wire.Segments(analysis.SYNACKs), "SYN-ACKs").Options.WindowScale
	return func(s analysis.Segment) bool {
		return s.Flags == analysis.FlagACK && int64(s.Window)<<scale < harness.MSS()
	}
}

var _ = Describe("diagnose: the path:", func() {
	const upload = 500_000

	It("loses what this side sends", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{})
		lost := path.ToServer.Rule(rules.Drop(rules.Data.Every(50)))
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{HTTP: "/", Upload: upload})
		f := expectOnly(report, diagnose.Loss)
		Expect(f.Sure).To(Equal(diagnose.Certain))
		retransmits := 0
		for _, a := range report.Attempts {
			retransmits += int(a.Info.Total_retrans)
		}
		lab.Measure("retransmits seen", retransmits, bounds.Exactly(len(lost.Hits())), "one of each segment that was dropped")
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": retransmits})
	})

	It("loses what comes", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{Bytes: upload})
		lost := path.ToClient.Rule(rules.Drop(rules.Data.Every(50)))
		f := expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{}), diagnose.Loss)
		Expect(f.Sure).To(Equal(diagnose.Likely))
		Expect(lost.Hits()).NotTo(BeEmpty())
	})

	It("loses 5 % at random, both ways", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{Bytes: upload})
		path.Impair(impair.Netem{Delay: rtt / 2, Loss: impair.RandomLoss{Percent: 5}})
		expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{Timeout: time.Minute}), diagnose.Loss)
	})

	DescribeTable("is an MTU black hole", Label("quick", "netem", "rfc2923"), func(ctx SpecContext, bytes int, upload int64, server ...netns.Setting) {
		const narrow = 1400
		lab := harness.NewLab(ctx)
		path := lab.Dumbbell(1, netns.Config{BottleneckMTU: narrow, ServerSysctls: server})
		path.Impair(impair.Netem{Delay: rtt / 2})
		for _, router := range path.Routers { // the first is the clients', whose first link is the bottleneck
			for _, end := range router.Ends() {
				end.Rule(rules.Drop(rules.PacketTooBig))
			}
		}
		web(lab, path.Server(), webServer{Bytes: bytes})
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{HTTP: "/", Upload: upload})
		f := expectOnly(report, diagnose.MTUBlackHole)
		Expect(f.Seen).To(ContainSubstring("packets of 1400 bytes are answered, those of 1420 are not"))
		counter := harness.ByFamily("IcmpInDestUnreachs", "Icmp6InPktTooBigs")
		Expect(path.Client().Counters()).To(HaveCounters{counter: 0})
		Expect(path.Server().Counters()).To(HaveCounters{counter: 0})
	},
		Entry("for what comes", 100_000, int64(0)),
		Entry("for what this side sends", 100, int64(100_000)),
		Entry("out of which the server finds after a while (tcp_mtu_probing 1)", 100_000, int64(0), netns.IPv4("tcp_mtu_probing", 1)),
	)

	It("lets a handshake pass, and no data", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		web(lab, path.Server(), webServer{Bytes: 100})
		lost := path.ToServer.Rule(rules.Drop(rules.Data))
		expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{}), diagnose.Unacknowledged)
		Expect(lost.Count().Acted).To(BeNumerically(">", 0))
		Expect(path.Server().Counters()["TcpPassiveOpens"]).To(BeNumerically(">", 0))
	})

	It("lets a handshake pass, and this machine gives up first (tcp_retries2)", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt, harness.ClientSysctls(netns.IPv4("tcp_retries2", 3)))
		web(lab, path.Server(), webServer{Bytes: 100})
		lost := path.ToServer.Rule(rules.Drop(rules.Data))
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{})
		f := expectOnly(report, diagnose.Unacknowledged)
		Expect(f.Seen).To(ContainSubstring("ETIMEDOUT"))
		Expect(lost.Count().Acted).To(BeNumerically(">", 0))
		end := path.Client().Oracle().Blackhole(oracle.Flow{RTT: oracle.Between(rtt, rtt+programDelay)}).End
		lab.Measure("given up after", last(report.Attempts).Took, end.Plus(oracle.Between(rtt, rtt+programDelay)), "tcp_retries2, and the handshake")
		Expect(path.Client().Counters()).To(HaveGrown("TcpExtTCPAbortOnTimeout", 1))
	})
})

func last[T any](list []T) T { return list[len(list)-1] }

var _ = Describe("diagnose: the window:", func() {
	It("closes again and again, as the server reads slowly", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		odd(lab, path.Server(), oddServer{Kind: slowly, Rate: 250_000, Buffer: 64 << 10})
		wire := lab.Capture(path.Client())
		expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{Upload: 1_000_000}), diagnose.ZeroWindow)
		Expect(wire.Stop().From(path.Server(), shut(wire))).NotTo(BeEmpty())
	})

	It("is small for the path", Label("quick", "netem", "rfc7323"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt, harness.ServerSysctls(netns.IPv4("tcp_rmem", "4096 16384 16384")))
		odd(lab, path.Server(), oddServer{Kind: reading})
		wire := lab.Capture(path.Client())
		expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{Upload: 1_000_000}), diagnose.WindowLimited)
		Expect(wire.Stop().From(path.Server(), shut(wire))).To(BeEmpty())
	})
})

var _ = Describe("diagnose: this machine has", func() {
	// others are connections of another program of the client.
	others := func(lab *harness.Lab, path *harness.Network, server, client []peers.Step, n int) {
		GinkgoHelper()
		lab.Start(path.Server(), peers.Script{Listen: path.Server().Addr(port), Connections: n, Together: true, Steps: server})
		lab.Start(path.Client(), peers.Script{Connect: path.Server().Addr(port), Connections: n, Together: true, Steps: client})
	}

	It("many connections in TIME-WAIT", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		const ports, closed = 20, 10 // diagnose needs ports, too
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt, harness.ClientSysctls(netns.IPv4("ip_local_port_range", "40000 40019")))
		lab.Start(path.Server(), peers.Accept{Listen: path.Server().Addr(port)})
		lab.Start(path.Client(), peers.Dial{Connect: path.Server().Addr(port), Count: closed, CloseImmediately: true}).Wait()
		path.Client().AwaitSockets(closed, kernel.SocketFilter{States: []kernel.State{kernel.TimeWait}})
		f := expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{ConnectOnly: true}), diagnose.TimeWait)
		Expect(f.Seen).To(Equal("10 connections to the server are in TIME-WAIT, of 20 local ports"))
	})

	It("many connections in CLOSE-WAIT", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		const forgets = 10
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		others(lab, path, peers.Steps(peers.CloseWrite(), peers.Sleep(peers.UntilStopped)), peers.Steps(peers.Sleep(peers.UntilStopped)), forgets)
		path.Client().AwaitSockets(forgets, kernel.SocketFilter{States: []kernel.State{kernel.CloseWait}})
		time.Sleep(10 * time.Second)
		f := expectOnly(diagnosed(lab, path.Client(), path.Server(), diagnose.Options{ConnectOnly: true}), diagnose.CloseWait)
		Expect(f.Seen).To(HavePrefix("10 connections are in CLOSE-WAIT"))
	})

	It("an idle connection without keepalive, which is advice and no fault", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		others(lab, path, peers.Steps(peers.Sleep(peers.UntilStopped)), peers.Steps(peers.Sleep(peers.UntilStopped)), 1)
		path.Client().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.Established}})
		time.Sleep(2 * time.Minute)
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{ConnectOnly: true})
		expectOnly(report, diagnose.NoKeepalive)
		Expect(report.Faults()).To(BeEmpty())
	})
})

var _ = Describe("diagnose: finds nothing:", func() {
	const far = 50 * time.Millisecond
	expectNothing := func(lab *harness.Lab, path *harness.Network, o diagnose.Options) {
		GinkgoHelper()
		report := diagnosed(lab, path.Client(), path.Server(), o)
		Expect(report.Findings).To(BeEmpty(), reportText{report}.String())
		for _, a := range report.Attempts {
			Expect(a.Err).To(BeEmpty())
		}
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	}

	DescribeTable("a web server", Label("quick", "netem", "rfc9293"), func(ctx SpecContext, server webServer, o diagnose.Options, netem impair.Netem) {
		lab := harness.NewLab(ctx)
		path := lab.Path(far)
		if netem.Delay > 0 {
			path.Impair(netem)
		}
		web(lab, path.Server(), server)
		expectNothing(lab, path, o)
	},
		Entry("with a small page", webServer{Bytes: 1000}, diagnose.Options{}, impair.Netem{}),
		Entry("with a large page", webServer{Bytes: 1_000_000}, diagnose.Options{}, impair.Netem{}),
		Entry("with a large page on a narrow link", webServer{Bytes: 300_000}, diagnose.Options{},
			impair.Netem{Delay: far / 2, Rate: impair.Rate{BitsPerSecond: 10 * impair.Mbit}, Limit: 1000}),
		Entry("that takes 300 ms", webServer{Bytes: 1000, Thinks: 300 * time.Millisecond}, diagnose.Options{}, impair.Netem{}),
		Entry("with TLS", webServer{Bytes: 1000, TLS: true}, diagnose.Options{HTTP: "/", TLS: true, Insecure: true}, impair.Netem{}),
		Entry("that gets an upload", webServer{}, diagnose.Options{HTTP: "/", Upload: 1_000_000}, impair.Netem{}),
		Entry("on a path with jitter", webServer{Bytes: 1000}, diagnose.Options{}, impair.Netem{Delay: far / 2, Jitter: 5 * time.Millisecond}),
	)

	It("a path that reorders, and loses nothing", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(far)
		web(lab, path.Server(), webServer{Bytes: 300_000})
		late := path.ToClient.Rule(rules.Delay(10*time.Millisecond, rules.Data.Every(20)))
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{})
		Expect(report.Findings).To(BeEmpty(), reportText{report}.String())
		Expect(late.Hits()).NotTo(BeEmpty())
		Expect(path.Client().Counters()["TcpExtTCPOFOQueue"]).To(BeNumerically(">", 0))
	})

	DescribeTable("a path whose MTU is found by ICMP", Label("quick", "netem", "rfc1191"), func(ctx SpecContext, bytes int, upload int64, learns func(*harness.Network) *harness.Host) {
		const narrow = 1400
		lab := harness.NewLab(ctx)
		path := lab.Dumbbell(1, netns.Config{BottleneckMTU: narrow})
		path.Impair(impair.Netem{Delay: far / 2})
		web(lab, path.Server(), webServer{Bytes: bytes})
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{HTTP: "/", Upload: upload})
		Expect(report.Findings).To(BeEmpty(), reportText{report}.String())
		Expect(learns(path).Counters()[harness.ByFamily("IcmpInDestUnreachs", "Icmp6InPktTooBigs")]).To(BeNumerically(">", 0))
	},
		Entry("by the server", 100_000, int64(0), (*harness.Network).Server),
		Entry("by this side", 100, int64(1_000_000), (*harness.Network).Client),
	)

	It("an answer that is still coming when the time is over", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(far)
		path.ToClient.Impair(impair.Netem{Delay: far / 2, Rate: impair.Rate{BitsPerSecond: 2 * impair.Mbit}, Limit: 10_000})
		web(lab, path.Server(), webServer{Bytes: 1_000_000})
		report := diagnosed(lab, path.Client(), path.Server(), diagnose.Options{Timeout: 2 * time.Second}) // of the 4 s that it takes
		Expect(report.Findings).To(BeEmpty(), reportText{report}.String())
		Expect(reportText{report}.String()).To(ContainSubstring("data was still under way"))
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	})

	It("a server that greets", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(far)
		odd(lab, path.Server(), oddServer{Kind: greeting})
		expectNothing(lab, path, diagnose.Options{Wait: true})
	})

	It("a server of which nothing is asked", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(far)
		lab.Start(path.Server(), peers.Accept{Listen: path.Server().Addr(port)})
		expectNothing(lab, path, diagnose.Options{ConnectOnly: true})
	})
})
