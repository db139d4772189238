package servers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers/course/framing"
	"github.com/tcplab/tcplab/peers/course/internal/servetest"
)

// All four have one contract, and so one suite of tests.
var all = map[string]func(Config) servetest.Server{
	"goroutines":      func(c Config) servetest.Server { return Goroutines{c} },
	"pool":            func(c Config) servetest.Server { return Pool{Config: c, Workers: 4, Queue: 1000} },
	"level-triggered": func(c Config) servetest.Server { return LevelTriggered{c} },
	"edge-triggered":  func(c Config) servetest.Server { return EdgeTriggered{c} },
}

// each runs a test with each server. Its start function starts one.
func each(t *testing.T, test func(t *testing.T, g Gomega, start func(Config) (address string, stop func()))) {
	for name, server := range all {
		t.Run(name, func(t *testing.T) {
			test(t, NewWithT(t), func(c Config) (string, func()) { return servetest.Start(t, server(c)) })
		})
	}
}

// patient is how long tests wait for a time-out.
const patient = 400 * time.Millisecond

// dial connects. The test ends the connection.
func dial(t *testing.T, address string, maxMessage int) *Client {
	t.Helper()
	client, err := Dial(t.Context(), address, maxMessage, framing.Timeouts{Idle: testenv.Patience, Message: testenv.Patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func rawDial(t *testing.T, address string) *net.TCPConn {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(testenv.Patience))
	return conn.(*net.TCPConn)
}

// request is one of many that differ.
func request(i, length int) []byte {
	return bytes.Repeat(fmt.Appendf(nil, "%06d ", i), length/7+1)[:length]
}

// stream is requests as they are sent.
func stream(requests ...[]byte) (s []byte) {
	for _, r := range requests {
		s = append(binary.BigEndian.AppendUint32(s, uint32(len(r))), r...)
	}
	return s
}

// replies is what is answered to them.
func replies(requests ...[]byte) (s []byte) {
	for _, r := range requests {
		s = append(binary.BigEndian.AppendUint32(s, uint32(len(r)+1)), '+')
		s = append(s, r...)
	}
	return s
}

func refusalOf(text string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(text)+1)), "-"+text...)
}

func TestAnswers(t *testing.T) {
	each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
		sessions := make(chan Session, 1)
		address, _ := start(Config{
			MaxMessage: 5000, Closed: func(s Session) { sessions <- s },
			Handle: func(r []byte) ([]byte, error) { return append([]byte("re: "), r...), nil },
		})
		client := dial(t, address, 5000)
		for i := range 100 {
			g.Expect(client.Ask(request(i, i*49+1))).To(Equal(append([]byte("re: "), request(i, i*49+1)...)))
		}
		client.Close()
		var session Session
		g.Eventually(sessions, testenv.Patience).Should(Receive(&session))
		g.Expect(session.Err).NotTo(HaveOccurred())
		g.Expect(session.Requests).To(Equal(100))
		g.Expect(session.Remote.IsValid()).To(BeTrue())
	})
}

// However the stream is sliced, and with as many requests under way as the client likes.
func TestSlicesAndPipelines(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var small, large [][]byte
	for i := range 20 {
		small = append(small, request(i, 1+i%7))
	}
	for i := range 2000 { // 8 MB: more than the buffers of two sockets hold
		large = append(large, request(i, []int{1, 2, 3, 100, 4000, 4096, 1000, 20_000}[i%8]))
	}
	for name, c := range map[string]struct {
		requests [][]byte
		slice    func() int
	}{
		"a byte at a time":    {small, func() int { return 1 }},
		"three at a time":     {small, func() int { return 3 }},
		"random slices":       {large[:400], func() int { return 1 + random.IntN(3000) }},
		"all at once":         {large, func() int { return 1 << 30 }},
		"of one read's size":  {large, func() int { return readSize }},
		"slightly less of it": {large, func() int { return readSize - 1 }},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
				address, _ := start(Config{MaxMessage: 20_000})
				conn := rawDial(t, address)
				go func() {
					for rest := stream(c.requests...); len(rest) > 0; {
						n := min(c.slice(), len(rest))
						if _, err := conn.Write(rest[:n]); err != nil {
							t.Error(err)
							return
						}
						rest = rest[n:]
					}
					_ = conn.CloseWrite()
				}()
				got, err := io.ReadAll(conn)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(bytes.Equal(got, replies(c.requests...))).To(BeTrue(), "%d bytes", len(got))
			})
		})
	}
}

