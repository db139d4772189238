package services

import (
	"encoding/csv"
	"fmt"
	"strconv"
	"strings"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/peers"
)

const redisPort = 6379

// redis is a server without files. Settings are "tcp-keepalive 10" and the like.
func redis(net *harness.Network, settings ...string) peers.Command {
	GinkgoHelper()
	args := []string{"--bind", net.Server().IP().String(), "--port", strconv.Itoa(redisPort), "--protected-mode", "no", "--save", "", "--daemonize", "no"}
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, " ")
		args = append(args, "--"+name, value)
	}
	return peers.Command{Path: harness.ProgramPath("redis-server"), Args: args, Dir: folder(nil), Ready: peers.Readiness{Port: redisPort}}
}

// redisCLI is a client that has to end with a status.
func redisCLI(net *harness.Network, status int, args ...string) peers.Command {
	GinkgoHelper()
	return peers.Command{
		Path: harness.ProgramPath("redis-cli"), ExitStatuses: []int{status},
		Args: append([]string{"-h", net.Server().IP().String(), "-p", strconv.Itoa(redisPort)}, args...),
	}
}

// redis-cli's TCP keepalive: REDIS_CLI_KEEPALIVE_INTERVAL, and what hiredis makes of it (redisKeepAlive).
var redisCLIKeepalive = oracle.KeepaliveOptions{Time: 15 * time.Second, Interval: 5 * time.Second, Probes: 3}

var _ = Describe("redis-benchmark on one connection", harness.Programs("redis-server", "redis-benchmark"), func() {
	// benchmark returns the requests a second that it has measured, and the capture of them.
	benchmark := func(lab *harness.Lab, net *harness.Network, requests int, args ...string) (perSecond float64, wire *harness.Capture) {
		GinkgoHelper()
		lab.Start(net.Server(), redis(net))
		wire = lab.Capture(net.Client())
		printed := said(lab.Start(net.Client(), peers.Command{Path: harness.ProgramPath("redis-benchmark"), Args: append([]string{
			"-h", net.Server().IP().String(), "-p", strconv.Itoa(redisPort), "-c", "1", "-n", strconv.Itoa(requests), "-t", "ping_mbulk", "--csv",
		}, args...)})).Stdout
		rows, err := csv.NewReader(strings.NewReader(printed)).ReadAll()
		Expect(err).NotTo(HaveOccurred())
		Expect(rows).To(HaveLen(2), printed) // the first one is the header: test, rps, ...
		perSecond, err = strconv.ParseFloat(rows[1][1], 64)
		Expect(err).NotTo(HaveOccurred())
		return perSecond, wire.Stop()
	}
	// took is how long all of them took.
	took := func(requests int, perSecond float64) time.Duration {
		return time.Duration(float64(requests) / perSecond * float64(time.Second))
	}
	// measure has as many requests take so many round trips, and one more for the handshake.
	measure := func(lab *harness.Lab, perSecond float64, requests, roundTrips int) {
		GinkgoHelper()
		lab.Note("requests a second", perSecond)
		lab.Measure("time that all of them took", took(requests, perSecond), rtts(time.Duration(1+roundTrips)))
	}

	It("has one answer each round trip", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		const requests = 64
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		perSecond, wire := benchmark(lab, net, requests)
		measure(lab, perSecond, requests, requests)
		lab.Measure("segments from the client", len(busiest(wire, net)), bounds.Exactly(requests), "one a request")
	})

	It("has sixteen with a pipeline of sixteen (-P 16)", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		const requests, pipeline = 64, 16
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		perSecond, wire := benchmark(lab, net, requests, "-P", strconv.Itoa(pipeline))
		measure(lab, perSecond, requests, requests/pipeline)
		lab.Measure("segments from the client", len(busiest(wire, net)), bounds.Exactly(requests/pipeline), "one a pipeline")
	})

	It("has all answers over a link that loses 5 %, and is slower", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		const requests = 128
		lab := harness.NewLab(ctx)
		net := losing(lab, 5)
		perSecond, wire := benchmark(lab, net, requests)
		lab.Note("requests a second", perSecond)
		lab.Note("lost by the link", net.ToServer.Queue().Drops+net.ToClient.Queue().Drops)
		sent := busiest(wire, net)
		distinct, repeated := transmissions(sent)
		lab.Measure("requests on the wire", distinct, bounds.Exactly(requests), "one a segment")
		// Of 128 requests with their answers none is lost once in 500,000 runs.
		lab.Measure("requests that were sent again", repeated, bounds.AtLeast(1), "5 % of them, and of the answers; RFC 9293, 3.8.1")
		syn := harness.First(wire.From(net.Client(), analysis.SYNs, analysis.FromPort(sent[0].Src.Port())), "SYNs")
		answers := wire.DataFrom(net.Server(), func(s analysis.Segment) bool { return s.Dst == syn.Src })
		all := took(requests, perSecond)
		lab.Measure("time that all of them took", all, bounds.AtLeast(rtt+oneByOne(net.Client().Oracle(), distinct, repeated)),
			"an RTT for the handshake and each request; RFC 8985, 7.2, for what was sent again")
		rounding := time.Duration(0.005 / perSecond * float64(all)) // it prints two digits after the point
		lab.Check("time in the capture", answers[len(answers)-1].At-syn.At, bounds.Around(all, programDelay+rounding))
		lab.Check("retransmits", net.Client().Counters()["TcpRetransSegs"], bounds.AtLeast(repeated), "the capture")
	})
})

