// Package serve accepts connections for the servers of the course: each connection has a goroutine of its own, and none is left
// when Run returns.
package serve

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"syscall"
	"time"
)

// Run accepts connections until the context ends, and hands each to a goroutine that calls handle and then closes it. Never more than
// `most` are open at a time: the next ones wait in the kernel's accept queue. When the context ends, Run closes the listener and all
// connections, waits for the goroutines, and returns nil. The error is that of a listener which accepts no more.
func Run(ctx context.Context, listener net.Listener, most int, handle func(net.Conn)) error {
	ctx, cancel := context.WithCancel(ctx)
	var handlers sync.WaitGroup
	defer handlers.Wait()
	defer cancel() // before Wait: closes the connections, which ends their handlers
	defer listener.Close()
	defer context.AfterFunc(ctx, func() { listener.Close() })()

	free := make(chan struct{}, most)
	for {
		select {
		case free <- struct{}{}:
		case <-ctx.Done():
			return nil
		}
		conn, err := accept(ctx, listener)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept on %v: %w", listener.Addr(), err)
		}
		handlers.Go(func() {
			defer func() { <-free }()
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { conn.Close() })()
			handle(conn)
		})
	}
}

// accept tries again when the machine is short of something for a while, and when a client has gone before it was accepted: a server
// that ends because a file descriptor was missing once is down for everybody.
func accept(ctx context.Context, listener net.Listener) (net.Conn, error) {
	const first, longest = 5 * time.Millisecond, time.Second
	for pause := first; ; pause = min(2*pause, longest) {
		conn, err := listener.Accept()
		if err == nil || !passes(err) {
			return conn, err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// passes tells whether an error of accept(2) is not the listener's own.
func passes(err error) bool {
	for _, errno := range []syscall.Errno{syscall.ECONNABORTED, syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// Finish ends a conversation whose other side may still be sending. To close a socket with unread data sends a reset (RFC 9293,
// section 3.6.1; RFC 2525, section 2.17), on which the other side may throw away the last answer. So Finish sends a FIN, and reads
// what still comes, until the other side's FIN, for at most limit bytes and that time. The caller closes the connection.
func Finish(conn net.Conn, limit int64, timeout time.Duration) {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil || conn.SetReadDeadline(time.Now().Add(timeout)) != nil {
		return
	}
	// What comes is nobody's any more, and neither is the error.
	_, _ = io.CopyN(io.Discard, conn, limit)
}

// Dial connects, and closes the connection when the context ends.
func Dial(ctx context.Context, address string, timeout time.Duration) (*Conn, error) {
	dialer := net.Dialer{Timeout: timeout}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return NewConn(ctx, conn), nil
}
