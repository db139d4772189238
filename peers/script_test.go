package peers_test

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers"
)

// States of include/net/tcp_states.h.
const (
	established = 1
	synRecv     = 3
	finWait2    = 5
	timeWait    = 6
	closeWait   = 8
)

// pair starts a server and a client that do these scripts on a connection over loopback.
func pair(t *testing.T, server, client peers.Script) (s, c *peers.Peer) {
	t.Helper()
	ctx := testContext(t)
	server.Listen = loopback
	s = start(t, ctx, "server", server)
	client.Connect = readyAddr(t, ctx, s)
	return s, start(t, ctx, "client", client)
}

// outcomes waits for a script and returns the steps of its only connection.
func outcomes(t *testing.T, p *peers.Peer) []peers.Outcome {
	t.Helper()
	r := wait(t, testContext(t), p)
	if len(r.Connections) != 1 {
		t.Fatalf("%d connections", len(r.Connections))
	}
	return r.Connections[0].Steps
}

// summary is "write 10: 10", "read 10: 0 ECONNRESET" for each step.
func summary(steps []peers.Outcome) []string {
	var list []string
	for _, o := range steps {
		s := o.Step + ": " + strconv.FormatInt(o.Bytes, 10)
		if o.Err != nil {
			s += " " + o.Err.Errno
		}
		list = append(list, s)
	}
	return list
}

func expectSteps(t *testing.T, name string, got []peers.Outcome, want ...string) {
	t.Helper()
	if !slices.Equal(summary(got), want) {
		t.Errorf("%s: %q, expected %q", name, summary(got), want)
	}
}

func TestScriptHalfClose(t *testing.T) {
	s, c := pair(t,
		peers.Script{Steps: peers.Steps(peers.ReadAll(), peers.Write(3_000_000), peers.Close())},
		peers.Script{Steps: peers.Steps(peers.Write(1000), peers.CloseWrite(), peers.ReadAll(), peers.Inspect())})
	steps := outcomes(t, c)
	expectSteps(t, "client", steps, "write 1000: 1000", "close-write: 0", "read-all: 3000000", "inspect: 0")
	expectSteps(t, "server", outcomes(t, s), "read-all: 1000", "write 3000000: 3000000", "close: 0")
	for i, o := range steps {
		if (o.TCPInfo != nil) != (i == 3) {
			t.Errorf("step %d has TCP_INFO %v", i, o.TCPInfo)
		}
		if i > 0 && o.Start < steps[i-1].End() {
			t.Errorf("step %d begins at %v, before the end of the one before, %v", i, o.Start, steps[i-1].End())
		}
	}
	// This side closed first: after the last FIN it is in TIME_WAIT, which a socket shows as CLOSE.
	// The kernel counts sequence numbers: a SYN and a FIN take one each.
	if info := steps[3].TCPInfo; info.State != 7 || info.Bytes_received != 3_000_000+1 || info.Bytes_acked != 1000+2 {
		t.Errorf("%+v", info)
	}
	r := wait(t, testContext(t), c)
	if conn := r.Connections[0]; conn.Sent != 1000 || conn.Received != 3_000_000 || conn.Elapsed < steps[3].End()-steps[0].Start {
		t.Errorf("%+v", conn)
	}
}

func TestScriptSpeaksAProtocol(t *testing.T) {
	binary := []byte{0, 0, 0, 2, 0xff, '\n'}
	server, client := pair(t,
		peers.Script{Steps: peers.Steps(peers.ReadBytes([]byte("PING\r\n")), peers.WriteBytes([]byte("+PONG\r\n")), peers.ReadBytes(binary), peers.Read(2), peers.ReadAll())},
		peers.Script{Steps: peers.Steps(
			peers.Repeat(1, peers.WriteBytes([]byte("PI")), peers.WriteBytes([]byte("NG\r\n"))), peers.ReadBytes([]byte("+PONG\r\n")),
			peers.WriteBytes(binary), peers.Write(2))})
	expectSteps(t, "client", outcomes(t, client), `write "PI": 2`, `write "NG\r\n": 4`, `read "+PONG\r\n": 7`, `write "\x00\x00\x00\x02\xff\n": 6`, "write 2: 2")
	expectSteps(t, "server", outcomes(t, server), `read "PING\r\n": 6`, `write "+PONG\r\n": 7`, `read "\x00\x00\x00\x02\xff\n": 6`, "read 2: 2", "read-all: 0")
}

