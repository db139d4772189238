package programs

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
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
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/peers/course/liveness"
)

// What a client is doing when the other side goes. It is the first half of a row of the matrix.
const (
	connecting = "connecting"
	idle       = "idle"            // it waits for a message, and nothing is unacknowledged
	asking     = "a request sent"  // it waits for the answer
	uploading  = "data being sent" // it sends as fast as the kernel takes it, and does not read
)

// How the other side goes: the columns.
const (
	killed      = "the process is killed"
	dead        = "the host is dead"
	dark        = "the link is dark"
	unreachable = "a router says unreachable"
)

const (
	// deadline is of all mechanisms that have one: long enough for a few retransmissions.
	deadline = 10 * time.Second
	// watched is how long a client is watched that may never notice: twice as long as the kernel tries with unacknowledged data.
	watched = 30 * time.Minute
	// icmpInterval is how often a router tells the same host that another is unreachable, after a few at once: the route's limit
	// (net.ipv4.route.error_cost, 1 s) and that of all such messages (net.ipv4.icmp_ratelimit, 1 s) take their time from the same
	// allowance (net/ipv4/route.c: ip_error; net/ipv4/icmp.c: icmpv4_xrlim_allow).
	icmpInterval = 2 * time.Second
)

// A mechanism is how a client, or its kernel, is to notice that the other side is gone: the second half of a row.
type mechanism struct {
	liveness.Options
	sysctls []netns.Setting
}

func keepalive(idle, interval time.Duration, count int) *net.KeepAliveConfig {
	return &net.KeepAliveConfig{Enable: true, Idle: idle, Interval: interval, Count: count}
}

// A prediction is when and by what error a client notices. An empty error is: never.
type prediction struct {
	after oracle.Span
	err   string

	sinceAnswer bool // the time counts from what was received last, and not from what the client has done since
}

// predict says what the first of all mechanisms does. The kernel's part is the oracle's.
func (m mechanism) predict(doing, failure string, k oracle.Kernel, flow oracle.Flow) prediction {
	k = k.WithRTOMax(m.RTOMax)
	flow.UserTimeout = m.UserTimeout
	var all []prediction
	may := func(when bool, after oracle.Span, err string) {
		if when {
			all = append(all, prediction{after: after, err: err, sinceAnswer: doing == idle && err == "ETIMEDOUT"})
		}
	}
	own := oracle.PollTimeout(deadline)
	may(doing == connecting && m.Dial != 0, own.From("the program's deadline"), "i/o timeout")
	may((doing == idle || doing == asking) && m.Silence != 0, own.From("the program's deadline"), "silence")
	may(doing == uploading && m.Write != 0, own.From("the program's deadline, once the buffer is full"), "i/o timeout")
	silent := failure == dead || failure == dark // the client is told nothing
	switch doing {
	case connecting:
		may(failure == killed, oracle.Exactly(rtt).From("RFC 9293, 3.10.7.1: RST to a SYN"), "ECONNREFUSED")
		may(failure == unreachable, oracle.Between(0, rtt).From("RFC 1122, 4.2.3.9; tcp_v4_err: SYN_SENT"), icmpError)
		may(silent, k.Connect(oracle.ConnectOptions{UserTimeout: m.UserTimeout}).End, "ETIMEDOUT")
	case idle:
		may(failure == killed, oracle.Between(0, rtt/2).From("RFC 9293, 3.6: its kernel sends a FIN"), "EOF")
		if c := m.KeepAlive; c != nil {
			// A router's message changes nothing: it quotes the probe's sequence number, which is below what is sent next, and so is
			// taken for a stray (tcp_v4_err: LINUX_MIB_OUTOFWINDOWICMPS).
			may(failure != killed, k.Keepalive(oracle.KeepaliveOptions{
				Time: c.Idle, Interval: c.Interval, Probes: c.Count, UserTimeout: m.UserTimeout}).End, "ETIMEDOUT")
		}
	case asking:
		may(failure == killed, oracle.Between(0, rtt/2).From("RFC 9293, 3.6: its kernel sends a FIN"), "EOF")
		may(silent, k.Blackhole(flow).End, "ETIMEDOUT")
		may(failure == unreachable, k.Unreachable(flow, icmpInterval), icmpError)
	case uploading:
		may(failure == killed, oracle.Between(0, rtt).From("RFC 9293, 3.10.7.1: RST to data; tcp_reset: CLOSE_WAIT"), "EPIPE")
		may(silent, k.Blackhole(flow).End, "ETIMEDOUT")
		may(failure == unreachable, k.Unreachable(flow, icmpInterval), icmpError)
	}
	first := prediction{}
	for _, p := range all {
		if first.err == "" || p.after.Latest < first.after.Latest {
			first = p
		}
	}
	return first
}

