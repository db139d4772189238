package servers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	readSize   = 64 << 10 // bytes of one read
	eventsSize = 256      // of one call of epoll_wait(2)

	// A turn is what one client gets before the others: so many reads, and the listener as many calls of accept(2).
	turn = 16

	// acceptPause is how long a loop does not accept when the machine is short of something: level-triggered, the listener would be
	// ready again at once, and the loop would do nothing else.
	acceptPause = 100 * time.Millisecond
)

// A loop is one thread that serves all clients of an epoll server.
type loop struct {
	config  Config
	trigger trigger

	epoll, listener, wake int // file descriptors
	conns                 map[int]*conn
	serving               int // of them, those that were not refused for want of a place
	accepting             bool
	pauseEnds             time.Time // the zero time: there is no pause
	idle, busy, finishing timeouts
	scratch               []byte  // of one read, of whatever client
	again                 []*conn // that had their turn, and have more to do: no event tells
}

// A trigger is what differs between the two kinds of epoll.
type trigger interface {
	// interest are the events that a new client's socket is registered for.
	interest() uint32
	// turn works on a client when its socket is ready: reads, handles, writes. Its error ends the connection.
	turn(l *loop, c *conn) error
}

// A conn is a client's socket.
type conn struct {
	conversation
	fd       int
	counts   bool // in loop.serving
	watched  uint32
	finished bool // the FIN is sent: what comes is dropped
	dropped  int  // bytes of it

	deadline deadline
	flushes  int  // how often out has become empty
	queued   bool // in loop.again
}

// errDone is the end of a connection that is in order.
var errDone = errors.New("done")

// serveEpoll serves clients on this goroutine until the context ends.
func (c Config) serveEpoll(ctx context.Context, from net.Listener, t trigger, readSize int) (err error) {
	c = c.withDefaults()
	l := &loop{
		config: c, trigger: t, epoll: -1, listener: -1, wake: -1, conns: map[int]*conn{}, scratch: make([]byte, readSize),
		idle:      timeouts{after: c.Timeouts.Idle},
		busy:      timeouts{after: c.Timeouts.Message},
		finishing: timeouts{after: c.finishTime()},
	}
	defer l.close()
	address := from.Addr()
	err = l.open(from)
	from.Close()
	if err != nil {
		return fmt.Errorf("serve on %v: %w", address, err)
	}
	// An eventfd, not a closed descriptor, wakes epoll_wait(2): one that is closed could be another file's by then.
	woken := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(woken)
		_, _ = unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0}) // it cannot be full
	})
	defer func() {
		if !stop() {
			<-woken // before the descriptor is closed
		}
	}()
	if err := l.run(ctx); err != nil {
		return fmt.Errorf("serve on %v: %w", address, err)
	}
	return nil
}

