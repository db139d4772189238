package peers_test

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/tcplab/tcplab/peers"
	"golang.org/x/sys/unix"
)

func TestEchoMeasuresLatencies(t *testing.T) {
	for _, x := range []struct {
		name string
		c    peers.EchoClient
	}{
		{"defaults", peers.EchoClient{}},
		{"many", peers.EchoClient{Requests: 50, Size: 100}},
		{"spaced", peers.EchoClient{Requests: 3, Interval: 10 * time.Millisecond}},
		{"larger than all buffers", peers.EchoClient{Requests: 2, Size: 1 << 20, Socket: peers.Socket{SendBuffer: 4096, ReceiveBuffer: 4096}}},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx := testContext(t)
			server := start(t, ctx, "server", peers.EchoServer{Listen: loopback})
			x.c.Connect = readyAddr(t, ctx, server)
			client := start(t, ctx, "client", x.c)
			c, s := wait(t, ctx, client), wait(t, ctx, server)

			requests, size := max(x.c.Requests, 1), int64(max(x.c.Size, 1))
			e := c.Echo
			if e.Requests != requests || len(e.Latencies) != requests {
				t.Errorf("%d requests and %d latencies, expected %d", e.Requests, len(e.Latencies), requests)
			}
			sorted := slices.Sorted(slices.Values(e.Latencies))
			if e.Min != sorted[0] || e.Max != sorted[requests-1] || e.Median != sorted[(requests-1)/2] || e.P99 != sorted[requests-1] || e.Min <= 0 {
				t.Errorf("%+v, sorted %v", e, sorted)
			}
			total := int64(requests) * size
			for _, n := range []int64{c.Connections[0].Sent, c.Connections[0].Received, s.Connections[0].Sent, s.Connections[0].Received} {
				if n != total {
					t.Errorf("%d bytes, expected %d", n, total)
				}
			}
			if least := time.Duration(requests-1) * x.c.Interval; c.Connections[0].Elapsed < least {
				t.Errorf("elapsed %v, expected at least %v", c.Connections[0].Elapsed, least)
			}
		})
	}
}

// A late answer delays the requests behind it, and does not make them come closer together.
func TestEchoIntervalIsKeptAfterALateAnswer(t *testing.T) {
	const interval, late = 50 * time.Millisecond, 200 * time.Millisecond
	ctx := testContext(t)
	l, err := net.Listen("tcp4", loopback.String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		request := make([]byte, 1)
		for i := 0; ; i++ {
			if _, err := conn.Read(request); err != nil {
				return
			}
			if i == 0 {
				time.Sleep(late)
			}
			if _, err := conn.Write(request); err != nil {
				return
			}
		}
	}()
	client := start(t, ctx, "client", peers.EchoClient{Connect: netip.MustParseAddrPort(l.Addr().String()), Requests: 3, Interval: interval})
	if c := wait(t, ctx, client).Connections[0]; c.Elapsed < late+interval {
		t.Errorf("elapsed %v, expected at least %v: the second request when the first is answered, the third an interval later", c.Elapsed, late+interval)
	}
}

func TestEchoStopsBetweenRequests(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.EchoServer{Listen: loopback})
	client := start(t, ctx, "client", peers.EchoClient{Connect: readyAddr(t, ctx, server), Requests: 2, Interval: time.Hour})
	if _, err := server.Started(ctx); err != nil {
		t.Fatal(err)
	}
	// The stop may come before the first answer, which is an error, or after it, which is none.
	c, err := client.Stop(ctx)
	if err != nil && !errors.Is(err, unix.ECANCELED) {
		t.Error(err)
	}
	if c.Echo.Requests > 1 {
		t.Errorf("%d requests", c.Echo.Requests)
	}
}

func TestEchoToAServerThatNeverAnswers(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.Accept{Listen: loopback, Count: 1, Hold: 100 * time.Millisecond})
	client := start(t, ctx, "client", peers.EchoClient{Connect: readyAddr(t, ctx, server), Size: 4096})
	r, err := client.Wait(ctx)
	// If the request comes after the hold, it is answered with an RST.
	if !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		contains(t, err, "read 127.0.0.1:", "the server closed before it had answered")
	}
	if r.Echo.Requests != 0 || r.Err == nil {
		t.Errorf("%+v", r)
	}
}
