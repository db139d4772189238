package servers

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"

	"github.com/tcplab/tcplab/peers/course/framing"
	"github.com/tcplab/tcplab/peers/course/internal/serve"
)

// Goroutines is the server with a goroutine for each connection.
type Goroutines struct{ Config }

// Serve serves clients until the context ends, and then returns nil. It closes the listener.
func (s Goroutines) Serve(ctx context.Context, listener net.Listener) error {
	c := s.withDefaults()
	return c.serve(ctx, listener, func() handler { return c.Handle })
}

// A Pool is a server whose Workers handle the requests of all connections. A goroutine for each connection reads and writes.
type Pool struct {
	Config
	Workers int // at least 1
	Queue   int // requests that may wait for a worker; one more is refused
}

// Serve serves clients until the context ends, and then returns nil. It closes the listener.
func (p Pool) Serve(ctx context.Context, listener net.Listener) error {
	type job struct {
		request, answer []byte
		err             error
		done            chan struct{}
	}
	c := p.withDefaults()
	jobs := make(chan *job, p.Queue)
	var workers sync.WaitGroup
	for range max(1, p.Workers) {
		workers.Go(func() {
			for j := range jobs {
				j.answer, j.err = c.Handle(j.request)
				j.done <- struct{}{}
			}
		})
	}
	defer workers.Wait()
	defer close(jobs)
	return c.serve(ctx, listener, func() handler {
		j := &job{done: make(chan struct{}, 1)}
		return func(request []byte) ([]byte, error) {
			j.request = request
			select {
			case jobs <- j:
				<-j.done
				return j.answer, j.err
			default:
				return nil, ErrBusy
			}
		}
	})
}

// A handler answers the requests of one client.
type handler func(request []byte) (answer []byte, err error)

// serve gives each connection a goroutine, and a handler of its own.
func (c Config) serve(ctx context.Context, listener net.Listener, newHandler func() handler) error {
	places := make(chan struct{}, c.MaxClients)
	return serve.Run(ctx, listener, c.MaxClients+maxRefused, func(conn net.Conn) {
		session := Session{Remote: remote(conn), Err: ErrBusy}
		messages := framing.NewConn(conn, exchange{requests(c.MaxMessage), answers(c.MaxMessage)}, c.Timeouts)
		select {
		case places <- struct{}{}:
			session.Err = c.converse(messages, newHandler(), &session)
			<-places
		default:
		}
		if session.Err != nil {
			c.refuse(conn, messages, session.Err)
		}
		c.closed(session)
	})
}

// converse answers a client's requests. Its error is nil if the client has closed after a whole one.
func (c Config) converse(messages *framing.Conn, handle handler, session *Session) error {
	var message []byte
	for {
		request, err := messages.Receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return ErrTimeout
		case err == io.EOF: //nolint:errorlint // a wrapped one is something else
			return nil
		case err != nil:
			return err
		}
		answer, err := handle(request)
		if err != nil {
			return err
		}
		message = append(append(message[:0], answered), answer...)
		if err := messages.Send(message); err != nil {
			return err
		}
		session.Requests++
	}
}

// refuse tells a client why its connection ends, and has that arrive.
func (c Config) refuse(conn net.Conn, messages *framing.Conn, why error) {
	if errors.Is(why, os.ErrDeadlineExceeded) { // it takes no answers: what is in the socket would stay for long after close(2)
		reset(conn)
		return
	}
	if messages.Send(refusal(why)) == nil {
		serve.Finish(conn, finishBytes, c.finishTime())
	}
}

// reset has the connection's Close send a reset, and drop what was not sent.
func reset(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // it fails if the connection is closed already
	}
}

func remote(conn net.Conn) netip.AddrPort {
	if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); ok {
		return unmapped(tcp.AddrPort())
	}
	return netip.AddrPort{}
}

// unmapped is an IPv4 address as such, also of a socket for both families.
func unmapped(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