// icmpError is what ICMP's "host unreachable" becomes, and ICMPv6's "no route" (icmp_err_convert, icmpv6_err_convert).
var icmpError = harness.ByFamily("EHOSTUNREACH", "ENETUNREACH")

// A livingServer is how a server is started.
type livingServer struct {
	Address string
	Mute    bool // it answers nothing but the first message of a client, and pings
}

var livingServe = peers.Func("living-server", func(t *peers.Task, c livingServer) (none struct{}, err error) {
	// Package net's keepalive of the server's side would end the connection after 150 s, by a reset, where only one direction is gone.
	listener, err := (&net.ListenConfig{KeepAlive: -1}).Listen(t.Context(), "tcp", c.Address)
	if err != nil {
		return none, err
	}
	if err := t.Ready(listener.Addr()); err != nil {
		return none, err
	}
	server := liveness.Server{Silence: 2 * watched, Write: 2 * watched}
	if c.Mute {
		server.Answer = func(message []byte) []byte {
			if string(message) == hello {
				return message
			}
			return nil
		}
	}
	return none, server.Serve(t.Context(), listener)
})

const hello = "hello"

// A watcher is a client that waits until it notices that its server is gone.
type watcher struct {
	Address string
	Doing   string
	For     time.Duration // how long it is watched
	Options liveness.Options
}

// A noticed is what it noticed.
type noticed struct {
	After       time.Duration // since it began to wait, which is after the failure
	SinceAnswer time.Duration // since it has received something
	Err         string        // empty: nothing
}

var watch = peers.Func("watcher", func(t *peers.Task, c watcher) (noticed, error) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var conn *liveness.Conn
	var err error
	if c.Doing != connecting {
		if conn, err = liveness.Dial(ctx, c.Address, c.Options); err != nil {
			return noticed{}, err
		}
		defer conn.Close()
		if err := conn.Send([]byte(hello)); err != nil {
			return noticed{}, err
		}
		if _, err := conn.Receive(); err != nil {
			return noticed{}, err
		}
	}
	answered := time.Now()
	if err := t.Ready(nil); err != nil {
		return noticed{}, err
	}
	if err := t.Await(); err != nil {
		return noticed{}, err
	}
	began := time.Now()
	defer time.AfterFunc(c.For, cancel).Stop() // which ends the connection, and connecting
	switch c.Doing {
	case connecting:
		if conn, err = liveness.Dial(ctx, c.Address, c.Options); err == nil {
			conn.Close()
		}
	case idle:
		_, err = conn.Receive()
	case asking:
		if err = conn.Send([]byte("request")); err == nil {
			_, err = conn.Receive()
		}
	case uploading:
		for err == nil {
			err = conn.Send(make([]byte, liveness.MaxMessage))
		}
	}
	got := noticed{After: time.Since(began), SinceAnswer: time.Since(answered)}
	switch {
	case got.After >= c.For:
		return got, nil
	case err == nil:
		return got, errors.New("an answer, although the server is gone")
	}
	got.Err = reason(err)
	return got, nil
})

