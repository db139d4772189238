package broadcast

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers/course/framing"
	"github.com/tcplab/tcplab/peers/course/internal/servetest"
)

// departures collects what a server says of clients that are gone.
type departures struct {
	sync.Mutex
	list []Departure
}

func (d *departures) add(gone Departure) {
	d.Lock()
	defer d.Unlock()
	d.list = append(d.list, gone)
}

func (d *departures) of(client net.Addr) (list []error) {
	d.Lock()
	defer d.Unlock()
	for _, gone := range d.list {
		if gone.Remote.String() == client.String() {
			list = append(list, gone.Err)
		}
	}
	return list
}

// join connects, and returns once the server has registered the client.
func join(t *testing.T, address string, joined <-chan struct{}) *framing.Conn {
	t.Helper()
	client, err := Dial(context.Background(), address, 0, framing.Timeouts{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	<-joined
	return client
}

// announce returns a Joined that tells a channel.
func announce() (func(net.Addr), <-chan struct{}) {
	joined := make(chan struct{}, 100)
	return func(net.Addr) { joined <- struct{}{} }, joined
}

func receive(t *testing.T, client *framing.Conn) string {
	t.Helper()
	message, err := client.Receive()
	if err != nil {
		t.Fatal(err)
	}
	return string(message)
}

func TestSendsToAllOthersInOrder(t *testing.T) {
	tell, joined := announce()
	for name, server := range map[string]interface {
		Serve(context.Context, net.Listener) error
	}{"Server": Server{Queue: 1000, Joined: tell}, "Locked": Locked{Server{Joined: tell}}} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			address, stop := servetest.Start(t, server)
			watcher, a, b := join(t, address, joined), join(t, address, joined), join(t, address, joined)
			const count = 200
			var sends sync.WaitGroup
			for who, sender := range map[string]*framing.Conn{"a": a, "b": b} {
				sends.Go(func() {
					for i := range count {
						if err := sender.Send(fmt.Appendf(nil, "%s %d", who, i)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			next := map[string]int{}
			for range 2 * count {
				var who string
				var number int
				_, err := fmt.Sscanf(receive(t, watcher), "%s %d", &who, &number)
				g.Expect(err).NotTo(HaveOccurred())
				g.Expect(number).To(Equal(next[who]))
				next[who]++
			}
			for i := range count { // and each of them gets what the other says, and not its own
				g.Expect(receive(t, a)).To(Equal(fmt.Sprintf("b %d", i)))
				g.Expect(receive(t, b)).To(Equal(fmt.Sprintf("a %d", i)))
			}
			sends.Wait()
			late := join(t, address, joined)
			g.Expect(a.Send([]byte("now"))).To(Succeed())
			g.Expect(receive(t, late)).To(Equal("now"), "nothing old")
			for _, client := range []*framing.Conn{watcher, a, b, late} {
				client.Close()
			}
			stop()
		})
	}
}

func TestEvictsWhoTakesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		server Server
		want   error
	}{
		"a full queue":        {Server{Queue: 10, WriteTimeout: time.Minute}, ErrSlow},
		"a write that waits":  {Server{Queue: 10_000, WriteTimeout: 100 * time.Millisecond}, os.ErrDeadlineExceeded},
		"saying nothing more": {Server{Queue: 10_000, WriteTimeout: time.Minute, Idle: 2 * time.Second}, os.ErrDeadlineExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var gone departures
			tell, joined := announce()
			c.server.Left, c.server.Joined = gone.add, tell
			address, stop := servetest.Start(t, c.server)
			stuck, err := net.Dial("tcp", address)
			g.Expect(err).NotTo(HaveOccurred())
			defer stuck.Close()
			g.Expect(stuck.(*net.TCPConn).SetReadBuffer(4096)).To(Succeed())
			<-joined
			watcher, talker := join(t, address, joined), join(t, address, joined)
			message := []byte(strings.Repeat("x", 60_000))
			g.Eventually(func() []error {
				// Both say something, so that neither is idle; and take it, so that neither is slow.
				for _, pair := range [][2]*framing.Conn{{talker, watcher}, {watcher, talker}} {
					g.Expect(pair[0].Send(message)).To(Succeed())
					_, err := pair[1].Receive()
					g.Expect(err).NotTo(HaveOccurred())
				}
				return gone.of(stuck.LocalAddr())
			}, testenv.Patience, time.Millisecond).Should(HaveExactElements(MatchError(c.want)))
			gone.Lock()
			g.Expect(gone.list).To(HaveLen(1), "nobody else")
			gone.Unlock()
			stop()
			g.Expect(gone.of(stuck.LocalAddr())).To(HaveLen(1), "it is said once")
		})
	}
}

// A client that breaks the framing is gone, and the others do not notice.
func TestBrokenStream(t *testing.T) {
	g := NewWithT(t)
	var gone departures
	tell, joined := announce()
	address, stop := servetest.Start(t, Server{MaxMessage: 1000, Left: gone.add, Joined: tell})
	join(t, address, joined)
	bad, err := net.Dial("tcp", address)
	g.Expect(err).NotTo(HaveOccurred())
	defer bad.Close()
	_, err = bad.Write([]byte("\xff\xff\xff\xffxx"))
	g.Expect(err).NotTo(HaveOccurred())
	_, err = io.ReadAll(bad)
	g.Expect(err).To(HaveOccurred(), "a reset")
	g.Eventually(func() []error { return gone.of(bad.LocalAddr()) }, testenv.Patience).Should(HaveExactElements(MatchError(framing.ErrTooLong)))
	<-joined // the bad one
	join(t, address, joined).Close()
	g.Eventually(func() int { gone.Lock(); defer gone.Unlock(); return len(gone.list) }, testenv.Patience).Should(Equal(2))
	g.Expect(gone.list[1].Err).NotTo(HaveOccurred(), "it has left by itself")
	stop()
	g.Expect(gone.list).To(HaveLen(3))
	g.Expect(errors.Is(gone.list[2].Err, net.ErrClosed)).To(BeTrue(), "the server has ended")
}

// FuzzClient sends any bytes to a server: it must neither panic nor leave anything, and another client gets the whole messages in them.
func FuzzClient(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x02ab\x00\x00\x00\x01c"))
	f.Add([]byte("\xff\xff\xff\xff"))
	f.Add([]byte("\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, stream []byte) {
		near, far := net.Pipe()
		var r registry
		var published []byte
		left := make(chan struct{})
		go func() {
			defer close(left)
			_ = Server{MaxMessage: 100}.handle(near, &r, func(_ *member, message []byte) {
				published, _ = framing.Prefixed{}.Append(published, message)
			})
			near.Close()
		}()
		_, _ = far.Write(stream)
		far.Close()
		<-left
		if !strings.HasPrefix(string(stream), string(published)) {
			t.Fatalf("%q was sent, and %q published", stream, published)
		}
		if len(r.members) != 0 {
			t.Fatalf("%d clients are still registered", len(r.members))
		}
	})
}