// Who sends what is no request is told so after its earlier answers, and nobody else notices.
func TestTellsWhatIsWrong(t *testing.T) {
	broken := errors.New("broken")
	good := request(1, 100)
	for name, c := range map[string]struct {
		sent []byte
		fin  bool
		told string
		want error
	}{
		"a length of 0":            {[]byte{0, 0, 0, 0}, false, "message of no bytes", framing.ErrEmpty},
		"beyond the limit":         {[]byte{0, 0, 4, 1}, false, "message too long", framing.ErrTooLong},
		"0xffffffff":               {append(bytes.Repeat([]byte{0xff}, 4), make([]byte, 100_000)...), false, "message too long", framing.ErrTooLong},
		"half a prefix and a FIN":  {[]byte{0, 0}, true, "a request without an end", io.ErrUnexpectedEOF},
		"half a request and a FIN": {[]byte{0, 0, 0, 9, 1}, true, "a request without an end", io.ErrUnexpectedEOF},
		"half a request":           {[]byte{0, 0, 0, 9, 1}, false, "time-out", ErrTimeout},
		"nothing":                  {nil, false, "time-out", ErrTimeout},
		"what cannot be handled":   {stream([]byte("break"), good), false, "broken", broken},
	} {
		t.Run(name, func(t *testing.T) {
			each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
				sessions := make(chan Session, 9)
				timeouts, clients := framing.Timeouts{Idle: testenv.Patience, Message: testenv.Patience}, 2
				if errors.Is(c.want, ErrTimeout) { // of which another client could have one as well
					timeouts, clients = framing.Timeouts{Idle: patient, Message: patient}, 1
				}
				address, _ := start(Config{
					MaxMessage: 1024, Closed: func(s Session) { sessions <- s },
					Timeouts: timeouts,
					Handle: func(r []byte) ([]byte, error) {
						if string(r) == "break" {
							return nil, broken
						}
						return r, nil
					},
				})
				conn := rawDial(t, address)
				_, err := conn.Write(append(stream(good), c.sent...))
				g.Expect(err).NotTo(HaveOccurred())
				if c.fin {
					g.Expect(conn.CloseWrite()).To(Succeed())
				}
				if clients == 2 {
					other := dial(t, address, 1024)
					g.Expect(other.Ask(good)).To(Equal(good))
					g.Expect(other.Close()).To(Succeed())
				}
				got, err := io.ReadAll(conn)
				g.Expect(err).NotTo(HaveOccurred(), "no reset")
				g.Expect(string(got)).To(Equal(string(append(replies(good), refusalOf(c.told)...))))
				conn.Close()
				ends := map[string]error{}
				for range clients {
					var s Session
					g.Eventually(sessions, testenv.Patience).Should(Receive(&s))
					g.Expect(s.Requests).To(Equal(1))
					ends[s.Remote.String()] = s.Err
				}
				g.Expect(ends[conn.LocalAddr().String()]).To(MatchError(c.want))
			})
		})
	}
}

// A byte now and then is not a request that comes in time.
func TestTimeoutIsForTheWholeRequest(t *testing.T) {
	each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
		address, _ := start(Config{Timeouts: framing.Timeouts{Message: 200 * time.Millisecond}})
		conn := rawDial(t, address)
		began := time.Now()
		go func() {
			for _, b := range stream(request(1, 10_000)) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		}()
		got := make([]byte, 13)
		_, err := io.ReadFull(conn, got)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(Equal(refusalOf("time-out")))
		g.Expect(time.Since(began)).To(And(BeNumerically(">=", 200*time.Millisecond), BeNumerically("<", time.Minute))) // all of it takes longer
	})
}

