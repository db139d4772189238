package peers

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"sync"
	"time"
)

// Accept is a server that accepts connections and does nothing with them, or never accepts any, so that the accept
// queue fills. It reads and drops what clients send, so that closing sends FIN and not RST.
type Accept struct {
	Listen netip.AddrPort `json:"listen"` // port 0: the kernel chooses, see Ready
	// Backlog of listen(2): the accept queue holds one connection more. 0 means sysctl net.core.somaxconn, the
	// maximum of the kernel.
	Backlog int `json:"backlog,omitempty"`
	// Never makes the server accept nothing. It ends by Peer.Stop.
	Never bool `json:"never,omitempty"`
	// Count is the number of connections to accept before it reports. 0 means no limit: it ends by Peer.Stop.
	Count int `json:"count,omitempty"`
	// Hold is the time after which the server closes a connection, if the client has not closed it before. 0 means no
	// limit.
	Hold time.Duration `json:"hold_ns,omitempty"`

	Socket
}

// Dial opens connections, and closes them without sending a byte. Each has an entry in Result.Connections, in order,
// with the duration of connect(2), and its errno if it failed: that is a result, and no error of the peer.
type Dial struct {
	Connect netip.AddrPort `json:"connect"`
	// AwaitBegin lets the client connect when Peer.Begin is called, rather than at once.
	AwaitBegin bool `json:"await_begin,omitempty"`

	Count    int  `json:"count,omitempty"`    // how many connections; 0 is 1
	Parallel bool `json:"parallel,omitempty"` // all at once, rather than one after the other
	// Timeout limits a connect(2). When it expires, the errno is EINPROGRESS, as with SO_SNDTIMEO (socket(7)). 0
	// leaves it to the kernel, whose errno is ETIMEDOUT.
	Timeout time.Duration `json:"timeout_ns,omitempty"`

	// CloseImmediately closes each connection as soon as it is established. Otherwise all stay open until the last
	// connect(2) has returned, and then for the time Hold (UntilStopped: until Peer.Stop).
	CloseImmediately bool          `json:"close_immediately,omitempty"`
	Hold             time.Duration `json:"hold_ns,omitempty"`

	Socket
}

// maxBacklog is the largest value that sysctl net.core.somaxconn takes.
const maxBacklog = 1<<31 - 1

func (Accept) program() string { return "accept" }
func (Dial) program() string   { return "dial" }

// Validate implements [Program].
func (a Accept) Validate() error {
	c := check{program: a.program()}
	c.listen(a.Listen)
	c.atMost("Backlog", int64(a.Backlog), maxBacklog)
	if a.Count < 0 {
		c.fail("Count", a.Count, "must not be negative")
	}
	c.duration("Hold", a.Hold)
	if a.Never && a.Count != 0 {
		c.fail("Count", a.Count, "must be 0 with Never")
	}
	if a.Never && a.Hold != 0 {
		c.fail("Hold", a.Hold, "must be 0 with Never")
	}
	c.socket(a.Socket, asListener)
	return c.err
}

// Validate implements [Program].
func (d Dial) Validate() error {
	c := check{program: d.program()}
	c.connect(d.Connect)
	c.atMost("Count", int64(d.Count), MaxConnections)
	c.duration("Timeout", d.Timeout)
	c.duration("Hold", d.Hold)
	if d.CloseImmediately && d.Hold != 0 {
		c.fail("Hold", d.Hold, "must be 0 with CloseImmediately")
	}
	c.socket(d.Socket, asClient)
	return c.err
}

func (a Accept) run(s *session) (*Result, error) {
	l, err := s.listen(a.Listen, a.Socket, a.Backlog)
	if err != nil {
		return nil, err
	}
	if a.Never {
		<-s.soft.Done()
		r, err := closeListener(l)
		return &Result{Accept: r, Err: peerError("", "", err)}, nil
	}
	conns, r, err := s.serve(l, a.Count, func(c *socket, conn *Connection) {
		finish(c, conn, a.hold(s, c, conn))
	})
	return &Result{Accept: r, Connections: conns, Err: peerError("", "", err)}, nil
}

// hold keeps a connection open until its time has passed, its client closes it, or the first stop.
func (a Accept) hold(s *session, c *socket, conn *Connection) error {
	if a.Hold > 0 {
		_ = c.f.SetReadDeadline(time.Now().Add(a.Hold))
	}
	release := cancelOn(s.soft, c.f.SetReadDeadline)
	defer release()
	n, err := io.Copy(io.Discard, onlyReader{c.f})
	conn.Received = n
	if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		return nil
	}
	return peerError("read", conn.Remote.String(), err)
}

func (d Dial) run(s *session) (*Result, error) {
	conns := make([]Connection, max(d.Count, 1))
	socks := make([]*socket, len(conns))
	defer func() {
		for _, sock := range socks {
			if sock != nil {
				sock.close()
			}
		}
	}()
	// The sockets are made first, so that a refused option shows before anything is sent, and nothing but connect(2)
	// is between two SYNs.
	for i := range socks {
		conns[i].Remote = d.Connect
		var err error
		if socks[i], err = newSocket(d.Connect, d.Socket, asClient); err != nil {
			return nil, err
		}
	}
	if err := s.ready(netip.AddrPort{}); err != nil {
		return nil, err
	}
	if err := s.awaitBegin(d.AwaitBegin); err != nil {
		return &Result{Err: peerError("", "", err)}, nil
	}

	var wg sync.WaitGroup
	for i := range conns {
		if d.Parallel {
			wg.Go(func() { d.dial(s, socks[i], &conns[i]) })
		} else {
			d.dial(s, socks[i], &conns[i])
		}
	}
	wg.Wait()
	if d.Hold > 0 {
		_ = s.sleep(d.Hold) // a stop ends it: that is no error
	}
	if !d.CloseImmediately {
		for i := range conns {
			finish(socks[i], &conns[i], asError(conns[i].Err))
		}
	}
	return &Result{Connections: conns}, nil
}

func (d Dial) dial(s *session, sock *socket, conn *Connection) {
	var err error
	conn.ConnectTime, err = sock.connect(s.soft, d.Connect, d.Timeout)
	conn.Err = peerError("connect", d.Connect.String(), err)
	if err == nil {
		if local, err := sock.localAddr(); err == nil {
			s.started(local, d.Connect)
		}
	}
	if d.CloseImmediately {
		finish(sock, conn, err)
		sock.close()
	}
}

// asError returns e as an error that is nil if e is.
func asError(e *PeerError) error {
	if e == nil {
		return nil
	}
	return e
}