// open makes the loop's file descriptors. The listener's is a copy: package net's own poller lets go of it when the original is closed.
func (l *loop) open(from net.Listener) (err error) {
	socket, ok := from.(syscall.Conn)
	if !ok {
		return fmt.Errorf("a %T has no file descriptor: %w", from, errors.ErrUnsupported)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var copied error
	if err := raw.Control(func(fd uintptr) { l.listener, copied = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return err
	}
	if copied != nil {
		l.listener = -1
		return os.NewSyscallError("fcntl", copied)
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	l.accepting = true
	return errors.Join(l.watch(unix.EPOLL_CTL_ADD, l.wake, unix.EPOLLIN), l.watch(unix.EPOLL_CTL_ADD, l.listener, unix.EPOLLIN))
}

// watch tells epoll which events of a descriptor it shall report.
func (l *loop) watch(operation, fd int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(l.epoll, operation, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}

// close closes all that is open.
func (l *loop) close() {
	for _, c := range l.conns {
		l.end(c, net.ErrClosed)
	}
	for _, fd := range []int{l.listener, l.epoll, l.wake} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// run waits for events, and gives each client that has one its turn.
func (l *loop) run(ctx context.Context) error {
	events := make([]unix.EpollEvent, eventsSize)
	for {
		n, err := unix.EpollWait(l.epoll, events, l.sleep())
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("epoll_wait", err)
		}
		if ctx.Err() != nil {
			return nil
		}
		l.workAgain()
		accept := false
		for _, e := range events[:max(n, 0)] {
			// A client whose event is of a socket with the same number, which was closed since, finds nothing to do.
			if c := l.conns[int(e.Fd)]; c != nil {
				l.work(c)
			}
			accept = accept || int(e.Fd) == l.listener
		}
		l.expire(time.Now())
		if accept {
			if err := l.accept(); err != nil {
				return err
			}
		}
		if err := l.resume(); err != nil {
			return err
		}
	}
}

// workAgain gives those a turn that had more to do.
func (l *loop) workAgain() {
	again := l.again
	l.again = nil
	for _, c := range again {
		if c.queued = false; c.fd >= 0 { // it is not closed since
			l.work(c)
		}
	}
}

// later has a client get another turn, after the others.
func (l *loop) later(c *conn) {
	if !c.queued {
		c.queued = true
		l.again = append(l.again, c)
	}
}

// sleep is how long nothing has to be done, in milliseconds for epoll_wait(2): -1 is for ever.
func (l *loop) sleep() int {
	if len(l.again) > 0 {
		return 0
	}
	next := l.pauseEnds
	for _, t := range []*timeouts{&l.idle, &l.busy, &l.finishing} {
		if first := t.first(); first != nil && (next.IsZero() || first.at.Before(next)) {
			next = first.at
		}
	}
	if next.IsZero() {
		return -1
	}
	const millisecond = int64(time.Millisecond)
	return int(max(0, int64(time.Until(next))+millisecond-1) / millisecond) // rounded up: it would spin until then
}

// expire ends what has taken too long.
func (l *loop) expire(now time.Time) {
	for _, t := range []*timeouts{&l.idle, &l.busy, &l.finishing} {
		for first := t.first(); first != nil && !first.at.After(now); first = t.first() {
			c := first.conn
			switch {
			case c.finished:
				l.end(c, errDone)
			case len(c.out) > 0: // it takes no answers: what is in the socket would stay for long after close(2)
				_ = unix.SetsockoptLinger(c.fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
				l.end(c, fmt.Errorf("write: %w", ErrTimeout))
			default:
				c.refuse(ErrTimeout)
				l.work(c)
			}
		}
	}
}

// accept accepts who waits.
func (l *loop) accept() error {
	for range turn {
		if len(l.conns) >= l.config.MaxClients+maxRefused {
			return l.pause(0)
		}
		fd, from, err := unix.Accept4(l.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			if err := l.add(fd, from); err != nil {
				return err
			}
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.ECONNABORTED), errors.Is(err, unix.EINTR): // the client has gone before it was accepted
		case errors.Is(err, unix.EMFILE), errors.Is(err, unix.ENFILE), errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
			return l.pause(acceptPause)
		default:
			return os.NewSyscallError("accept4", err)
		}
	}
	return nil // epoll says that there are more: the listener is level-triggered in all servers
}

// pause stops accepting for a while, or until a client has left.
func (l *loop) pause(d time.Duration) error {
	l.accepting, l.pauseEnds = false, time.Time{}
	if d > 0 {
		l.pauseEnds = time.Now().Add(d)
	}
	return l.watch(unix.EPOLL_CTL_MOD, l.listener, 0)
}

// resume accepts again, if the pause is over.
func (l *loop) resume() error {
	if l.accepting || len(l.conns) >= l.config.MaxClients+maxRefused || time.Now().Before(l.pauseEnds) {
		return nil
	}
	l.accepting, l.pauseEnds = true, time.Time{}
	return l.watch(unix.EPOLL_CTL_MOD, l.listener, unix.EPOLLIN)
}

// add begins with a client, which is refused where there is no place.
func (l *loop) add(fd int, from unix.Sockaddr) error {
	c := &conn{fd: fd, conversation: conversation{config: &l.config, session: Session{Remote: addrPort(from)}}}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // as package net does; answers are late without
	c.watched = l.trigger.interest()
	if err := l.watch(unix.EPOLL_CTL_ADD, fd, c.watched); err != nil {
		unix.Close(fd)
		return l.pause(acceptPause) // the machine is short of something
	}
	l.conns[fd] = c
	l.idle.start(c)
	if l.serving < l.config.MaxClients {
		c.counts = true
		l.serving++
		return nil // what has come already is an event
	}
	c.refuse(ErrBusy)
	l.work(c)
	return nil
}

// work gives a client its turn.
func (l *loop) work(c *conn) {
	requests, flushes := c.session.Requests, c.flushes
	if err := l.trigger.turn(l, c); err != nil {
		l.end(c, err)
		return
	}
	if c.over && c.counts { // whoever is being refused leaves its place to the next
		c.counts = false
		l.serving--
	}
	// A time-out begins anew with each step that was made, and not with each byte.
	at := &l.idle
	switch {
	case c.finished:
		at = &l.finishing
	case len(c.in) > 0 || len(c.out) > 0:
		at = &l.busy
	}
	if c.deadline.of != at || at != &l.finishing && (requests != c.session.Requests || flushes != c.flushes) {
		c.deadline.stop()
		at.start(c)
	}
}

// end closes a client's socket, which takes it out of epoll, too.
func (l *loop) end(c *conn, err error) {
	if c.session.Err == nil && !errors.Is(err, errDone) {
		c.session.Err = err
	}
	c.deadline.stop()
	delete(l.conns, c.fd)
	if c.counts {
		l.serving--
	}
	unix.Close(c.fd)
	c.fd = -1
	l.config.closed(c.session)
}

// errAgain is the kernel's answer when it would have to wait.
var errAgain = errors.New("not ready")

// read reads once. It returns errAgain if there is nothing.
func (l *loop) read(c *conn) error {
	n, err := unix.Read(c.fd, l.scratch)
	switch {
	case errors.Is(err, unix.EAGAIN):
		return errAgain
	case errors.Is(err, unix.EINTR):
		return nil
	case err != nil:
		return os.NewSyscallError("read", err)
	case c.finished:
		c.dropped += n
		if n == 0 || c.dropped > finishBytes {
			return errDone
		}
	case n == 0:
		c.end()
	default:
		c.take(l.scratch[:n])
	}
	return nil
}

// flush writes all answers, and answers what came before and had to wait for that. It returns errAgain if the socket is full, and
// errDone after the last answer to a client that has closed.
func (l *loop) flush(c *conn) error {
	for len(c.out) > 0 {
		n, err := unix.Write(c.fd, c.out)
		switch {
		case errors.Is(err, unix.EAGAIN):
			return errAgain
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return os.NewSyscallError("write", err)
		default:
			c.out = c.out[n:]
		}
		if len(c.out) == 0 {
			c.out = nil // no memory for nothing
			c.flushes++
			c.more()
		}
	}
	switch {
	case !c.over || c.finished:
		return nil
	case c.session.Err == nil:
		return errDone
	}
	c.finished = true
	return os.NewSyscallError("shutdown", unix.Shutdown(c.fd, unix.SHUT_WR))
}

func addrPort(from unix.Sockaddr) netip.AddrPort {
	switch a := from.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		return unmapped(netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)))
	}
	return netip.AddrPort{}
}