// reason names an error in a word.
func reason(err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, liveness.ErrSilent):
		return "silence"
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "i/o timeout"
	case errors.Is(err, io.EOF):
		return "EOF"
	case errors.As(err, &errno):
		return unix.ErrnoName(errno)
	}
	return err.Error()
}

// fail lets the other side go.
func fail(path *harness.Network, server *harness.Peer, failure string) {
	GinkgoHelper()
	switch failure {
	case killed:
		if server != nil {
			server.Kill()
		}
	case dead:
		// The router has a carrier no more; it drops what is for the host.
		host := path.Server()
		link, err := host.Netlink().LinkByName(host.Ends()[0].Name())
		Expect(err).NotTo(HaveOccurred())
		Expect(host.Netlink().LinkSetDown(link)).To(Succeed())
	case dark:
		path.ToServer.Blackhole()
		path.ToClient.Blackhole()
	case unreachable:
		path.Routers[0].Unreachable(path.Server().IP())
	}
}

// notice is one cell of the matrix.
func notice(ctx SpecContext, doing, failure string, m mechanism) {
	GinkgoHelper()
	lab := harness.NewLab(ctx)
	path := lab.Path(rtt, harness.ClientSysctls(m.sysctls...))
	address := path.Server().Addr(port).String()
	var server *harness.Peer
	if doing != connecting || failure != killed {
		server = lab.Start(path.Server(), livingServe.With(livingServer{Address: address, Mute: doing == uploading}))
	}
	client := lab.Start(path.Client(), watch.With(watcher{Address: address, Doing: doing, For: watched, Options: m.Options}))
	client.Waiting()
	flow := oracle.Flow{RTT: oracle.Between(rtt, rtt+programDelay)}
	if doing != connecting {
		sockets := path.Client().Sockets(kernel.SocketFilter{Port: port}).List()
		if doing == uploading {
			flow.InFlight = path.Client().Oracle().InitialWindow(0)
		}
		flow.RTO = time.Duration(harness.First(sockets, "sockets to the server").TCPInfo.Rto) * time.Microsecond
	}
	fail(path, server, failure)
	client.Continue()
	got, err := watch.Value(client.Wait())
	Expect(err).NotTo(HaveOccurred())

	expected := m.predict(doing, failure, path.Client().Oracle(), flow)
	gaveUp := 0 // the kernel, not the program
	if expected.err == "" {
		Expect(got.Err).To(BeEmpty(), "after %v", got.After)
		lab.Measure("nothing for", got.After, oracle.PollTimeout(watched).LateBy(programDelay), "it waits for ever")
	} else {
		Expect(got.Err).To(Equal(expected.err), "after %v", got.After)
		after := got.After
		if expected.sinceAnswer {
			after = got.SinceAnswer
		}
		within := expected.after.LateBy(programDelay).Range()
		if expected.after.Earliest == 0 {
			within = bounds.AtMost(expected.after.Latest + programDelay).From(expected.after.Source)
		}
		lab.Measure(expected.err+" after", after, within)
		if expected.err == "ETIMEDOUT" || doing != connecting && expected.err == icmpError {
			gaveUp = 1
		}
	}
	Expect(path.Client().Counters()).To(HaveCounters{"TcpExtTCPAbortOnTimeout": gaveUp})
}

