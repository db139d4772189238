package peers_test

import (
	"errors"
	"testing"
	"time"

	"github.com/tcplab/tcplab/peers"
	"golang.org/x/sys/unix"
)

func TestDialRefusedIsAResult(t *testing.T) {
	ctx := testContext(t)
	addr := closedPort(t)
	for _, parallel := range []bool{false, true} {
		r := wait(t, ctx, start(t, ctx, "client", peers.Dial{Connect: addr, Count: 3, Parallel: parallel}))
		if len(r.Connections) != 3 || r.Err != nil {
			t.Fatalf("%+v", r)
		}
		for _, c := range r.Connections {
			if c.Err == nil || c.Err.Errno != "ECONNREFUSED" || !errors.Is(c.Err, unix.ECONNREFUSED) || c.ConnectTime <= 0 || c.Remote != addr {
				t.Errorf("%+v", c)
			}
		}
	}
}

// A backlog of n takes n+1 connections; to one more the kernel does not answer.
func TestNeverAcceptFillsTheQueue(t *testing.T) {
	const dialTimeout = 2 * time.Second // no machine is so busy that the first three need as long
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.Accept{Listen: loopback, Backlog: 2, Never: true})
	client := start(t, ctx, "client", peers.Dial{Connect: readyAddr(t, ctx, server), Count: 4, Timeout: dialTimeout})
	c := wait(t, ctx, client)
	s, err := server.Stop(ctx) // those that the client has closed stay in the queue
	if err != nil {
		t.Fatal(err)
	}
	if s.Accept.Backlog != 2 || s.Accept.Queued != 3 || s.Accept.Accepted != 0 {
		t.Errorf("server: %+v", s.Accept)
	}
	for i, conn := range c.Connections {
		if i < 3 && conn.Err != nil {
			t.Errorf("connection %d: %v", i, conn.Err)
		}
		if i == 3 && (conn.Err == nil || conn.Err.Errno != "EINPROGRESS" || conn.ConnectTime < dialTimeout) {
			t.Errorf("connection %d: %+v", i, conn)
		}
	}
}

// How long to try is the kernel's decision, and its error is what the result says. With one retry that takes 3 s at
// least: 1 s and 2 s (RFC 6298), or, since Linux 6.5, the first ones 1 s each (tcp_syn_linear_timeouts).
func TestConnectTimesOutInTheKernel(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 3 s or more")
	}
	const tick = 10 * time.Millisecond // the longest of the kernel's, at HZ 100
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.Accept{Listen: loopback, Backlog: 1, Never: true})
	addr := readyAddr(t, ctx, server)
	fill := start(t, ctx, "fill", peers.Dial{Connect: addr, Count: 2, CloseImmediately: true})
	wait(t, ctx, fill)
	c := wait(t, ctx, start(t, ctx, "client", peers.Dial{Connect: addr, Socket: peers.Socket{SYNRetries: 1}})).Connections[0]
	if !errors.Is(c.Err, unix.ETIMEDOUT) || c.Err.Errno != "ETIMEDOUT" {
		t.Errorf("%+v", c.Err)
	}
	if c.ConnectTime < 3*time.Second-tick {
		t.Errorf("gave up after %v, expected at least 3 s", c.ConnectTime)
	}
	if i := c.TCPInfo; i == nil || i.Total_retrans < 1 || i.Total_retrans != uint32(i.Retransmits) {
		t.Errorf("TCP_INFO does not tell of the SYNs that were retransmitted: %+v", i)
	}
}

func TestAcceptCounts(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.Accept{Listen: loopback, Count: 5})
	client := start(t, ctx, "client", peers.Dial{Connect: readyAddr(t, ctx, server), Count: 5, Parallel: true, CloseImmediately: true})
	c, s := wait(t, ctx, client), wait(t, ctx, server)
	if s.Accept.Accepted != 5 || len(s.Connections) != 5 || len(c.Connections) != 5 {
		t.Errorf("%+v", s)
	}
	for _, x := range c.Connections {
		if x.Err != nil || x.TCPInfo == nil || !x.Local.IsValid() {
			t.Errorf("%+v", x)
		}
	}
}

func TestWhoClosesFirst(t *testing.T) {
	const closeWait, established = 8, 1 // include/net/tcp_states.h
	for _, x := range []struct {
		name           string
		accept         peers.Accept
		dial           peers.Dial
		server, client uint8 // the state before this side closes
	}{
		{"client", peers.Accept{Count: 1}, peers.Dial{}, closeWait, established},
		{"server", peers.Accept{Count: 1, Hold: time.Millisecond}, peers.Dial{Hold: peers.UntilStopped}, established, closeWait},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx := testContext(t)
			x.accept.Listen = loopback
			server := start(t, ctx, "server", x.accept)
			x.dial.Connect = readyAddr(t, ctx, server)
			client := start(t, ctx, "client", x.dial)
			s := wait(t, ctx, server).Connections[0]
			r, err := client.Stop(ctx)
			if err != nil {
				t.Fatal(err)
			}
			c := r.Connections[0]
			if c.TCPInfo.State != x.client || s.TCPInfo.State != x.server {
				t.Errorf("states: client %d, server %d, expected %d and %d", c.TCPInfo.State, s.TCPInfo.State, x.client, x.server)
			}
		})
	}
}

func TestAcceptStops(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.Accept{Listen: loopback})
	client := start(t, ctx, "client", peers.Dial{Connect: readyAddr(t, ctx, server), Hold: peers.UntilStopped})
	if _, err := server.Started(ctx); err != nil {
		t.Fatal(err)
	}
	s, err := server.Stop(ctx)
	if err != nil || s.Accept.Accepted != 1 || s.Connections[0].Err != nil {
		t.Errorf("%+v, %v", s, err)
	}
	if _, err := client.Stop(ctx); err != nil {
		t.Error(err)
	}
}

func TestDialStopsWhileItConnects(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.Accept{Listen: loopback, Backlog: 1, Never: true})
	client := start(t, ctx, "client", peers.Dial{Connect: readyAddr(t, ctx, server), Count: 4})
	if _, err := client.Started(ctx); err != nil {
		t.Fatal(err)
	}
	r, err := client.Stop(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if last := r.Connections[3]; !errors.Is(last.Err, unix.ECANCELED) {
		t.Errorf("%+v", last.Err)
	}
}
