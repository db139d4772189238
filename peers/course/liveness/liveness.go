// Package liveness exchanges messages over a connection that notices when the other side is gone.
//
// # Contract
//
// TCP says nothing while there is nothing to say. A host that has lost its power, a cable that is cut and a middlebox that has
// forgotten the connection look alike: as a peer that is quiet. So a program has to ask. With [Options.Heartbeat] a [Conn] sends a
// ping each time that it has sent nothing for so long, and a [Server] answers each. With [Options.Silence] Receive fails
// with [ErrSilent] once nothing has come for that time, neither message nor pong. Together they bound how long a dead peer is taken for
// a living one: by Silence, idle or not. Choose Silence as at least two heartbeats and what a lossy link may take for its retransmissions.
//
// A write that succeeds has reached the socket's buffer, and nobody yet. So a deadline on writes ([Options.Write]) alone finds a dead
// peer only once that buffer is full. It is there for a peer that lives and does not read.
//
// # What the kernel can do instead
//
// [Options.KeepAlive] asks the peer's kernel, not its program, and only while nothing is unacknowledged: with data in flight the
// retransmission timer runs instead, by default for some 15 minutes. [Options.UserTimeout] (TCP_USER_TIMEOUT, RFC 5482) bounds that time,
// but has no effect while the connection is idle. So it takes both, and then a stopped program on a living host still is not noticed.
//
// # The bug
//
// The zero [Options] are what a program gets that trusts TCP to tell: on an idle connection that is never, and for what has been sent
// after a quarter of an hour.
package liveness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/peers/course/framing"
	"github.com/tcplab/tcplab/peers/course/internal/serve"
)

// MaxMessage is the longest message, in bytes.
const MaxMessage = 1 << 16

// ErrSilent says that nothing has come for [Options.Silence]: the other side, or the way to it, is gone.
var ErrSilent = errors.New("the other side is silent")

// Options are how a [Conn] notices that its peer is gone. What is 0 is not set: the kernel decides then.
type Options struct {
	Dial      time.Duration // how long connecting may take; 0: as long as the kernel sends SYNs
	Silence   time.Duration // how long nothing may come while Receive waits
	Write     time.Duration // how long the kernel may take no more
	Heartbeat time.Duration // how long nothing is sent before a ping

	KeepAlive   *net.KeepAliveConfig // nil: no TCP keepalive, which package net turns on by default
	UserTimeout time.Duration        // TCP_USER_TIMEOUT: how long what was sent may stay unacknowledged
	RTOMax      time.Duration        // TCP_RTO_MAX_MS: the greatest retransmission time-out, 1 s to 120 s (Linux 6.15)
}

// forever is for package framing, which has no message without a time-out.
const forever = 100 * 365 * 24 * time.Hour

// The first byte of a message on the wire.
const (
	kindMessage = 'm'
	kindPing    = '?'
	kindPong    = '!'
)

var framed = framing.Prefixed{Max: 1 + MaxMessage}

// A Conn exchanges messages with a [Server]. One goroutine may send while another one receives.
type Conn struct {
	conn     *serve.Conn
	messages *framing.Conn
	silence  time.Duration

	sending chan struct{} // has an element while somebody sends
	sent    chan struct{} // says that something was sent
	closed  chan struct{}
	close   func()
	pings   sync.WaitGroup
}

// Dial connects. When the context ends the connection is closed, and calls return its cause.
func Dial(ctx context.Context, address string, o Options) (*Conn, error) {
	dialer := net.Dialer{Timeout: o.Dial, KeepAlive: -1, Control: o.control}
	if o.KeepAlive != nil {
		dialer.KeepAliveConfig, dialer.KeepAlive = *o.KeepAlive, 0
	}
	conn, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	timeouts := framing.Timeouts{Idle: orForever(o.Silence), Message: orForever(o.Write)}
	bound := serve.NewConn(ctx, conn)
	c := &Conn{
		conn: bound, messages: framing.NewConn(bound, framed, timeouts), silence: o.Silence,
		sending: make(chan struct{}, 1), sent: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	c.close = sync.OnceFunc(func() { close(c.closed) })
	if o.Heartbeat > 0 {
		c.pings.Go(func() { c.ping(o.Heartbeat) })
	}
	return c, nil
}

func orForever(d time.Duration) time.Duration {
	if d == 0 {
		return forever
	}
	return d
}

// control sets what package net has no word for. TCP_USER_TIMEOUT bounds connect(2), too.
func (o Options) control(_, _ string, raw syscall.RawConn) error {
	const rtoMaxMS = 44 // TCP_RTO_MAX_MS (include/uapi/linux/tcp.h)
	return errors.Join(
		setMilliseconds(raw, "TCP_USER_TIMEOUT", unix.TCP_USER_TIMEOUT, o.UserTimeout),
		setMilliseconds(raw, "TCP_RTO_MAX_MS", rtoMaxMS, o.RTOMax),
	)
}

func setMilliseconds(raw syscall.RawConn, name string, option int, d time.Duration) error {
	if d == 0 {
		return nil
	}
	var err error
	controlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, option, int(d.Milliseconds())) })
	if err := errors.Join(controlErr, err); err != nil {
		return fmt.Errorf("setsockopt %s %v: %w", name, d, err)
	}
	return nil
}

// Send sends a message of 1 to [MaxMessage] bytes. That it returns nil says that the kernel has it, and nothing of the peer.
func (c *Conn) Send(message []byte) error { return c.send(kindMessage, message) }

func (c *Conn) send(kind byte, message []byte) error {
	c.sending <- struct{}{}
	defer func() { <-c.sending }()
	if err := c.messages.Send(append([]byte{kind}, message...)); err != nil {
		return err
	}
	select {
	case c.sent <- struct{}{}:
	default:
	}
	return nil
}

// ping sends pings where nothing else is sent. An error is left to Receive, which sees the same, or silence.
func (c *Conn) ping(each time.Duration) {
	timer := time.NewTimer(each)
	defer timer.Stop()
	for {
		select {
		case <-timer.C:
			if c.send(kindPing, nil) != nil {
				return
			}
		case <-c.sent:
		case <-c.closed:
			return
		}
		timer.Reset(each)
	}
}

// Receive returns the next message, which is valid until the next call. Its error is [ErrSilent], io.EOF if the peer has closed, or
// what the kernel says: ETIMEDOUT, ECONNRESET, EHOSTUNREACH.
func (c *Conn) Receive() ([]byte, error) {
	for {
		message, err := c.messages.Receive()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, fmt.Errorf("%w: nothing for %v: %w", ErrSilent, c.silence, err)
		case err != nil:
			return nil, err
		case message[0] == kindMessage && len(message) > 1:
			return message[1:], nil
		case message[0] != kindPong || len(message) > 1:
			return nil, fmt.Errorf("receive a message: %w", errKind(message))
		}
	}
}

// Close closes the connection.
func (c *Conn) Close() error {
	c.close()
	err := c.messages.Close()
	c.pings.Wait()
	return err
}

func errKind(message []byte) error {
	return fmt.Errorf("a message of kind %q and %d bytes", message[0], len(message)-1)
}
