package peers

import (
	"context"
	"errors"
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/testenv"
	"golang.org/x/sys/unix"
)

// connected returns the two ends of a connection over the loopback interface.
func connected(t *testing.T) (client, server *socket) {
	t.Helper()
	ctx := testenv.Context(t)
	listener, addr := listening(t)
	client, err := newSocket(addr, Socket{}, asClient)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.close)
	if _, err := client.connect(ctx, addr, 0); err != nil {
		t.Fatal(err)
	}
	server, _, err = listener.accept(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.close)
	return client, server
}

func listening(t *testing.T) (*socket, netip.AddrPort) {
	t.Helper()
	l, err := listen(netip.MustParseAddrPort("127.0.0.1:0"), Socket{}, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	addr, err := l.localAddr()
	if err != nil {
		t.Fatal(err)
	}
	return l, addr
}

// What comes after a stop is left alone, although it could be done without waiting.
func TestNothingBeginsAfterAStop(t *testing.T) {
	over, cancel := context.WithCancel(context.Background())
	cancel()
	l, addr := listening(t)
	queued := func() uint32 {
		t.Helper()
		info, err := l.tcpInfo()
		if err != nil {
			t.Fatal(err)
		}
		return info.Unacked
	}
	client, err := newSocket(addr, Socket{}, asClient)
	if err != nil {
		t.Fatal(err)
	}
	defer client.close()
	if _, err := client.connect(over, addr, 0); !errors.Is(err, unix.ECANCELED) || queued() != 0 {
		t.Errorf("connect: %v, %d connections", err, queued())
	}
	if _, err := client.connect(context.Background(), addr, 0); err != nil || queued() != 1 {
		t.Fatalf("connect: %v, %d connections", err, queued())
	}
	if _, _, err := l.accept(over); !errors.Is(err, unix.ECANCELED) || queued() != 1 {
		t.Errorf("accept: %v, %d connections left", err, queued())
	}
}

// A connection that ends by an RST while it waits for the last acknowledgment is in the same state as one that got it.
func TestPassiveCloseTellsOfAReset(t *testing.T) {
	const lastACK = 9 // TCP_LAST_ACK of include/net/tcp_states.h
	client, server := connected(t)
	if err := client.closeWrite(); err != nil {
		t.Fatal(err)
	}
	if n, err := io.Copy(io.Discard, onlyReader{server.f}); n != 0 || err != nil {
		t.Fatal(n, err)
	}
	// More than the client, who does not read, has room for: the server's FIN waits behind it.
	err := server.control(func(fd int) error {
		for {
			if _, err := unix.Write(fd, pattern(writeSize)); err != nil {
				return err
			}
		}
	})
	if !errors.Is(err, unix.EAGAIN) {
		t.Fatal(err)
	}
	ctx := testenv.Context(t)
	closed := make(chan error, 1)
	go func() { closed <- server.finishPassive(ctx) }()
	for {
		info, err := server.tcpInfo()
		if err != nil || ctx.Err() != nil {
			t.Fatal(err, ctx.Err())
		}
		if info.State == lastACK {
			break
		}
		time.Sleep(time.Millisecond)
	}
	client.close() // with data that was not read: that sends an RST
	if err := <-closed; !errors.Is(err, unix.ECONNRESET) {
		t.Errorf("%v, expected ECONNRESET", err)
	}
}
