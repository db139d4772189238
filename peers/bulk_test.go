package peers_test

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"testing"
	"time"

	"github.com/tcplab/tcplab/peers"
	"golang.org/x/sys/unix"
)

const tcpClose = 7 // include/net/tcp_states.h

func TestBulkTransfersBytes(t *testing.T) {
	for _, listen := range []string{"127.0.0.1:0", "[::1]:0"} {
		t.Run(listen, func(t *testing.T) {
			if listen[0] == '[' && !hasIPv6() {
				t.Skip("needs IPv6 on lo")
			}
			ctx := testContext(t)
			const size = 3_000_001
			server := start(t, ctx, "server", peers.BulkServer{Listen: netip.MustParseAddrPort(listen)})
			addr := readyAddr(t, ctx, server)
			client := start(t, ctx, "client", peers.BulkClient{Connect: addr, Bytes: size})
			c, s := wait(t, ctx, client), wait(t, ctx, server)

			if c.Bulk.Bytes != size || s.Bulk.Bytes != size {
				t.Errorf("client sent %d and server received %d, expected %d", c.Bulk.Bytes, s.Bulk.Bytes, size)
			}
			if c.Peer != "client" || c.Program != "bulk-client" || s.Program != "bulk-server" {
				t.Errorf("names: %q %q %q", c.Peer, c.Program, s.Program)
			}
			cc, sc := c.Connections[0], s.Connections[0]
			if cc.Local != sc.Remote || cc.Remote != sc.Local || cc.Remote != addr {
				t.Errorf("addresses: client %v %v, server %v %v", cc.Local, cc.Remote, sc.Local, sc.Remote)
			}
			if cc.ConnectTime <= 0 || cc.Elapsed <= 0 || cc.Goodput <= 0 || sc.Elapsed <= 0 {
				t.Errorf("times: %+v %+v", cc, sc)
			}
			if want := size * 8 / cc.Elapsed.Seconds(); math.Abs(cc.Goodput-want) > 1 {
				t.Errorf("goodput %f, expected %f", cc.Goodput, want)
			}
			for _, x := range []peers.Connection{cc, sc} {
				if x.TCPInfo == nil || x.TCPInfo.State != tcpClose || x.TCPInfo.Unacked != 0 {
					t.Errorf("TCP_INFO is not final: %+v", x.TCPInfo)
				}
				if x.Congestion == "" || x.NoDelay {
					t.Errorf("congestion control %q, TCP_NODELAY %v", x.Congestion, x.NoDelay)
				}
			}
			// RFC 4898 counts the SYN and the FIN in.
			if got := cc.TCPInfo.Bytes_acked; got != size+2 {
				t.Errorf("bytes_acked %d, expected %d: all data, the SYN and the FIN", got, size+2)
			}
			if got := sc.TCPInfo.Bytes_acked; got != 1 {
				t.Errorf("bytes_acked of the server %d, expected 1: its FIN", got)
			}
		})
	}
}

func hasIPv6() bool {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	return unix.Bind(fd, &unix.SockaddrInet6{Addr: [16]byte{15: 1}}) == nil
}

func TestBulkRunsForATime(t *testing.T) {
	ctx := testContext(t)
	const duration = 100 * time.Millisecond
	server := start(t, ctx, "server", peers.BulkServer{Listen: loopback, ProgressInterval: 10 * time.Millisecond})
	client := start(t, ctx, "client", peers.BulkClient{
		Connect: readyAddr(t, ctx, server), Duration: duration, ProgressInterval: 10 * time.Millisecond,
		Socket: peers.Socket{SendBuffer: 64 << 10}, // bounds what is on the way at the end
	})
	started, err := client.Started(ctx)
	if err != nil {
		t.Fatal(err)
	}
	c, s := wait(t, ctx, client), wait(t, ctx, server)
	if started.Local != c.Connections[0].Local || started.Remote != c.Connections[0].Remote {
		t.Errorf("started %v, connection %v %v", started, c.Connections[0].Local, c.Connections[0].Remote)
	}
	if c.Bulk.Elapsed < duration {
		t.Errorf("elapsed %v, expected at least %v", c.Bulk.Elapsed, duration)
	}
	if c.Bulk.Bytes == 0 || c.Bulk.Bytes != s.Bulk.Bytes {
		t.Errorf("sent %d, received %d", c.Bulk.Bytes, s.Bulk.Bytes)
	}
	for _, p := range []*peers.Peer{client, server} {
		var last peers.Progress
		if len(p.Progress()) == 0 {
			t.Errorf("no progress of %s", p.Name())
		}
		for _, now := range p.Progress() {
			if now.Elapsed <= last.Elapsed || now.Bytes < last.Bytes || now.Bytes > c.Bulk.Bytes {
				t.Errorf("progress of %s: %v after %v", p.Name(), now, last)
			}
			last = now
		}
	}
}

