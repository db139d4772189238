package reconnect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers/course/internal/servetest"
)

// A wire is a network in memory: what dials meets what listens at that time.
type wire struct {
	mu       sync.Mutex
	listener *pipeListener
	through  func(net.Conn) net.Conn // what becomes of a client's connection; nil: nothing
}

var errRefused = errors.New("connection refused")

func (w *wire) dial(ctx context.Context) (net.Conn, error) {
	w.mu.Lock()
	l, through := w.listener, w.through
	w.mu.Unlock()
	if l == nil {
		return nil, errRefused
	}
	ours, theirs := net.Pipe()
	select {
	case l.conns <- theirs:
	case <-l.closed:
		return nil, errRefused
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if through != nil {
		return through(ours), nil
	}
	return ours, nil
}

func (w *wire) listen() net.Listener {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listener = &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
	return w.listener
}

type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

// A tally is what a server has processed.
type tally struct {
	mu    sync.Mutex
	count map[string]int
	order []uint64
}

func (t *tally) handle(_, number uint64, payload []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.count == nil {
		t.count = map[string]int{}
	}
	t.count[string(payload)]++
	t.order = append(t.order, number)
}

func (t *tally) of(payload string) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count[payload]
}

// runServer runs a server until it is stopped.
func runServer(w *wire, s *Server) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	listener := w.listen()
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(ctx, listener) }()
	return func() { cancel(); <-done }
}

// run runs a client until it is stopped.
func run(c *Client) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = c.Run(ctx) }()
	return func() { cancel(); <-done }
}

// send sends a message and gives it up after a while.
func send(c *Client, payload string, d time.Duration) error {
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return c.Send(ctx, []byte(payload))
}

func TestMessagesAreAcknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var w wire
		var got tally
		defer runServer(&w, &Server{Ledger: NewLedger(), Handle: got.handle})()
		c := New(Config{ID: 1, Dial: w.dial})
		defer run(c)()
		for i := range 10 {
			g.Expect(c.Send(t.Context(), []byte(strconv.Itoa(i)))).To(Succeed())
			g.Expect(got.of(strconv.Itoa(i))).To(Equal(1))
		}
		g.Expect(c.Send(t.Context(), nil)).To(Succeed())
		g.Expect(c.Send(t.Context(), make([]byte, MaxMessage))).To(Succeed())
		g.Expect(c.Send(t.Context(), make([]byte, MaxMessage+1))).To(And(MatchError(ErrNotSent), MatchError(ErrTooLong)))
		g.Expect(c.Connections()).To(Equal(1))
		// An idle connection stays.
		time.Sleep(time.Hour)
		g.Expect(c.Send(t.Context(), []byte("late"))).To(Succeed())
		g.Expect(c.Connections()).To(Equal(1))
	})
}

func TestServerThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var w wire
		var got tally
		c := New(Config{ID: 1, Dial: w.dial})
		defer run(c)()
		// Never written: it is certain that it was not processed.
		err := send(c, "early", time.Minute)
		g.Expect(err).To(And(MatchError(ErrNotSent), MatchError(context.DeadlineExceeded)))
		sent := make(chan error, 1)
		go func() { sent <- c.Send(t.Context(), []byte("patient")) }()
		time.Sleep(time.Minute)
		defer runServer(&w, &Server{Ledger: NewLedger(), Handle: got.handle})()
		g.Expect(<-sent).To(Succeed())
		g.Expect(got.of("early")).To(BeZero())
		g.Expect(got.of("patient")).To(Equal(1))
	})
}

