package pool

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers/course/internal/servetest"
)

// pipes dials net.Pipe, and answers each line with the same line.
type pipes struct {
	mu     sync.Mutex
	theirs []net.Conn
}

func (p *pipes) dial(context.Context) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.mu.Lock()
	p.theirs = append(p.theirs, theirs)
	p.mu.Unlock()
	go echo(theirs)
	return ours, nil
}

func echo(conn net.Conn) {
	r := bufio.NewReader(conn)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		if line == "mute\n" {
			continue
		}
		if _, err := io.WriteString(conn, line); err != nil {
			return
		}
	}
}

func ask(conn net.Conn, text string) error {
	if _, err := io.WriteString(conn, text+"\n"); err != nil {
		return err
	}
	answer := make([]byte, len(text)+1)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	if string(answer) != text+"\n" {
		return fmt.Errorf("%q is answered by %q", text, answer)
	}
	return nil
}

func get(t *testing.T, p *Pool) *Conn {
	t.Helper()
	c, err := p.Get(t.Context())
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return c
}

func TestConnectionsAreUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		p := New(Config{Dial: new(pipes).dial, Max: 3})
		first, second := get(t, p), get(t, p)
		g.Expect(ask(first, "hello")).To(Succeed())
		used := first.Conn
		second.Release()
		first.Release()
		first.Release() // once is enough
		g.Expect(first.Close()).To(Succeed())
		third := get(t, p)
		g.Expect(third.Conn).To(BeIdenticalTo(used), "the one that was released last")
		g.Expect(ask(third, "again")).To(Succeed())
		third.Release()
		g.Expect(p.Stats()).To(Equal(Stats{Dialed: 2, Reused: 1}))
		g.Expect(p.Shutdown(t.Context())).To(Succeed())
		g.Expect(p.Shutdown(t.Context())).To(Succeed())
	})
}

func TestThereAreAtMostMax(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		p := New(Config{Dial: new(pipes).dial, Max: 2})
		first, second := get(t, p), get(t, p)
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begun := time.Now()
		_, err := p.Get(short)
		g.Expect(err).To(And(MatchError(context.DeadlineExceeded), MatchError("wait for one of 2 connections: context deadline exceeded")))
		g.Expect(time.Since(begun)).To(Equal(time.Second))

		// First come, first served.
		order := make(chan int, 2)
		for i := range 2 {
			go func() { c := get(t, p); order <- i; time.Sleep(time.Second); c.Release() }()
			synctest.Wait()
		}
		first.Release()
		g.Expect(<-order).To(Equal(0))
		second.Close()
		g.Expect(<-order).To(Equal(1))
		time.Sleep(2 * time.Second)
		g.Expect(p.Stats()).To(Equal(Stats{Dialed: 3, Reused: 1}), "one was closed")
		g.Expect(p.Shutdown(t.Context())).To(Succeed())
	})
}

func TestFailedConnectionsAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		p := New(Config{Dial: new(pipes).dial, Max: 1})
		c := get(t, p)
		_ = c.SetDeadline(time.Now().Add(time.Second))
		g.Expect(ask(c, "mute")).NotTo(Succeed(), "its answer may come after the time-out, for the next one")
		c.Release()
		c = get(t, p)
		g.Expect(ask(c, "well")).To(Succeed())
		c.Release()
		g.Expect(p.Stats()).To(Equal(Stats{Dialed: 2}))
		// A place is free again after a failed attempt.
		failing := New(Config{Max: 1, Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("refused") }})
		for range 3 {
			_, err := failing.Get(t.Context())
			g.Expect(err).To(MatchError("refused"))
		}
		g.Expect(p.Shutdown(t.Context())).To(Succeed())
	})
}

func TestConnectionsExpire(t *testing.T) {
	for _, tt := range []struct {
		name    string
		config  Config
		uses    []time.Duration // idle before each
		expired int
	}{
		{"never", Config{}, []time.Duration{0, time.Hour}, 0},
		{"idle", Config{IdleTimeout: time.Minute}, []time.Duration{0, 59 * time.Second, 59 * time.Second, 60 * time.Second}, 1},
		{"old", Config{MaxAge: time.Minute}, []time.Duration{0, 59 * time.Second, time.Second, 61 * time.Second}, 2},
		{"either", Config{IdleTimeout: time.Minute, MaxAge: 90 * time.Second}, []time.Duration{0, 50 * time.Second, 50 * time.Second}, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				tt.config.Dial, tt.config.Max = new(pipes).dial, 1
				p := New(tt.config)
				for _, idle := range tt.uses {
					time.Sleep(idle)
					get(t, p).Release()
				}
				g.Expect(p.Stats().Expired).To(Equal(tt.expired))
				// They are closed when their time comes, whether anybody asks or not.
				time.Sleep(24 * time.Hour)
				synctest.Wait()
				kept := 0
				if tt.name == "never" {
					kept = 1
				}
				g.Expect(p.idle).To(HaveLen(kept))
				g.Expect(p.Shutdown(t.Context())).To(Succeed())
			})
		})
	}
}

