package framing

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/tcplab/tcplab/peers/course/internal/serve"
)

// Timeouts are how long a [Conn] waits for the other side. Where they are 0 they are a minute.
type Timeouts struct {
	Idle    time.Duration // for a message to begin
	Message time.Duration // for a message to come, once it has begun; for one to be taken; and for connecting
}

func (t Timeouts) withDefaults() Timeouts {
	return Timeouts{cmp.Or(t.Idle, time.Minute), cmp.Or(t.Message, time.Minute)}
}

// A Conn sends and receives messages. One goroutine may send while another one receives.
type Conn struct {
	conn     net.Conn
	framing  Framing
	timeouts Timeouts
	stream   *bufio.Reader
	in, out  []byte // buffers, kept for the next message
}

// NewConn exchanges messages over a connection, which its Close closes.
func NewConn(conn net.Conn, framing Framing, timeouts Timeouts) *Conn {
	return &Conn{conn: conn, framing: framing, timeouts: timeouts.withDefaults(), stream: bufio.NewReader(conn)}
}

// Dial connects. When the context ends the connection is closed, and calls return its cause.
func Dial(ctx context.Context, address string, framing Framing, timeouts Timeouts) (*Conn, error) {
	conn, err := serve.Dial(ctx, address, timeouts.withDefaults().Message)
	if err != nil {
		return nil, err
	}
	return NewConn(conn, framing, timeouts), nil
}

// Send sends a message, in one write: two would be two segments, the second of which Nagle's algorithm may hold back for an RTT.
func (c *Conn) Send(message []byte) (err error) {
	if c.out, err = c.framing.Append(c.out[:0], message); err != nil {
		return fmt.Errorf("send a message: %w", err)
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.timeouts.Message)); err != nil {
		return c.explain("send a message", err)
	}
	_, err = c.conn.Write(c.out) // all of it, or an error
	return c.explain("send a message", err)
}

// Receive returns the next message, which is valid until the next call. When the other side sends no more, the error is io.EOF.
func (c *Conn) Receive() ([]byte, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(c.timeouts.Idle)); err != nil {
		return nil, c.explain("receive a message", err)
	}
	if _, err := c.stream.Peek(1); err != nil { // until a message begins
		return nil, c.explain("wait for a message", err)
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(c.timeouts.Message)); err != nil {
		return nil, c.explain("receive a message", err)
	}
	message, err := c.framing.Read(c.stream, c.in)
	if err != nil {
		return nil, c.explain("receive a message", err)
	}
	c.in = message
	return message, nil
}

// CloseWrite says that no message follows. Those of the other side can still be received.
func (c *Conn) CloseWrite() error {
	half, ok := c.conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("close the sending side of a %T: %w", c.conn, errors.ErrUnsupported)
	}
	return c.explain("close the sending side", half.CloseWrite())
}

// Close closes the connection.
func (c *Conn) Close() error { return c.conn.Close() }

// explain says what was tried, and why a client's context has ended. The stream's end is no error to explain.
func (c *Conn) explain(what string, err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // a wrapped one is something else
		return err
	}
	err = fmt.Errorf("%s: %w", what, err)
	if client, ok := c.conn.(*serve.Conn); ok {
		return client.Explain(err)
	}
	return err
}