// A server that restarts with its ledger: all goes on. With another one: what was under way is unknown, and not sent again.
func TestServerThatRestarts(t *testing.T) {
	for _, tt := range []struct {
		name string
		keep bool
	}{{"keeps its ledger", true}, {"forgets", false}} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := NewWithT(t)
				var w wire
				var got tally
				ledger := NewLedger()
				stuck := make(chan struct{})
				first := &Server{Ledger: ledger, Handle: func(client, number uint64, payload []byte) {
					got.handle(client, number, payload)
					if string(payload) == "stuck" {
						<-stuck // it is processed, and its acknowledgement never leaves
					}
				}}
				stop := runServer(&w, first)
				c := New(Config{ID: 1, Dial: w.dial})
				defer run(c)()
				g.Expect(c.Send(t.Context(), []byte("before"))).To(Succeed())
				sent := make(chan error, 1)
				go func() { sent <- c.Send(t.Context(), []byte("stuck")) }()
				synctest.Wait()
				go func() { time.Sleep(time.Second); close(stuck) }()
				stop()
				if !tt.keep {
					ledger = NewLedger()
				}
				defer runServer(&w, &Server{Ledger: ledger, Handle: got.handle})()
				err := <-sent
				if tt.keep {
					g.Expect(err).NotTo(HaveOccurred())
				} else {
					g.Expect(err).To(MatchError(ErrUnknown))
				}
				g.Expect(got.of("stuck")).To(Equal(1))
				g.Expect(c.Send(t.Context(), []byte("after"))).To(Succeed())
				g.Expect(got.of("after")).To(Equal(1))
			})
		})
	}
}

// A server that accepts and never answers, and a path that has become a blackhole, cost one time-out each.
func TestServerThatDoesNotAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var w wire
		listener := w.listen()
		accepted := make(chan net.Conn, 100)
		go func() {
			for {
				conn, err := listener.Accept()
				if err != nil {
					return
				}
				accepted <- conn
				go func() { _, _ = io.Copy(io.Discard, conn) }()
			}
		}()
		c := New(Config{ID: 1, Dial: w.dial, Timeout: 2 * time.Second, Base: time.Second, Cap: time.Second,
			Between: func(bound time.Duration) time.Duration { return bound }})
		stop := run(c)
		g.Expect(send(c, "x", 29*time.Second)).To(MatchError(ErrNotSent))
		g.Expect(accepted).To(HaveLen(10), "each takes 2 s, and 1 s until the next")
		listener.Close()
		stop()
		close(accepted)
		for conn := range accepted {
			conn.Close()
		}
	})
}

// After the welcome: messages are written, and no acknowledgement comes.
func TestServerThatStopsAnswering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var w wire
		listener := w.listen()
		begun := time.Now()
		ended := make(chan time.Duration, 1)
		go func() {
			conn, _ := listener.Accept()
			_, _ = readNumber(conn)
			_ = writeNumbers(conn, 7, 0)
			_, _ = io.Copy(io.Discard, conn)
			ended <- time.Since(begun)
			listener.Close()
		}()
		c := New(Config{ID: 1, Dial: w.dial, Timeout: 3 * time.Second})
		defer run(c)()
		time.Sleep(10 * time.Second)
		err := send(c, "x", time.Minute)
		g.Expect(err).To(And(MatchError(ErrUnknown), MatchError(context.DeadlineExceeded)))
		g.Expect(<-ended).To(Equal(13 * time.Second))
	})
}

// Waits are random below a bound that doubles up to the cap, and begin anew after an acknowledgement.
func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		var w wire
		waits := make(chan time.Duration, 100)
		asked := func() (bounds []time.Duration) {
			for len(waits) > 0 {
				bounds = append(bounds, <-waits)
			}
			return bounds
		}
		c := New(Config{ID: 1, Dial: w.dial, Base: time.Second, Cap: 10 * time.Second,
			Between: func(bound time.Duration) time.Duration { waits <- bound; return bound }})
		defer run(c)()
		time.Sleep(40 * time.Second)
		g.Expect(asked()).To(Equal([]time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second, 10 * time.Second, 10 * time.Second, 10 * time.Second}))
		stop := runServer(&w, &Server{Ledger: NewLedger(), Handle: new(tally).handle})
		g.Expect(c.Send(t.Context(), []byte("x"))).To(Succeed())
		asked()
		stop()
		time.Sleep(2 * time.Second)
		g.Expect(asked()).To(Equal([]time.Duration{time.Second, 2 * time.Second}))
	})
	g := NewWithT(t)
	c := New(Config{Dial: (&wire{}).dial})
	var waits []time.Duration
	for range 1000 {
		waits = append(waits, c.config.Between(time.Second))
	}
	g.Expect(slices.Min(waits)).To(And(BeNumerically(">=", 0), BeNumerically("<", 50*time.Millisecond)))
	g.Expect(slices.Max(waits)).To(And(BeNumerically("<=", time.Second), BeNumerically(">", 950*time.Millisecond)))
	g.Expect(func() { New(Config{}) }).To(PanicWith(ContainSubstring("Config.Dial")))
}

