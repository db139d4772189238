package reconnect

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"time"
)

// Config is how a [Client] connects. Only ID and Dial have to be set.
type Config struct {
	ID   uint64                                  // tells this client from others of the same server; drawn at random, for example
	Dial func(context.Context) (net.Conn, error) // opens a connection

	Timeout time.Duration // for each answer of the server; 5 s if it is 0
	Base    time.Duration // bound of the wait after the first failure; 100 ms if it is 0
	Cap     time.Duration // bound of the wait after many; 10 s if it is 0

	// Between chooses a wait from 0 to a bound. Nil: at random, each equally likely.
	Between func(bound time.Duration) time.Duration
}

// A Client sends messages. Its methods can be called at the same time.
type Client struct {
	config Config

	mu      sync.Mutex
	ended   bool
	wake    chan struct{} // has an element when there may be something to write
	queue   []*message    // not acknowledged, in the order of their numbers, and after them those without one
	number  uint64        // the last that was given
	acked   uint64        // the highest that was acknowledged
	written int           // how many of the queue were written to the present connection
	ledger  uint64        // of the server, once welcomed
	known   bool          // ledger is

	connections int
	settled     int // messages that were acknowledged
}

// A message waits for its fate.
type message struct {
	payload []byte
	number  uint64 // 0: it was never written
	done    chan error
}

// New makes a client. [Client.Run] has to run for it to connect. It panics without a Dial.
func New(config Config) *Client {
	if config.Dial == nil {
		panic("reconnect.New: Config.Dial is nil: set it to what opens a connection")
	}
	config.Timeout = cmp.Or(config.Timeout, defaultTimeout)
	config.Base = cmp.Or(config.Base, 100*time.Millisecond)
	config.Cap = cmp.Or(config.Cap, 10*time.Second)
	if config.Between == nil {
		config.Between = func(bound time.Duration) time.Duration { return rand.N(bound + 1) } //nolint:gosec // no secret
	}
	return &Client{config: config, wake: make(chan struct{}, 1)}
}

// Send sends a message and waits until it is acknowledged, until the context ends, or until [Client.Run] does. The package's
// documentation has what its error says. After the context's end the client neither sends the message again nor reports what becomes
// of it.
func (c *Client) Send(ctx context.Context, payload []byte) error {
	if len(payload) > MaxMessage {
		return fmt.Errorf("%w: %d bytes: %w", ErrNotSent, len(payload), ErrTooLong)
	}
	m := &message{payload: slices.Clone(payload), done: make(chan error, 1)}
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return fmt.Errorf("%w: the client has ended", ErrNotSent)
	}
	c.queue = append(c.queue, m)
	c.mu.Unlock()
	c.notify()
	select {
	case err := <-m.done:
		return err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.queue, m)
	if i < 0 { // it was settled at the same time
		return <-m.done
	}
	c.queue = slices.Delete(c.queue, i, i+1)
	if i < c.written {
		c.written--
	}
	return fmt.Errorf("%w: %w", m.fate(), context.Cause(ctx))
}

// fate is what is known of a message that is given up.
func (m *message) fate() error {
	if m.number == 0 {
		return ErrNotSent
	}
	return ErrUnknown
}

// Connections returns how many connections were welcomed.
func (c *Client) Connections() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.connections
}

func (c *Client) notify() {
	select {
	case c.wake <- struct{}{}:
	default: // it will be woken already
	}
}