// Requests that come one after the other in time are in time, however long that goes on.
func TestTimeoutsBeginAnew(t *testing.T) {
	each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
		address, _ := start(Config{Timeouts: framing.Timeouts{Idle: 5 * patient, Message: 5 * patient}})
		conn := rawDial(t, address)
		whole := stream(request(1, 10), request(2, 10))
		for range 6 { // never between two requests, and never at rest for long
			_, err := conn.Write(whole[:20])
			g.Expect(err).NotTo(HaveOccurred())
			time.Sleep(patient)
			_, err = conn.Write(whole[20:])
			g.Expect(err).NotTo(HaveOccurred())
		}
		g.Expect(conn.CloseWrite()).To(Succeed())
		got, err := io.ReadAll(conn)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(Equal(bytes.Repeat(replies(request(1, 10), request(2, 10)), 6)))
	})
}

// Whoever comes when all places are taken is told so, and the next one after somebody has left is served.
func TestRefusesWhoIsTooMany(t *testing.T) {
	each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
		address, _ := start(Config{MaxClients: 2})
		first, second := dial(t, address, 0), dial(t, address, 0)
		g.Expect(first.Ask([]byte("a"))).To(Equal([]byte("a")))
		g.Expect(second.Ask([]byte("b"))).To(Equal([]byte("b")))
		for range 3 * maxRefused { // more than are refused at a time
			third := dial(t, address, 0)
			_, err := third.Ask([]byte("c"))
			g.Expect(err).To(Equal(&RefusedError{"busy"}))
			_, err = third.Receive()
			g.Expect(err).To(MatchError(io.EOF), "a FIN, not a reset")
			third.Close()
		}
		first.Close()
		g.Eventually(func() error {
			third := dial(t, address, 0)
			defer third.Close()
			_, err := third.Ask([]byte("d"))
			return err
		}, testenv.Patience).Should(Succeed())
		g.Expect(second.Ask([]byte("e"))).To(Equal([]byte("e")))
	})
}

// Those that are refused do not close: then others wait, until the server closes for them.
func TestRefusedClientsThatStay(t *testing.T) {
	each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
		address, _ := start(Config{MaxClients: 1, Timeouts: framing.Timeouts{Message: 300 * time.Millisecond}})
		first := dial(t, address, 0)
		g.Expect(first.Ask([]byte("a"))).To(Equal([]byte("a")))
		var refused []*net.TCPConn
		for range maxRefused + 20 {
			refused = append(refused, rawDial(t, address))
		}
		for _, conn := range refused {
			got, err := io.ReadAll(conn)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(refusalOf("busy")))
		}
		g.Expect(first.Ask([]byte("b"))).To(Equal([]byte("b")))
	})
}

// A request that finds the queue full is refused at once.
func TestPoolRefusesWhatItsQueueHasNoPlaceFor(t *testing.T) {
	g := NewWithT(t)
	const workers, queue, clients = 2, 3, 9
	release := make(chan struct{})
	var handled, highest atomic.Int32
	address, _ := servetest.Start(t, Pool{Workers: workers, Queue: queue, Config: Config{Handle: func(r []byte) ([]byte, error) {
		highest.Store(max(highest.Load(), handled.Add(1)))
		<-release
		handled.Add(-1)
		return r, nil
	}}})
	results := make(chan error, clients)
	for i := range clients {
		go func() {
			answer, err := dial(t, address, 0).Ask(request(i, 10))
			if err == nil && !bytes.Equal(answer, request(i, 10)) {
				err = fmt.Errorf("wrong: %q", answer)
			}
			results <- err
		}()
	}
	for range clients - workers - queue {
		g.Eventually(results, testenv.Patience).Should(Receive(Equal(&RefusedError{"busy"})))
	}
	close(release)
	for range workers + queue {
		g.Eventually(results, testenv.Patience).Should(Receive(Not(HaveOccurred())))
	}
	g.Expect(highest.Load()).To(BeEquivalentTo(workers))
}

