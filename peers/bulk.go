package peers

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// BulkServer reads what its clients send, as soon as it arrives, and drops it. A connection is done when its client
// has closed it. The server closes after that, so the client has the TIME-WAIT.
//
// With a ProgressInterval, or more than 16 Connections, it reads by Go's poller, which costs twice as much per
// segment in a guest: see the package documentation.
type BulkServer struct {
	Listen netip.AddrPort `json:"listen"` // port 0: the kernel chooses, see Ready
	// Connections is the number of connections to serve concurrently before it reports. 0 means 1.
	Connections int `json:"connections,omitempty"`
	// Backlog of listen(2). 0 means sysctl net.core.somaxconn, the maximum of the kernel.
	Backlog int `json:"backlog,omitempty"`

	Socket

	// ProgressInterval is the time between reports of progress: 0 for none, or at least 1 ms.
	ProgressInterval time.Duration `json:"progress_interval_ns,omitempty"`
}

// BulkClient sends bytes for a time or up to a size, then closes and waits until the server has read and acknowledged
// all, including its FIN. The bytes are a fixed pattern.
type BulkClient struct {
	Connect netip.AddrPort `json:"connect"`
	// AwaitBegin lets the client connect when Peer.Begin is called, rather than at once. Its socket is made before.
	AwaitBegin bool `json:"await_begin,omitempty"`

	// One of Duration, the time from the first byte to the last that is written, and Bytes.
	Duration time.Duration `json:"duration_ns,omitempty"`
	Bytes    int64         `json:"bytes,omitempty"`

	Socket

	// ProgressInterval is the time between reports of progress: 0 for none, or at least 1 ms.
	ProgressInterval time.Duration `json:"progress_interval_ns,omitempty"`
}

func (BulkServer) program() string { return "bulk-server" }
func (BulkClient) program() string { return "bulk-client" }

// Validate implements [Program].
func (b BulkServer) Validate() error {
	c := check{program: b.program()}
	c.listen(b.Listen)
	c.atMost("Connections", int64(b.Connections), MaxConnections)
	c.atMost("Backlog", int64(b.Backlog), maxBacklog)
	c.socket(b.Socket, asListener)
	c.progress(b.ProgressInterval)
	return c.err
}

// Validate implements [Program].
func (b BulkClient) Validate() error {
	c := check{program: b.program()}
	c.connect(b.Connect)
	c.duration("Duration", b.Duration)
	if b.Bytes < 0 {
		c.fail("Bytes", b.Bytes, "must not be negative")
	}
	switch {
	case b.Duration == 0 && b.Bytes == 0:
		c.fail("Duration", b.Duration, "one of Duration and Bytes must be set")
	case b.Duration != 0 && b.Bytes != 0:
		c.fail("Duration", b.Duration, "only one of Duration and Bytes can be set")
	}
	c.socket(b.Socket, asClient)
	c.progress(b.ProgressInterval)
	return c.err
}

// The sizes of one write and of one read: few system calls at 1 Gbit/s, and small enough steps to stop and to count.
const (
	writeSize = 128 << 10
	readSize  = 256 << 10
)

// pattern is what clients send: the bytes 0 to 255, again and again.
func pattern(size int) []byte {
	b := make([]byte, size)
	for i := range min(size, 256) {
		b[i] = byte(i)
	}
	for done := 256; done < size; done *= 2 { // much faster than byte by byte
		copy(b[done:], b[:done])
	}
	return b
}

func (b BulkClient) run(s *session) (*Result, error) {
	conn, err := s.client(b.Connect, b.Socket, b.AwaitBegin, func(sock *socket, conn *Connection) error {
		return b.transfer(s, sock, conn)
	})
	if err != nil {
		return nil, err
	}
	return &Result{
		Bulk:        &BulkResult{Bytes: conn.Sent, Elapsed: conn.Elapsed, Goodput: conn.Goodput},
		Connections: []Connection{conn},
		Err:         conn.Err,
	}, nil
}

// transfer sends all data and closes the connection.
func (b BulkClient) transfer(s *session, sock *socket, conn *Connection) error {
	var sent atomic.Int64
	stopProgress := s.reportProgress(b.ProgressInterval, &sent)
	start := time.Now()
	err := b.send(s.soft, sock, start, &sent)
	if err == nil {
		err = sock.finishActive(s.hard)
	}
	conn.Elapsed = time.Since(start)
	stopProgress()
	conn.Sent = sent.Load()
	return err
}

// send writes until the time or the size is reached, or ctx ends.
func (b BulkClient) send(ctx context.Context, sock *socket, start time.Time, sent *atomic.Int64) error {
	if b.Duration > 0 {
		_ = sock.f.SetWriteDeadline(start.Add(b.Duration))
	}
	release := cancelOn(ctx, sock.f.SetWriteDeadline)
	defer release()
	buf := pattern(writeSize)
	for b.Bytes == 0 || sent.Load() < b.Bytes {
		chunk := buf
		if b.Bytes > 0 {
			chunk = buf[:min(int64(len(buf)), b.Bytes-sent.Load())]
		}
		n, err := sock.f.Write(chunk)
		sent.Add(int64(n))
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil // the time is over, or it was stopped: both are an end in order
		}
		if err != nil {
			return peerError("write", b.Connect.String(), err)
		}
	}
	return nil
}

func (b BulkServer) run(s *session) (*Result, error) {
	l, err := s.listen(b.Listen, b.Socket, b.Backlog)
	if err != nil {
		return nil, err
	}
	var received atomic.Int64
	var times span
	stopProgress := s.reportProgress(b.ProgressInterval, &received)
	conns, _, err := s.serve(l, max(b.Connections, 1), func(c *socket, conn *Connection) {
		finish(c, conn, b.receive(s, c, conn, &received, &times))
	})
	stopProgress()
	elapsed := times.elapsed()
	r := &Result{
		Bulk:        &BulkResult{Bytes: received.Load(), Elapsed: elapsed, Goodput: goodput(received.Load(), elapsed)},
		Connections: conns,
		Err:         firstError(err, conns),
	}
	return r, nil
}

// receive reads a connection to its end and closes it.
func (b BulkServer) receive(s *session, c *socket, conn *Connection, total *atomic.Int64, times *span) error {
	var d drained
	var err error
	if b.ProgressInterval == 0 && b.Connections <= maxBlocked {
		d, err = c.drain(s.soft)
		total.Add(d.bytes)
	} else {
		d, err = c.drainPolled(s.soft, total)
	}
	conn.Received = d.bytes
	conn.Elapsed = d.last.Sub(d.first)
	times.add(d.first, d.last)
	if err != nil {
		return stoppedOr(s.soft, "read", conn.Remote, err)
	}
	return c.finishPassive(s.hard)
}

// stoppedOr returns the error of an operation on a connection, or an error that says that the first stop interrupted
// it.
func stoppedOr(ctx context.Context, op string, remote netip.AddrPort, err error) error {
	p := peerError(op, remote.String(), interrupted(ctx, err))
	if p.Errno == unix.ErrnoName(unix.ECANCELED) {
		p.Message = "stopped before the other side had closed"
	}
	return p
}