// Run connects, and connects again, until the context ends. Then it ends all calls of Send, and returns the context's cause. It must
// be called once.
func (c *Client) Run(ctx context.Context) error {
	for failures := 0; ctx.Err() == nil; failures++ {
		if c.connect(ctx) {
			failures = 0
		}
		bound := c.config.Cap
		if failures < 30 { // 2^30 times any Base that makes sense is more than any Cap that does
			bound = min(bound, c.config.Base<<failures)
		}
		sleep(ctx, c.config.Between(bound))
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, m := range c.queue {
		m.done <- fmt.Errorf("%w: %w", m.fate(), context.Cause(ctx))
	}
	c.queue = nil
	return context.Cause(ctx)
}

func sleep(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// connect uses one connection for as long as it works, and reports whether it was good for something: a server that welcomes
// everybody and then closes is no better than one that refuses.
func (c *Client) connect(ctx context.Context) (good bool) {
	dialing, cancel := context.WithTimeout(ctx, c.config.Timeout)
	conn, err := c.config.Dial(dialing)
	cancel()
	if err != nil {
		return false
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()

	_ = conn.SetDeadline(time.Now().Add(c.config.Timeout))
	if writeNumbers(conn, c.config.ID) != nil {
		return false
	}
	ledger, err := readNumber(conn)
	if err != nil {
		return false
	}
	last, err := readNumber(conn)
	if err != nil {
		return false
	}
	_ = conn.SetDeadline(time.Time{})
	started, settled := time.Now(), c.count()
	c.welcome(ledger, last)

	// Whichever of the two fails first closes the connection, which ends the other.
	var writer sync.WaitGroup
	ended := make(chan struct{})
	writer.Go(func() {
		defer conn.Close()
		c.write(conn, ended)
	})
	c.readAcknowledgements(conn)
	conn.Close()
	close(ended)
	writer.Wait()
	return c.count() > settled || time.Since(started) >= c.config.Cap
}

// count returns how many messages were acknowledged.
func (c *Client) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settled
}

// welcome settles what was under way on the connection before.
func (c *Client) welcome(ledger, last uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connections++
	if c.known && c.ledger != ledger {
		c.queue = slices.DeleteFunc(c.queue, func(m *message) bool {
			if m.number == 0 {
				return false
			}
			m.done <- fmt.Errorf("%w: the server knows nothing of earlier messages", ErrUnknown)
			return true
		})
	}
	c.ledger, c.known = ledger, true
	c.settle(last)
	c.written = 0
	c.number = max(c.number, last) // of a client before this one, with the same ID
}

// settle takes from the queue what the server has processed. The mutex is held.
func (c *Client) settle(last uint64) {
	n := 0
	for n < len(c.queue) && c.queue[n].number != 0 && c.queue[n].number <= last {
		c.queue[n].done <- nil
		n++
	}
	c.queue = slices.Delete(c.queue, 0, n)
	c.settled += n
	c.written = max(0, c.written-n)
	c.acked = max(c.acked, last)
}

// write sends what the queue has until the connection fails.
func (c *Client) write(conn net.Conn, ended <-chan struct{}) {
	for {
		text := c.next(conn)
		if text == nil {
			select {
			case <-c.wake:
				continue
			case <-ended:
				return
			}
		}
		_ = conn.SetWriteDeadline(time.Now().Add(c.config.Timeout))
		if _, err := conn.Write(text); err != nil {
			return
		}
	}
}

// next returns the next message to be written, or nil. With the first one in flight the wait for its answer begins.
func (c *Client) next(conn net.Conn) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.written == len(c.queue) {
		return nil
	}
	m := c.queue[c.written]
	if m.number == 0 {
		c.number++
		m.number = c.number
	}
	if c.written == 0 {
		_ = conn.SetReadDeadline(time.Now().Add(c.config.Timeout))
	}
	c.written++
	return encode(m.number, m.payload)
}

// readAcknowledgements settles messages until the connection fails, or until no answer came in time.
func (c *Client) readAcknowledgements(conn net.Conn) {
	for {
		number, err := readNumber(conn)
		if err != nil {
			return
		}
		c.mu.Lock()
		if number <= c.acked || number > c.number {
			c.mu.Unlock()
			return // a server that acknowledges nothing, or what was never sent, is not ours
		}
		c.settle(number)
		var deadline time.Time
		if c.written > 0 {
			deadline = time.Now().Add(c.config.Timeout)
		}
		_ = conn.SetReadDeadline(deadline)
		c.mu.Unlock()
	}
}