// A client that sends and takes no answers holds up nobody, is held up itself, and is reset in the end. What the server has of it is bounded.
func TestSlowClient(t *testing.T) {
	each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
		sessions := make(chan Session, 9)
		const most, timeout = 10_000, 500 * time.Millisecond
		var measuring sync.RWMutex // what a server that is still at work allocates, after the collection, would count as its own
		address, _ := start(Config{
			MaxMessage: most, Timeouts: framing.Timeouts{Message: timeout},
			Handle: func(r []byte) ([]byte, error) {
				measuring.RLock()
				defer measuring.RUnlock()
				return r, nil
			},
			Closed: func(s Session) { sessions <- s },
		})
		conn := rawDial(t, address)
		g.Expect(conn.SetReadBuffer(1 << 16)).To(Succeed())
		other := dial(t, address, most)
		g.Expect(other.Ask([]byte("before"))).To(Equal([]byte("before")))
		all := bytes.Repeat(stream(request(1, most), request(2, 1)), 10_000) // 100 MB
		var before, after runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		writing := make(chan error, 1)
		go func() { _, err := conn.Write(all); writing <- err }()
		time.Sleep(timeout / 2)
		measuring.Lock()
		runtime.GC()
		runtime.ReadMemStats(&after)
		measuring.Unlock()
		g.Expect(int64(after.HeapAlloc)-int64(before.HeapAlloc)).To(BeNumerically("<", 1<<20), "with all that this test has")
		g.Expect(other.Ask([]byte("meanwhile"))).To(Equal([]byte("meanwhile")))
		g.Eventually(writing, testenv.Patience).Should(Receive(Or(MatchError(syscall.ECONNRESET), MatchError(syscall.EPIPE))))
		var s Session
		g.Eventually(sessions, testenv.Patience).Should(Receive(&s))
		g.Expect(s.Err).To(Or(MatchError(ErrTimeout), MatchError(os.ErrDeadlineExceeded)))
		g.Expect(s.Remote.String()).To(Equal(conn.LocalAddr().String()))
		runtime.KeepAlive(all)
	})
}

// A client that sends without end does not hold up others.
func TestGreedyClient(t *testing.T) {
	each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
		address, stop := start(Config{})
		conn := rawDial(t, address)
		go func() {
			for some := bytes.Repeat(stream(request(1, 1000)), 100); ; {
				if _, err := conn.Write(some); err != nil {
					return
				}
			}
		}()
		go func() { _, _ = io.Copy(io.Discard, conn) }()
		other := dial(t, address, 0)
		for i := range 50 {
			g.Expect(other.Ask(request(i, 10))).To(Equal(request(i, 10)))
		}
		stop()
	})
}

// files are the file descriptors that are open.
func files(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// Clients in all states when the context ends: no goroutine is left (see servetest), and no file descriptor.
func TestEndsWithItsContext(t *testing.T) {
	each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
		_, _ = net.Dial("tcp", "127.0.0.1:1") // what package net opens once
		before := files(t)
		sessions := make(chan Session, 9)
		address, stop := start(Config{MaxClients: 3, Closed: func(s Session) { sessions <- s }})
		idle, half, deaf, refused := rawDial(t, address), rawDial(t, address), rawDial(t, address), rawDial(t, address)
		for _, conn := range []*net.TCPConn{idle, half, deaf} {
			_, err := conn.Write(stream([]byte("x")))
			g.Expect(err).NotTo(HaveOccurred())
			_, err = io.ReadFull(conn, make([]byte, 6))
			g.Expect(err).NotTo(HaveOccurred())
		}
		_, err := half.Write([]byte{0, 0, 0, 9})
		g.Expect(err).NotTo(HaveOccurred())
		writing := make(chan struct{})
		much := bytes.Repeat(stream(request(1, 10_000)), 5000)
		go func() {
			_, _ = deaf.Write(much)
			close(writing)
		}()
		time.Sleep(100 * time.Millisecond)
		stop()
		<-writing
		for range 4 {
			g.Eventually(sessions, testenv.Patience).Should(Receive(HaveField("Err", HaveOccurred())))
		}
		for _, conn := range []*net.TCPConn{idle, half, deaf, refused} {
			_, _ = io.Copy(io.Discard, conn) // ends
			conn.Close()
		}
		g.Eventually(func() int { return files(t) }, testenv.Patience).Should(Equal(before))
		_, err = net.Dial("tcp", address)
		g.Expect(err).To(MatchError(syscall.ECONNREFUSED))
	})
}

