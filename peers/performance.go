package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// performance is one run of a script.
type performance struct {
	Script
	s        *session
	begin    time.Time
	listener *socket
	first    *socket // of a client: made before it is ready, so that a refused option shows before anything is sent
	buf      []byte  // to read into
	data     []byte  // to write, of longestWrite and 256 more
	all      []*Connection
	err      error // what ended the script, other than a stop
}

// actor is a connection that steps run on.
type actor struct {
	sock    *socket // nil when it is closed
	conn    *Connection
	release func()
	start   time.Time // before connect(2), or after accept(2)
}

func (p Script) run(s *session) (*Result, error) {
	// Allocated before anything is timed: on a slow machine, such as a guest, it takes a while.
	run := &performance{Script: p, s: s, buf: make([]byte, readSize), data: pattern(int(longestWrite(p.Steps)) + 256)}
	clear(run.buf) // so that its pages are mapped before the first read(2)
	if err := run.prepare(); err != nil {
		return nil, err
	}
	result := &Result{}
	if s.awaitBegin(p.AwaitBegin) == nil { // or else it was stopped, which is an end in order
		run.begin = time.Now()
		run.play()
		result.Err = peerError("script", "", run.err)
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

// connect sends all SYNs in order, then waits. It makes the sockets before, so that only bind(2) and connect(2) are
// between two SYNs.
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
	for i, a := range actors { // waiting sends nothing, so its order does not matter
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

// newActor registers a connection. A stop interrupts what waits on it.
func (p *performance) newActor(sock *socket, conn *Connection) *actor {
	p.all = append(p.all, conn)
	return &actor{sock: sock, conn: conn, release: cancelOn(p.s.soft, sock.f.SetDeadline), start: time.Now()}
}

// fail records an error of a connection, which ends the script.
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

// close records the state of the socket and closes it. The error is that of close(2).
func (p *performance) close(a *actor, err error) error {
	a.release()
	a.conn.Elapsed = time.Since(a.start)
	finish(a.sock, a.conn, err)
	err = a.sock.f.Close()
	a.sock = nil
	return err
}

// do runs steps, and reports whether to continue: not after an error without Try, nor after a stop.
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

// doOne runs a step on all connections.
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

// joined appends a detail to a message, if there is one.
func joined(message, more string) string {
	if message == "" {
		return more
	}
	return message + ", " + more
}

// perform runs a step on a connection, or on none if it is shared. After a stop nothing continues.
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

// act runs a step.
func (p *performance) act(step Step, a *actor, outcome *Outcome) (err error) {
	switch step.Do {
	case doWrite:
		if len(step.Data) > 0 {
			var n int
			n, err = a.sock.f.Write(step.Data)
			outcome.Bytes = int64(n)
		} else {
			outcome.Bytes, err = a.write(p.data, step.Bytes)
		}
		a.conn.Sent += outcome.Bytes
	case doRead:
		outcome.Bytes, err = a.read(p.buf, step)
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
		outcome.Bytes, err = a.drain(p.s.soft)
		a.conn.Received += outcome.Bytes
	case doReadSlowly:
		piece, interval := pieces(step.BitsPerSecond)
		due := time.Now()
		outcome.Bytes, err = a.readSlowly(p.buf[:piece], func() error {
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

// longestWrite returns how long the longest write(2) of the steps is.
func longestWrite(steps []Step) int64 {
	var longest int64
	for _, s := range steps {
		longest = max(longest, longestWrite(s.Steps))
		if s.Do == doWrite {
			longest = max(longest, min(s.Bytes, maxPiece))
		}
	}
	return longest
}

// write writes n bytes of data, which it begins at any of its first 256 bytes, and returns how many the kernel took.
func (a *actor) write(data []byte, n int64) (written int64, err error) {
	for written < n && err == nil {
		at := (a.conn.Sent + written) % 256
		var k int
		k, err = a.sock.f.Write(data[at : at+min(n-written, maxPiece)])
		written += int64(k)
	}
	return written, err
}

// read reads as many bytes as the step says, which are its Data if it has any, and returns how many there were.
func (a *actor) read(buf []byte, step Step) (got int64, err error) {
	n := max(step.Bytes, int64(len(step.Data)))
	for got < n && err == nil {
		var k int
		k, err = a.sock.f.Read(buf[:min(n-got, int64(len(buf)))])
		if len(step.Data) > 0 {
			if at := firstOther(buf[:k], step.Data[got:]); at < k {
				same := got + int64(at)
				message := fmt.Sprintf("got %s where %s was expected, after %d bytes as expected",
					quoted(buf[at:k]), quoted(step.Data[same:]), same)
				return got + int64(k), &PeerError{Op: doRead, Addr: a.conn.Remote.String(), Message: message}
			}
		}
		got += int64(k)
	}
	if errors.Is(err, io.EOF) {
		message := fmt.Sprintf("the other side closed after %d of %d bytes", got, n)
		err = &PeerError{Op: doRead, Addr: a.conn.Remote.String(), Message: message}
	}
	return got, err
}

// firstOther is where got differs from the begin of want, which is at least as long; its length if it does not.
func firstOther(got, want []byte) int {
	for i := range got {
		if got[i] != want[i] {
			return i
		}
	}
	return len(got)
}

// drain reads to the end and drops what it reads.
func (a *actor) drain(ctx context.Context) (int64, error) {
	a.release()
	d, err := a.sock.drain(ctx)
	a.release = cancelOn(ctx, a.sock.f.SetDeadline)
	return d.bytes, err
}

// readSlowly reads to the end, a buffer at a time, and calls pause after each.
func (a *actor) readSlowly(buf []byte, pause func() error) (got int64, err error) {
	for err == nil {
		var k int
		k, err = a.sock.f.Read(buf)
		got += int64(k)
		if err == nil {
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