// A failing connection fails for good after so many bytes, sent or received.
type failing struct {
	net.Conn
	mu   sync.Mutex
	left int
}

func (f *failing) spend(n int) (int, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n = min(n, f.left)
	f.left -= n
	return n, f.left == 0
}

func (f *failing) Write(b []byte) (int, error) {
	n, last := f.spend(len(b))
	written, err := f.Conn.Write(b[:n])
	if last {
		f.Close()
		err = errors.Join(err, errors.New("connection reset"))
	}
	return written, err
}

func (f *failing) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if _, last := f.spend(n); last {
		f.Close()
		return 0, errors.New("connection reset")
	}
	return n, err
}

// Whatever connections and servers do, the contract holds: acknowledged is processed once, not sent is not processed, unknown is
// processed once or not at all, and all in order.
func TestContractUnderFailures(t *testing.T) {
	kinds := map[string]int{}
	for seed := range uint64(50) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { testContract(t, rand.New(rand.NewPCG(seed, 1)), kinds) })
		})
	}
	for _, kind := range []string{"acknowledged", "not sent", "unknown", "unknown, and processed"} {
		if kinds[kind] < 50 {
			t.Errorf("of %v too few are %s to say anything", kinds, kind)
		}
	}
}

func testContract(t *testing.T, random *rand.Rand, kinds map[string]int) {
	g := NewWithT(t)
	var mu sync.Mutex // of random
	number := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return random.IntN(n)
	}
	w := &wire{through: func(conn net.Conn) net.Conn { return &failing{Conn: conn, left: 1 + number(600)} }}
	got := &tally{}
	ledger := NewLedger()
	c := New(Config{ID: 9, Dial: w.dial, Timeout: time.Second, Cap: 2 * time.Second,
		Between: func(bound time.Duration) time.Duration { return time.Duration(number(int(bound) + 1)) }})
	stopClient := run(c)

	results := make([]error, 300)
	var senders sync.WaitGroup
	for i := range results {
		senders.Go(func() {
			time.Sleep(time.Duration(number(60_000)) * time.Millisecond)
			results[i] = send(c, fmt.Sprint("message ", i), time.Duration(number(1500))*time.Millisecond)
		})
	}
	ended := make(chan struct{})
	go func() { senders.Wait(); close(ended) }()
	for running := true; running; {
		stop := runServer(w, &Server{Ledger: ledger, Timeout: time.Second, Handle: func(client, n uint64, payload []byte) {
			time.Sleep(time.Duration(number(200)) * time.Millisecond)
			got.handle(client, n, payload)
		}})
		select {
		case <-ended:
			running = false
		case <-time.After(time.Duration(number(8000)) * time.Millisecond):
		}
		stop()
		time.Sleep(time.Duration(number(3000)) * time.Millisecond)
		if number(3) == 0 {
			ledger = NewLedger()
		}
	}
	stopClient()
	for i, err := range results {
		processed := got.of(fmt.Sprint("message ", i))
		switch {
		case err == nil:
			kinds["acknowledged"]++
			g.Expect(processed).To(Equal(1), "%d was acknowledged", i)
		case errors.Is(err, ErrNotSent):
			kinds["not sent"]++
			g.Expect(processed).To(BeZero(), "%d: %v", i, err)
		case errors.Is(err, ErrUnknown):
			kinds["unknown"]++
			if processed > 0 {
				kinds["unknown, and processed"]++
			}
			g.Expect(processed).To(BeNumerically("<=", 1), "%d: %v", i, err)
		default:
			t.Errorf("%d: %v", i, err)
		}
	}
	g.Expect(slices.IsSorted(got.order)).To(BeTrue(), "processed in order")
}