// Many clients, who come and go.
func TestManyClients(t *testing.T) {
	each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
		address, _ := start(Config{})
		var clients sync.WaitGroup
		for c := range 100 {
			clients.Go(func() {
				for round := range 3 {
					client, err := Dial(t.Context(), address, 0, framing.Timeouts{})
					if err != nil {
						t.Error(err)
						return
					}
					for i := range 10 {
						r := request(c*1000+round*100+i, 1+c*i)
						if answer, err := client.Ask(r); err != nil || !bytes.Equal(answer, r) {
							t.Errorf("%.20q: %.20q, %v", r, answer, err)
						}
					}
					client.Close()
				}
			})
		}
		clients.Wait()
	})
}

// When there is no file descriptor for a client it waits, and is served later. The server does not spin meanwhile.
func TestNoFileDescriptor(t *testing.T) {
	each(t, func(t *testing.T, g Gomega, start func(Config) (string, func())) {
		address, _ := start(Config{})
		g.Expect(dial(t, address, 0).Ask([]byte("a"))).To(Equal([]byte("a")))
		var old unix.Rlimit
		g.Expect(unix.Getrlimit(unix.RLIMIT_NOFILE, &old)).To(Succeed())
		low := old
		low.Cur = uint64(files(t) + 20)
		g.Expect(unix.Setrlimit(unix.RLIMIT_NOFILE, &low)).To(Succeed())
		restore := sync.OnceFunc(func() { _ = unix.Setrlimit(unix.RLIMIT_NOFILE, &old) })
		defer restore()
		var fillers []int
		defer func() {
			for _, fd := range fillers {
				unix.Close(fd)
			}
		}()
		for {
			fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, 0)
			if err != nil {
				break
			}
			fillers = append(fillers, fd)
		}
		unix.Close(fillers[len(fillers)-1]) // for the client
		fillers = fillers[:len(fillers)-1]
		conn := rawDial(t, address)
		_, err := conn.Write(stream([]byte("b")))
		g.Expect(err).NotTo(HaveOccurred())
		var usage, later unix.Rusage
		g.Expect(unix.Getrusage(unix.RUSAGE_SELF, &usage)).To(Succeed())
		_ = conn.SetReadDeadline(time.Now().Add(300 * time.Millisecond))
		_, err = conn.Read(make([]byte, 1))
		g.Expect(err).To(MatchError(os.ErrDeadlineExceeded))
		g.Expect(unix.Getrusage(unix.RUSAGE_SELF, &later)).To(Succeed())
		spent := time.Duration(later.Utime.Nano() + later.Stime.Nano() - usage.Utime.Nano() - usage.Stime.Nano())
		g.Expect(spent).To(BeNumerically("<", 150*time.Millisecond))
		restore()
		_ = conn.SetReadDeadline(time.Now().Add(testenv.Patience))
		got := make([]byte, 6)
		_, err = io.ReadFull(conn, got)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(Equal(replies([]byte("b"))))
	})
}

type notASocket struct{ net.Listener }