var _ = Describe("a server that says nothing", func() {
	const long = 10 * time.Minute
	const pings = int(long / (deadline / 2))
	beating := liveness.Options{Heartbeat: deadline / 2, Silence: deadline}
	// quiet watches a client that waits for a message of a server that has none.
	quiet := func(lab *harness.Lab, path *harness.Network, o liveness.Options, meanwhile func(server *harness.Peer)) noticed {
		GinkgoHelper()
		address := path.Server().Addr(port).String()
		server := lab.Start(path.Server(), livingServe.With(livingServer{Address: address, Mute: true}))
		client := lab.Start(path.Client(), watch.With(watcher{Address: address, Doing: idle, For: long, Options: o}))
		client.Waiting()
		meanwhile(server)
		client.Continue()
		got, err := watch.Value(client.Wait())
		Expect(err).NotTo(HaveOccurred())
		return got
	}
	nothing := func(*harness.Peer) {}

	It("is alive as long as it answers pings, on a clean link", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		wire := lab.Capture(path.Client())
		Expect(quiet(lab, path, beating, nothing).Err).To(BeEmpty())
		wire.Stop()
		lab.Measure("pings", len(wire.DataFrom(path.Client()))-1, bounds.Between(pings-1, pings), "one each 5 s")
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0, "TcpExtTCPKeepAlive": 0})
	})

	// One in 20 is lost each way, and one more, each way, four times in a row. By chance it could be any number of times in a row, of a ping or of its
	// answer, and after some the server would rightly be taken for dead: so it is not left to chance.
	It("is alive as long as it answers pings, on a link that loses 5 %: TCP retransmits them", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		const oneIn, inARow, thePing, thePong = 20, 4, 50, 90
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		lost := map[*harness.Host][]*harness.Rule{
			path.Client(): {path.ToServer.Rule(rules.Drop(rules.Data.Every(oneIn))), path.ToServer.Rule(rules.Drop(rules.Data.Number(thePing).Times(inARow)))},
			path.Server(): {path.ToClient.Rule(rules.Drop(rules.Data.Every(oneIn))), path.ToClient.Rule(rules.Drop(rules.Data.Number(thePong).Times(inARow)))},
		}
		Expect(quiet(lab, path, beating, nothing).Err).To(BeEmpty())
		for _, host := range []*harness.Host{path.Client(), path.Server()} {
			// When the next ping is due, half of the silence is left, less a round trip. What is sent after the last loss comes before that: the fourth
			// repetition, from the RTO of a round trip in which each ACK may have been delayed.
			k := host.Oracle()
			measured := oracle.Between(rtt, rtt+programDelay+k.DelayedACK(rtt).Latest)
			Expect(k.Blackhole(oracle.Flow{RTT: measured}).Sent[inARow-1].Latest).To(BeNumerically("<", deadline/2-rtt-programDelay), "RFC 6298, 5")
			hits := 0
			for _, rule := range lost[host] {
				hits += len(rule.Hits())
			}
			lab.Check("lost", hits, bounds.Between((pings-1)/oneIn+inARow, (pings+1)/oneIn+inARow), "one in 20, and one four times")
			lab.Measure("retransmits of the "+host.Name(), int(host.Counters()["TcpRetransSegs"]), bounds.AtLeast(hits), "RFC 9293, 3.8.1: each that was lost")
		}
	})

	stopped := func(server *harness.Peer) { Expect(server.Signal(syscall.SIGSTOP)).To(Succeed()) }
	It("is noticed by a heartbeat when its process is stopped", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		got := quiet(lab, lab.Path(rtt), beating, stopped)
		Expect(got.Err).To(Equal("silence"))
		lab.Measure("silence after", got.After, oracle.PollTimeout(deadline).LateBy(programDelay), "the program's deadline")
	})

	It("is taken for alive by TCP keepalive when its process is stopped, for its kernel answers", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		wire := lab.Capture(path.Client())
		idleTime := 5 * time.Second
		got := quiet(lab, path, liveness.Options{KeepAlive: keepalive(idleTime, idleTime, 3), UserTimeout: deadline}, stopped)
		Expect(got.Err).To(BeEmpty())
		sent := int(path.Client().Counters()["TcpExtTCPKeepAlive"])
		lab.Measure("keepalive probes", sent, bounds.Between(int(long/(idleTime+time.Second)), int(long/idleTime)), "one each TCP_KEEPIDLE")
		// A probe has the number before the next one, and no data. Of one that was sent just before the end nobody sees the answer.
		hellos := wire.Stop().DataFrom(path.Client())
		Expect(hellos).To(HaveLen(1))
		end := harness.First(wire.From(path.Client(), analysis.FINs), "FINs of the client")
		probes := wire.From(path.Client(), func(s analysis.Segment) bool {
			return s.Length == 0 && s.Seq == hellos[0].NextSeq()-1 && s.Flags == analysis.FlagACK && end.At-s.At > rtt+programDelay
		})
		Expect(sent-len(probes)).To(And(BeNumerically(">=", 0), BeNumerically("<=", 1)), "by the capture")
		for _, probe := range probes {
			answers := wire.From(path.Server(), func(s analysis.Segment) bool { return s.Length == 0 && s.At > probe.At && s.At-probe.At < idleTime })
			lab.Measure("each answered after", harness.First(answers, "answers to a probe").At-probe.At, rtts(1), "RFC 9293, 3.8.4: by the kernel")
		}
	})
})

