package programs

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
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
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/peers/course/lineecho"
)

// A lineServer is how a server of lines is started.
type lineServer struct {
	Address string
	Naive   bool // the wrong one
	Plain   bool
	Timeout time.Duration
}

// A lineSession is lineecho.Session, for JSON.
type lineSession struct {
	Remote string
	Lines  int
	Bytes  int64
	Err    string
}

// lines is the server. Its value is how each connection ended, in that order.
var lines = peers.Func("line-server", func(t *peers.Task, c lineServer) (sessions []lineSession, err error) {
	listener, err := listening(t, c.Address)
	if err != nil {
		return nil, err
	}
	var lock sync.Mutex
	server := lineecho.Server{Timeout: c.Timeout, Plain: c.Plain, Closed: func(s lineecho.Session) {
		lock.Lock()
		defer lock.Unlock()
		sessions = append(sessions, lineSession{s.Remote.String(), s.Lines, s.Bytes, errorText(s.Err)})
	}}
	if c.Naive {
		err = lineecho.Naive{Server: server}.Serve(t.Context(), listener)
	} else {
		err = server.Serve(t.Context(), listener)
	}
	return sessions, err
})

// A lineClient says what a client of lines does.
type lineClient struct {
	Address string
	Tuning  tuning
	Lines   []string
	Ahead   bool          // send all lines in one write, then read the answers
	Timeout time.Duration // for an answer; 0: patience
}

// A lineAnswer is what came back of one line.
type lineAnswer struct {
	Echo string
	Err  string
	Took time.Duration
}

// askLines is the client. It ends with the first error, which is in its last answer.
var askLines = peers.Func("line-client", func(t *peers.Task, c lineClient) (answers []lineAnswer, err error) {
	if err := t.Ready(nil); err != nil {
		return nil, err
	}
	conn, err := c.Tuning.dial(c.Address)
	if err != nil {
		return nil, err
	}
	client := lineecho.NewClient(t.Context(), conn, lineecho.ClientOptions{Timeout: cmp.Or(c.Timeout, patience)})
	defer client.Close()
	t.Started(conn)
	if c.Ahead {
		if _, err := io.WriteString(conn, strings.Join(c.Lines, "\n")+"\n"); err != nil {
			return nil, err
		}
	}
	for _, line := range c.Lines {
		began := time.Now()
		var answer lineAnswer
		var err error
		if c.Ahead {
			answer.Echo, err = client.Receive()
		} else {
			answer.Echo, err = client.Echo(line)
		}
		answer.Took = time.Since(began)
		if err != nil {
			answer.Err = err.Error()
			return append(answers, answer), nil
		}
		answers = append(answers, answer)
	}
	if err := client.Quit(); err != nil {
		answers = append(answers, lineAnswer{Err: err.Error()})
	}
	return answers, nil
})

// echoes are the lines that came back.
func echoes(answers []lineAnswer) []string {
	var list []string
	for _, a := range answers {
		list = append(list, a.Echo)
	}
	return list
}

// wrong counts the lines that did not come back as they were sent.
func wrong(answers []lineAnswer, sent []string) int {
	n := 0
	for i, line := range sent {
		if i >= len(answers) || answers[i].Err != "" || answers[i].Echo != line {
			n++
		}
	}
	return n
}

// startLines starts a server of lines.
func startLines(lab *harness.Lab, net *harness.Network, c lineServer) *harness.Peer {
	GinkgoHelper()
	c.Address, c.Timeout = net.Server().Addr(port).String(), cmp.Or(c.Timeout, patience)
	return lab.Start(net.Server(), lines.With(c))
}

// someLines are different lines of some lengths, in bytes.
func someLines(count, length int) []string {
	var list []string
	for i := range count {
		list = append(list, fmt.Sprintf("%03d ", i)+strings.Repeat(string(rune('a'+i%26)), length-4))
	}
	return list
}

var _ = It("line echo: answers each line in one RTT, in one segment", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := lab.Capture(net.Client())
	sent := someLines(20, 60)
	server := startLines(lab, net, lineServer{})
	answers, err := askLines.Value(lab.Start(net.Client(), askLines.With(lineClient{Address: net.Server().Addr(port).String(), Lines: sent})).Wait())
	Expect(err).NotTo(HaveOccurred())
	Expect(echoes(answers)).To(Equal(sent))
	for _, a := range answers {
		lab.Measure("line answered after", a.Took, rtts(1))
	}
	sessions, err := lines.Value(server.Stop())
	Expect(err).NotTo(HaveOccurred())
	Expect(sessions).To(HaveExactElements(And(HaveField("Lines", len(sent)), HaveField("Err", ""))))
	time.Sleep(harness.Settle) // the last ACK
	// Each line and each answer is one write, and one segment: TCP_NODELAY, which package net sets, and less than an MSS.
	lab.Check("segments of the client", len(wire.Stop().DataFrom(net.Client())), bounds.Exactly(len(sent)+1), "a write each; and quit")
	lab.Check("segments of the server", len(wire.DataFrom(net.Server())), bounds.Exactly(len(sent)), "a write each")
	Expect(wire).To(Contain(FourWayClose()))
})

