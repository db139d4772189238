package broadcast

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/tcplab/tcplab/peers/course/framing"
	"github.com/tcplab/tcplab/peers/course/internal/serve"
)

// What a [Server] does where its fields say nothing.
const (
	DefaultMaxClients   = 1000
	DefaultQueue        = 64 // messages
	DefaultWriteTimeout = 10 * time.Second
	DefaultIdle         = 10 * time.Minute
)

// A Server sends what a client says to all others. The zero value is ready to use.
type Server struct {
	MaxMessage   int           // bytes; 0: framing.DefaultMax
	MaxClients   int           // more wait in the accept queue; 0: DefaultMaxClients
	Queue        int           // messages that may wait for a client; 0: DefaultQueue
	WriteTimeout time.Duration // for one message to go into a client's socket; 0: DefaultWriteTimeout
	Idle         time.Duration // for a client to say something; 0: DefaultIdle

	// Joined is called when a client gets what others say from now on; nil is allowed.
	Joined func(client net.Addr)

	// Left is called when a client has left or was evicted, from a goroutine of its own; nil is allowed.
	Left func(Departure)
}

// A Departure is why a client is no longer there.
type Departure struct {
	Remote net.Addr
	Err    error // nil: the client has left by itself
}

// Serve accepts clients until the context ends, and then returns nil. It closes the listener.
func (s Server) Serve(ctx context.Context, listener net.Listener) error {
	var r registry
	return s.serve(ctx, listener, &r, r.publish)
}

// serve has each client's messages published.
func (s Server) serve(ctx context.Context, listener net.Listener, r *registry, publish func(*member, []byte)) error {
	return serve.Run(ctx, listener, cmp.Or(s.MaxClients, DefaultMaxClients), func(conn net.Conn) {
		err := s.handle(conn, r, publish)
		if s.Left != nil {
			s.Left(Departure{conn.RemoteAddr(), err})
		}
	})
}

// handle has a client join, and waits until it has left: its goroutine reads, and another one writes.
func (s Server) handle(conn net.Conn, r *registry, publish func(*member, []byte)) error {
	ctx, evict := context.WithCancelCause(context.Background())
	m := &member{
		conn: framing.NewConn(serve.NewConn(ctx, conn), framing.Prefixed{Max: s.MaxMessage}, framing.Timeouts{
			Idle: cmp.Or(s.Idle, DefaultIdle), Message: cmp.Or(s.WriteTimeout, DefaultWriteTimeout),
		}),
		queue: make(chan []byte, cmp.Or(s.Queue, DefaultQueue)),
		evict: func(why error) {
			if !errors.Is(why, io.EOF) {
				reset(conn)
			}
			evict(why)
		},
	}
	r.join(m)
	if s.Joined != nil {
		s.Joined(conn.RemoteAddr())
	}
	var writer sync.WaitGroup
	writer.Go(func() { m.write(ctx) })
	m.evict(m.read(publish)) // ends the writer, too
	r.leave(m)
	writer.Wait()
	if why := context.Cause(ctx); !errors.Is(why, io.EOF) {
		return why
	}
	return nil
}

// read publishes what the client says. Its error is io.EOF if the client has left.
func (m *member) read(publish func(*member, []byte)) error {
	for {
		message, err := m.conn.Receive()
		if err != nil {
			return err
		}
		publish(m, slices.Clone(message)) // the next message takes its place
	}
}

// write sends what waits for the client, until it is evicted or has left.
func (m *member) write(ctx context.Context) {
	for {
		select {
		case message := <-m.queue:
			if err := m.conn.Send(message); err != nil {
				m.evict(err)
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
