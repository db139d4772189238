package servers

import (
	"context"
	"fmt"
	"net"

	"github.com/tcplab/tcplab/peers/course/framing"
)

// A Client asks one of the servers. One goroutine may send while another one receives.
type Client struct{ messages *framing.Conn }

// A RefusedError is a server's refusal. Neither the request that it answers nor those behind it were handled.
type RefusedError struct{ Reason string }

func (e *RefusedError) Error() string { return "the server refuses: " + e.Reason }

// Dial connects to a server whose MaxMessage is known: 0 is framing.DefaultMax. When the context ends the connection is closed.
func Dial(ctx context.Context, address string, maxMessage int, timeouts framing.Timeouts) (*Client, error) {
	messages, err := framing.Dial(ctx, address, clientSide(maxMessage), timeouts)
	if err != nil {
		return nil, err
	}
	return &Client{messages}, nil
}

// NewClient asks over a connection, which its Close closes.
func NewClient(conn net.Conn, maxMessage int, timeouts framing.Timeouts) *Client {
	return &Client{framing.NewConn(conn, clientSide(maxMessage), timeouts)}
}

func clientSide(maxMessage int) exchange {
	most := Config{MaxMessage: maxMessage}.withDefaults().MaxMessage
	return exchange{answers(most), requests(most)}
}

// Ask sends a request, and returns its answer, which is valid until the next call. The error of a refusal is a [*RefusedError].
func (c *Client) Ask(request []byte) (answer []byte, err error) {
	if err := c.Send(request); err != nil {
		return nil, err
	}
	return c.Receive()
}

// Send sends a request, without waiting for the answers to earlier ones.
func (c *Client) Send(request []byte) error { return c.messages.Send(request) }

// Receive returns the answer to the earliest request that has none yet. It is valid until the next call. When the server has closed the
// error is io.EOF.
func (c *Client) Receive() ([]byte, error) {
	message, err := c.messages.Receive()
	if err != nil {
		return nil, err
	}
	switch message[0] { // none is empty
	case answered:
		return message[1:], nil
	case refused:
		return nil, &RefusedError{string(message[1:])}
	default:
		return nil, fmt.Errorf("receive an answer: it begins with %q", message[:1])
	}
}

// CloseWrite says that no request follows. Answers can still be received.
func (c *Client) CloseWrite() error { return c.messages.CloseWrite() }

// Close closes the connection.
func (c *Client) Close() error { return c.messages.Close() }
