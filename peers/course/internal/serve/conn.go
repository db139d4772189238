package serve

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// A Conn is a client's connection, which is closed when its context ends.
type Conn struct {
	net.Conn
	ctx  context.Context
	stop func() bool
}

// NewConn closes a connection when the context ends. Who calls it closes the Conn in any case.
func NewConn(ctx context.Context, conn net.Conn) *Conn {
	return &Conn{Conn: conn, ctx: ctx, stop: context.AfterFunc(ctx, func() { conn.Close() })}
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// Explain returns an error with why the context ended, if it has: "use of closed network connection" tells nobody who closed it.
func (c *Conn) Explain(err error) error {
	if err != nil && c.ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(c.ctx), err)
	}
	return err
}

// CloseWrite sends a FIN, where the connection can.
func (c *Conn) CloseWrite() error {
	half, ok := c.Conn.(interface{ CloseWrite() error })
	if !ok {
		return fmt.Errorf("close the sending side of a %T: %w", c.Conn, errors.ErrUnsupported)
	}
	return half.CloseWrite()
}
