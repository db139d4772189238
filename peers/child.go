package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// environment is the variable that tells Main to run a peer.
const environment = "TCPLAB_PEER"

// The exit status of a peer.
const (
	exitReported = 0 // it has sent a result or an error
	exitBroken   = 1 // it could send neither
	exitOrphaned = 3 // its standard input was closed
)

// mainCalled is set when Main has run in a process that is no peer.
var mainCalled atomic.Bool

// Main runs the peer, and never returns, if [Start] started this process as one. Otherwise it returns at once.
// Call it first in main, or in TestMain: a peer is another process of the same program.
func Main() {
	if os.Getenv(environment) == "" {
		mainCalled.Store(true)
		return
	}
	// Processes that this one starts are no peers.
	_ = os.Unsetenv(environment)
	in, out, err := protocolFiles()
	if err != nil {
		fmt.Fprintln(os.Stderr, "standard input and output:", err)
		os.Exit(exitBroken)
	}
	os.Exit(runChild(in, out))
}

// protocolFiles are the files that a peer and its parent communicate by. A function that is a peer may print and read
// as any program: its output goes to standard error, and its standard input is empty.
func protocolFiles() (in, out *os.File, err error) {
	// What waits for the parent waits in the runtime's poller. In a blocking read(2) a goroutine would keep its P, and with one processor all
	// others would stand until the runtime looks for such goroutines for the second time, which it does each 10 ms (runtime.retake).
	if err = unix.SetNonblock(unix.Stdin, true); err != nil {
		return nil, nil, err
	}
	if in, err = copyOf(unix.Stdin); err != nil {
		return nil, nil, err
	}
	if out, err = copyOf(unix.Stdout); err != nil {
		return nil, nil, err
	}
	empty, err := unix.Open(os.DevNull, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	defer unix.Close(empty)
	return in, out, errors.Join(unix.Dup3(empty, unix.Stdin, 0), unix.Dup3(unix.Stderr, unix.Stdout, 0))
}

// copyOf duplicates a standard file to a number above the standard ones, which no child inherits.
func copyOf(fd int) (*os.File, error) {
	copied, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, unix.Stderr+1)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(copied), "protocol"), nil
}

// runChild is a peer's main: the configuration is the first line of in.
func runChild(in io.Reader, out io.Writer) int {
	lines := lineScanner(in, maxCommandLine)
	w := &lineWriter{w: out, max: maxMessageLine}
	fail := func(err error) int {
		if w.writeLast(message{Type: typeError, Version: Version, Error: peerError("config", "", err)}) != nil {
			return exitBroken
		}
		return exitReported
	}
	if !lines.Scan() {
		if err := lines.Err(); err != nil {
			return fail(fmt.Errorf("read the first line: %w", err))
		}
		return exitOrphaned
	}
	c, err := parseCommand(lines.Bytes())
	if err != nil {
		return fail(err)
	}
	if c.Type != typeConfig {
		return fail(fmt.Errorf("the first line is %q, expected is config", c.Type))
	}
	p, err := newRunner(c.Program, c.Config)
	if err != nil {
		return fail(err)
	}

	s := newSession(context.Background(), w)
	go func() {
		if err := s.commands(lines.Scan, lines.Bytes, lines.Err); err != nil {
			fmt.Fprintln(os.Stderr, "commands:", err)
			os.Exit(fail(fmt.Errorf("commands: %w", err)))
		}
		// The parent is gone. A peer must not survive it, whatever it does.
		os.Exit(exitOrphaned)
	}()
	if err := s.run(c.Name, p); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return exitBroken
	}
	return exitReported
}

// Run runs a program of [Programs] in this process, for use at a shell: the configuration is JSON; it reads the
// commands start and stop as lines of JSON from in, and writes its messages to out. The end of in only ends the
// commands; in may be nil. When ctx ends, the program aborts its work and reports.
//
// The error is that of the result, if it has one. After Run has returned, in may still be read from.
func Run(ctx context.Context, program string, configJSON []byte, in io.Reader, out io.Writer) error {
	p, err := newRunner(program, configJSON)
	if err != nil {
		return err
	}
	w := &lineWriter{w: out, max: maxMessageLine}
	s := newSession(ctx, w)
	defer s.cancelHard(nil)
	if in != nil {
		lines := lineScanner(in, maxCommandLine)
		go func() {
			if err := s.commands(lines.Scan, lines.Bytes, lines.Err); err != nil {
				s.cancelHard(fmt.Errorf("commands: %w", err))
			}
		}()
	}
	if err := s.run(program, p); err != nil {
		return err
	}
	if cause := context.Cause(s.hard); cause != nil && !errors.Is(cause, context.Canceled) && ctx.Err() == nil {
		return cause
	}
	return s.reported
}

