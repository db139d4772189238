package peers

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Script is a client or a server that does exactly the steps that it is given, in order, and reports what became of
// each. It does nothing else on a connection, except that it closes it when its steps are done.
//
//	peers.Script{Connect: addr, Steps: peers.Steps(peers.Write(1000), peers.CloseWrite(), peers.ReadAll())}
//
// An error ends the script, all connections are closed, and the error is that of the peer. With [Try], it is nothing
// but a result, and the next step is done. Peer.Stop ends the script in order: a step that waits is cut short with
// ECANCELED, which is no error of the peer, and no other is begun.
//
// One goroutine does all steps, and calls connect(2) for all connections, so the order of what is sent is that of
// the script.
type Script struct {
	// One of Connect, a client, and Listen, a server; port 0 of the latter: the kernel chooses, see Ready.
	Connect netip.AddrPort `json:"connect,omitzero"`
	Listen  netip.AddrPort `json:"listen,omitzero"`
	// Local is the address that a client binds to, with SO_REUSEADDR. Port 0: the kernel chooses. Without Local, the
	// client does not bind, and connect(2) chooses.
	Local netip.AddrPort `json:"local,omitzero"`
	// Backlog of listen(2). 0 is sysctl net.core.somaxconn, the most that the kernel allows.
	Backlog int `json:"backlog,omitempty"`

	// AwaitBegin lets the client connect, or the server accept, when Peer.Begin is called, rather than at once.
	AwaitBegin bool `json:"await_begin,omitempty"`
	// Connections is how many to make or accept. 0 is 1. They come one after the other: the next when the steps of
	// the one before are done and it is closed.
	Connections int `json:"connections,omitempty"`
	// Together makes or accepts all connections first. Then each step is done on all of them, in their order, before
	// the next step begins; Sleep and Await once for all. They are closed at the end.
	Together bool `json:"together,omitempty"`

	// Timeout bounds a connect(2), as in Dial. 0 leaves it to the kernel.
	Timeout time.Duration `json:"timeout_ns,omitempty"`
	// TryConnect makes it a result, and no error, that connect(2) or bind(2) fails, as in Dial: the errno is the
	// connection's Err, no step is done on it, and the other connections go on.
	TryConnect bool `json:"try_connect,omitempty"`

	Socket

	Steps []Step `json:"steps,omitempty"`
}

// Outcome is what became of a step. Those of a connection are in Connection.Steps, in the order in which they were
// done: without Repeat, at the same place as in Script.Steps.
type Outcome struct {
	Step    string        `json:"step"`               // "write 1000"
	Start   time.Duration `json:"start_ns"`           // since the script began, before its first connect(2) or accept(2)
	Elapsed time.Duration `json:"elapsed_ns"`         // from its start to its end
	Bytes   int64         `json:"bytes,omitempty"`    // written or read, also where there is an error
	TCPInfo *TCPInfo      `json:"tcp_info,omitempty"` // of Inspect
	Err     *PeerError    `json:"error,omitempty"`
}

// End returns when the step ended, since the script began.
func (o Outcome) End() time.Duration { return o.Start + o.Elapsed }

// Bounds of what scripts report.
const (
	MaxOutcomes = 10_000 // steps with all repetitions, times connections
	MaxInspects = 2000   // of them, Inspect
)

func (Script) program() string { return "script" }

// Validate implements [Program].
func (p Script) Validate() error {
	c := check{program: p.program()}
	r := asClient
	switch {
	case p.Connect.IsValid() == p.Listen.IsValid():
		c.fail("Connect", p.Connect, "one of Connect and Listen must be set, and not both")
	case p.Listen.IsValid():
		r = asListener
		c.listen(p.Listen)
		if p.Local.IsValid() {
			c.fail("Local", p.Local, "is for a client; a server binds to Listen")
		}
		if p.Timeout != 0 {
			c.fail("Timeout", p.Timeout, "is for a client")
		}
		if p.TryConnect {
			c.fail("TryConnect", p.TryConnect, "is for a client")
		}
	default:
		c.connect(p.Connect)
		if p.Local.IsValid() {
			r = asBound
			c.local(p.Local, p.Connect)
		}
		if p.Backlog != 0 {
			c.fail("Backlog", p.Backlog, "is for a server")
		}
	}
	c.atMost("Backlog", int64(p.Backlog), maxBacklog)
	c.atMost("Connections", int64(p.Connections), MaxConnections)
	c.duration("Timeout", p.Timeout)
	c.socket(p.Socket, r)

	total, inspects, _ := c.steps("Steps", p.Steps, false, 1)
	connections := int64(max(p.Connections, 1))
	if c.err == nil && total*connections > MaxOutcomes {
		c.fail("Steps", fmt.Sprintf("%d on %d connections", total, connections), fmt.Sprintf("allowed are %d, with all repetitions", MaxOutcomes))
	}
	if c.err == nil && inspects*connections > MaxInspects {
		c.fail("Steps", fmt.Sprintf("%d times Inspect", inspects*connections), fmt.Sprintf("allowed are %d", MaxInspects))
	}
	if c.err == nil {
		// The whole has to fit into the first line to the peer, beside its name and the like.
		const most = maxCommandLine - 1024
		if b, err := json.Marshal(p); err != nil || len(b) > most {
			c.fail("Steps", fmt.Sprintf("%d bytes of JSON", len(b)), fmt.Sprintf("allowed are %d: use Repeat", most))
		}
	}
	return c.err
}