// What a script has not expected ends it at once: it waits for no more.
func TestScriptReadsOtherBytes(t *testing.T) {
	long := []byte(strings.Repeat("x", 70))
	for _, x := range []struct {
		name string
		sent []byte
		want []byte
		got  int64
		says string
		step string
	}{
		{"others", []byte("-ERR"), []byte("+PONG\r\n"), 4, `got "-ERR" where "+PONG\r\n" was expected, after 0 bytes as expected`, `read "+PONG\r\n"`},
		{"the last one", []byte("abd"), []byte("abc"), 3, `got "d" where "c" was expected, after 2 bytes as expected`, `read "abc"`},
		{"fewer", []byte("ab"), []byte("abc"), 2, "the other side closed after 2 of 3 bytes", `read "abc"`},
		{"many", []byte("y"), long, 1, `got "y" where "` + string(long[:60]) + `" and 10 bytes more was expected`, `read "` + string(long[:60]) + `" and 10 bytes more`},
	} {
		t.Run(x.name, func(t *testing.T) {
			steps := peers.Steps(peers.WriteBytes(x.sent))
			if x.name != "fewer" {
				steps = append(steps, peers.ReadSome(), peers.WriteBytes(x.sent), peers.Sleep(peers.UntilStopped)) // there is no end to wait for
			}
			server, client := pair(t, peers.Script{Steps: steps}, peers.Script{Steps: peers.Steps(peers.Try(peers.ReadBytes(x.want)), peers.Try(peers.Write(1)), peers.ReadBytes(x.want))})
			result, err := client.Wait(testContext(t))
			contains(t, err, "in step 3, "+x.step)
			tried := result.Connections[0].Steps[0]
			if tried.Bytes != x.got || tried.Err == nil || !strings.Contains(tried.Err.Message, x.says) {
				t.Errorf("%+v, expected %d bytes and %s", tried, x.got, x.says)
			}
			server.Stop(testContext(t))
		})
	}
}

func TestScriptErrorsAreResultsWhereTried(t *testing.T) {
	reader := peers.Script{Steps: peers.Steps(peers.Read(10), peers.Close())}
	for _, x := range []struct {
		name           string
		server, client peers.Script
		want           []string // of the client
	}{
		// The first write after the peer has closed brings its RST; RFC 9293, section 3.5.2.
		{"writes after the peer closed", peers.Script{Steps: peers.Steps(peers.Close())},
			peers.Script{Steps: peers.Steps(peers.ReadAll(), peers.Write(1), peers.Sleep(50*time.Millisecond), peers.Try(peers.Repeat(2, peers.Write(1))))},
			[]string{"read-all: 0", "write 1: 1", "sleep 50ms: 0", "write 1: 0 EPIPE", "write 1: 0 EPIPE"}},
		{"unread data at close", peers.Script{Steps: peers.Steps(peers.Read(1), peers.Close())},
			peers.Script{Steps: peers.Steps(peers.Write(10), peers.Try(peers.Read(1)))},
			[]string{"write 10: 10", "read 1: 0 ECONNRESET"}},
		{"abort", peers.Script{Steps: peers.Steps(peers.Read(10), peers.Abort())},
			peers.Script{Steps: peers.Steps(peers.Write(10), peers.Try(peers.ReadAll()))},
			[]string{"write 10: 10", "read-all: 0 ECONNRESET"}},
		{"linger of 0", peers.Script{Socket: peers.Socket{Linger: new(time.Duration(0))}, Steps: reader.Steps},
			peers.Script{Steps: peers.Steps(peers.Write(10), peers.Try(peers.ReadAll()))},
			[]string{"write 10: 10", "read-all: 0 ECONNRESET"}},
		{"closed too early", reader,
			peers.Script{Steps: peers.Steps(peers.Write(10), peers.Try(peers.Read(5)))},
			[]string{"write 10: 10", "read 5: 0 "}},
		{"end of file for one read", reader,
			peers.Script{Steps: peers.Steps(peers.Write(10), peers.ReadSome(), peers.ReadSome())},
			[]string{"write 10: 10", "read-some: 0", "read-some: 0"}},
		{"write after one's own FIN", peers.Script{Steps: peers.Steps(peers.ReadAll())},
			peers.Script{Steps: peers.Steps(peers.CloseWrite(), peers.Try(peers.Write(1)), peers.ReadAll())},
			[]string{"close-write: 0", "write 1: 0 EPIPE", "read-all: 0"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			s, c := pair(t, x.server, x.client)
			expectSteps(t, "client", outcomes(t, c), x.want...)
			wait(t, testContext(t), s)
		})
	}
}

