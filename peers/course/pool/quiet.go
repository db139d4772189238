package pool

import (
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
)

var errUnasked = errors.New("the peer has sent what nobody asked for")

// quiet looks into the socket's receive queue, without waiting: nil is the only answer of a connection that can be used. What is not a
// socket of the kernel is taken for one.
//
// A read with a deadline in the past would not do: package net looks at the deadline first, and does not ask the kernel.
func quiet(conn net.Conn) error {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return nil
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return err
	}
	var state error
	err = raw.Read(func(fd uintptr) bool {
		var b [1]byte
		n, _, err := syscall.Recvfrom(int(fd), b[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		switch {
		case errors.Is(err, syscall.EAGAIN):
		case err != nil:
			state = fmt.Errorf("recv: %w", err)
		case n == 0:
			state = io.EOF
		default:
			state = errUnasked
		}
		return true
	})
	return errors.Join(err, state)
}
