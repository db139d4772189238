package peers_test

import (
	"errors"
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
		{"larger than all buffers", peers.EchoClient{Requests: 2, Size: 1 << 20, SendBuffer: 4096, ReceiveBuffer: 4096}},
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
