package lineecho

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"

	"github.com/tcplab/tcplab/peers/course/internal/serve"
)

// A RefusedError is what the server says of a line before it closes the connection.
type RefusedError struct{ Reason string }

// Error is the server's text.
func (e *RefusedError) Error() string { return "the server refuses the line: " + e.Reason }

// A Client sends lines and reads their answers. It is used by one goroutine.
type Client struct {
	conn    *serve.Conn
	r       *bufio.Reader
	most    int
	timeout time.Duration
}

// ClientOptions is what both sides have to agree on.
type ClientOptions struct {
	MaxLine int           // as the server's: longer answers are an error; 0: DefaultMaxLine
	Timeout time.Duration // for connecting, and for each line and its answer; 0: DefaultTimeout
}

// Dial connects to a server. When the context ends the connection is closed, and calls return its cause.
func Dial(ctx context.Context, address string, options ClientOptions) (*Client, error) {
	conn, err := serve.Dial(ctx, address, cmp.Or(options.Timeout, DefaultTimeout))
	if err != nil {
		return nil, err
	}
	return newClient(conn, options), nil
}

// NewClient is Dial on a connection that there is, such as one with socket options. Close closes it.
func NewClient(ctx context.Context, conn net.Conn, options ClientOptions) *Client {
	return newClient(serve.NewConn(ctx, conn), options)
}

func newClient(conn *serve.Conn, options ClientOptions) *Client {
	most := len(prefix) + cmp.Or(options.MaxLine, DefaultMaxLine)
	return &Client{conn: conn, r: newReader(conn, most), most: most, timeout: cmp.Or(options.Timeout, DefaultTimeout)}
}

// Echo sends a line and returns what came back of it. The error is a *RefusedError if the server did not like the line.
func (c *Client) Echo(line string) (string, error) {
	if err := c.Send(line); err != nil {
		return "", err
	}
	return c.Receive()
}

// Send sends a line, in one write. Several can be sent before the first answer is received, as long as they and their answers fit into
// the sockets' buffers.
func (c *Client) Send(line string) error {
	if strings.ContainsRune(line, '\n') {
		return fmt.Errorf("send %.20q: a line has no line feed within", line)
	}
	if err := c.conn.SetWriteDeadline(time.Now().Add(c.timeout)); err != nil {
		return c.conn.Explain(err)
	}
	if _, err := c.conn.Write(append([]byte(line), '\n')); err != nil {
		return c.conn.Explain(fmt.Errorf("send a line: %w", err))
	}
	return nil
}

// Receive returns the answer to the next line.
func (c *Client) Receive() (string, error) {
	if err := c.conn.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return "", c.conn.Explain(err)
	}
	answer, err := readLine(c.r, c.most)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF // an answer was due
	}
	if err != nil {
		return "", c.conn.Explain(fmt.Errorf("receive an answer: %w", err))
	}
	if reason, refused := bytes.CutPrefix(answer, []byte(complaint)); refused {
		return "", &RefusedError{string(reason)}
	}
	echo, found := bytes.CutPrefix(answer, []byte(prefix))
	if !found {
		return "", fmt.Errorf("receive an answer: %.40q does not begin with %q", answer, prefix)
	}
	return string(echo), nil
}

// Quit says quit, waits until the server has closed the connection, and closes it.
func (c *Client) Quit() error {
	defer c.conn.Close()
	if err := c.Send(quit); err != nil {
		return err
	}
	if err := c.conn.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
		return c.conn.Explain(err)
	}
	switch line, err := readLine(c.r, c.most); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return c.conn.Explain(fmt.Errorf("wait for the server to close: %w", err))
	default:
		return fmt.Errorf("wait for the server to close: it has sent %.40q", line)
	}
}

// Close closes the connection. The server takes that for quit.
func (c *Client) Close() error { return c.conn.Close() }

// PlainEcho sends what a reader has to a plain echo and returns what came back: it reads while it writes, so that neither side waits
// for the other. Both have the whole time-out for each of their reads and writes.
func PlainEcho(ctx context.Context, conn net.Conn, data []byte, timeout time.Duration) ([]byte, error) {
	c := serve.NewConn(ctx, conn)
	defer c.Close()
	sent := make(chan error, 1)
	go func() { sent <- sendPlain(c, data, timeout) }()
	echoed, err := receivePlain(c, len(data), timeout)
	if err != nil {
		c.Close() // ends a Write that waits
	}
	return echoed, c.Explain(errors.Join(err, <-sent))
}

// sendPlain writes in pieces, each of which has the time-out.
func sendPlain(conn net.Conn, data []byte, timeout time.Duration) error {
	for len(data) > 0 {
		if err := conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
		n, err := conn.Write(data[:min(len(data), plainBuffer)])
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		data = data[n:]
	}
	return nil
}

func receivePlain(conn net.Conn, size int, timeout time.Duration) ([]byte, error) {
	echoed := make([]byte, size)
	for n := 0; n < size; {
		if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
			return echoed[:n], err
		}
		more, err := conn.Read(echoed[n:])
		n += more
		if err != nil && n < size {
			return echoed[:n], fmt.Errorf("read after %d of %d bytes: %w", n, size, err)
		}
	}
	return echoed, nil
}