// local checks the address that a client binds to.
func (c *check) local(local, remote netip.AddrPort) {
	c.address("Local", local)
	if local.Addr().Is4() != remote.Addr().Is4() {
		c.fail("Local", local, "must be of the same family as Connect")
	}
}

// performance is one run of a script.
type performance struct {
	Script
	s        *session
	begin    time.Time
	listener *socket
	first    *socket // of a client: made before it is ready, so that a refused option shows before anything is sent
	buf      []byte
	all      []*Connection
	err      error // what ended the script, other than a stop
}

// actor is a connection that steps are done on.
type actor struct {
	sock    *socket // nil when it is closed
	conn    *Connection
	release func()
	start   time.Time // of its first step
}

func (p Script) run(s *session) (*Result, error) {
	run := &performance{Script: p, s: s, buf: make([]byte, readSize)}
	if err := run.prepare(); err != nil {
		return nil, err
	}
	result := &Result{}
	if err := s.awaitBegin(p.AwaitBegin); err != nil {
		result.Err = peerError("", "", err)
	} else {
		run.begin = time.Now()
		run.play()
		result.Err = peerError("", "", run.err)
	}
	if run.first != nil {
		run.first.close()
	}
	if run.listener != nil {
		accept, err := closeListener(run.listener)
		accept.Accepted = len(run.all)
		result.Accept = accept
		if result.Err == nil {
			result.Err = peerError("", "", err)
		}
	}
	result.Connections = values(run.all)
	return result, nil
}

// prepare makes the first socket and reports the peer as ready.
func (p *performance) prepare() (err error) {
	if p.Listen.IsValid() {
		p.listener, err = p.s.listen(p.Listen, p.Socket, p.Backlog)
		return err
	}
	if p.first, err = p.newSocket(); err != nil {
		return err
	}
	return p.s.ready(netip.AddrPort{})
}

// newSocket makes a client's socket. It is bound when it connects.
func (p *performance) newSocket() (*socket, error) {
	r := asClient
	if p.Local.IsValid() {
		r = asBound
	}
	return newSocket(p.Connect, p.Socket, r)
}

// takeSocket returns a client's next socket.
func (p *performance) takeSocket() (*socket, error) {
	if sock := p.first; sock != nil {
		p.first = nil
		return sock, nil
	}
	return p.newSocket()
}

// play does the steps on all connections, one by one or together.
func (p *performance) play() {
	rounds, n := max(p.Connections, 1), 1
	if p.Together {
		rounds, n = n, rounds
	}
	for range rounds {
		actors := p.open(n)
		if p.err == nil && len(actors) > 0 {
			p.do(p.Steps, actors, false)
		}
		p.end(actors)
		if p.err != nil || p.s.soft.Err() != nil {
			return
		}
	}
}

// open makes or accepts n connections, and returns those that are there. After a stop these may be fewer.
func (p *performance) open(n int) []*actor {
	if p.listener != nil {
		return p.accept(n)
	}
	return p.connect(n)
}

func (p *performance) accept(n int) []*actor {
	var actors []*actor
	for range n {
		sock, remote, err := p.listener.accept(p.s.soft)
		if err != nil {
			if !errors.Is(err, unix.ECANCELED) {
				p.err = peerError("accept", p.Listen.String(), err)
			}
			break
		}
		a := p.newActor(sock, &Connection{Remote: remote})
		actors = append(actors, a)
		if err := p.quickACK(sock); err != nil {
			p.fail(a, err)
			break
		}
		if local, err := sock.localAddr(); err == nil {
			p.s.started(local, remote)
		}
	}
	return actors
}