func TestScriptEndsAtAnErrorThatNobodyTries(t *testing.T) {
	s, c := pair(t, peers.Script{Steps: peers.Steps(peers.Write(3))},
		peers.Script{Steps: peers.Steps(peers.Repeat(2, peers.Read(2)), peers.Write(1))})
	r, err := c.Wait(testContext(t))
	contains(t, err, "read 127.0.0.1:", "the other side closed after 1 of 2 bytes, in step 2, read 2")
	conn := r.Connections[0]
	expectSteps(t, "client", conn.Steps, "read 2: 2", "read 2: 1 ")
	if conn.Err == nil || r.Err == nil || conn.Err.Message != r.Err.Message || conn.Received != 3 || conn.TCPInfo == nil {
		t.Errorf("%+v, %v", conn, r.Err)
	}
	wait(t, testContext(t), s)

	ctx := testContext(t)
	r, err = start(t, ctx, "client", peers.Script{Connect: closedPort(t), Connections: 3, Steps: peers.Steps(peers.Write(1))}).Wait(ctx)
	if !errors.Is(err, unix.ECONNREFUSED) || len(r.Connections) != 1 || len(r.Connections[0].Steps) != 0 {
		t.Errorf("%v, %+v", err, r)
	}
}

func TestScriptTriesToConnect(t *testing.T) {
	ctx := testContext(t)
	addr := closedPort(t)
	for _, together := range []bool{false, true} {
		r := wait(t, ctx, start(t, ctx, "client", peers.Script{
			Connect: addr, Connections: 3, Together: together, TryConnect: true, Steps: peers.Steps(peers.Write(1)),
		}))
		if len(r.Connections) != 3 || r.Err != nil {
			t.Fatalf("%+v", r)
		}
		for _, c := range r.Connections {
			if !errors.Is(c.Err, unix.ECONNREFUSED) || len(c.Steps) != 0 || c.ConnectTime <= 0 {
				t.Errorf("%+v", c)
			}
		}
	}
}

// Each of two scripts goes on only when it is told to, and what the one has done is there for the other.
func TestScriptAwaits(t *testing.T) {
	ctx := testContext(t)
	s, c := pair(t,
		peers.Script{Steps: peers.Steps(peers.Await(), peers.ReadSome(), peers.Await(), peers.ReadSome(), peers.Write(1))},
		peers.Script{Steps: peers.Steps(peers.Write(10), peers.Await(), peers.Write(20), peers.Await(), peers.Read(1))})
	for i, p := range []*peers.Peer{c, s} {
		for range 2 { // waiting does not use it up
			if w, err := p.Waiting(ctx); err != nil || w.Number != 1 {
				t.Fatal(i, w, err)
			}
		}
	}
	if err := s.Continue(ctx); err != nil {
		t.Fatal(err)
	}
	if w, err := s.Waiting(ctx); err != nil || w.Number != 2 { // it has read before more is written
		t.Fatal(w, err)
	}
	for _, p := range []*peers.Peer{c, c, s} { // the server's second Await ends when the client has come to its second
		if err := p.Continue(ctx); err != nil {
			t.Fatal(err)
		}
	}
	expectSteps(t, "server", outcomes(t, s), "await: 0", "read-some: 10", "await: 0", "read-some: 20", "write 1: 1")
	expectSteps(t, "client", outcomes(t, c), "write 10: 10", "await: 0", "write 20: 20", "await: 0", "read 1: 1")
	err := c.Continue(ctx)
	contains(t, err, "peer client ended before it was at an Await")
}

