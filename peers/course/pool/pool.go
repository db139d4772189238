// Package pool keeps connections to a server for the next request.
//
// # Contract
//
// There are at most [Config.Max] connections. [Pool.Get] waits for one with a context; who waits first is served first. A connection
// that it returns
//
//   - was not closed by its peer, as far as the kernel knew at that moment: a FIN or a reset that has arrived is noticed, and so is data
//     that nobody asked for, which is what a server says before it closes ("idle timeout");
//   - was idle for less than [Config.IdleTimeout], and is younger than [Config.MaxAge];
//   - has answered [Config.Ping], if it was idle for [Config.PingAfter] or longer.
//
// The last one is for what the kernel cannot know: a middlebox on the way (NAT, firewall, load balancer) that forgets an idle connection
// sends nothing, and the connection looks well until somebody waits for an answer. Choose an IdleTimeout below the shortest on the way, or
// a Ping.
//
// No check can close the gap entirely: a server may close just after it. A request that fails on a pooled connection before the first byte
// of its answer may be tried again only if doing it twice does no harm.
//
// A connection on which a read or a write has failed is closed when it is released, whatever the error: after a time-out the answer may
// still come, and it would be taken for that of the next request.
//
// [Naive] is the pool with the classic bug: it hands out whatever it has.
package pool

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// ErrClosed says that the pool has been shut down.
var ErrClosed = errors.New("the pool has been shut down")

// Config is how a [Pool] works. Dial and Max have to be set.
type Config struct {
	Dial func(context.Context) (net.Conn, error)
	Max  int // connections, borrowed and idle

	IdleTimeout time.Duration // after which an idle connection is closed; 0: never
	MaxAge      time.Duration // after which a connection is not used any more; 0: any

	// Ping asks the server for a sign of life, by whatever request does nothing, within the context's deadline.
	Ping        func(context.Context, net.Conn) error
	PingAfter   time.Duration // of idleness; 0 with a Ping: each time
	PingTimeout time.Duration // 1 s if it is 0
}

// A Pool has connections. Its methods can be called at the same time.
type Pool struct {
	config Config
	places chan struct{} // has an element for each connection that is borrowed
	closed chan struct{}

	mu       sync.Mutex
	down     bool
	idle     []*Conn // the one that was released last is last, and borrowed first
	borrowed map[*Conn]struct{}
	all      sync.WaitGroup // of those that are borrowed
	stats    Stats
}

// Stats are counts since the pool was made.
type Stats struct {
	Dialed  int // connections
	Reused  int // connections that were handed out again
	Closed  int // by their peers, found when they were to be borrowed
	Expired int // idle for too long, or too old
	Mute    int // no answer to a ping
}

// New makes a pool. It panics without a Dial, and with a Max below 1.
func New(config Config) *Pool {
	if config.Dial == nil || config.Max < 1 {
		panic(fmt.Sprintf("pool.New: Dial must be set, and Max, which is %d, must be at least 1", config.Max))
	}
	config.PingTimeout = cmp.Or(config.PingTimeout, time.Second)
	return &Pool{config: config, places: make(chan struct{}, config.Max), closed: make(chan struct{}), borrowed: map[*Conn]struct{}{}}
}

// A Conn is a connection that is borrowed. [Conn.Release] gives it back; Close closes it, and gives back its place.
type Conn struct {
	net.Conn
	pool   *Pool
	born   time.Time
	since  time.Time // it is idle
	expiry *time.Timer
	failed atomic.Bool
	back   sync.Once
}

// Get returns a connection, an idle one if there is any that is well. The error is [ErrClosed], the context's cause, or Dial's.
func (p *Pool) Get(ctx context.Context) (*Conn, error) {
	select {
	case p.places <- struct{}{}:
	case <-p.closed:
		return nil, ErrClosed
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for one of %d connections: %w", p.config.Max, context.Cause(ctx))
	}
	c, err := p.get(ctx)
	if err == nil {
		err = p.lend(c)
	}
	if err != nil {
		<-p.places
		return nil, err
	}
	return c, nil
}

func (p *Pool) get(ctx context.Context) (*Conn, error) {
	for c := p.take(); c != nil; c = p.take() {
		well, err := p.well(ctx, c)
		if well {
			return &Conn{Conn: c.Conn, pool: p, born: c.born}, nil
		}
		c.Conn.Close()
		if err != nil {
			return nil, err
		}
	}
	conn, err := p.config.Dial(ctx)
	if err != nil {
		return nil, err
	}
	p.count(&p.stats.Dialed)
	return &Conn{Conn: conn, pool: p, born: time.Now()}, nil
}