func TestBulkServesSeveralConnections(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.BulkServer{Listen: loopback, Connections: 3})
	addr := readyAddr(t, ctx, server)
	for i := range 3 {
		start(t, ctx, "client", peers.BulkClient{Connect: addr, Bytes: int64(i+1) * 1000})
	}
	s := wait(t, ctx, server)
	if len(s.Connections) != 3 || s.Bulk.Bytes != 6000 {
		t.Errorf("%d connections with %d bytes, expected 3 with 6000", len(s.Connections), s.Bulk.Bytes)
	}
}

func TestOptionsAreReadBack(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.BulkServer{Listen: loopback, Socket: peers.Socket{Congestion: "reno", SendBuffer: 30_000, ReceiveBuffer: 50_000, NoDelay: true}, Backlog: 7})
	client := start(t, ctx, "client", peers.BulkClient{
		Connect: readyAddr(t, ctx, server), Bytes: 100_000,
		Socket: peers.Socket{Congestion: "reno", SendBuffer: 20_000, ReceiveBuffer: 40_000, MSS: 1000, NoDelay: true},
	})
	c, s := wait(t, ctx, client).Connections[0], wait(t, ctx, server).Connections[0]
	for _, x := range []struct {
		what      string
		got, want any
	}{
		{"client congestion", c.Congestion, "reno"},
		{"client send buffer", c.SendBuffer, 40_000}, // the kernel doubles
		{"client receive buffer", c.ReceiveBuffer, 80_000},
		{"client nodelay", c.NoDelay, true},
		{"client advertised MSS", int(c.TCPInfo.Advmss) <= 1000, true}, // less the options' room
		{"server MSS", s.MSS <= 1000, true},
		{"server congestion", s.Congestion, "reno"},
		{"server send buffer", s.SendBuffer, 60_000},
		{"server receive buffer", s.ReceiveBuffer, 100_000},
		{"server nodelay", s.NoDelay, true},
	} {
		if x.got != x.want {
			t.Errorf("%s: %v, expected %v", x.what, x.got, x.want)
		}
	}
}

func TestOptionsThatTheKernelRefuses(t *testing.T) {
	connect := netip.MustParseAddrPort("127.0.0.1:9")
	for _, x := range []struct {
		name    string
		program peers.Program
		errno   error
		parts   []string
	}{
		{"unknown congestion control", peers.BulkClient{Connect: connect, Bytes: 1, Socket: peers.Socket{Congestion: "warp"}}, unix.ENOENT,
			[]string{"peer p (bulk-client, pid ", "setsockopt TCP_CONGESTION", "ENOENT", `"warp"`, "available are", "reno"}},
		{"send buffer beyond the maximum", peers.BulkClient{Connect: connect, Bytes: 1, Socket: peers.Socket{SendBuffer: math.MaxInt32 / 2}}, nil,
			[]string{"setsockopt SO_SNDBUF", "set to 1073741823", "net.core.wmem_max"}},
		{"receive buffer below the minimum", peers.BulkServer{Listen: loopback, Socket: peers.Socket{ReceiveBuffer: 1}}, nil,
			[]string{"setsockopt SO_RCVBUF", "set to 1, expected to read back 2", "minimum"}},
		{"low water beyond half of the receive buffer", peers.BulkServer{Listen: loopback, Socket: peers.Socket{ReceiveBuffer: 40_000, ReceiveLowWater: 40_001}}, nil,
			[]string{"setsockopt SO_RCVLOWAT", "set to 40001, expected to read back 40001, but the kernel has 40000", "half of SO_RCVBUF"}},
		{"backlog beyond the maximum", peers.Accept{Listen: loopback, Backlog: math.MaxInt32}, nil,
			[]string{"listen 127.0.0.1:0", "a backlog of 2147483647", "net.core.somaxconn"}},
		{"address of another machine", peers.EchoServer{Listen: netip.MustParseAddrPort("203.0.113.254:0")}, unix.EADDRNOTAVAIL,
			[]string{"bind 203.0.113.254:0", "EADDRNOTAVAIL"}},
	} {
		t.Run(x.name, func(t *testing.T) {
			ctx := testContext(t)
			p := start(t, ctx, "p", x.program)
			_, readyErr := p.Ready(ctx)
			r, err := p.Wait(ctx)
			contains(t, err, x.parts...)
			contains(t, readyErr, x.parts...)
			if x.errno != nil && !errors.Is(err, x.errno) {
				t.Errorf("%v is not %v", err, x.errno)
			}
			if r.Err == nil {
				t.Error("no error in the result")
			}
		})
	}
}

func TestMSSLimitsAreThoseOfTheKernel(t *testing.T) {
	ctx := testContext(t)
	for _, mss := range []int{88, 32767} {
		p := start(t, ctx, "p", peers.Accept{Listen: loopback, Socket: peers.Socket{MSS: mss}, Never: true})
		if _, err := p.Ready(ctx); err != nil {
			t.Error(err)
		}
	}
}