func TestScriptStopsInOrder(t *testing.T) {
	for _, x := range []struct {
		name  string
		steps []peers.Step
		want  []string
	}{
		{"sleep until stopped", peers.Steps(peers.Sleep(peers.UntilStopped), peers.Write(1)), []string{"sleep until stopped: 0"}},
		{"sleep", peers.Steps(peers.Sleep(time.Hour), peers.Write(1)), []string{"sleep 1h0m0s: 0 ECANCELED"}},
		{"read", peers.Steps(peers.Try(peers.ReadAll()), peers.Write(1)), []string{"read-all: 0 ECANCELED"}},
		{"await", peers.Steps(peers.Await()), []string{"await: 0 ECANCELED"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx := testContext(t)
			s, c := pair(t, peers.Script{Steps: peers.Steps(peers.ReadAll())}, peers.Script{Connections: 2, Steps: x.steps})
			if _, err := c.Started(ctx); err != nil {
				t.Fatal(err)
			}
			r, err := c.Stop(ctx)
			if err != nil || len(r.Connections) != 1 {
				t.Fatalf("%+v, %v", r, err)
			}
			// The stop may come before the first step, which then is cut as well.
			got := r.Connections[0].Steps
			if len(got) != 1 || got[0].Step != strings.Split(x.want[0], ":")[0] {
				t.Errorf("%q", summary(got))
			}
			expectSteps(t, "client", got, x.want...)
			expectSteps(t, "server", outcomes(t, s), "read-all: 0")
		})
	}
	t.Run("write that nobody reads", func(t *testing.T) {
		ctx := testContext(t)
		s, c := pair(t, peers.Script{Steps: peers.Steps(peers.Await(), peers.Close())}, peers.Script{Steps: peers.Steps(peers.Await(), peers.Write(1<<30))})
		if err := c.Continue(ctx); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond) // a stop before the write is cut as well, but with 0 bytes
		r, err := c.Stop(ctx)
		if err != nil || len(r.Connections[0].Steps) != 2 || !errors.Is(r.Connections[0].Steps[1].Err, unix.ECANCELED) {
			t.Errorf("%+v, %v", r, err)
		}
		s.Kill()
	})
	t.Run("before it begins", func(t *testing.T) {
		ctx := testContext(t)
		s := start(t, ctx, "server", peers.Script{Listen: loopback, Backlog: 1, AwaitBegin: true})
		c := start(t, ctx, "client", peers.Script{Connect: readyAddr(t, ctx, s), Connections: 2})
		wait(t, ctx, c)
		r, err := s.Stop(ctx)
		if err != nil || r.Accept.Queued != 2 || r.Accept.Accepted != 0 || len(r.Connections) != 0 {
			t.Errorf("%+v, %v", r, err)
		}
	})
	t.Run("before it accepts", func(t *testing.T) {
		ctx := testContext(t)
		s := start(t, ctx, "server", peers.Script{Listen: loopback, Connections: 2, Together: true, Steps: peers.Steps(peers.ReadAll())})
		c := start(t, ctx, "client", peers.Script{Connect: readyAddr(t, ctx, s), Steps: peers.Steps(peers.ReadAll())})
		if _, err := s.Started(ctx); err != nil {
			t.Fatal(err)
		}
		r, err := s.Stop(ctx)
		if err != nil || r.Accept.Accepted != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		wait(t, ctx, c)
	})
}

