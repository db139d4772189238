package peers

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"slices"
	"time"
)

// EchoServer sends back what it reads, as it arrives (RFC 862). A connection is done when its client has closed it.
type EchoServer struct {
	Listen netip.AddrPort `json:"listen"` // port 0: the kernel chooses, see Ready
	// Connections is how many to serve, at the same time, before it reports. 0 is 1.
	Connections int `json:"connections,omitempty"`
	// Backlog of listen(2). 0 is sysctl net.core.somaxconn, the most that the kernel allows.
	Backlog int `json:"backlog,omitempty"`

	Socket
}

// EchoClient sends requests to an EchoServer, each after the answer to the one before, and measures each from before
// it is written until the last byte of its answer is read.
type EchoClient struct {
	Connect netip.AddrPort `json:"connect"`
	// AwaitBegin lets the client connect when Peer.Begin is called, rather than at once. Its socket is made before.
	AwaitBegin bool `json:"await_begin,omitempty"`

	Requests int `json:"requests,omitempty"` // up to 1,000,000; 0 is 1
	Size     int `json:"size,omitempty"`     // bytes of a request and of its answer, up to 1 MiB; 0 is 1
	// Interval is the time from one request to the next; a late answer makes it longer. 0 sends each as soon as the
	// answer has arrived.
	Interval time.Duration `json:"interval_ns,omitempty"`

	Socket
}

const (
	maxRequests    = 1_000_000
	maxRequestSize = 1 << 20
	// A write up to this size never waits: it fits into the smallest send buffer, 2 * 2304 bytes with the kernel's
	// overhead (SOCK_MIN_SNDBUF in include/net/sock.h), which is empty when a request starts.
	smallRequest = 1024
)

func (EchoServer) program() string { return "echo-server" }
func (EchoClient) program() string { return "echo-client" }

// Validate implements [Program].
func (e EchoServer) Validate() error {
	c := check{program: e.program()}
	c.listen(e.Listen)
	c.atMost("Connections", int64(e.Connections), MaxConnections)
	c.atMost("Backlog", int64(e.Backlog), maxBacklog)
	c.socket(e.Socket, asListener)
	return c.err
}

// Validate implements [Program].
func (e EchoClient) Validate() error {
	c := check{program: e.program()}
	c.connect(e.Connect)
	c.atMost("Requests", int64(e.Requests), maxRequests)
	c.atMost("Size", int64(e.Size), maxRequestSize)
	c.duration("Interval", e.Interval)
	c.socket(e.Socket, asClient)
	return c.err
}

func (e EchoClient) run(s *session) (*Result, error) {
	var latencies []time.Duration
	conn, err := s.client(e.Connect, e.Socket, e.AwaitBegin, func(sock *socket, conn *Connection) (err error) {
		latencies, err = e.exchange(s, sock, conn)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &Result{Echo: summarise(latencies), Connections: []Connection{conn}, Err: conn.Err}, nil
}

// exchange makes the requests and closes the connection.
func (e EchoClient) exchange(s *session, sock *socket, conn *Connection) ([]time.Duration, error) {
	request := pattern(max(e.Size, 1))
	answer := make([]byte, len(request))
	var latencies []time.Duration
	start := time.Now()
	defer func() { conn.Elapsed = time.Since(start) }()
	due := start
	for i := range max(e.Requests, 1) {
		// A stop between requests is a normal end, and within a request an error.
		if s.sleep(time.Until(due)) != nil {
			break
		}
		request[0] = byte(i) // so that an answer to another request shows
		began := time.Now()
		due = began.Add(e.Interval)
		if err := e.request(s, sock, conn, request, answer); err != nil {
			return latencies, err
		}
		latencies = append(latencies, time.Since(began))
	}
	return latencies, sock.finishActive(s.hard)
}

// request sends one request and reads its answer.
func (e EchoClient) request(s *session, sock *socket, conn *Connection, request, answer []byte) error {
	release := cancelOn(s.soft, sock.f.SetDeadline)
	defer release()
	write := func() error {
		n, err := sock.f.Write(request)
		conn.Sent += int64(n)
		if err != nil {
			return stoppedOr(s.soft, "write", e.Connect, err)
		}
		return nil
	}
	written := make(chan error, 1)
	if len(request) <= smallRequest {
		if err := write(); err != nil {
			return err
		}
		written <- nil
	} else {
		// The server answers while this side writes: with both buffers full and no reader, both would wait forever.
		go func() { written <- write() }()
	}
	n, err := io.ReadFull(sock.f, answer)
	conn.Received += int64(n)
	if err != nil {
		_ = sock.f.SetWriteDeadline(longAgo) // nobody reads any more: the writer must not wait
	}
	if werr := <-written; werr != nil && err == nil {
		return werr
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &PeerError{Op: "read", Addr: e.Connect.String(), Message: "the server closed before it had answered"}
	case err != nil:
		return stoppedOr(s.soft, "read", e.Connect, err)
	case !bytes.Equal(request, answer):
		return &PeerError{Op: "read", Addr: e.Connect.String(), Message: "the answer differs from the request"}
	}
	return nil
}

func summarise(latencies []time.Duration) *EchoResult {
	r := &EchoResult{Requests: len(latencies)}
	if len(latencies) == 0 {
		return r
	}
	r.Latencies = slices.Clone(latencies[:min(len(latencies), MaxLatencies)])
	sorted := slices.Sorted(slices.Values(latencies))
	// Nearest rank: the smallest value that at least p of the values do not exceed.
	rank := func(percent int) time.Duration { return sorted[(len(sorted)*percent+99)/100-1] }
	r.Min, r.Median, r.P99, r.Max = sorted[0], rank(50), rank(99), sorted[len(sorted)-1]
	return r
}

func (e EchoServer) run(s *session) (*Result, error) {
	l, err := s.listen(e.Listen, e.Socket, e.Backlog)
	if err != nil {
		return nil, err
	}
	conns, _, err := s.serve(l, max(e.Connections, 1), func(c *socket, conn *Connection) {
		finish(c, conn, echo(s, c, conn))
	})
	return &Result{Connections: conns, Err: firstError(err, conns)}, nil
}

// echo sends back what comes until the other side closes.
func echo(s *session, c *socket, conn *Connection) error {
	release := cancelOn(s.soft, c.f.SetDeadline)
	buf := make([]byte, readSize)
	var first, last time.Time
	op := "read"
	var err error
	for err == nil {
		var n int
		n, err = c.f.Read(buf)
		if err != nil {
			break
		}
		last = time.Now()
		if first.IsZero() {
			first = last
		}
		conn.Received += int64(n)
		n, err = c.f.Write(buf[:n])
		conn.Sent += int64(n)
		if err != nil {
			op = "write"
		}
	}
	release()
	conn.Elapsed = last.Sub(first)
	if !errors.Is(err, io.EOF) {
		return stoppedOr(s.soft, op, conn.Remote, err)
	}
	return c.finishPassive(s.hard)
}
