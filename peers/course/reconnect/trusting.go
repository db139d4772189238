package reconnect

import (
	"context"
	"net"
	"time"
)

// Trusting is the client with the classic bug: it takes a successful write for a delivery. It reconnects like any other, and sends the
// next message. What was in the send buffer of the connection that failed, or on its way, is lost without a word.
type Trusting struct {
	Dial    func(context.Context) (net.Conn, error)
	Timeout time.Duration // for connecting, and for a write

	// ID and number make it speak the protocol, so that the same server counts what arrives. It does not read acknowledgements.
	ID     uint64
	number uint64
	conn   net.Conn
}

// Send writes a message, on a new connection if the one before has failed. Nil means that the kernel took it: that is the bug.
func (t *Trusting) Send(ctx context.Context, payload []byte) error {
	t.number++
	text := encode(t.number, payload)
	for {
		if err := t.connect(ctx); err != nil {
			return err
		}
		_ = t.conn.SetWriteDeadline(time.Now().Add(t.Timeout))
		if _, err := t.conn.Write(text); err == nil {
			return nil
		}
		t.Close()
	}
}

func (t *Trusting) connect(ctx context.Context) error {
	for t.conn == nil {
		dialing, cancel := context.WithTimeout(ctx, t.Timeout)
		conn, err := t.Dial(dialing)
		cancel()
		if err == nil {
			_ = conn.SetWriteDeadline(time.Now().Add(t.Timeout))
			if err = writeNumbers(conn, t.ID); err == nil {
				t.conn = conn
				return nil
			}
			conn.Close()
		}
		sleep(ctx, 100*time.Millisecond)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
	}
	return nil
}

// Close closes the connection, if there is one.
func (t *Trusting) Close() {
	if t.conn != nil {
		t.conn.Close()
		t.conn = nil
	}
}
