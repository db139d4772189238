package kernel

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/netns"
)

// routed is a client and a server with a router between them.
func routed(t testing.TB, c netns.Config) *netns.Topology {
	t.Helper()
	topology, err := netns.Routed(c)
	if errors.Is(err, netns.ErrNotPermitted) || errors.Is(err, netns.ErrNotSupported) {
		testenv.Missing(t, "needs root and network namespaces: "+err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := topology.Close(); err != nil {
			t.Error(err)
		}
	})
	return topology
}

// needSockDiag skips the test where the kernel lists no sockets.
func needSockDiag(t testing.TB) {
	t.Helper()
	_, err := ReadSockets(nil, SocketFilter{States: []State{Listen}})
	if errors.Is(err, ErrNoSockDiag) {
		testenv.Missing(t, "needs sock_diag: "+err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// needEvents starts a recording, or skips the test.
func needEvents(t testing.TB, c EventConfig) *Events {
	t.Helper()
	e, err := StartEvents(c)
	if errors.Is(err, ErrNoTracefs) || errors.Is(err, os.ErrPermission) {
		testenv.Missing(t, "needs tracefs and root: "+err.Error())
	}
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// stop ends a recording that must be complete.
func stop(t testing.TB, e *Events) []Event {
	t.Helper()
	events, lost, err := e.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if lost != 0 {
		t.Errorf("%d events were lost", lost)
	}
	return events
}

// options sets socket options before connect and listen, which is when the window
// scale is chosen.
type options struct {
	receive    int // SO_RCVBUF
	congestion string
}

func (o options) control(_, _ string, c syscall.RawConn) error {
	var err error
	inner := c.Control(func(fd uintptr) {
		if o.receive != 0 {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, o.receive)
		}
		if err == nil && o.congestion != "" {
			err = unix.SetsockoptString(int(fd), unix.IPPROTO_TCP, unix.TCP_CONGESTION, o.congestion)
		}
	})
	return errors.Join(inner, err)
}

func listen(t testing.TB, host *netns.Host, addr netip.Addr, o options) *net.TCPListener {
	t.Helper()
	var l net.Listener
	err := host.Do(func() (err error) {
		c := net.ListenConfig{Control: o.control, KeepAlive: -1}
		c.SetMultipathTCP(false)
		l, err = c.Listen(t.Context(), "tcp", netip.AddrPortFrom(addr, 4000).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l.(*net.TCPListener)
}

func dial(t testing.TB, host *netns.Host, to net.Addr, o options) *net.TCPConn {
	t.Helper()
	c, err := tryDial(t.Context(), host, to, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func tryDial(ctx context.Context, host *netns.Host, to net.Addr, o options) (*net.TCPConn, error) {
	var c net.Conn
	err := host.Do(func() (err error) {
		d := net.Dialer{Control: o.control, KeepAlive: -1}
		d.SetMultipathTCP(false)
		c, err = d.DialContext(ctx, "tcp", to.String())
		return err
	})
	if err != nil {
		return nil, err
	}
	return c.(*net.TCPConn), nil
}

// pair is a connection from client to server.
func pair(t testing.TB, topology *netns.Topology, addr netip.Addr, ofClient, ofServer options) (client, server *net.TCPConn) {
	t.Helper()
	l := listen(t, topology.Server(), addr, ofServer)
	client = dial(t, topology.Client(), l.Addr(), ofClient)
	return client, accept(t, l)
}

func accept(t testing.TB, l *net.TCPListener) *net.TCPConn {
	t.Helper()
	c, err := l.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// transfer sends n bytes, and returns when they have been read.
func transfer(t testing.TB, from, to *net.TCPConn, n int) {
	t.Helper()
	failed := make(chan error, 1)
	go func() {
		_, err := from.Write(make([]byte, n))
		failed <- err
	}()
	if _, err := io.ReadFull(to, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

// closeInOrder closes both ends, the first one first, and returns when both have
// seen the other's FIN.
func closeInOrder(t testing.TB, first, second *net.TCPConn) {
	t.Helper()
	for _, c := range []struct{ closes, reads *net.TCPConn }{{first, second}, {second, first}} {
		if err := c.closes.CloseWrite(); err != nil {
			t.Fatal(err)
		}
		if n, err := c.reads.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("read %d, %v; want end of file", n, err)
		}
	}
	if err := errors.Join(first.Close(), second.Close()); err != nil {
		t.Fatal(err)
	}
}

func local(c net.Conn) netip.AddrPort  { return c.LocalAddr().(*net.TCPAddr).AddrPort() }
func remote(c net.Conn) netip.AddrPort { return c.RemoteAddr().(*net.TCPAddr).AddrPort() }