// The accept queue is filled before the server begins to accept.
func TestScriptAcceptsWhenItIsTold(t *testing.T) {
	ctx := testContext(t)
	s := start(t, ctx, "server", peers.Script{Listen: loopback, AwaitBegin: true, Backlog: 1, Connections: 3, Together: true, Steps: peers.Steps(peers.ReadAll())})
	c := start(t, ctx, "client", peers.Script{
		Connect: readyAddr(t, ctx, s), Connections: 3, Together: true, TryConnect: true, Timeout: 2 * time.Second,
		Steps: peers.Steps(peers.Write(1)),
	})
	r := wait(t, ctx, c)
	for i, conn := range r.Connections { // a backlog of n takes n + 1
		if i < 2 && conn.Err != nil || i == 2 && !errors.Is(conn.Err, unix.EINPROGRESS) {
			t.Errorf("connection %d: %v", i, conn.Err)
		}
	}
	if err := s.Begin(); err != nil {
		t.Fatal(err)
	}
	r, err := s.Stop(ctx) // there will be no third
	if err != nil || r.Accept.Backlog != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// Together, a step is done on all connections before the next step is.
func TestScriptTogether(t *testing.T) {
	const n = 3
	ctx := testContext(t)
	s, c := pair(t,
		peers.Script{Connections: n, Together: true, Steps: peers.Steps(peers.Read(10), peers.ReadAll())},
		peers.Script{Connections: n, Together: true, Steps: peers.Steps(peers.Write(10), peers.Await(), peers.Sleep(20*time.Millisecond), peers.Close())})
	if err := c.Continue(ctx); err != nil { // once for all
		t.Fatal(err)
	}
	r := wait(t, ctx, c)
	if len(r.Connections) != n {
		t.Fatalf("%d connections", len(r.Connections))
	}
	for i, conn := range r.Connections {
		expectSteps(t, "client", conn.Steps, "write 10: 10", "await: 0", "sleep 20ms: 0", "close: 0")
		if !reflect.DeepEqual(conn.Steps[1:3], r.Connections[0].Steps[1:3]) {
			t.Errorf("%+v differs from %+v", conn.Steps[1:3], r.Connections[0].Steps[1:3])
		}
		if i > 0 && conn.Steps[0].Start < r.Connections[i-1].Steps[0].End() {
			t.Errorf("connection %d is written to before the one before has been", i)
		}
	}
	for _, conn := range wait(t, ctx, s).Connections {
		expectSteps(t, "server", conn.Steps, "read 10: 10", "read-all: 0")
	}
}

func TestScriptReadsSlowly(t *testing.T) {
	const bytes, rate = 5000, 400_000 // 500 bytes in 10 ms
	s, c := pair(t, peers.Script{Steps: peers.Steps(peers.ReadSlowly(rate))}, peers.Script{Steps: peers.Steps(peers.Write(bytes))})
	outcomes(t, c)
	o := outcomes(t, s)[0]
	if least := time.Duration(bytes*8*1e9/rate) - 10*time.Millisecond; o.Bytes != bytes || o.Elapsed < least {
		t.Errorf("%d bytes in %v, expected %d in %v or more", o.Bytes, o.Elapsed, bytes, least)
	}
}

// Write, write, read: Nagle's algorithm holds the second write back until the first is acknowledged, which the
// receiver delays for 40 ms (TCP_ATO_MIN) or more. TCP_QUICKACK 0 makes it delay on a machine that is slow to answer,
// too.
func TestScriptShowsNagle(t *testing.T) {
	const n = 11
	const delayed = 40*time.Millisecond - 10*time.Millisecond // the kernel counts from the last tick, at most 10 ms ago
	for _, noDelay := range []bool{false, true} {
		s, c := pair(t,
			peers.Script{Steps: peers.Steps(peers.Set("TCP_QUICKACK", 0), peers.Await(),
				peers.Repeat(n, peers.Set("TCP_QUICKACK", 0), peers.Read(2), peers.Write(1)), peers.ReadAll())},
			peers.Script{Socket: peers.Socket{NoDelay: noDelay}, Steps: peers.Steps(
				peers.Await(), peers.Repeat(n, peers.Write(1), peers.Write(1), peers.Read(1)))})
		for _, script := range []*peers.Peer{s, c} {
			if err := script.Continue(testContext(t)); err != nil {
				t.Fatal(err)
			}
		}
		var exchanges []time.Duration
		for exchange := range slices.Chunk(outcomes(t, c)[1:], 3) {
			exchanges = append(exchanges, exchange[2].End()-exchange[0].Start)
		}
		// A timer is never early, but a busy machine may answer one or the other so late that it is quick again: the
		// median. Anything can be late without a delay: the fastest.
		slices.Sort(exchanges)
		if len(exchanges) != n || noDelay && exchanges[0] >= delayed || !noDelay && exchanges[n/2] < delayed {
			t.Errorf("with NoDelay %v exchanges took %v", noDelay, exchanges)
		}
		outcomes(t, s)
	}
}

// A corked socket sends less than a segment only after 200 ms, or when the cork is taken out.
func TestScriptSetsOptions(t *testing.T) {
	s, c := pair(t, peers.Script{Steps: peers.Steps(peers.ReadSome(), peers.ReadAll())},
		peers.Script{Socket: peers.Socket{Cork: true}, Steps: peers.Steps(
			peers.Write(5), peers.Write(6), peers.Set("TCP_CORK", 0), peers.Try(peers.Set("SO_SNDBUF", 1)))})
	steps := outcomes(t, c)
	expectSteps(t, "client", steps, "write 5: 5", "write 6: 6", "set TCP_CORK 0: 0", "set SO_SNDBUF 1: 0 ")
	contains(t, steps[3].Err, "setsockopt SO_SNDBUF: set to 1, expected to read back 2")
	expectSteps(t, "server", outcomes(t, s), "read-some: 11", "read-all: 0")
}

// A socket that is bound and connects to itself opens simultaneously (RFC 9293, section 3.5): its SYN meets itself.
func TestScriptConnectsToItself(t *testing.T) {
	ctx := testContext(t)
	addr := closedPort(t) // taken by a socket without SO_REUSEADDR, so this cannot bind to it
	_, err := start(t, ctx, "client", peers.Script{Connect: addr, Local: addr}).Wait(ctx)
	if !errors.Is(err, unix.EADDRINUSE) {
		t.Errorf("%v", err)
	}
	addr = netip.AddrPortFrom(netip.MustParseAddr("127.9.9.9"), addr.Port())
	steps := outcomes(t, start(t, ctx, "client", peers.Script{Connect: addr, Local: addr, Steps: peers.Steps(
		peers.Write(10), peers.Read(10), peers.CloseWrite(), peers.ReadAll(), peers.Inspect())}))
	expectSteps(t, "client", steps, "write 10: 10", "read 10: 10", "close-write: 0", "read-all: 0", "inspect: 0")
}

// The sockets of a namespace in a state, from /proc/net/tcp.
func (n *namespace) sockets(t *testing.T, state int) (count int) {
	t.Helper()
	var b []byte
	if err := n.do(func() (err error) { b, err = os.ReadFile("/proc/thread-self/net/tcp"); return err }); err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if s, err := strconv.ParseInt(f[3], 16, 32); err == nil && int(s) == state {
			count++
		}
	}
	return count
}