// lossy is a link that loses and reorders, at random.
var lossy = impair.Netem{Delay: rtt / 2, Loss: impair.RandomLoss{Percent: 5}, Reorder: impair.Reorder{Percent: 5}}

// repaired expects that the link has lost something, and that both hosts have retransmitted what a capture on both shows.
func repaired(lab *harness.Lab, net *harness.Network, wire *harness.Capture) {
	GinkgoHelper()
	// Until each FIN is acknowledged one can still be retransmitted, between the end of the capture and the look at the counters.
	for _, host := range []*harness.Host{net.Client(), net.Server()} {
		host.AwaitSockets(0, kernel.SocketFilter{States: []kernel.State{kernel.FinWait1, kernel.Closing, kernel.LastAck}})
	}
	wire.Stop()
	var lost uint64
	for _, end := range []*harness.End{net.ToServer, net.ToClient} {
		lost += end.Queue().Drops
	}
	total := 0
	for _, host := range []*harness.Host{net.Client(), net.Server()} {
		n := int(host.Counters()["TcpRetransSegs"])
		Expect(wire.From(host, analysis.On(host.End("eth0").String()))).To(HaveRetransmissions(n))
		total += n
	}
	lab.Note("lost by the link", lost)
	lab.Measure("retransmits", total, bounds.AtLeast(1), "RFC 9293, 3.8.1: what is lost is sent again")
}

var _ = It("line echo: answers each line over a link that loses 5 % and reorders 5 %", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Routed()
	net.Impair(lossy)
	wire := lab.Capture(net.Client(), net.Server())
	sent := someLines(100, 300)
	server := startLines(lab, net, lineServer{})
	client := lineClient{Address: net.Server().Addr(port).String(), Tuning: tuning{MSS: 212}, Lines: sent}
	answers, err := askLines.Value(lab.Start(net.Client(), askLines.With(client)).Wait())
	Expect(err).NotTo(HaveOccurred())
	lab.Measure("lines answered wrong", wrong(answers, sent), bounds.Exactly(0), "the contract")
	Expect(echoes(answers)).To(Equal(sent)) // and none more
	sessions, err := lines.Value(server.Stop())
	Expect(err).NotTo(HaveOccurred())
	Expect(sessions).To(HaveExactElements(And(HaveField("Lines", len(sent)), HaveField("Err", ""))))
	repaired(lab, net, wire)
})

// Each of these breaks the contract. The server says so and closes; another client, which asks meanwhile, does not notice.
var _ = DescribeTable("line echo: tells the client what is wrong, and no other client notices:", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, bad string, times int, fin bool, want error, after oracle.Span) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		server := startLines(lab, net, lineServer{Timeout: lineTimeout})
		sent := someLines(30, 60) // for 30 RTTs, which is longer than the time-out
		// That a program starts or ends takes the guest's CPU for some milliseconds, which the other client would notice: so it is there before and after.
		breaker := lab.Start(net.Client(), breakRules.With(badClient{net.Server().Addr(port).String(), bad, times, fin}))
		breaker.Waiting()
		good := lab.Start(net.Client(), askLines.With(lineClient{Address: net.Server().Addr(port).String(), Lines: sent}))
		good.Started()
		breaker.Continue()
		answers, err := askLines.Value(good.Wait())
		Expect(err).NotTo(HaveOccurred())
		breaker.Waiting()
		breaker.Continue()
		told, err := breakRules.Value(breaker.Wait())
		Expect(err).NotTo(HaveOccurred())

		Expect(told.Said).To(HavePrefix("error: " + want.Error()))
		lab.Measure("told after", told.After, after)
		Expect(echoes(answers)).To(Equal(sent))
		for _, a := range answers {
			lab.Measure("other client's answer after", a.Took, rtts(1))
		}
		sessions, err := lines.Value(server.Stop())
		Expect(err).NotTo(HaveOccurred())
		Expect(sessions).To(ConsistOf(
			And(HaveField("Err", HavePrefix(want.Error())), HaveField("Remote", told.Local)),
			And(HaveField("Err", ""), HaveField("Lines", len(sent)))))
		// What is not read when a socket is closed makes a reset of the FIN (RFC 2525, 2.17), on which the error is lost.
		Expect(wire.Stop()).NotTo(Contain(Reset()))
		Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPAbortOnClose": 0})
	},
	Entry("a line longer than the limit", strings.Repeat("x", 2000)+"\n", 1, false, lineecho.ErrTooLong, rtts(1)),
	Entry("100 kB without an end", "x", 100_000, false, lineecho.ErrTooLong, oracle.Between(rtt, longFlood).From("slow start from IW10")),
	Entry("a NUL byte", "a\x00b\n", 1, false, lineecho.ErrNUL, rtts(1)),
	Entry("the stream's end within a line", "no end", 1, true, lineecho.ErrUnfinished, rtts(1)),
	Entry("half a line, and then silence", "no end", 1, false, lineecho.ErrTimeout, oracle.PollTimeout(lineTimeout).Plus(rtts(1)).From("the server's time-out")),
)