// A middlebox that has forgotten the connection sends nothing: only a request that is not answered tells.
func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		request := "ping"
		p := New(Config{Dial: new(pipes).dial, Max: 1, PingAfter: time.Minute,
			Ping: func(_ context.Context, c net.Conn) error { return ask(c, request) }})
		get(t, p).Release()
		request = "mute"
		time.Sleep(59 * time.Second)
		get(t, p).Release()
		g.Expect(p.Stats()).To(Equal(Stats{Dialed: 1, Reused: 1}), "no ping so soon")
		time.Sleep(time.Minute)
		begun := time.Now()
		get(t, p).Release()
		g.Expect(time.Since(begun)).To(Equal(time.Second), "the time-out of a ping")
		g.Expect(p.Stats()).To(Equal(Stats{Dialed: 2, Reused: 1, Mute: 1}))
		request = "ping"
		time.Sleep(time.Minute)
		c := get(t, p)
		_ = c.SetReadDeadline(time.Now().Add(time.Hour))
		time.Sleep(time.Minute)
		g.Expect(ask(c, "the ping's deadline is gone")).To(Succeed())
		c.Release()
		g.Expect(p.Stats()).To(Equal(Stats{Dialed: 2, Reused: 2, Mute: 1}))
		g.Expect(p.Shutdown(t.Context())).To(Succeed())
	})
}

func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		p := New(Config{Dial: new(pipes).dial, Max: 2})
		idle, quick := get(t, p), get(t, p)
		idle.Release()
		begun := time.Now()
		go func() { time.Sleep(time.Second); quick.Release() }()
		g.Expect(p.Shutdown(t.Context())).To(Succeed())
		g.Expect(time.Since(begun)).To(Equal(time.Second))
		_, err := p.Get(t.Context())
		g.Expect(err).To(MatchError(ErrClosed))

		p = New(Config{Dial: new(pipes).dial, Max: 1})
		slow := get(t, p)
		waiting := make(chan error)
		go func() { _, err := p.Get(t.Context()); waiting <- err }()
		ended := make(chan error)
		go func() { _, err := slow.Read(make([]byte, 1)); slow.Release(); ended <- err }()
		short, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() { g.Expect(<-waiting).To(MatchError(ErrClosed)) }()
		g.Expect(p.Shutdown(short)).To(MatchError(context.DeadlineExceeded))
		g.Expect(<-ended).To(HaveOccurred())
		g.Expect(p.Shutdown(t.Context())).To(Succeed(), "all were given back")
	})
	NewWithT(t).Expect(func() { New(Config{Max: 1}) }).To(PanicWith(ContainSubstring("Dial must be set")))
	NewWithT(t).Expect(func() { New(Config{Dial: new(pipes).dial}) }).To(PanicWith(ContainSubstring("Max, which is 0")))
}

// What the kernel knows of a connection is asked for before it is handed out; the naive pool fails one request for each.
func TestConnectionsThatTheirPeerClosed(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(*net.TCPConn)
	}{
		{"FIN", func(c *net.TCPConn) { c.Close() }},
		{"RST", func(c *net.TCPConn) { _ = c.SetLinger(0); c.Close() }},
		{"a last word", func(c *net.TCPConn) { _, _ = io.WriteString(c, "idle timeout\n") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := NewWithT(t)
			check := servetest.NoLeaks(t)
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			g.Expect(err).NotTo(HaveOccurred())
			served := make(chan *net.TCPConn, 10)
			go func() {
				for {
					conn, err := listener.Accept()
					if err != nil {
						return
					}
					served <- conn.(*net.TCPConn)
					go echo(conn)
				}
			}()
			dial := func(ctx context.Context) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
			}
			const n = 3
			p := New(Config{Dial: dial, Max: n})
			naive := &Naive{Dial: dial, Idle: make(chan net.Conn, n)}
			var borrowed []*Conn
			var trusted []net.Conn
			for range n {
				borrowed = append(borrowed, get(t, p))
				c, err := naive.Get(t.Context())
				g.Expect(err).NotTo(HaveOccurred())
				trusted = append(trusted, c)
			}
			for i := range n {
				g.Expect(ask(borrowed[i], "hello")).To(Succeed())
				borrowed[i].Release()
				naive.Put(trusted[i])
			}
			for range 2 * n {
				tt.end(<-served)
			}
			g.Eventually(func() (known int) {
				for _, c := range p.idle {
					if quiet(c.Conn) != nil {
						known++
					}
				}
				return known
			}, testenv.Patience).Should(Equal(n))
			failed := 0
			for range n {
				c, err := naive.Get(t.Context())
				g.Expect(err).NotTo(HaveOccurred())
				if ask(c, "request") != nil {
					failed++
				}
				c.Close()
			}
			g.Expect(failed).To(Equal(n))
			c := get(t, p)
			g.Expect(ask(c, "request")).To(Succeed())
			c.Release()
			g.Expect(p.Stats()).To(Equal(Stats{Dialed: n + 1, Closed: n}))
			g.Expect(p.Shutdown(t.Context())).To(Succeed())
			listener.Close()
			for len(served) > 0 {
				(<-served).Close()
			}
			check()
		})
	}
}
