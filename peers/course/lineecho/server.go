package lineecho

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/tcplab/tcplab/peers/course/internal/serve"
)

// What a Server does where its fields say nothing.
const (
	DefaultMaxLine    = 1024 // bytes
	DefaultMaxClients = 1000
	DefaultTimeout    = time.Minute
)

const (
	prefix    = "Echo: "
	complaint = "error: "
	quit      = "quit"
)

// The server reads what a client sends that it has turned away, but not for ever: see serve.Finish.
const (
	finishBytes = 1 << 20
	finishTime  = 5 * time.Second
)

// plainBuffer is the buffer of a plain echo, in bytes.
const plainBuffer = 4096

// A Server echoes lines. The zero value is ready to use.
type Server struct {
	MaxLine    int           // bytes of a line, without its end; 0: DefaultMaxLine
	MaxClients int           // more wait in the accept queue; 0: DefaultMaxClients
	Timeout    time.Duration // for a whole line to come, and for an answer to be taken; 0: DefaultTimeout
	Plain      bool          // echo bytes, not lines

	// Closed is called when a connection has ended, from a goroutine of its own; nil is allowed.
	Closed func(Session)
}

// A Session is what became of one connection.
type Session struct {
	Remote net.Addr
	Lines  int   // that were answered
	Bytes  int64 // that a plain echo sent back
	Err    error // nil: the client said quit, or has closed after a whole line
}

// Serve accepts clients until the context ends, and then returns nil. It closes the listener.
func (s Server) Serve(ctx context.Context, listener net.Listener) error {
	s.MaxLine = cmp.Or(s.MaxLine, DefaultMaxLine)
	s.Timeout = cmp.Or(s.Timeout, DefaultTimeout)
	handle := s.lines
	if s.Plain {
		handle = s.plain
	}
	return s.serve(ctx, listener, handle)
}

// serve has each connection handled, and its session reported.
func (s Server) serve(ctx context.Context, listener net.Listener, handle func(net.Conn, *Session) error) error {
	return serve.Run(ctx, listener, cmp.Or(s.MaxClients, DefaultMaxClients), func(conn net.Conn) {
		session := Session{Remote: conn.RemoteAddr()}
		session.Err = handle(conn, &session)
		if s.Closed != nil {
			s.Closed(session)
		}
	})
}

// lines answers the lines of one client.
func (s Server) lines(conn net.Conn, session *Session) error {
	r := newReader(conn, s.MaxLine)
	answer := make([]byte, 0, len(prefix)+s.MaxLine+1)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(s.Timeout)); err != nil {
			return err
		}
		line, err := readLine(r, s.MaxLine)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case isComplaint(err):
			return s.turnAway(conn, err)
		case err != nil:
			return fmt.Errorf("read a line: %w", err)
		case string(line) == quit:
			return nil
		}
		answer = append(append(append(answer[:0], prefix...), line...), '\n')
		if err := s.write(conn, answer); err != nil {
			return fmt.Errorf("write an answer: %w", err)
		}
		session.Lines++
	}
}

// isComplaint tells whether an error is the client's doing, and the client can still be told.
func isComplaint(err error) bool {
	return errors.Is(err, ErrTooLong) || errors.Is(err, ErrNUL) || errors.Is(err, ErrUnfinished) || errors.Is(err, ErrTimeout)
}

// turnAway tells a client why, so that it arrives.
func (s Server) turnAway(conn net.Conn, why error) error {
	if err := s.write(conn, fmt.Appendf(nil, "%s%v\n", complaint, why)); err != nil {
		return errors.Join(why, fmt.Errorf("say so: %w", err))
	}
	serve.Finish(conn, finishBytes, min(s.Timeout, finishTime))
	return why
}

func (s Server) write(conn net.Conn, b []byte) error {
	if err := conn.SetWriteDeadline(time.Now().Add(s.Timeout)); err != nil {
		return err
	}
	_, err := conn.Write(b) // all of it, or an error
	return err
}

// plain sends back what comes.
func (s Server) plain(conn net.Conn, session *Session) error {
	buffer := make([]byte, plainBuffer)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(s.Timeout)); err != nil {
			return err
		}
		// A Read may return bytes and an error: the bytes come first.
		n, err := conn.Read(buffer)
		if n > 0 {
			if err := s.write(conn, buffer[:n]); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			session.Bytes += int64(n)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read: %w", err)
		}
	}
}
