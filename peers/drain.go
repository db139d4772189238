package peers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// maxBlocked is the number of connections of a peer that are read in blocking calls: each takes a thread of the
// operating system.
const maxBlocked = 16

// drained is the data that a connection received until its end.
type drained struct {
	bytes       int64
	first, last time.Time // when the first and the last of them were read
}

// drain reads until the FIN and drops the data, in blocking calls. Its error is nil after the FIN, and ECANCELED if
// ctx ended before. Afterwards the socket is polled again.
//
// The kernel does the same as for a program that calls read(2) whenever there is data: at each wake-up it takes data
// from the queue, tunes the buffer and sends ACKs (tcp_recvmsg_locked in net/ipv4/tcp.c). But it wakes up inside of
// the kernel, and not in Go's poller, whose epoll_wait(2), futexes and scheduling cost more than all other work per
// segment. MSG_WAITALL does that: the call continues until its whole length has arrived. MSG_TRUNC drops instead of
// copying (tcp(7)).
func (s *socket) drain(ctx context.Context) (d drained, err error) {
	err = s.blocking(func(fd int) error {
		// Wakes the call without sending a segment. A deadline would need the poller, which does not have this
		// descriptor.
		woken := make(chan struct{})
		stop := context.AfterFunc(ctx, func() {
			_ = unix.Shutdown(fd, unix.SHUT_RD)
			close(woken)
		})
		var err error
		d, err = drainBlocking(fd)
		if stop() {
			return err
		}
		<-woken // or it would hit a descriptor that has reused the number
		if err != nil {
			return err
		}
		// Either may have ended the call: after a FIN the state is CLOSE_WAIT.
		info, err := tcpinfo.Get(fd)
		if err != nil {
			return peerError("getsockopt TCP_INFO", "", err)
		}
		if info.State != tcpCloseWait {
			return unix.ECANCELED
		}
		return nil
	})
	return d, err
}

// tcpCloseWait is TCP_CLOSE_WAIT of include/net/tcp_states.h.
const tcpCloseWait = 8

func drainBlocking(fd int) (d drained, err error) {
	buf := make([]byte, readSize) // nothing is written to it
	flags := unix.MSG_TRUNC       // the first call returns with the first bytes, and so has their arrival
	for {
		n, _, err := unix.Recvfrom(fd, buf, flags)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if n <= 0 || err != nil {
			return d, err
		}
		d.bytes += int64(n)
		d.last = time.Now()
		if d.first.IsZero() {
			d.first = d.last
		} else if n < len(buf) {
			// The FIN has ended the call: these bytes may have arrived long before.
			if d.last, err = lastData(fd, d.last); err != nil {
				return d, err
			}
			d.last = later(d.last, d.first)
		}
		flags |= unix.MSG_WAITALL
	}
}

// lastData returns the arrival of the last data, if that is longer ago than the error of the kernel's tick clock
// (tcpi_last_data_recv, in ticks of up to 10 ms), and now otherwise.
func lastData(fd int, now time.Time) (time.Time, error) {
	const tick = 10 * time.Millisecond // HZ=100, the longest
	info, err := tcpinfo.Get(fd)
	if err != nil {
		return now, peerError("getsockopt TCP_INFO", "", err)
	}
	if age := time.Duration(info.Last_data_recv) * time.Millisecond; age > tick {
		return now.Add(-age), nil
	}
	return now, nil
}

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// drainPolled does the same by Go's poller, and counts data as it is read.
func (s *socket) drainPolled(ctx context.Context, total *atomic.Int64) (d drained, err error) {
	release := cancelOn(ctx, s.f.SetReadDeadline)
	defer release()
	buf := make([]byte, readSize)
	for {
		n, err := s.f.Read(buf)
		if n > 0 {
			d.last = time.Now()
			if d.first.IsZero() {
				d.first = d.last
			}
			d.bytes += int64(n)
			total.Add(int64(n))
		}
		if errors.Is(err, io.EOF) {
			return d, nil
		}
		if err != nil {
			return d, err
		}
	}
}

// blocking calls f with a blocking descriptor of the socket that nobody polls: otherwise each segment would wake Go's
// poller, whoever reads. Deadlines that were set before are lost.
func (s *socket) blocking(f func(fd int) error) error {
	fd := -1
	err := s.control(func(polled int) (err error) {
		fd, err = unix.FcntlInt(uintptr(polled), unix.F_DUPFD_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return fmt.Errorf("duplicate the socket's descriptor: %w", err)
	}
	if err := s.f.Close(); err != nil {
		unix.Close(fd)
		return err
	}
	if err := unix.SetNonblock(fd, false); err != nil {
		unix.Close(fd)
		return fmt.Errorf("let the socket block: %w", err)
	}
	failed := f(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		unix.Close(fd)
		return errors.Join(failed, fmt.Errorf("let the socket not block: %w", err))
	}
	polled, err := wrapSocket(fd)
	if err != nil {
		return errors.Join(failed, err)
	}
	*s = *polled
	return failed
}