const (
	lineTimeout = time.Second // of the server, for a whole line

	// longFlood is what 100 kB take at most: an initial window of ten segments, doubled each RTT, is 10+20+40 segments after three,
	// and the end of the write is what the client waits for.
	longFlood = 5 * (rtt + programDelay)
)

// A badClient sends what is no line.
type badClient struct {
	Address string
	Text    string
	Times   int  // how often it sends the text, in one write
	FIN     bool // close the sending side then
}

// A verdict is what the server said to it.
type verdict struct {
	Local string
	Said  string
	After time.Duration // since before the write
}

var breakRules = peers.Func("line-breaker", func(t *peers.Task, c badClient) (v verdict, err error) {
	if err := errors.Join(t.Ready(nil), t.Await()); err != nil {
		return v, err
	}
	conn, err := tuning{}.dial(c.Address)
	if err != nil {
		return v, err
	}
	defer conn.Close() // for the second time, unless something fails
	v.Local = conn.LocalAddr().String()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return v, err
	}
	began := time.Now()
	if _, err := io.WriteString(conn, strings.Repeat(c.Text, c.Times)); err != nil {
		return v, err
	}
	if c.FIN {
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return v, err
		}
	}
	said, err := io.ReadAll(conn) // until the server's FIN
	v.After, v.Said = time.Since(began), string(said)
	return v, errors.Join(err, conn.Close(), t.Await())
})

// The links differ, the programs do not: what is right must not hang on where segments end.
var _ = DescribeTable("line echo: one Read is one line", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, o tuning, ahead, naive bool, expected bounds.Range) {
		lab := harness.NewLab(ctx)
		net := lab.Routed()
		net.ToServer.Impair(impair.Netem{Delay: rtt / 2, Rate: impair.Rate{BitsPerSecond: impair.Mbit}})
		net.ToClient.Impair(impair.Netem{Delay: rtt / 2})
		wire := lab.Capture(net.Client())
		sent := someLines(10, 150)
		startLines(lab, net, lineServer{Naive: naive})
		client := lineClient{Address: net.Server().Addr(port).String(), Tuning: o, Lines: sent, Ahead: ahead, Timeout: 5 * time.Second}
		answers, err := askLines.Value(lab.Start(net.Client(), askLines.With(client)).Wait())
		Expect(err).NotTo(HaveOccurred())
		lab.Measure("lines answered wrong", wrong(answers, sent), expected)
		if !naive {
			Expect(echoes(answers)).To(Equal(sent)) // and none more
		}

		// On the wire: where lines end, and where segments do.
		line := len(sent[0]) + 1
		within := func(end int) bool { return end%line != 0 && end < len(sent)*line } // after the lines comes quit
		inside := slices.DeleteFunc(ends(wire.Stop().DataFrom(net.Client())), func(end int) bool { return !within(end) })
		segments := wire.DataFrom(net.Client(), analysis.Not(analysis.FINs))
		lab.Note("segments", len(segments))
		lab.Note("segments that end within a line", len(inside))
		Expect(len(inside) > 0 || len(segments) < len(sent)).To(Equal(o.MSS > 0 || ahead))
	},
	Entry("is right by chance, where each line is a segment", tuning{}, false, true, bounds.Exactly(0).From("TCP_NODELAY, and lines shorter than an MSS")),
	Entry("is wrong where a line takes two segments", tuning{MSS: 88}, false, true, wrongLines),
	Entry("is wrong where ten lines come in two segments", tuning{}, true, true, wrongLines),
	Entry("is not what the right server thinks: a line takes two segments", tuning{MSS: 88}, false, false, bounds.Exactly(0).From("the contract")),
	Entry("is not what the right server thinks: ten lines come in two segments", tuning{}, true, false, bounds.Exactly(0).From("the contract")),
)