// take takes the idle connection that was released last, or returns nil.
func (p *Pool) take() *Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.idle) == 0 {
		return nil
	}
	c := p.idle[len(p.idle)-1]
	p.idle = p.idle[:len(p.idle)-1]
	if c.expiry != nil {
		c.expiry.Stop()
	}
	return c
}

// well looks at an idle connection. The error is the context's.
func (p *Pool) well(ctx context.Context, c *Conn) (bool, error) {
	if p.config.MaxAge != 0 && time.Since(c.born) >= p.config.MaxAge || p.config.IdleTimeout != 0 && time.Since(c.since) >= p.config.IdleTimeout {
		p.count(&p.stats.Expired) // at this very moment: its timer has not come yet
		return false, nil
	}
	if quiet(c.Conn) != nil {
		p.count(&p.stats.Closed)
		return false, nil
	}
	if p.config.Ping != nil && time.Since(c.since) >= p.config.PingAfter {
		pinging, cancel := context.WithTimeout(ctx, p.config.PingTimeout)
		deadline, _ := pinging.Deadline()
		_ = c.SetDeadline(deadline)
		err := p.config.Ping(pinging, c.Conn)
		cancel()
		if err != nil {
			p.count(&p.stats.Mute)
			return false, context.Cause(ctx)
		}
		_ = c.SetDeadline(time.Time{})
	}
	p.count(&p.stats.Reused)
	return true, nil
}

// lend notes that a connection is borrowed.
func (p *Pool) lend(c *Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down {
		c.Conn.Close()
		return ErrClosed
	}
	p.borrowed[c] = struct{}{}
	p.all.Add(1)
	return nil
}

func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.failed.Store(true)
	}
	return n, err
}

func (c *Conn) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	if err != nil {
		c.failed.Store(true)
	}
	return n, err
}

// Release gives the connection back, for the next one to use if no read and no write has failed. The answer must have been read
// entirely.
func (c *Conn) Release() { c.giveBack(!c.failed.Load()) }

// Close closes the connection.
func (c *Conn) Close() error {
	c.giveBack(false)
	return nil
}

func (c *Conn) giveBack(use bool) {
	c.back.Do(func() {
		p := c.pool
		p.mu.Lock()
		delete(p.borrowed, c)
		if use && !p.down {
			p.keep(&Conn{Conn: c.Conn, pool: p, born: c.born, since: time.Now()})
		} else {
			c.Conn.Close()
		}
		p.mu.Unlock()
		p.all.Done()
		<-p.places
	})
}

// keep makes a connection idle. The mutex is held.
func (p *Pool) keep(c *Conn) {
	_ = c.SetDeadline(time.Time{})
	p.idle = append(p.idle, c)
	left := p.config.IdleTimeout
	if age := p.config.MaxAge - time.Since(c.born); p.config.MaxAge != 0 && (left == 0 || age < left) {
		left = max(age, 1)
	}
	if left != 0 {
		c.expiry = time.AfterFunc(left, func() { p.expire(c) })
	}
}

// expire closes an idle connection, unless it has just been borrowed.
func (p *Pool) expire(c *Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, of := range p.idle {
		if of == c {
			p.idle = append(p.idle[:i], p.idle[i+1:]...)
			p.stats.Expired++
			c.Conn.Close()
			return
		}
	}
}

// Shutdown closes idle connections, lets nobody borrow any more, and waits until all are given back. When the context ends before that, it
// closes those that are still borrowed, and returns the context's cause.
func (p *Pool) Shutdown(ctx context.Context) error {
	p.mu.Lock()
	if !p.down {
		p.down = true
		close(p.closed)
	}
	for _, c := range p.idle {
		if c.expiry != nil {
			c.expiry.Stop()
		}
		c.Conn.Close()
	}
	p.idle = nil
	p.mu.Unlock()

	done := make(chan struct{})
	go func() { p.all.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.borrowed {
		c.Conn.Close() // its user gets an error, and gives it back
	}
	return context.Cause(ctx)
}

// Stats returns the counts so far.
func (p *Pool) Stats() Stats {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.stats
}

func (p *Pool) count(n *int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	*n++
}
