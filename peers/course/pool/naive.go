package pool

import (
	"context"
	"net"
)

// Naive is the pool with the classic bug: it hands out whatever it has. Of a server that has restarted, or that closes idle connections
// sooner than anybody here, each idle connection fails one request.
type Naive struct {
	Dial func(context.Context) (net.Conn, error)
	Idle chan net.Conn // its capacity is how many it keeps
}

// Get returns an idle connection, or a new one.
func (n *Naive) Get(ctx context.Context) (net.Conn, error) {
	select {
	case c := <-n.Idle:
		return c, nil
	default:
		return n.Dial(ctx)
	}
}

// Put gives a connection back, also one that has failed.
func (n *Naive) Put(c net.Conn) {
	select {
	case n.Idle <- c:
	default:
		c.Close()
	}
}