// counter reads one of /proc/net/netstat, of TcpExt.
func (n *namespace) counter(t *testing.T, name string) int {
	t.Helper()
	return n.statistic(t, "netstat", "TcpExt:", name)
}

func (n *namespace) snmp(t *testing.T, group, name string) int {
	t.Helper()
	return n.statistic(t, "snmp", group, name)
}

func (n *namespace) statistic(t *testing.T, file, group, name string) int {
	t.Helper()
	var b []byte
	if err := n.do(func() (err error) { b, err = os.ReadFile("/proc/thread-self/net/" + file); return err }); err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || fields[0] != group:
		case names == nil:
			names = fields
		default:
			i := slices.Index(names, name)
			if i < 0 {
				t.Fatalf("no %s in %s", name, names)
			}
			v, err := strconv.Atoi(fields[i])
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatalf("no %s in %s", group, b)
	return 0
}

func (n *namespace) sysctl(t *testing.T, path, value string) {
	t.Helper()
	// /proc/sys/net is that of the thread that opens it.
	if err := n.do(func() error { return os.WriteFile("/proc/sys/net/ipv4/"+path, []byte(value), 0) }); err != nil {
		testenv.Missing(t, fmt.Sprintf("sysctl net.ipv4.%s: %v", path, err))
	}
}

func newLoopback(t *testing.T) *namespace {
	t.Helper()
	n := newNamespace(t)
	if err := n.do(loopbackUp); err != nil {
		t.Fatal(err)
	}
	return n
}

func TestScriptLeavesTimeWaits(t *testing.T) {
	const connections = 7
	n, ctx := newLoopback(t), testContext(t)
	s := startOn(t, ctx, n, "server", peers.Script{Listen: loopback, Connections: connections, Steps: peers.Steps(peers.ReadAll())})
	c := startOn(t, ctx, n, "client", peers.Script{Connect: readyAddr(t, ctx, s), Connections: connections, Steps: peers.Steps(peers.CloseWrite(), peers.ReadAll())})
	if r := wait(t, ctx, c); len(r.Connections) != connections {
		t.Errorf("%d connections", len(r.Connections))
	}
	wait(t, ctx, s)
	if got := n.sockets(t, timeWait); got != connections {
		t.Errorf("%d sockets in TIME_WAIT, expected %d", got, connections)
	}
}

