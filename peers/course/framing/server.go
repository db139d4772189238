package framing

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"time"

	"github.com/tcplab/tcplab/peers/course/internal/serve"
)

// DefaultMaxClients is how many clients a [Server] has at a time where it does not say.
const DefaultMaxClients = 1000

// What a client sends whose stream has an error is read for a while, and dropped: see serve.Finish.
const (
	finishBytes = 1 << 20
	finishTime  = 5 * time.Second
)

// A Server answers messages. Only its Framing has to be given.
type Server struct {
	Framing    Framing
	Timeouts   Timeouts
	MaxClients int // more wait in the accept queue; 0: DefaultMaxClients

	// Handle returns the answer to a message of a client, or nil for none; its error ends the connection. It is called from one
	// goroutine for each client, and the message is valid until it returns. Without Handle the answer is the message.
	Handle func(client net.Addr, message []byte) (answer []byte, err error)

	// Closed is called when a connection has ended, from a goroutine of its own; nil is allowed.
	Closed func(Session)
}

// A Session is what became of one connection.
type Session struct {
	Remote   net.Addr
	Messages int   // that were handled
	Err      error // nil: the client has closed after a whole message
}

// Serve accepts clients until the context ends, and then returns nil. It closes the listener.
func (s Server) Serve(ctx context.Context, listener net.Listener) error {
	if s.Handle == nil {
		s.Handle = func(_ net.Addr, message []byte) ([]byte, error) { return message, nil }
	}
	return serve.Run(ctx, listener, cmp.Or(s.MaxClients, DefaultMaxClients), func(conn net.Conn) {
		session := Session{Remote: conn.RemoteAddr()}
		session.Err = s.answer(conn, &session)
		if session.Err != nil {
			serve.Finish(conn, finishBytes, min(s.Timeouts.withDefaults().Message, finishTime))
		}
		if s.Closed != nil {
			s.Closed(session)
		}
	})
}

// answer answers the messages of one client.
func (s Server) answer(conn net.Conn, session *Session) error {
	messages := NewConn(conn, s.Framing, s.Timeouts)
	for {
		message, err := messages.Receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		answer, err := s.Handle(session.Remote, message)
		if err != nil {
			return err
		}
		session.Messages++
		if answer == nil {
			continue
		}
		if err := messages.Send(answer); err != nil {
			return err
		}
	}
}
