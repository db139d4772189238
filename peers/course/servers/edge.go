package servers

import (
	"context"
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// EdgeTriggered is a server of one thread, with edge-triggered epoll: the kernel reports a socket when it becomes ready, once. Each socket is
// registered once for all events.
type EdgeTriggered struct{ Config }

// Serve serves clients until the context ends, and then returns nil. It closes the listener, which has to be one of package net.
func (s EdgeTriggered) Serve(ctx context.Context, listener net.Listener) error {
	return s.serveEpoll(ctx, listener, edge{}, readSize)
}

type edge struct{}

const edges = unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLET

func (edge) interest() uint32 { return edges }

// turn reads until there is no more, or writes until there is no room: only then there will be another edge. Whoever sends without end
// would hold up all others, so that it gets another turn after them.
func (edge) turn(l *loop, c *conn) error {
	for range turn {
		err := l.flush(c)
		if err == nil {
			err = l.read(c)
		}
		if errors.Is(err, errAgain) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	l.later(c)
	return nil
}
