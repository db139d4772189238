package serve

import (
	"context"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers/course/internal/servetest"
)

func listen(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func dial(t *testing.T, listener net.Listener) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestRunEndsAllWithItsContext(t *testing.T) {
	g := NewWithT(t)
	check := servetest.NoLeaks(t)
	ctx, cancel := context.WithCancel(t.Context())
	listener := listen(t)
	began := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, listener, 10, func(conn net.Conn) {
			began <- struct{}{}
			_, _ = io.Copy(io.Discard, conn) // for ever, if nobody closes it
		})
	}()
	client := dial(t, listener)
	<-began
	cancel()
	g.Eventually(ended, testenv.Patience).Should(Receive(BeNil()))
	_, err := client.Read(make([]byte, 1))
	g.Expect(err).To(MatchError(io.EOF))
	_, err = net.Dial("tcp", listener.Addr().String())
	g.Expect(err).To(MatchError(syscall.ECONNREFUSED))
	check()
}

func TestRunHandlesNoMoreAtATimeThanAsked(t *testing.T) {
	g := NewWithT(t)
	const most = 2
	var running, highest atomic.Int32
	release := make(chan struct{})
	listener := listen(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Run(ctx, listener, most, func(net.Conn) {
			highest.Store(max(highest.Load(), running.Add(1)))
			<-release
			running.Add(-1)
		})
	}()
	for range 5 {
		dial(t, listener)
	}
	g.Eventually(running.Load, testenv.Patience).Should(BeEquivalentTo(most))
	g.Consistently(highest.Load, 50*time.Millisecond).Should(BeEquivalentTo(most))
	close(release)
	cancel()
	g.Eventually(ended, testenv.Patience).Should(Receive(BeNil()))
}

// A script of what Accept returns.
type acceptor struct {
	net.Listener
	errs []error
}

func (a *acceptor) Accept() (net.Conn, error) {
	err := a.errs[0]
	a.errs = a.errs[1:]
	return nil, err
}

func TestRunSurvivesWhatPasses(t *testing.T) {
	g := NewWithT(t)
	final := errors.New("over")
	scripted := &acceptor{listen(t), []error{
		&net.OpError{Op: "accept", Err: syscall.EMFILE}, &net.OpError{Op: "accept", Err: syscall.ECONNABORTED}, final,
	}}
	err := Run(t.Context(), scripted, 1, nil)
	g.Expect(err).To(MatchError(final))
	g.Expect(err).To(MatchError(HavePrefix("accept on 127.0.0.1:")))
	g.Expect(scripted.errs).To(BeEmpty())

	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	short := &acceptor{listen(t), []error{syscall.EMFILE, syscall.EMFILE, syscall.EMFILE, syscall.EMFILE, syscall.EMFILE, syscall.EMFILE}}
	g.Expect(Run(ctx, short, 1, nil)).To(Succeed())
}

// The client has sent more than the server reads: it gets the last answer all the same, and then the end.
func TestFinishSavesTheLastAnswer(t *testing.T) {
	for name, finish := range map[string]bool{"with Finish": true, "by Close alone": false} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			listener := listen(t)
			defer listener.Close()
			client := dial(t, listener)
			server, err := listener.Accept()
			g.Expect(err).NotTo(HaveOccurred())
			_, err = client.Write(make([]byte, 10_000))
			g.Expect(err).NotTo(HaveOccurred())
			_, err = io.ReadFull(server, make([]byte, 10))
			g.Expect(err).NotTo(HaveOccurred())
			_, err = server.Write([]byte("no"))
			g.Expect(err).NotTo(HaveOccurred())
			if finish {
				closed := time.AfterFunc(50*time.Millisecond, func() { client.(*net.TCPConn).CloseWrite() })
				defer closed.Stop()
				Finish(server, 1<<20, 10*time.Second)
			}
			server.Close()
			time.Sleep(50 * time.Millisecond) // a reset would have come by now, and it comes before what was not read
			answer, err := io.ReadAll(client)
			if finish {
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(string(answer)).To(Equal("no"))
			} else {
				g.Expect(err).To(MatchError(syscall.ECONNRESET))
			}
		})
	}
}

func TestFinishIsBounded(t *testing.T) {
	g := NewWithT(t)
	listener := listen(t)
	defer listener.Close()
	client := dial(t, listener)
	server, err := listener.Accept()
	g.Expect(err).NotTo(HaveOccurred())
	defer server.Close()
	began := time.Now()
	Finish(server, 1<<20, 50*time.Millisecond) // the client never closes
	g.Expect(time.Since(began)).To(BeNumerically("~", 50*time.Millisecond, 5*time.Second))
	_, err = client.Write(make([]byte, 1000))
	g.Expect(err).NotTo(HaveOccurred())
	Finish(server, 10, time.Minute) // and sends more than that
	pipe, other := net.Pipe()
	defer other.Close()
	Finish(pipe, 10, time.Minute) // has no half-close
}

func TestConnEndsWithItsContext(t *testing.T) {
	g := NewWithT(t)
	check := servetest.NoLeaks(t)
	listener := listen(t)
	defer listener.Close()
	ctx, cancel := context.WithCancelCause(t.Context())
	conn, err := Dial(ctx, listener.Addr().String(), time.Minute)
	g.Expect(err).NotTo(HaveOccurred())
	why := errors.New("enough")
	time.AfterFunc(10*time.Millisecond, func() { cancel(why) })
	_, err = conn.Read(make([]byte, 1))
	g.Expect(conn.Explain(err)).To(MatchError(why))
	g.Expect(conn.Explain(nil)).To(Succeed())
	g.Expect(conn.Close()).To(Or(Succeed(), MatchError(net.ErrClosed)))
	check()

	_, err = Dial(ctx, listener.Addr().String(), time.Minute)
	g.Expect(err).To(HaveOccurred())
}