// A balancer or NAT on the way forgets idle connections. redis-cli uses its connection again after a pause, as a pool of connections does.
var _ = Describe("behind a middlebox that forgets idle flows", harness.Programs("redis-server", "redis-cli"), func() {
	const forgets = 10 * time.Second
	// twice has redis-cli send two PINGs on one connection, with a pause between them, and returns when it has ended.
	twice := func(lab *harness.Lab, box middlebox.Box, pause time.Duration, status int) (net *harness.Network, wire *harness.Capture, got peers.CommandResult, ended time.Time) {
		GinkgoHelper()
		net = lab.Path(rtt)
		box.NAT, box.Outside = true, net.ToServer.Name()
		net.Routers[0].Middlebox(box)
		lab.Start(net.Server(), redis(net))
		wire = lab.Capture(net.Client())
		got = said(lab.Start(net.Client(), redisCLI(net, status, "-r", "2", "-i", fmt.Sprint(pause.Seconds()), "PING")))
		ended = time.Now()
		return net, wire.Stop(), got, ended
	}
	// second are the transmissions of the second PING.
	second := func(net *harness.Network, wire *harness.Capture) []analysis.Segment {
		GinkgoHelper()
		data := wire.DataFrom(net.Client())
		Expect(len(data)).To(BeNumerically(">=", 2))
		return data[1:]
	}

	It("redis-cli hangs for a quarter of an hour, if that is silent", Label("long", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, wire, got, ended := twice(lab, middlebox.Box{IdleTimeout: forgets}, forgets+2*time.Second, 1)
		Expect(got.Stdout).To(Equal("PONG\n"))
		Expect(got.Stderr).To(ContainSubstring("recv timeout"))
		sent := second(net, wire)
		expected := net.Client().Oracle().Blackhole(oracle.Flow{RTT: pathRTT})
		lab.Measure("retransmits", len(sent)-1, expected.Count())
		lab.Measure("last retransmit after", sent[len(sent)-1].At-sent[0].At, expected.Sent[len(sent)-2])
		lab.Measure("gave up after", ended.Sub(sent[0].Time), expected.End.LateBy(programEnd))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPAbortOnTimeout": 1})
	})

	It("redis-cli is told at once, if that answers with a reset", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, wire, got, _ := twice(lab, middlebox.Box{IdleTimeout: forgets, Unknown: middlebox.Reset}, forgets+2*time.Second, 1)
		Expect(got.Stdout).To(Equal("PONG\n"))
		Expect(got.Stderr).To(ContainSubstring("Connection reset by peer"))
		reset := harness.First(wire.Segments(analysis.RSTs, analysis.To(net.Client().IP())), "resets")
		lab.Measure("reset after", reset.At-second(net, wire)[0].At, oracle.Exactly(rtt/2).LateBy(harness.HostDelay), "RFC 9293, 3.10.7.1; the router is half-way")
	})

	It("redis-cli notices nothing, as its TCP keepalive of 15 s comes first, if that forgets after 20 s", Label("quick", "netem", "rfc5382"),
		func(ctx SpecContext) {
			const pause = time.Minute
			lab := harness.NewLab(ctx)
			net, wire, got, _ := twice(lab, middlebox.Box{IdleTimeout: 20 * time.Second}, pause, 0)
			Expect(got.Stdout).To(Equal("PONG\nPONG\n"))
			Expect(second(net, wire)).To(HaveLen(1))
			probes := net.Client().Counters()["TcpExtTCPKeepAlive"]
			lab.Measure("TCP keepalives", probes, bounds.Between(2*int(pause/(redisCLIKeepalive.Time+time.Second)), 2*int(pause/redisCLIKeepalive.Time)), "in two pauses; REDIS_CLI_KEEPALIVE_INTERVAL: 15 s")
		})
})