// session is one run of a program: its output, and the commands that it receives.
type session struct {
	out *lineWriter

	// soft ends at the first stop: nothing new begins, and what is in progress ends in order. hard ends at the
	// second: what still waits for the other side is aborted. Both are contexts because sockets wait on them.
	soft, hard context.Context
	cancelSoft context.CancelFunc
	cancelHard context.CancelCauseFunc

	begin     chan struct{} // closed by the command start
	beginOnce sync.Once
	startOnce sync.Once

	awaits int           // how many times the program has reached an Await
	goOn   chan struct{} // one for each command continue

	reported error // of the result that was written, or the error written instead
}

// maxContinues is the number of continue commands kept that arrive before their Await. [Peer.Continue] sends none
// early.
const maxContinues = 1024

func newSession(ctx context.Context, out *lineWriter) *session {
	s := &session{out: out, begin: make(chan struct{}), goOn: make(chan struct{}, maxContinues)}
	s.hard, s.cancelHard = context.WithCancelCause(ctx)
	s.soft, s.cancelSoft = context.WithCancel(s.hard)
	return s
}

func (s *session) stop() {
	if s.soft.Err() == nil {
		s.cancelSoft()
		return
	}
	s.cancelHard(nil)
}

// commands executes commands until they end.
func (s *session) commands(scan func() bool, line func() []byte, err func() error) error {
	for scan() {
		c, err := parseCommand(line())
		if err != nil {
			return err
		}
		switch c.Type {
		case typeStart:
			if s.soft.Err() == nil { // after a stop there is nothing to begin
				s.beginOnce.Do(func() { close(s.begin) })
			}
		case typeStop:
			s.stop()
		case typeContinue:
			if s.soft.Err() != nil {
				continue
			}
			select {
			case s.goOn <- struct{}{}:
			default:
				return fmt.Errorf("more than %d times continue, and no Await", maxContinues)
			}
		case typeConfig:
			return errors.New("a second config")
		}
	}
	return err()
}

// run runs the program and writes its result, or the error that kept it from beginning.
func (s *session) run(name string, p runner) error {
	r, err := p.run(s)
	if err != nil {
		e := peerError(p.program(), "", err)
		s.reported = e
		return s.out.writeLast(message{Type: typeError, Version: Version, Error: e})
	}
	r.Peer, r.Program = name, p.program()
	if r.Err != nil {
		s.reported = r.Err
	}
	return s.out.writeLast(message{Type: typeResult, Result: r})
}

func (s *session) ready(addr netip.AddrPort) error {
	return s.out.write(message{Type: typeReady, Version: Version, Ready: &Ready{Addr: addr}})
}

// awaitBegin waits for the command start, if the configuration asks for it.
func (s *session) awaitBegin(asked bool) error {
	if !asked {
		return nil
	}
	select {
	case <-s.begin:
		return nil
	case <-s.soft.Done():
		// Both commands may have arrived by now: start, and then stop.
		select {
		case <-s.begin:
			return nil
		default:
		}
		return &PeerError{Op: "begin", Errno: unix.ErrnoName(unix.ECANCELED), Message: "stopped before it was told to begin"}
	}
}

// awaitContinue reports that the program waits, and waits for the command continue.
func (s *session) awaitContinue() error {
	s.awaits++
	if err := s.out.write(message{Type: typeWaiting, Waiting: &Waiting{Number: s.awaits}}); err != nil {
		return err
	}
	select {
	case <-s.goOn:
		return nil
	case <-s.soft.Done():
		// Both commands may have arrived by now, in this order: after a stop nothing continues.
		select {
		case <-s.goOn:
			return nil
		default:
		}
		return s.soft.Err()
	}
}

// started reports the first connection only. If the parent cannot be written to, it is gone, and the end of the
// commands shows that.
func (s *session) started(local, remote netip.AddrPort) {
	s.startOnce.Do(func() { _ = s.out.write(message{Type: typeStarted, Started: &Started{Local: local, Remote: remote}}) })
}