// wrongLines: the first Read has the first segment, which a line does not fill, or more than one does. The client sees that in the
// first answer, and none after it is right.
var wrongLines = bounds.AtLeast(9).From("RFC 9293, 3.8: TCP keeps no record boundaries")

// A plainClient sends bytes to a plain echo.
type plainClient struct {
	Address string
	Bytes   int
	Wrong   bool // write all, and then read
	Timeout time.Duration
}

type plainOutcome struct {
	Same     bool // all came back
	TimedOut bool
	Err      string
	Took     time.Duration
}

var echoBytes = peers.Func("plain-client", func(t *peers.Task, c plainClient) (o plainOutcome, err error) {
	if err := t.Ready(nil); err != nil {
		return o, err
	}
	conn, err := tuning{}.dial(c.Address)
	if err != nil {
		return o, err
	}
	data := bytes.Repeat([]byte("0123456789abcdef"), c.Bytes/16)
	echo := lineecho.PlainEcho
	if c.Wrong {
		echo = lineecho.WriteFirst
	}
	began := time.Now()
	echoed, err := echo(t.Context(), conn, data, c.Timeout)
	o = plainOutcome{Same: bytes.Equal(echoed, data), Took: time.Since(began)}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		o.TimedOut, o.Err, err = true, err.Error(), nil
	}
	return o, err
})

// smallBuffers keep the sockets of both hosts from growing: what they hold is a small part of what is sent.
var smallBuffers = harness.Sysctls(netns.IPv4("tcp_rmem", "4096 65536 65536"), netns.IPv4("tcp_wmem", "4096 65536 65536"))

// leastWindow is how many bytes come to a receiver with small buffers that reads none: those of its first window at least, which is half of tcp_rmem
// in whole segments (tcp_select_initial_window, tcp_win_from_space), and never taken back.
func leastWindow() int { return 65536/2 - int(harness.MSS()) }

var _ = DescribeTable("plain echo of 1 MB through small buffers", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, link impair.Netem, wrong bool) {
		const size, timeout = 1 << 20, 10 * time.Second
		lab := harness.NewLab(ctx)
		net := lab.Routed(smallBuffers)
		net.Impair(link)
		wire := lab.Capture(net.Client(), net.Server())
		server := startLines(lab, net, lineServer{Plain: true})
		client := plainClient{Address: net.Server().Addr(port).String(), Bytes: size, Wrong: wrong, Timeout: timeout}
		got, err := echoBytes.Value(lab.Start(net.Client(), echoBytes.With(client)).Wait())
		Expect(err).NotTo(HaveOccurred())
		sessions, err := lines.Value(server.Stop())
		Expect(err).NotTo(HaveOccurred())
		Expect(sessions).To(HaveLen(1))

		if !wrong {
			Expect(got.Err).To(BeEmpty())
			Expect(got.Same).To(BeTrue())
			lab.Measure("bytes echoed", sessions[0].Bytes, bounds.Exactly(int64(size)), "the contract")
			if link.Loss != nil {
				repaired(lab, net, wire)
			}
			return
		}
		// The client does not read, so that the server cannot write, and does not read either: then the client cannot write. All
		// bytes that were written stand in four buffers, of 64 KiB each, and both windows are closed.
		Expect(got.TimedOut).To(BeTrue(), got.Err)
		Expect(got.Err).To(ContainSubstring("before the first read"))
		filled := 20 * (rtt + programDelay) // a buffer's worth takes six RTTs at IW10, doubled each; four buffers one after the other at most
		lab.Measure("stood still until", got.Took, oracle.Between(timeout, timeout+filled).From("the client's time-out, once four buffers are full"))
		// The server has written what fills the client's window, and more that stays in its socket.
		lab.Measure("bytes echoed", sessions[0].Bytes, bounds.Between(int64(leastWindow()), 4*65536), "tcp_rmem, tcp_wmem")
		for _, host := range []*harness.Host{net.Client(), net.Server()} {
			Expect(wire.Stop().From(host, func(s analysis.Segment) bool { return s.Window == 0 && s.Flags == analysis.FlagACK })).NotTo(BeEmpty())
			Expect(host.Counters()["TcpExtTCPToZeroWindowAdv"]).To(BeNumerically(">=", 1))
		}
	},
	Entry("comes back whole", impair.Netem{Delay: rtt / 2}, false),
	Entry("comes back whole over a link that loses 5 % and reorders 5 %", lossy, false),
	Entry("deadlocks if the client writes all before it reads", impair.Netem{Delay: rtt / 2}, true),
)