// A subscriber only waits. If the path is gone, nothing tells but a keepalive: its own, or for the server's side the server's.
var _ = Describe("a Redis subscriber on a path that goes dark", func() {
	dark := func(net *harness.Network) time.Time {
		GinkgoHelper()
		net.ToServer.Blackhole()
		net.ToClient.Blackhole()
		return time.Now()
	}
	subscribed := func(net *harness.Network) {
		GinkgoHelper()
		net.Server().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.Established}})
		time.Sleep(harness.Settle)
	}

	It("hears of it by redis-cli's own TCP keepalive", harness.Programs("redis-server", "redis-cli"), Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		lab.Start(net.Server(), redis(net))
		wire := lab.Capture(net.Client())
		client := lab.Start(net.Client(), redisCLI(net, 1, "SUBSCRIBE", "news"))
		subscribed(net)
		dark(net)
		Expect(said(client).Stderr).To(ContainSubstring("recv timeout"))

		heard := wire.Stop().Segments(analysis.To(net.Client().IP()))
		last := heard[len(heard)-1]
		expected := net.Client().Oracle().Keepalive(redisCLIKeepalive)
		probes := wire.From(net.Client(), func(s analysis.Segment) bool {
			return s.Frame > last.Frame && s.Flags&analysis.FlagRST == 0 && s.At-last.At > time.Second
		})
		lab.Measure("TCP keepalives", len(probes), expected.Count())
		reset := harness.First(wire.From(net.Client(), analysis.RSTs), "resets") // tcp_keepalive_timer: tcp_send_active_reset
		lab.Measure("gave up after", reset.At-last.At, expected.End)
	})

	It("wrong: hangs without a keepalive, for ever", harness.Programs("redis-server", "socat"), Label("long", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		lab.Start(net.Server(), redis(net, "tcp-keepalive 0", "hz 1")) // hz: what it does in between costs a guest time
		lab.Start(net.Client(), peers.Command{
			Path: harness.ProgramPath("socat"), Stdin: []byte("SUBSCRIBE news\r\n"),
			Args: []string{"STDIO,ignoreeof", fmt.Sprintf("TCP%s:%s", harness.ByFamily("4", "6"), net.Server().Addr(redisPort))},
		})
		subscribed(net)
		dark(net)
		const waited = 30 * time.Minute // longer than tcp_retries2 would take
		time.Sleep(waited)
		// RFC 9293, section 3.8.4: keepalives are off unless the program asks for them. Nothing else is ever sent.
		for _, host := range []*harness.Host{net.Client(), net.Server()} {
			Expect(host.Sockets(kernel.SocketFilter{States: []kernel.State{kernel.Established}})).To(HaveState(kernel.Established, 1))
			Expect(host.Counters()).To(HaveCounters{"TcpExtTCPKeepAlive": 0, "TcpRetransSegs": 0})
		}
		lab.Note("waited in vain", waited)
	})

	It("is forgotten by the server after its tcp-keepalive", harness.Programs("redis-server", "redis-cli"), Label("quick", "netem", "linux"), func(ctx SpecContext) {
		const interval = 10 * time.Second // anetKeepAlive: TCP_KEEPINTVL is a third of it, and TCP_KEEPCNT 3
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		lab.Start(net.Server(), redis(net, "tcp-keepalive 10"))
		wire := lab.Capture(net.Server())
		lab.Start(net.Client(), redisCLI(net, 1, "SUBSCRIBE", "news"), harness.MayFail)
		subscribed(net)
		dark(net)
		net.Server().AwaitSockets(0, kernel.SocketFilter{States: []kernel.State{kernel.Established}})
		heard := wire.Stop().Segments(analysis.To(net.Server().IP()))
		reset := harness.First(wire.From(net.Server(), analysis.RSTs), "resets")
		expected := net.Server().Oracle().Keepalive(oracle.KeepaliveOptions{Time: interval, Interval: interval / time.Second / 3 * time.Second, Probes: 3})
		lab.Measure("gave up after", reset.At-heard[len(heard)-1].At, expected.End)
	})
})
