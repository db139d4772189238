package probe

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// A Sample is one connection, or one request on a connection that is kept. A time is 0 if the sample did not come so far, or had nothing
// to do there.
type Sample struct {
	At      time.Duration `json:"at_ns"` // since the first one began
	Address string        `json:"address,omitempty"`

	Resolve time.Duration `json:"resolve_ns,omitempty"`
	Connect time.Duration `json:"connect_ns,omitempty"`
	TLS     time.Duration `json:"tls_ns,omitempty"`
	Upload  time.Duration `json:"upload_ns,omitempty"` // until the kernel had taken all that is to be sent
	// Delivered is from the first byte that was sent until the other side had acknowledged all of an upload, or began to answer it.
	Delivered time.Duration `json:"delivered_ns,omitempty"`
	FirstByte time.Duration `json:"first_byte_ns,omitempty"` // since the kernel had taken all
	Transfer  time.Duration `json:"transfer_ns,omitempty"`   // since the first byte
	Bytes     int64         `json:"bytes,omitempty"`         // of an answer's body
	Status    int           `json:"status,omitempty"`        // of HTTP
	Warm      bool          `json:"warm,omitempty"`          // the connection was there already

	// By TCP_INFO, of the connection until then.
	RTT         time.Duration `json:"rtt_ns,omitempty"`     // smoothed
	MinRTT      time.Duration `json:"min_rtt_ns,omitempty"` // the least
	Segments    uint32        `json:"segments,omitempty"`   // that were sent
	Retransmits uint32        `json:"retransmits,omitempty"`

	Err   string `json:"error,omitempty"`
	Phase string `json:"phase,omitempty"` // in which it failed: resolve, connect, tls, upload, first byte, transfer

	Cause error `json:"-"` // what Err says in words

	conn *net.TCPConn // which of several, of which TCP_INFO counts
}

// A prober takes one sample after the other.
type prober struct {
	Options
	began time.Time

	conn   net.Conn
	tcp    *net.TCPConn // below TLS
	stream *bufio.Reader
	from   string
	ends   bool // the server closes the connection after its answer
}

func (p *prober) close() {
	if p.conn != nil {
		p.conn.Close()
		p.conn = nil
	}
}

// sample takes one. Whatever goes wrong is in it.
func (p *prober) sample(ctx context.Context) Sample {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(p.Timeout, time.Minute))
	defer cancel()
	s := Sample{At: time.Since(p.began), Warm: p.conn != nil}
	phase, err := p.open(ctx, &s)
	if err == nil {
		conn := p.conn // which is another, or none, when this has returned, and the function may run even then
		stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
		phase, err = p.ask(ctx, &s)
		stop()
	}
	if p.tcp != nil {
		s.Address, s.conn = p.from, p.tcp
		p.look(&s)
	}
	if err != nil {
		s.Err, s.Phase, s.Cause = reason(ctx, err), phase, err
	}
	if err != nil || !p.Warm || p.ends {
		p.close()
	}
	return s
}

// open connects, if there is no connection that is kept. It returns the phase that failed.
func (p *prober) open(ctx context.Context, s *Sample) (phase string, err error) {
	if p.conn != nil {
		return "", nil
	}
	p.tcp = nil
	began := time.Now()
	address, err := p.resolve(ctx)
	if err != nil {
		return "resolve", err
	}
	if net.ParseIP(p.Host) == nil && !p.Address.IsValid() {
		s.Resolve = time.Since(began)
	}
	target := netip.AddrPortFrom(address, p.Port).String()
	s.Address = target
	began = time.Now()
	conn, err := p.dialer().DialContext(ctx, "tcp", target)
	if err != nil {
		return "connect", err
	}
	s.Connect = time.Since(began)
	if p.Watch != nil {
		if raw, err := conn.(*net.TCPConn).SyscallConn(); err == nil {
			_ = raw.Control(func(fd uintptr) { p.Watch.Connected(int(fd)) }) // it is open
		}
	}
	p.conn, p.tcp, p.from, p.ends = conn, conn.(*net.TCPConn), target, false
	if p.TLS {
		began = time.Now()
		secure := tls.Client(conn, &tls.Config{ServerName: p.Host, InsecureSkipVerify: p.Insecure}) //nolint:gosec // only if it is asked for
		if err := secure.HandshakeContext(ctx); err != nil {
			return "tls", err
		}
		s.TLS = time.Since(began)
		p.conn = secure
	}
	p.stream = bufio.NewReader(p.conn)
	return "", nil
}

func (p *prober) dialer() *net.Dialer {
	if p.Watch == nil {
		return &net.Dialer{}
	}
	return &net.Dialer{Control: func(_, _ string, raw syscall.RawConn) error {
		var refused error
		err := raw.Control(func(fd uintptr) { refused = p.Watch.Opened(int(fd)) })
		return errors.Join(err, refused)
	}}
}