func TestEpollNeedsASocket(t *testing.T) {
	g := NewWithT(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(LevelTriggered{}.Serve(t.Context(), notASocket{listener})).To(MatchError(errors.ErrUnsupported))
	_, err = listener.Accept()
	g.Expect(err).To(MatchError(net.ErrClosed))
	g.Expect(EdgeTriggered{}.Serve(t.Context(), listener)).To(MatchError(net.ErrClosed))
	over, cancel := context.WithCancel(t.Context())
	cancel()
	listener, err = net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(EdgeTriggered{}.Serve(over, listener)).To(Succeed())
}

// The wrong server is right as long as one read takes all, and hangs when it does not. The right one is given the same.
func TestOneReadHangs(t *testing.T) {
	hold := func(r []byte) ([]byte, error) { // more than one read takes is there when it reads again
		time.Sleep(50 * time.Millisecond)
		return r, nil
	}
	for name, c := range map[string]struct {
		server servetest.Server
		size   int
		hangs  bool
	}{
		"one read, what it takes": {OneRead{}, 100, false},
		"one read, more than it":  {OneRead{Config: Config{Handle: hold}}, 5000, true},
		"until there is no more":  {EdgeTriggered{Config{Handle: hold}}, 5000, false},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			address, _ := servetest.Start(t, c.server)
			conn := rawDial(t, address)
			all := [][]byte{request(0, 1), request(1, c.size), request(2, c.size), request(3, c.size)}
			_, err := conn.Write(stream(all[0]))
			g.Expect(err).NotTo(HaveOccurred())
			time.Sleep(20 * time.Millisecond) // it handles the first
			_, err = conn.Write(stream(all[1:]...))
			g.Expect(err).NotTo(HaveOccurred())
			want := replies(all...)
			got := make([]byte, len(want))
			if c.hangs {
				_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			}
			n, err := io.ReadFull(conn, got)
			if c.hangs {
				g.Expect(err).To(MatchError(os.ErrDeadlineExceeded))
				g.Expect(n).To(BeNumerically("<", len(want)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(bytes.Equal(got, want)).To(BeTrue())
		})
	}
}

// What a conversation says hangs on the bytes and not on the pieces in which they come: it is what reading the stream at once gives.
func FuzzConversation(f *testing.F) {
	f.Add(stream([]byte("one"), []byte("two")), uint16(3), uint16(7))
	f.Add([]byte{0, 0, 0, 0, 1}, uint16(1), uint16(1))
	f.Add(append(stream([]byte("x")), 0xff, 0xff, 0xff, 0xff), uint16(2), uint16(100))
	f.Fuzz(func(t *testing.T, stream []byte, piece, room uint16) {
		const most = 50
		reader := bufio.NewReader(strings.NewReader(string(stream)))
		var want []byte
		var wantErr error
		for {
			message, err := requests(most).Read(reader, nil)
			if err == nil {
				want = append(want, replies(message)...)
				continue
			}
			if err != io.EOF { // io.ErrUnexpectedEOF is something else
				wantErr = err
				want = append(want, refusalOf(string(refusal(err)[1:]))...)
			}
			break
		}

		config := Config{MaxMessage: most}.withDefaults()
		c := conversation{config: &config}
		var got []byte
		drain := func() { // as flush does, a part at a time
			for len(c.out) > 0 {
				n := min(int(room)+1, len(c.out))
				got = append(got, c.out[:n]...)
				if c.out = c.out[n:]; len(c.out) == 0 {
					c.more()
				}
			}
		}
		for part := range slices.Chunk(stream, int(piece)+1) {
			c.take(slices.Clone(part))
			if len(c.in) > len(part)+most+4 || len(c.out) > 2*(most+maxReason) {
				t.Errorf("keeps %d and %d bytes", len(c.in), len(c.out))
			}
			drain()
		}
		c.end()
		drain()
		if string(got) != string(want) || fmt.Sprint(c.session.Err) != fmt.Sprint(wantErr) {
			t.Errorf("says %q, %v; want %q, %v", got, c.session.Err, want, wantErr)
		}
	})
}