// The same in the other direction: what a client can send does not stop a server, nor make it allocate.
func TestServerRefuses(t *testing.T) {
	message := func(b ...byte) []byte { return append([]byte{0, 0, 0, 0, 0, 0, 0, 1}, b...) }
	for _, tt := range []struct {
		name string
		sent []byte
		want string
	}{
		{"nothing", nil, "EOF"},
		{"a hello that is cut off", []byte{1, 2, 3}, "unexpected EOF"},
		{"a header that is cut off", append(message(), 1, 2), "unexpected EOF"},
		{"a message that is cut off", append(message(), message(0, 0, 0, 9, 'x')...), "message 1: unexpected EOF"},
		{"a message that is too long", append(message(), message(0, 1, 0, 1)...), "message 1 of 65537 bytes"},
		{"the longest length", append(message(), message(255, 255, 255, 255)...), "message 1 of 4294967295 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := NewWithT(t)
			ours, theirs := servetest.Pair(t)
			go func() { _, _ = io.Copy(io.Discard, ours) }()
			go func() { _, _ = ours.Write(tt.sent); _ = ours.CloseWrite() }()
			err := (&Server{Ledger: NewLedger(), Handle: new(tally).handle}).serve(theirs)
			g.Expect(err).To(MatchError(ContainSubstring(tt.want)))
		})
	}
}

// A message that comes again is acknowledged again, and not processed: a client may not have seen the first acknowledgement.
func TestServerProcessesAMessageOnce(t *testing.T) {
	g := NewWithT(t)
	ours, theirs := servetest.Pair(t)
	var processed tally
	ended := make(chan error, 1)
	go func() { ended <- (&Server{Ledger: NewLedger(), Handle: processed.handle}).serve(theirs) }()
	g.Expect(writeNumbers(ours, 7)).To(Succeed()) // the hello
	_, err := readNumber(ours)                    // the ledger
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(readNumber(ours)).To(BeZero())
	for _, number := range []uint64{1, 1, 2, 1} {
		_, err := ours.Write(encode(number, []byte("x")))
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(readNumber(ours)).To(Equal(number))
	}
	g.Expect(ours.CloseWrite()).To(Succeed())
	g.Expect(<-ended).To(MatchError(io.EOF))
	g.Expect(processed.order).To(Equal([]uint64{1, 2}))
}

func TestSlowClientsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		for name, sent := range map[string][]byte{
			"no hello":        nil,
			"half a hello":    {1},
			"half a message":  append(make([]byte, 8), 1),
			"never reads":     append(make([]byte, 8), encode(1, []byte("x"))...),
			"never a welcome": make([]byte, 8),
		} {
			ours, theirs := net.Pipe()
			go func() {
				if name == "half a message" || name == "never reads" {
					go func() { _, _ = io.ReadFull(ours, make([]byte, 16)) }()
				}
				_, _ = ours.Write(sent)
			}()
			begun := time.Now()
			err := (&Server{Ledger: NewLedger(), Handle: new(tally).handle, Timeout: 3 * time.Second}).serve(theirs)
			g.Expect(err).To(MatchError(ContainSubstring("timeout")), name)
			g.Expect(time.Since(begun)).To(Equal(3*time.Second), name)
			ours.Close()
			theirs.Close()
		}
	})
}

// The client that trusts a write loses what the server never read.
func TestTrustingLoses(t *testing.T) {
	g := NewWithT(t)
	check := servetest.NoLeaks(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer listener.Close()
	c := &Trusting{ID: 1, Timeout: time.Second, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", listener.Addr().String())
	}}
	for i := range 10 {
		g.Expect(c.Send(t.Context(), fmt.Append(nil, i))).To(Succeed(), "that is the bug")
	}
	conn, err := listener.Accept()
	g.Expect(err).NotTo(HaveOccurred())
	conn.Close() // unread: the ten are gone
	var got tally
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- (&Server{Ledger: NewLedger(), Handle: got.handle}).Serve(ctx, listener) }()
	for i := 10; i < 20; i++ {
		g.Expect(c.Send(t.Context(), fmt.Append(nil, i))).To(Succeed())
		time.Sleep(10 * time.Millisecond) // for the reset to come
	}
	g.Eventually(func() int { return got.of("19") }, testenv.Patience).Should(Equal(1))
	for i := range 10 {
		g.Expect(got.of(strconv.Itoa(i))).To(BeZero())
	}
	c.Close()
	cancel()
	g.Eventually(served, testenv.Patience).Should(Receive())
	check()
}

func FuzzReadMessage(f *testing.F) {
	f.Add(encode(1, []byte("x")))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 1, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		number, payload, err := readMessage(r)
		if err != nil {
			return
		}
		read := data[:len(data)-r.Len()]
		if !bytes.Equal(encode(number, payload), read) {
			t.Errorf("%x is read as message %d, %x", read, number, payload)
		}
	})
}