// resolve returns the address to connect to: the first of the wanted family.
func (p *prober) resolve(ctx context.Context) (netip.Addr, error) {
	if p.Address.IsValid() {
		return p.Address, nil
	}
	network := "ip"
	if p.Family != 0 {
		network = fmt.Sprint("ip", p.Family)
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, network, p.Host)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(list) == 0 {
		return netip.Addr{}, fmt.Errorf("%s has no address", p.Host)
	}
	return list[0].Unmap(), nil
}

// ask sends what is to be sent, and reads what is to be read.
func (p *prober) ask(ctx context.Context, s *Sample) (phase string, err error) {
	if p.HTTP == "" && len(p.Send) == 0 && p.Upload == 0 && !p.Wait {
		return "", nil
	}
	send := p.Send
	if p.HTTP != "" {
		send = p.request()
	}
	asked := time.Now()
	if len(send) > 0 {
		if _, err := p.conn.Write(send); err != nil {
			return "first byte", err
		}
	}
	if p.Upload > 0 {
		if _, err := io.CopyN(p.conn, zeros{}, p.Upload); err != nil {
			return "upload", err
		}
		s.Upload = time.Since(asked)
		if p.HTTP == "" && !p.Wait {
			if p.Drain {
				if err := p.drain(ctx); err != nil {
					return "upload", err
				}
				s.Delivered = time.Since(asked)
			}
			return "", nil
		}
	}
	began := time.Now()
	if _, err := p.stream.Peek(1); err != nil {
		return "first byte", err
	}
	s.FirstByte = time.Since(began)
	if p.Upload > 0 {
		s.Delivered = time.Since(asked)
	}
	if p.HTTP == "" {
		return "", nil
	}
	began = time.Now()
	response, err := http.ReadResponse(p.stream, &http.Request{Method: http.MethodGet})
	if err != nil {
		return "transfer", err
	}
	defer response.Body.Close() //nolint:errcheck // it was read whole, or the connection is closed
	s.Status = response.StatusCode
	if s.Bytes, err = io.Copy(io.Discard, response.Body); err != nil {
		return "transfer", err
	}
	s.Transfer = time.Since(began)
	p.ends = response.Close
	return "", nil
}

// drainPeriod is how often is looked whether all is acknowledged.
const drainPeriod = 2 * time.Millisecond

// drain waits until nothing is left in the socket's send queue.
func (p *prober) drain(ctx context.Context) error {
	raw, err := p.tcp.SyscallConn()
	if err != nil {
		return err
	}
	for {
		var left int
		var queueErr error
		if err := raw.Control(func(fd uintptr) { left, queueErr = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) }); err != nil {
			return err
		}
		if queueErr != nil {
			return os.NewSyscallError("ioctl SIOCOUTQ", queueErr)
		}
		if left == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(drainPeriod):
		}
	}
}

// zeros never end.
type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func validPath(path string) bool {
	u, err := url.ParseRequestURI(path)
	return err == nil && strings.HasPrefix(path, "/") && u.Host == "" && !strings.ContainsAny(path, " \r\n")
}

func (p *prober) request() []byte {
	connection := "close"
	if p.Warm {
		connection = "keep-alive"
	}
	host := p.Host
	if standard := map[bool]uint16{false: 80, true: 443}[p.TLS]; p.Port != standard {
		host = net.JoinHostPort(p.Host, fmt.Sprint(p.Port))
	}
	method, length := http.MethodGet, ""
	if p.Upload > 0 {
		method, length = http.MethodPost, fmt.Sprintf("Content-Length: %d\r\n", p.Upload)
	}
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: tcplab\r\nAccept: */*\r\n%sConnection: %s\r\n\r\n",
		method, p.HTTP, host, length, connection)
}

// look reads what the kernel knows.
func (p *prober) look(s *Sample) {
	raw, err := p.tcp.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		info, err := tcpinfo.Get(int(fd))
		if err != nil {
			return
		}
		s.RTT, s.MinRTT = time.Duration(info.Rtt)*time.Microsecond, time.Duration(info.Min_rtt)*time.Microsecond
		s.Segments, s.Retransmits = info.Segs_out, info.Total_retrans
	})
}

// reason is an error in few words, the same for each of its kind.
func reason(ctx context.Context, err error) string {
	var errno syscall.Errno
	var dns *net.DNSError
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "time-out"
	case errors.As(err, &dns) && dns.IsNotFound:
		return "no such name"
	case errors.As(err, &errno):
		return fmt.Sprintf("%v (%s)", errno, unix.ErrnoName(errno))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the server closed the connection"
	}
	return err.Error()
}