func TestScriptLeaksCloseWait(t *testing.T) {
	const connections = 4
	n, ctx := newLoopback(t), testContext(t)
	s := startOn(t, ctx, n, "server", peers.Script{Listen: loopback, Connections: connections, Together: true, Steps: peers.Steps(peers.ReadAll(), peers.Await())})
	c := startOn(t, ctx, n, "client", peers.Script{Connect: readyAddr(t, ctx, s), Connections: connections, Steps: peers.Steps(peers.Close())})
	wait(t, ctx, c)
	if _, err := s.Waiting(ctx); err != nil {
		t.Fatal(err)
	}
	for state, want := range map[int]int{closeWait: connections, finWait2: connections, established: 0} {
		// The ACK of a FIN before any data is a delayed one, of the next tick.
		got := n.sockets(t, state)
		for range 1000 {
			if got == want {
				break
			}
			time.Sleep(time.Millisecond)
			got = n.sockets(t, state)
		}
		if got != want {
			t.Errorf("%d sockets in state %d, expected %d", got, state, want)
		}
	}
	if _, err := s.Stop(ctx); err != nil {
		t.Error(err)
	}
	if got := n.sockets(t, closeWait); got != 0 {
		t.Errorf("%d sockets in CLOSE_WAIT after the stop", got)
	}
}

// Ten ephemeral ports are enough for ten connections to the same address.
func TestScriptRunsOutOfPorts(t *testing.T) {
	n, ctx := newLoopback(t), testContext(t)
	n.sysctl(t, "ip_local_port_range", "41000 41009")
	addr := netip.AddrPortFrom(loopback.Addr(), 80)
	s := startOn(t, ctx, n, "server", peers.Script{Listen: addr, Connections: 10, Together: true, Steps: peers.Steps(peers.ReadAll())})
	readyAddr(t, ctx, s)
	r := wait(t, ctx, startOn(t, ctx, n, "client", peers.Script{Connect: addr, Connections: 11, Together: true, TryConnect: true}))
	for i, conn := range r.Connections {
		if i < 10 && conn.Err != nil || i == 10 && !errors.Is(conn.Err, unix.EADDRNOTAVAIL) {
			t.Errorf("connection %d: %v", i, conn.Err)
		}
	}
	wait(t, ctx, s)
}

// The first connection asks for a cookie (RFC 7413, section 4.1), the second has its data in the SYN.
func TestScriptFastOpen(t *testing.T) {
	n, ctx := newLoopback(t), testContext(t)
	n.sysctl(t, "tcp_fastopen", "3")
	s := startOn(t, ctx, n, "server", peers.Script{Listen: loopback, Connections: 2, Socket: peers.Socket{FastOpenQueue: 5},
		Steps: peers.Steps(peers.Read(10), peers.Write(20), peers.ReadAll())})
	c := startOn(t, ctx, n, "client", peers.Script{Connect: readyAddr(t, ctx, s), Connections: 2, Socket: peers.Socket{FastOpen: true},
		Steps: peers.Steps(peers.Write(10), peers.Read(20), peers.Inspect())})
	for i, conn := range wait(t, ctx, c).Connections {
		expectSteps(t, "client", conn.Steps, "write 10: 10", "read 20: 20", "inspect: 0")
		const synData = 32 // TCPI_OPT_SYN_DATA of include/uapi/linux/tcp.h: the data in the SYN was acknowledged
		if got := conn.Steps[2].TCPInfo.Options&synData != 0; got != (i == 1) {
			t.Errorf("connection %d: data in the SYN %v", i, got)
		}
		if !conn.Local.IsValid() || conn.Local.Port() == 0 {
			t.Errorf("connection %d: local address %v", i, conn.Local)
		}
	}
	wait(t, ctx, s)
	for name, want := range map[string]int{"TCPFastOpenCookieReqd": 1, "TCPFastOpenActive": 1, "TCPFastOpenPassive": 1} {
		if got := n.counter(t, name); got != want {
			t.Errorf("%s is %d, expected %d", name, got, want)
		}
	}
}