// quickACK sets TCP_QUICKACK on an accepted connection, which does not inherit it.
func (p *performance) quickACK(sock *socket) error {
	if p.QuickACK == nil {
		return nil
	}
	o, _ := optionNamed("TCP_QUICKACK")
	return sock.control(func(fd int) error { return o.set(fd, boolInt(*p.QuickACK)) })
}

// connect sends all SYNs in order, then waits. It makes the sockets before, so that nothing but bind(2) and
// connect(2) lies between two SYNs.
func (p *performance) connect(n int) []*actor {
	var actors []*actor
	for range n {
		sock, err := p.takeSocket()
		if err != nil {
			p.err = err
			break
		}
		actors = append(actors, p.newActor(sock, &Connection{Remote: p.Connect}))
	}
	if p.err != nil {
		return actors
	}

	starts, errs := make([]time.Time, len(actors)), make([]error, len(actors))
	for i, a := range actors {
		starts[i] = time.Now()
		if errs[i] = p.bind(a.sock); errs[i] == nil {
			errs[i] = a.sock.beginConnect(p.s.soft, p.Connect)
		}
	}
	var wg sync.WaitGroup
	for i, a := range actors { // waiting sends nothing, so its order is of no matter
		wg.Go(func() {
			a.conn.ConnectTime, errs[i] = a.sock.awaitConnect(p.s.soft, p.Connect, starts[i], errs[i], p.Timeout)
			if errs[i] != nil {
				return
			}
			if local, err := a.sock.localAddr(); err == nil {
				p.s.started(local, p.Connect)
			}
		})
	}
	wg.Wait()

	var there []*actor
	for i, a := range actors {
		switch err := errs[i]; {
		case err == nil:
			there = append(there, a)
		case p.TryConnect, p.s.soft.Err() != nil:
			_ = p.close(a, err)
		default:
			p.fail(a, err)
			_ = p.close(a, err)
		}
	}
	return there
}

// bind binds a client's socket, if it is to be bound.
func (p *performance) bind(sock *socket) error {
	if !p.Local.IsValid() {
		return nil
	}
	return sock.bind(p.Local)
}

// newActor keeps a connection. What waits on it is cut short by a stop.
func (p *performance) newActor(sock *socket, conn *Connection) *actor {
	p.all = append(p.all, conn)
	return &actor{sock: sock, conn: conn, release: cancelOn(p.s.soft, sock.f.SetDeadline), start: time.Now()}
}

// fail notes an error of a connection, which ends the script.
func (p *performance) fail(a *actor, err error) {
	a.conn.Err = peerError("", "", err)
	if p.err == nil {
		p.err = a.conn.Err
	}
}

// end closes what is still open.
func (p *performance) end(actors []*actor) {
	for _, a := range actors {
		if a.sock != nil {
			_ = p.close(a, asError(a.conn.Err))
		}
	}
}

// close notes what the kernel says of a connection and closes it. The error is that of close(2).
func (p *performance) close(a *actor, err error) error {
	a.release()
	a.conn.Elapsed = time.Since(a.start)
	finish(a.sock, a.conn, err)
	err = a.sock.f.Close()
	a.sock = nil
	return err
}

// do does steps, and tells whether to go on: not after an error that nobody tries, nor after a stop.
func (p *performance) do(steps []Step, actors []*actor, try bool) (goOn bool) {
	for _, step := range steps {
		if step.Do != doRepeat {
			if !p.doOne(step, actors, try || step.Try) {
				return false
			}
			continue
		}
		for range step.Times {
			if !p.do(step.Steps, actors, try || step.Try) {
				return false
			}
		}
	}
	return true
}

// doOne does a step on all connections.
func (p *performance) doOne(step Step, actors []*actor, try bool) (goOn bool) {
	if step.isShared() {
		outcome, goOn := p.perform(step, nil)
		for _, a := range actors {
			a.conn.Steps = append(a.conn.Steps, outcome)
		}
		return goOn
	}
	for _, a := range actors {
		outcome, goOn := p.perform(step, a)
		a.conn.Steps = append(a.conn.Steps, outcome)
		if !goOn {
			return false
		}
		if outcome.Err != nil && !try {
			e := *outcome.Err
			e.Message = joined(e.Message, fmt.Sprintf("in step %d, %s", len(a.conn.Steps), step))
			p.fail(a, &e)
			return false
		}
	}
	return true
}

// joined puts something behind a message, if there is one.
func joined(message, more string) string {
	if message == "" {
		return more
	}
	return message + ", " + more
}

