package servers

import (
	"context"
	"errors"
	"net"

	"golang.org/x/sys/unix"
)

// LevelTriggered is a server of one thread, with level-triggered epoll: the kernel reports a socket as long as it is ready, and is told when
// the server wants to know something else.
type LevelTriggered struct{ Config }

// Serve serves clients until the context ends, and then returns nil. It closes the listener, which has to be one of package net.
func (s LevelTriggered) Serve(ctx context.Context, listener net.Listener) error {
	return s.serveEpoll(ctx, listener, level{}, readSize)
}

type level struct{}

func (level) interest() uint32 { return unix.EPOLLIN }

// turn reads once: if there is more, epoll says so once more, after the others had their turn.
func (level) turn(l *loop, c *conn) error {
	err := l.flush(c)
	if err == nil && c.watched&unix.EPOLLIN != 0 {
		if err = l.read(c); err == nil {
			err = l.flush(c)
		}
	}
	if err != nil && !errors.Is(err, errAgain) {
		return err
	}
	interest := uint32(unix.EPOLLIN)
	if len(c.out) > 0 { // it reads no further before its answers are taken
		interest = unix.EPOLLOUT
	}
	if interest == c.watched {
		return nil
	}
	c.watched = interest
	return l.watch(unix.EPOLL_CTL_MOD, c.fd, interest)
}