func TestBulkRefused(t *testing.T) {
	ctx := testContext(t)
	addr := closedPort(t)
	client := start(t, ctx, "client", peers.BulkClient{Connect: addr, Bytes: 1})
	r, err := client.Wait(ctx)
	contains(t, err, "peer client (bulk-client, pid ", "connect "+addr.String()+": ECONNREFUSED (connection refused)")
	var p *peers.PeerError
	if !errors.Is(err, unix.ECONNREFUSED) || !errors.As(err, &p) || p.Op != "connect" || p.Errno != "ECONNREFUSED" {
		t.Errorf("%#v", err)
	}
	if r.Err == nil || *r.Err != *p || r.Connections[0].Err == nil {
		t.Errorf("result: %+v", r)
	}
}

func TestBulkStops(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.BulkServer{Listen: loopback})
	client := start(t, ctx, "client", peers.BulkClient{Connect: readyAddr(t, ctx, server), Duration: time.Hour})
	if _, err := client.Started(ctx); err != nil {
		t.Fatal(err)
	}
	c, err := client.Stop(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if s := wait(t, ctx, server); c.Bulk.Bytes != s.Bulk.Bytes || c.Connections[0].TCPInfo.State != tcpClose {
		t.Errorf("sent %d, received %d, state %d", c.Bulk.Bytes, s.Bulk.Bytes, c.Connections[0].TCPInfo.State)
	}
	if _, err := client.Stop(ctx); err != nil {
		t.Errorf("a stop after the end: %v", err)
	}
}

func TestBulkServerStoppedInMidTransfer(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.BulkServer{Listen: loopback})
	client := start(t, ctx, "client", peers.BulkClient{Connect: readyAddr(t, ctx, server), Duration: time.Hour})
	if _, err := server.Started(ctx); err != nil {
		t.Fatal(err)
	}
	s, err := server.Stop(ctx)
	contains(t, err, "read ", "ECANCELED", "stopped before the other side had closed")
	if s.Connections[0].TCPInfo == nil {
		t.Error("no TCP_INFO")
	}
	c, err := client.Wait(ctx)
	if !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		t.Errorf("client: %v", err)
	}
	if c.Connections[0].TCPInfo == nil {
		t.Error("no TCP_INFO of the client")
	}
}

// A server that never reads lets the client wait in its last close; a second stop ends that.
func TestSecondStopReportsAtOnce(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.Accept{Listen: loopback, Never: true})
	client := start(t, ctx, "client", peers.BulkClient{Connect: readyAddr(t, ctx, server), Bytes: 1})
	if _, err := client.Started(ctx); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := client.Stop(over); !errors.Is(err, context.Canceled) {
		t.Errorf("first stop: %v", err)
	}
	r, err := client.Stop(ctx)
	contains(t, err, "ECANCELED")
	if len(r.Connections) != 1 || r.Connections[0].TCPInfo == nil {
		t.Errorf("result: %+v", r)
	}
}

// A peer that is killed after it has acknowledged all would look like one that has read all, but for the state.
func TestBulkServerKilled(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.BulkServer{Listen: loopback})
	client := start(t, ctx, "client", peers.BulkClient{Connect: readyAddr(t, ctx, server), Duration: time.Hour})
	if _, err := server.Started(ctx); err != nil {
		t.Fatal(err)
	}
	server.Kill()
	if _, err := client.Wait(ctx); !errors.Is(err, unix.ECONNRESET) && !errors.Is(err, unix.EPIPE) {
		t.Errorf("client: %v", err)
	}
}

func TestBeginIsAwaited(t *testing.T) {
	ctx := testContext(t)
	server := start(t, ctx, "server", peers.EchoServer{Listen: loopback})
	addr := readyAddr(t, ctx, server)
	client := start(t, ctx, "client", peers.EchoClient{Connect: addr, AwaitBegin: true})
	if _, err := client.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	over, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if _, err := client.Started(over); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("started without Begin: %v", err)
	}
	if err := server.Begin(); err != nil { // nothing to do
		t.Error(err)
	}
	if err := client.Begin(); err != nil {
		t.Fatal(err)
	}
	wait(t, ctx, client)
	wait(t, ctx, server)
}

func TestStopBeforeBegin(t *testing.T) {
	ctx := testContext(t)
	for _, p := range []peers.Program{
		peers.BulkClient{Connect: closedPort(t), Bytes: 1, AwaitBegin: true},
		peers.EchoClient{Connect: closedPort(t), AwaitBegin: true},
		peers.Dial{Connect: closedPort(t), AwaitBegin: true},
	} {
		_, err := start(t, ctx, "client", p).Stop(ctx)
		contains(t, err, "begin: ECANCELED", "stopped before it was told to begin")
	}
}

func BenchmarkBulkLoopback(b *testing.B) {
	ctx := context.Background()
	b.SetBytes(64 << 20)
	for b.Loop() {
		server := start(b, ctx, "server", peers.BulkServer{Listen: loopback})
		client := start(b, ctx, "client", peers.BulkClient{Connect: readyAddr(b, ctx, server), Bytes: 64 << 20})
		wait(b, ctx, client)
		wait(b, ctx, server)
	}
}