// perform does a step on a connection, or on none if it is shared. After a stop there is no going on.
func (p *performance) perform(step Step, a *actor) (outcome Outcome, goOn bool) {
	outcome = Outcome{Step: step.String(), Start: time.Since(p.begin)}
	err := p.s.soft.Err()
	if err == nil {
		err = p.act(step, a, &outcome)
		outcome.Elapsed = time.Since(p.begin) - outcome.Start
	}
	switch {
	case err == nil:
	case p.s.soft.Err() != nil && (errors.Is(err, p.s.soft.Err()) || errors.Is(err, unix.ECANCELED)):
		if step.Duration != UntilStopped { // which a stop ends in order
			outcome.Err = &PeerError{Op: step.Do, Errno: unix.ErrnoName(unix.ECANCELED), Message: "stopped"}
		}
		return outcome, false
	case a == nil:
		outcome.Err = peerError(step.Do, "", err)
	default:
		outcome.Err = peerError(step.Do, a.conn.Remote.String(), err)
	}
	return outcome, true
}

// act does a step.
func (p *performance) act(step Step, a *actor, outcome *Outcome) (err error) {
	switch step.Do {
	case doWrite:
		outcome.Bytes, err = a.write(step.Bytes)
		a.conn.Sent += outcome.Bytes
	case doRead:
		outcome.Bytes, err = a.read(p.buf, step.Bytes)
		a.conn.Received += outcome.Bytes
	case doReadSome:
		var n int
		n, err = a.sock.f.Read(p.buf)
		if errors.Is(err, io.EOF) {
			err = nil
		}
		outcome.Bytes = int64(n)
		a.conn.Received += int64(n)
	case doReadAll:
		outcome.Bytes, err = a.readAll(p.buf, nil)
		a.conn.Received += outcome.Bytes
	case doReadSlowly:
		piece, interval := pieces(step.BitsPerSecond)
		due := time.Now()
		outcome.Bytes, err = a.readAll(p.buf[:piece], func() error {
			due = due.Add(interval)
			if now := time.Now(); due.Before(now) {
				due = now // it had nothing to read: that is not caught up with
			}
			return p.s.sleep(time.Until(due))
		})
		a.conn.Received += outcome.Bytes
	case doSleep:
		return p.s.sleep(step.Duration)
	case doAwait:
		return p.s.awaitContinue()
	case doCloseWrite:
		return a.sock.closeWrite()
	case doClose:
		return p.close(a, nil)
	case doAbort:
		if err := a.sock.control(func(fd int) error { return setLinger(fd, 0) }); err != nil {
			return err
		}
		return p.close(a, nil)
	case doSet:
		o, _ := optionNamed(step.Option)
		return a.sock.control(func(fd int) error { return o.set(fd, step.Value) })
	case doInspect:
		outcome.TCPInfo, err = a.sock.tcpInfo()
	}
	if err != nil {
		return interrupted(p.s.soft, err)
	}
	return nil
}

// maxPiece is the most that one write(2) is given.
const maxPiece = 1 << 20

// scriptPattern holds what is written: from any n modulo 256, maxPiece bytes.
var scriptPattern = sync.OnceValue(func() []byte { return pattern(maxPiece + 256) })

// write writes n bytes and returns how many the kernel took.
func (a *actor) write(n int64) (written int64, err error) {
	for written < n && err == nil {
		at := (a.conn.Sent + written) % 256
		var k int
		k, err = a.sock.f.Write(scriptPattern()[at : at+min(n-written, maxPiece)])
		written += int64(k)
	}
	return written, err
}

// read reads n bytes and returns how many there were.
func (a *actor) read(buf []byte, n int64) (got int64, err error) {
	for got < n && err == nil {
		var k int
		k, err = a.sock.f.Read(buf[:min(n-got, int64(len(buf)))])
		got += int64(k)
	}
	if errors.Is(err, io.EOF) {
		err = &PeerError{Op: doRead, Addr: a.conn.Remote.String(), Message: fmt.Sprintf("the other side closed after %d of %d bytes", got, n)}
	}
	return got, err
}

// readAll reads to the end, a buffer at a time, and calls pause after each.
func (a *actor) readAll(buf []byte, pause func() error) (got int64, err error) {
	for err == nil {
		var k int
		k, err = a.sock.f.Read(buf)
		got += int64(k)
		if err == nil && pause != nil {
			err = pause()
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return got, err
}

// pieces returns how much to read, and how often, at that rate.
func pieces(bitsPerSecond int64) (bytes int64, interval time.Duration) {
	const usual = 10 * time.Millisecond
	bytes = max(1, bitsPerSecond*int64(usual)/(8*int64(time.Second)))
	return bytes, time.Duration(bytes * 8 * int64(time.Second) / bitsPerSecond)
}
