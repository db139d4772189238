package liveness

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/peers/course/framing"
	"github.com/tcplab/tcplab/peers/course/internal/servetest"
)

func connect(t *testing.T, address string, o Options) *Conn {
	t.Helper()
	conn, err := Dial(t.Context(), address, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestMessages(t *testing.T) {
	g := NewWithT(t)
	address, stop := servetest.Start(t, Server{Answer: func(m []byte) []byte {
		if string(m) == "quiet" {
			return nil
		}
		return append([]byte("re: "), m...)
	}})
	conn := connect(t, address, Options{Dial: time.Minute, Write: time.Minute, Silence: time.Minute, Heartbeat: time.Millisecond})
	for _, m := range []string{"quiet", "a", strings.Repeat("x", MaxMessage-4)} {
		g.Expect(conn.Send([]byte(m))).To(Succeed())
		if m != "quiet" {
			g.Expect(conn.Receive()).To(BeEquivalentTo("re: " + m))
		}
		time.Sleep(5 * time.Millisecond) // some pings
	}
	g.Expect(conn.Send(make([]byte, MaxMessage+1))).To(MatchError(framing.ErrTooLong))
	conn.Close()
	stop()

	address, stop = servetest.Start(t, Server{})
	conn = connect(t, address, Options{})
	g.Expect(conn.Send([]byte("a"))).To(Succeed())
	g.Expect(conn.Receive()).To(BeEquivalentTo("a"))
	g.Expect(conn.Close()).To(Succeed())
	g.Expect(conn.Close()).To(MatchError(net.ErrClosed))
	stop()
}

// A quiet server that answers pings is alive for longer than Silence; one that does not is not.
func TestSilence(t *testing.T) {
	g := NewWithT(t)
	const silence = 1500 * time.Millisecond // time enough for a heartbeat on a busy machine
	address, _ := servetest.Start(t, Server{Answer: func([]byte) []byte { return nil }})
	conn := connect(t, address, Options{Silence: silence, Heartbeat: silence / 30})
	time.AfterFunc(2*silence, func() { conn.Close() })
	_, err := conn.Receive()
	g.Expect(err).To(MatchError(net.ErrClosed))

	began := time.Now()
	mute := connect(t, address, Options{Silence: silence}) // no heartbeat: it cannot know
	_, err = mute.Receive()
	g.Expect(err).To(MatchError(ErrSilent))
	g.Expect(time.Since(began)).To(BeNumerically(">=", silence))
}

func TestServerNoticesASilentClient(t *testing.T) {
	g := NewWithT(t)
	address, _ := servetest.Start(t, Server{Silence: 1500 * time.Millisecond})
	quiet := connect(t, address, Options{})
	beating := connect(t, address, Options{Heartbeat: 50 * time.Millisecond})
	ended := make(chan error, 1)
	go func() { _, err := beating.Receive(); ended <- err }()
	_, err := quiet.Receive()
	g.Expect(err).To(Equal(io.EOF))
	g.Consistently(ended, 200*time.Millisecond).ShouldNot(Receive())
	beating.Close()
	g.Expect(<-ended).To(MatchError(net.ErrClosed))
}

func TestWriteDeadline(t *testing.T) {
	g := NewWithT(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer listener.Close()
	conn := connect(t, listener.Addr().String(), Options{Write: 100 * time.Millisecond})
	for err == nil {
		err = conn.Send(make([]byte, MaxMessage)) // nobody reads
	}
	var timeout net.Error
	g.Expect(errors.As(err, &timeout)).To(BeTrue())
	g.Expect(timeout.Timeout()).To(BeTrue())
}

func TestSocketOptions(t *testing.T) {
	g := NewWithT(t)
	address, _ := servetest.Start(t, Server{})
	get := func(c *Conn, level, option int) (value int) {
		raw, err := c.conn.Conn.(*net.TCPConn).SyscallConn()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(raw.Control(func(fd uintptr) { value, err = unix.GetsockoptInt(int(fd), level, option) })).To(Succeed())
		g.Expect(err).NotTo(HaveOccurred())
		return value
	}
	conn := connect(t, address, Options{UserTimeout: 1234 * time.Millisecond,
		KeepAlive: &net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 6 * time.Second, Count: 7}})
	g.Expect(get(conn, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)).To(Equal(1234))
	g.Expect(get(conn, unix.SOL_SOCKET, unix.SO_KEEPALIVE)).To(Equal(1))
	g.Expect(get(conn, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)).To(Equal(5))
	g.Expect(get(conn, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL)).To(Equal(6))
	g.Expect(get(conn, unix.IPPROTO_TCP, unix.TCP_KEEPCNT)).To(Equal(7))
	g.Expect(get(connect(t, address, Options{}), unix.SOL_SOCKET, unix.SO_KEEPALIVE)).To(Equal(0))

	if _, err := Dial(t.Context(), address, Options{RTOMax: time.Second}); err != nil { // before Linux 6.15
		g.Expect(err).To(MatchError(syscall.ENOPROTOOPT))
	}
	_, err := Dial(t.Context(), address, Options{UserTimeout: -time.Second})
	g.Expect(err).To(And(MatchError(ContainSubstring("setsockopt TCP_USER_TIMEOUT -1s")), MatchError(syscall.EINVAL)))
}

func TestEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	check := servetest.NoLeaks(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	defer listener.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	conn, err := Dial(ctx, listener.Addr().String(), Options{Heartbeat: time.Millisecond})
	g.Expect(err).NotTo(HaveOccurred())
	why := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	_, err = conn.Receive()
	g.Expect(err).To(MatchError(why))
	conn.Close()
	check()
}

// FuzzReceive gives a client and a server any stream: what is no message is an error, never a panic.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02ma\x00\x00\x00\x01!\x00\x00\x00\x01?"))
	f.Add([]byte("\x00\x00\x00\x01m"))
	f.Add([]byte("\x00\x00\x00\x02!a\xff\xff\xff\xff"))
	f.Add([]byte(strings.Repeat("\xbb", 5000)))
	f.Fuzz(func(t *testing.T, stream []byte) {
		near, far := net.Pipe()
		c := &Conn{messages: framing.NewConn(near, framed, framing.Timeouts{})}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			defer near.Close() // or what is still to be written would wait for a reader
			for {
				m, err := c.Receive()
				if err != nil {
					return
				}
				if len(m) == 0 {
					t.Error("an empty message")
				}
			}
		}()
		_, _ = far.Write(stream)
		far.Close()
		<-ended
		if len(stream) > 0 {
			_, _ = Server{}.handle(nil, stream)
		}
	})
}