// The specs of one failure run in one guest, each with a lab of its own: that is cheaper than a guest for each, and they share nothing.
var _ = func() bool {
	entry := func(name string, m mechanism, args ...any) TableEntry {
		return Entry(name, append([]any{m}, args...)...)
	}
	var (
		nothing    = entry("no mechanism", mechanism{})
		dial       = entry("a deadline for connecting of 10 s", mechanism{Options: liveness.Options{Dial: deadline}})
		read       = entry("a deadline for reads of 10 s", mechanism{Options: liveness.Options{Silence: deadline}})
		write      = entry("a deadline for writes of 10 s", mechanism{Options: liveness.Options{Write: deadline}})
		heartbeat  = entry("a heartbeat each 5 s, and 10 s of silence", mechanism{Options: liveness.Options{Heartbeat: deadline / 2, Silence: deadline}})
		keep       = entry("TCP keepalive, 5 s and 3 probes each 5 s", mechanism{Options: liveness.Options{KeepAlive: keepalive(5*time.Second, 5*time.Second, 3)}})
		goKeep     = entry("Go's TCP keepalive, 15 s and 9 probes each 15 s", mechanism{Options: liveness.Options{KeepAlive: keepalive(15*time.Second, 15*time.Second, 9)}})
		user       = entry("TCP_USER_TIMEOUT of 10 s", mechanism{Options: liveness.Options{UserTimeout: deadline}})
		both       = entry("TCP keepalive and TCP_USER_TIMEOUT of 10 s", mechanism{Options: liveness.Options{KeepAlive: keepalive(5*time.Second, 5*time.Second, 3), UserTimeout: deadline}})
		retries2   = entry("tcp_retries2 of 5", mechanism{sysctls: []netns.Setting{netns.IPv4("tcp_retries2", 5)}})
		synRetries = entry("tcp_syn_retries of 2", mechanism{sysctls: []netns.Setting{netns.IPv4("tcp_syn_retries", 2)}})
		rtoMax     = entry("TCP_RTO_MAX_MS of 1 s", mechanism{Options: liveness.Options{RTOMax: time.Second}}, ComponentSemVerConstraint("kernel", ">= 6.15.0"))
	)
	established := []any{nothing, read, write, heartbeat, keep, goKeep, user, both, retries2, rtoMax}
	for _, failure := range []string{killed, dead, dark, unreachable} {
		Describe("noticing that "+failure+":", Ordered, ContinueOnFailure, Label("long", "netem", "rfc9293"), func() {
			table := func(doing string, entries ...any) {
				cell := func(ctx SpecContext, m mechanism) { notice(ctx, doing, failure, m) }
				DescribeTable(doing+":", append([]any{cell}, entries...)...)
			}
			table(connecting, nothing, dial, user, synRetries)
			table(idle, established...)
			table(asking, established...)
			table(uploading, nothing, write, keep, user)
		})
	}
	return true
}()
