package broadcast

import (
	"cmp"
	"context"

	"github.com/tcplab/tcplab/peers/course/framing"
)

// Dial joins. What Send sends goes to all other clients, and Receive returns what they say; one goroutine may do the one while another
// one does the other. Who does not receive is evicted. Messages have at most maxMessage bytes, as the server's (0: framing.DefaultMax).
// Timeouts of 0 are the server's defaults. When the context ends the connection is closed, and calls return its cause.
func Dial(ctx context.Context, address string, maxMessage int, timeouts framing.Timeouts) (*framing.Conn, error) {
	return framing.Dial(ctx, address, framing.Prefixed{Max: maxMessage}, framing.Timeouts{
		Idle: cmp.Or(timeouts.Idle, DefaultIdle), Message: cmp.Or(timeouts.Message, DefaultWriteTimeout),
	})
}