func TestScriptRefused(t *testing.T) {
	addr := netip.MustParseAddrPort("10.0.0.1:80")
	steps := func(s ...peers.Step) peers.Script { return peers.Script{Connect: addr, Steps: s} }
	for _, x := range []struct {
		name  string
		p     peers.Script
		field string
		part  string
	}{
		{"neither client nor server", peers.Script{}, "Connect", "one of Connect and Listen"},
		{"both", peers.Script{Connect: addr, Listen: loopback}, "Connect", "not both"},
		{"port 0", peers.Script{Connect: loopback}, "Connect", "needs a port"},
		{"local of a server", peers.Script{Listen: loopback, Local: addr}, "Local", "for a client"},
		{"other family", peers.Script{Connect: addr, Local: netip.MustParseAddrPort("[::1]:0")}, "Local", "same family"},
		{"timeout of a server", peers.Script{Listen: loopback, Timeout: 1}, "Timeout", "for a client"},
		{"tried by a server", peers.Script{Listen: loopback, TryConnect: true}, "TryConnect", "for a client"},
		{"backlog of a client", peers.Script{Connect: addr, Backlog: 1}, "Backlog", "for a server"},
		{"many connections", peers.Script{Connect: addr, Connections: 4097}, "Connections", "0 to 4096"},
		{"bad option", peers.Script{Connect: addr, Socket: peers.Socket{KeepProbes: 200}}, "KeepProbes", "1 to 127"},
		{"no step", steps(peers.Step{}), "Steps[0].Do", "unknown"},
		{"unknown step", steps(peers.Step{Do: "jump"}), "Steps[0].Do", "unknown"},
		{"nothing to write", steps(peers.Read(1), peers.Write(0)), "Steps[1].Bytes", "1 to 1073741824"},
		{"no bytes to write", steps(peers.WriteBytes(nil)), "Steps[0].Bytes", "1 to"},
		{"bytes and how many", steps(peers.Step{Do: "read", Bytes: 1, Data: []byte("x")}), "Steps[0].Bytes", "only one of Bytes and Data"},
		{"bytes of another step", steps(peers.Step{Do: "read-some", Data: []byte("x")}), "Steps[0]", "belongs to another step"},
		{"many bytes", steps(peers.WriteBytes(make([]byte, 32<<10))), "Steps", "less given bytes"},
		{"negative time", steps(peers.Sleep(-1)), "Steps[0].Duration", "negative"},
		{"no rate", steps(peers.ReadSlowly(0)), "Steps[0].BitsPerSecond", "1 to"},
		{"unknown option", steps(peers.Set("TCP_WARP", 1)), "Steps[0].Option", "known are IP_MTU_DISCOVER"},
		{"option for before", steps(peers.Set("TCP_MAXSEG", 1000)), "Steps[0].Option", "known are"},
		{"value of an option", steps(peers.Set("TCP_CORK", 2)), "Steps[0].Value", "0 to 1"},
		{"empty repetition", steps(peers.Repeat(2)), "Steps[0].Steps", "needs steps"},
		{"no repetition", steps(peers.Repeat(0, peers.Write(1))), "Steps[0].Times", "1 to"},
		{"inner step", steps(peers.Repeat(2, peers.Write(1), peers.Read(0))), "Steps[0].Steps[1].Bytes", "1 to"},
		{"write after close", steps(peers.Close(), peers.Sleep(1), peers.Write(1)), "Steps[2]", "closed by an earlier step"},
		{"abort after repeated close", steps(peers.Repeat(1, peers.Close()), peers.Abort()), "Steps[1]", "closed by an earlier step"},
		{"repeated close", steps(peers.Repeat(2, peers.Close())), "Steps[0]", "closes the socket the first time"},
		{"field of another step", steps(peers.Step{Do: "write", Bytes: 1, Times: 2}), "Steps[0]", "belongs to another step"},
		{"many steps", steps(peers.Repeat(100, peers.Repeat(101, peers.Write(1)))), "Steps", "want 10000"},
		{"very many steps", steps(peers.Repeat(10000, peers.Repeat(10000, peers.Repeat(10000, peers.Repeat(10000, peers.Repeat(10000, peers.Write(1))))))), "Steps", "want 10000"},
		{"many steps on many connections", peers.Script{Connect: addr, Connections: 4000, Steps: peers.Steps(peers.Write(1), peers.Write(1), peers.Read(1))}, "Steps", "want 10000"},
		{"much TCP_INFO", steps(peers.Repeat(2001, peers.Inspect())), "Steps", "want 2000"},
		{"long configuration", steps(slices.Repeat(peers.Steps(peers.Write(1<<20)), 2000)...), "Steps", "use Repeat"},
	} {
		t.Run(x.name, func(t *testing.T) {
			_, err := peers.Start(testContext(t), nil, "p", x.p)
			var e *invalid.FieldError
			if !errors.As(err, &e) || e.Field != x.field || !strings.Contains(e.Allowed, x.part) {
				t.Errorf("%v, expected one about %s that says %q", err, x.field, x.part)
			}
		})
	}
	deep := peers.Write(1)
	for range 9 {
		deep = peers.Repeat(1, deep)
	}
	contains(t, steps(deep).Validate(), "8 deep")
}
