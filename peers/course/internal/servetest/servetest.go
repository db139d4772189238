// Package servetest runs the servers of the course in tests, on the loopback interface, and looks for goroutines that they leave.
package servetest

import (
	"context"
	"net"
	"sync"
	"testing"

	"github.com/onsi/gomega"
	"github.com/onsi/gomega/gleak"

	"github.com/tcplab/tcplab/internal/testenv"
)

// A Server serves connections until its context ends, and returns nil then.
type Server interface {
	Serve(context.Context, net.Listener) error
}

// Start runs a server. It returns its address, and what ends it: the test's end at the latest. Then it must return nil, and no
// goroutine that was started since may be left.
func Start(t testing.TB, server Server) (address string, stop func()) {
	t.Helper()
	check := NoLeaks(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx, listener) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		check()
	})
	t.Cleanup(stop)
	return listener.Addr().String(), stop
}

// NoLeaks returns a function that fails the test if a goroutine that was started since then does not end.
func NoLeaks(t testing.TB) (check func()) {
	before := gleak.Goroutines()
	return func() {
		t.Helper()
		gomega.NewWithT(t).Eventually(gleak.Goroutines, testenv.Patience).ShouldNot(gleak.HaveLeaked(before))
	}
}

// Pair returns the two ends of a connection over the loopback interface. A [net.Pipe] would not do where an end is closed while the
// other works: there, setting a deadline fails as soon as the other end is closed, where a socket first gives what it has received.
func Pair(t testing.TB) (client, server *net.TCPConn) {
	t.Helper()
	listener, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close() //nolint:errcheck // of no use any more
	dialled, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dialled.Close() })
	server, err = listener.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return dialled.(*net.TCPConn), server
}