// client makes the connection of a client, and calls work when it is established. An error means that work could not
// begin; the outcome of the connection is in it.
func (s *session) client(addr netip.AddrPort, o Socket, await bool, work func(*socket, *Connection) error) (Connection, error) {
	sock, err := newSocket(addr, o, asClient)
	if err != nil {
		return Connection{}, err
	}
	defer sock.close()
	if err := s.ready(netip.AddrPort{}); err != nil {
		return Connection{}, err
	}
	conn := Connection{Remote: addr}
	err = s.awaitBegin(await)
	if err == nil {
		conn.ConnectTime, err = sock.connect(s.soft, addr, 0)
	}
	var local netip.AddrPort
	if err == nil {
		local, err = sock.localAddr()
		err = asError(peerError("getsockname", "", err))
	}
	if err == nil {
		s.started(local, addr)
		err = work(sock, &conn)
	}
	finish(sock, &conn, err)
	return conn, nil
}

// reportProgress reports the counter each interval until the returned function is called.
func (s *session) reportProgress(interval time.Duration, bytes *atomic.Int64) (stop func()) {
	if interval <= 0 {
		return func() {}
	}
	start := time.Now()
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			select {
			case <-end:
				return
			case <-ticker.C:
				_ = s.out.write(message{Type: typeProgress, Progress: &Progress{Elapsed: time.Since(start), Bytes: bytes.Load()}})
			}
		}
	})
	return func() { close(end); wg.Wait() }
}

// sleep waits for d, or until the first stop.
func (s *session) sleep(d time.Duration) error {
	if d <= 0 {
		return s.soft.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-s.soft.Done():
		return s.soft.Err()
	}
}

// listen makes the listener of a program and reports it as ready.
func (s *session) listen(addr netip.AddrPort, o Socket, backlog int) (*socket, error) {
	l, err := listen(addr, o, backlog)
	if err != nil {
		return nil, err
	}
	bound, err := l.localAddr()
	if err == nil {
		err = s.ready(bound)
	}
	if err != nil {
		l.close()
		return nil, peerError("listen", addr.String(), err)
	}
	return l, nil
}

// serve accepts up to count connections (with count 0, all until the first stop) and handles each in a goroutine of
// its own. It closes the listener, and returns when all are done. It keeps what handle fills in for the first
// MaxConnections.
func (s *session) serve(l *socket, count int, handle func(*socket, *Connection)) ([]Connection, *AcceptResult, error) {
	var kept []*Connection
	var wg sync.WaitGroup
	var err error
	accepted := 0
	for err == nil && (count == 0 || accepted < count) {
		var c *socket
		var remote netip.AddrPort
		c, remote, err = l.accept(s.soft)
		if errors.Is(err, unix.ECONNABORTED) {
			err = nil // gone again before it was accepted
			continue
		}
		if err != nil {
			break
		}
		accepted++
		conn := &Connection{Remote: remote}
		if len(kept) < MaxConnections {
			kept = append(kept, conn)
		}
		if local, err := c.localAddr(); err == nil {
			s.started(local, remote)
		}
		wg.Go(func() {
			defer c.close()
			handle(c, conn)
		})
	}
	if errors.Is(err, unix.ECANCELED) {
		err = nil // a stop is an end in order
	}
	r, e := closeListener(l)
	wg.Wait()
	r.Accepted = accepted
	if err != nil {
		return values(kept), r, peerError("accept", "", err)
	}
	return values(kept), r, e
}

// closeListener closes a listener and returns its state.
func closeListener(l *socket) (*AcceptResult, error) {
	defer l.close()
	info, err := l.tcpInfo()
	if err != nil {
		return &AcceptResult{}, peerError("getsockopt TCP_INFO", "", err)
	}
	// Of a listener, sacked is the backlog and unacked the length of the queue (tcp_get_info in net/ipv4/tcp.c).
	return &AcceptResult{Backlog: int(info.Sacked), Queued: int(info.Unacked)}, nil
}

// finish adds the state of the socket in the kernel to the outcome of the connection.
func finish(c *socket, conn *Connection, err error) {
	if e := c.describe(conn); e != nil && err == nil {
		err = e
	}
	conn.Err = peerError("", "", err)
	bytes := conn.Sent
	if bytes == 0 {
		bytes = conn.Received
	}
	conn.Goodput = goodput(bytes, conn.Elapsed)
}

// firstError returns err, or else the error of the first connection that has one.
func firstError(err error, conns []Connection) *PeerError {
	if err != nil {
		return peerError("", "", err)
	}
	for _, c := range conns {
		if c.Err != nil {
			return c.Err
		}
	}
	return nil
}

// values returns the connections themselves.
func values(conns []*Connection) []Connection {
	list := make([]Connection, len(conns))
	for i, c := range conns {
		list[i] = *c
	}
	return list
}
