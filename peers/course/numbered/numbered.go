// Package numbered sends the same numbered messages over UDP and over TCP, so that it can be seen what each of them makes of a bad link.
//
// # Contract
//
// Messages have a fixed size, a number from 0, and the time at which they were sent. UDP gives the receiver what arrives, when it arrives: some
// are missing, some come twice, some after later ones. TCP gives all of them, once, in order; what a loss costs is time, and not only the time
// of the message that was lost: those behind it have arrived and wait for it in the receiver's kernel (head-of-line blocking). The
// receiver's [Tally] has both: what was lost, doubled and swapped, and how long each message took.
//
// Sender and receiver have to have one clock, as the hosts of a lab do.
//
// # The bug that this is about
//
// A program that was written for TCP, or tried on a good link, and then moved to UDP: [Tally.InOrder] is what it believes, that the n-th datagram is
// message n. It holds until the first loss.
package numbered

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

// Size is how many bytes a message has: it fits into a datagram, and into a segment, on any link.
const Size = 200

// encode writes a message.
func encode(b []byte, number uint64, sent time.Time) {
	binary.BigEndian.PutUint64(b, number)
	binary.BigEndian.PutUint64(b[8:], uint64(sent.UnixNano())) //nolint:gosec // until 2262
}

// decode reads a message.
func decode(b []byte) (number uint64, sent time.Time, err error) {
	if len(b) != Size {
		return 0, time.Time{}, fmt.Errorf("a message of %d bytes: each has %d", len(b), Size)
	}
	return binary.BigEndian.Uint64(b), time.Unix(0, int64(binary.BigEndian.Uint64(b[8:]))), nil //nolint:gosec // as above
}

// Send sends messages, one each gap, over a connected UDP or TCP socket. Each write has at most the time-out. It does not close the
// connection.
func Send(ctx context.Context, conn net.Conn, messages int, gap, timeout time.Duration) error {
	stop := context.AfterFunc(ctx, func() { _ = conn.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	began := time.Now()
	b := make([]byte, Size)
	for i := range messages {
		time.Sleep(time.Until(began.Add(time.Duration(i) * gap)))
		encode(b, uint64(i), time.Now()) //nolint:gosec // not negative
		if err := conn.SetWriteDeadline(time.Now().Add(timeout)); err != nil {
			return err
		}
		if ctx.Err() != nil { // after the deadline was set, which could undo the one of the context's end
			return context.Cause(ctx)
		}
		if _, err := conn.Write(b); err != nil {
			return fmt.Errorf("message %d: %w", i, errors.Join(err, context.Cause(ctx)))
		}
	}
	return nil
}

// A Tally is what a receiver has got.
type Tally struct {
	Expected int             // messages that were sent: 0 to Expected-1
	Took     []time.Duration // by number, of the first copy; 0 is a message that did not arrive

	Duplicated int // copies beyond the first
	Swapped    int // messages that came after one with a higher number, copies not counted
	InOrder    int // how many came at the place of their number: what a program sees right that counts instead of reading numbers

	came    int
	highest uint64
}

// maxMessages bounds what a sender can make a tally remember.
const maxMessages = 1 << 20

// NewTally makes the tally of so many messages, at most a million.
func NewTally(messages int) (*Tally, error) {
	if messages < 0 || messages > maxMessages {
		return nil, fmt.Errorf("%d messages: allowed are 0 to %d", messages, maxMessages)
	}
	return &Tally{Expected: messages, Took: make([]time.Duration, messages)}, nil
}

// Lost returns the numbers of the messages that have not arrived.
func (t *Tally) Lost() (lost []int) {
	for i, took := range t.Took {
		if took == 0 {
			lost = append(lost, i)
		}
	}
	return lost
}

// LaterThan returns how many messages took longer than that.
func (t *Tally) LaterThan(d time.Duration) (n int) {
	for _, took := range t.Took {
		if took > d {
			n++
		}
	}
	return n
}

// Add counts a message.
func (t *Tally) Add(message []byte, now time.Time) error {
	number, sent, err := decode(message)
	if err != nil {
		return err
	}
	if number >= uint64(t.Expected) { //nolint:gosec // not negative
		return fmt.Errorf("message %d: the last is %d", number, t.Expected-1)
	}
	if t.Took[number] != 0 {
		t.Duplicated++
		return nil
	}
	t.Took[number] = max(now.Sub(sent), 1)
	switch {
	case t.came > 0 && number < t.highest:
		t.Swapped++
	default:
		t.highest = number
	}
	if number == uint64(t.came) { //nolint:gosec // as above
		t.InOrder++
	}
	t.came++
	return nil
}

// ReceiveDatagrams receives until nothing has come for a while: with datagrams there is no end that could be seen. A datagram that is
// no message is an error.
func ReceiveDatagrams(ctx context.Context, conn net.PacketConn, messages int, quiet time.Duration) (*Tally, error) {
	t, err := NewTally(messages)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b := make([]byte, Size+1) // one more, to see what is too long
	for {
		if err := conn.SetReadDeadline(time.Now().Add(quiet)); err != nil {
			return t, err
		}
		if ctx.Err() != nil {
			return t, context.Cause(ctx)
		}
		n, _, err := conn.ReadFrom(b)
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil {
			return t, nil
		}
		if err != nil {
			return t, errors.Join(err, context.Cause(ctx))
		}
		if err := t.Add(b[:n], time.Now()); err != nil {
			return t, err
		}
	}
}

// ReceiveStream receives until the sender closes. An end within a message is [io.ErrUnexpectedEOF].
func ReceiveStream(ctx context.Context, conn net.Conn, messages int, timeout time.Duration) (*Tally, error) {
	t, err := NewTally(messages)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	b := make([]byte, Size)
	for {
		if err := conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
			return t, err
		}
		if ctx.Err() != nil {
			return t, context.Cause(ctx)
		}
		if _, err := io.ReadFull(conn, b); errors.Is(err, io.EOF) {
			return t, nil
		} else if err != nil {
			return t, errors.Join(err, context.Cause(ctx))
		}
		if err := t.Add(b, time.Now()); err != nil {
			return t, err
		}
	}
}
