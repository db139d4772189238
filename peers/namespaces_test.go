package peers_test

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// twoHosts are two namespaces with a link between them. It has no neighbour discovery: what is sent to an address is
// lost until meet has been called, and for ever if it is no host's.
type twoHosts struct {
	a, b       *namespace
	mac        [2]net.HardwareAddr
	aIPs, bIPs []string
}

func newTwoHosts(t *testing.T) *twoHosts {
	t.Helper()
	h := &twoHosts{
		a: newLoopback(t), b: newLoopback(t),
		aIPs: []string{"10.7.0.1", "fd00:7::1"}, bIPs: []string{"10.7.0.2", "fd00:7::2"},
	}
	var ns int
	if err := h.b.do(func() (err error) {
		ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(ns)
	if err := h.a.do(func() error {
		link := netlink.NewVeth(netlink.NewLinkAttrs())
		link.Name, link.PeerName, link.PeerNamespace = "link", "link", netlink.NsFd(ns)
		link.Index = 7 // not the other end's: that would hide the carrier for up to a second, see netns
		return netlink.LinkAdd(link)
	}); err != nil {
		t.Fatal(err)
	}
	for i, x := range []struct {
		n   *namespace
		ips []string
	}{{h.a, h.aIPs}, {h.b, h.bIPs}} {
		if err := x.n.do(func() error {
			link, err := netlink.LinkByName("link")
			if err != nil {
				return err
			}
			h.mac[i] = link.Attrs().HardwareAddr
			if err := netlink.LinkSetARPOff(link); err != nil {
				return err
			}
			for _, ip := range x.ips {
				bits := 24
				if netip.MustParseAddr(ip).Is6() {
					bits = 64
				}
				addr, err := netlink.ParseAddr(fmt.Sprintf("%s/%d", ip, bits))
				if err != nil {
					return err
				}
				addr.Flags = unix.IFA_F_NODAD
				if err := netlink.AddrAdd(link, addr); err != nil {
					return fmt.Errorf("%s: %w", ip, err)
				}
			}
			return netlink.LinkSetUp(link)
		}); err != nil {
			testenv.Missing(t, "a veth link: "+err.Error())
		}
	}
	// Until the kernel's link watch has seen the carrier, which the end that was brought up first got from the second
	// one, that end's queue drops all that is sent, and send(2) tells nobody: see netns.
	// And until a worker of the kernel has added the route to a host's own address of IPv6, which it does for one without
	// duplicate address detection as well, that host drops what is sent to it as not meant for it.
	for i, n := range []*namespace{h.a, h.b} {
		own := net.ParseIP([]string{h.aIPs[1], h.bIPs[1]}[i])
		await(t, "the link's carrier, and a route to "+own.String(), func() (ready bool) {
			if err := n.do(func() error {
				link, err := netlink.LinkByName("link")
				if err != nil || link.Attrs().OperState != netlink.OperUp {
					return err
				}
				routes, err := netlink.RouteGet(own)
				if errors.Is(err, unix.ENETUNREACH) {
					return nil
				}
				ready = err == nil && len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL
				return err
			}); err != nil {
				t.Fatal(err)
			}
			return ready
		})
	}
	return h
}

// await waits until something is so.
func await(t *testing.T, what string, so func() bool) {
	t.Helper()
	for deadline := time.Now().Add(testenv.Patience); !so(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %v", what, testenv.Patience)
		}
	}
}

// meet tells each host where the other is.
func (h *twoHosts) meet(t *testing.T) {
	t.Helper()
	for _, x := range []struct {
		n   *namespace
		ips []string
		mac net.HardwareAddr
	}{{h.a, h.bIPs, h.mac[1]}, {h.b, h.aIPs, h.mac[0]}} {
		if err := x.n.do(func() error {
			link, err := netlink.LinkByName("link")
			if err != nil {
				return err
			}
			for _, ip := range x.ips {
				if err := netlink.NeighSet(&netlink.Neigh{
					LinkIndex: link.Attrs().Index, IP: net.ParseIP(ip), HardwareAddr: x.mac, State: netlink.NUD_PERMANENT,
				}); err != nil {
					return fmt.Errorf("%s: %w", ip, err)
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
}

func endpoint(ip string, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.MustParseAddr(ip), port)
}

// Two clients and no server (RFC 9293, section 3.5): each has sent its SYN when the first SYN arrives.
func TestScriptsOpenWithoutAListener(t *testing.T) {
	const synSent = 2 // TCP_SYN_SENT of include/net/tcp_states.h
	h, ctx := newTwoHosts(t), testContext(t)
	a, b := endpoint(h.aIPs[0], 5001), endpoint(h.bIPs[0], 5002)
	steps := peers.Steps(peers.Write(10), peers.Read(10), peers.Await(), peers.Close())
	x := startOn(t, ctx, h.a, "a", peers.Script{Local: a, Connect: b, Steps: steps})
	y := startOn(t, ctx, h.b, "b", peers.Script{Local: b, Connect: a, Steps: steps})
	for h.a.sockets(t, synSent) != 1 || h.b.sockets(t, synSent) != 1 {
		if ctx.Err() != nil {
			t.Fatal("no two sockets in SYN_SENT")
		}
		time.Sleep(time.Millisecond)
	}
	h.meet(t)
	for _, p := range []*peers.Peer{x, y} {
		if _, err := p.Waiting(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []*peers.Peer{x, y} {
		if err := p.Continue(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for i, p := range []*peers.Peer{x, y} {
		r := wait(t, ctx, p)
		conn := r.Connections[0]
		expectSteps(t, p.Name(), conn.Steps, "write 10: 10", "read 10: 10", "await: 0", "close: 0")
		if want := []netip.AddrPort{a, b}[i]; conn.Local != want {
			t.Errorf("%s is bound to %v, expected %v", p.Name(), conn.Local, want)
		}
	}
}

// 200 SYNs, and a queue that is full when it has more than the backlog (inet_csk_reqsk_queue_is_full).
func TestSYNFlood(t *testing.T) {
	const count, backlog = 200, 8
	for _, x := range []struct {
		name    string
		ip      int
		from    string
		cookies string
	}{
		{"no cookies", 0, "10.7.0.128/25", "0"},
		{"cookies when the queue is full", 0, "10.7.0.128/25", "1"},
		{"cookies always", 0, "10.7.0.128/25", "2"},
		{"IPv6", 1, "fd00:7::1:0/112", "1"},
	} {
		t.Run(x.name, func(t *testing.T) {
			h, ctx := newTwoHosts(t), testContext(t)
			h.meet(t)
			h.b.sysctl(t, "tcp_syncookies", x.cookies)
			server := endpoint(h.bIPs[x.ip], 80)
			s := startOn(t, ctx, h.b, "server", peers.Script{Listen: server, Backlog: backlog, Steps: peers.Steps(peers.ReadAll(), peers.Await())})
			readyAddr(t, ctx, s)
			flood := peers.SYNFlood{Connect: server, From: netip.MustParsePrefix(x.from), Count: count}
			r := wait(t, ctx, startOn(t, ctx, h.a, "flood", flood))
			if r.Flood == nil || r.Flood.Sent != count {
				t.Fatalf("%+v", r.Flood)
			}
			// What was sent need not have arrived: on a busy machine a packet waits for ksoftirqd.
			await(t, "the last SYN", func() bool { return h.b.snmp(t, "Tcp:", "InSegs") >= count })
			sent, full, dropped := h.b.counter(t, "SyncookiesSent"), h.b.counter(t, "TCPReqQFullDoCookies"), h.b.counter(t, "TCPReqQFullDrop")
			t.Logf("SyncookiesSent %d, TCPReqQFullDoCookies %d, TCPReqQFullDrop %d, TCPTimeouts %d", sent, full, dropped, h.b.counter(t, "TCPTimeouts"))
			const queued = backlog + 1
			switch x.cookies {
			case "0":
				if dropped != count-queued || sent != 0 {
					t.Errorf("dropped %d, with %d cookies", dropped, sent)
				}
				s.Kill()
				return
			case "1":
				if sent != count-queued || full != sent {
					t.Errorf("%d cookies, expected %d", sent, count-queued)
				}
			case "2":
				if sent != count {
					t.Errorf("%d cookies, expected %d", sent, count)
				}
			}
			if x.ip == 0 {
				if got := h.b.sockets(t, synRecv); got != count-sent {
					t.Errorf("%d in SYN_RECV, expected %d", got, count-sent)
				}
			}
			// A client that is really there gets in.
			client := startOn(t, ctx, h.a, "client", peers.Script{Connect: server, Steps: peers.Steps(peers.Write(10), peers.CloseWrite())})
			expectSteps(t, "client", outcomes(t, client), "write 10: 10", "close-write: 0")
			if err := s.Continue(ctx); err != nil {
				t.Fatal(err)
			}
			expectSteps(t, "server", outcomes(t, s), "read-all: 10", "await: 0")
			if got := h.b.counter(t, "SyncookiesRecv"); got != 1 {
				t.Errorf("SyncookiesRecv is %d, expected 1", got)
			}
		})
	}
}

// A flood is stopped between two SYNs, and begins when it is told to.
func TestSYNFloodStops(t *testing.T) {
	h, ctx := newTwoHosts(t), testContext(t)
	flood := peers.SYNFlood{Connect: endpoint(h.bIPs[0], 80), From: netip.MustParsePrefix("10.7.0.128/25"), Count: 1000, Interval: time.Hour, AwaitBegin: true}
	p := startOn(t, ctx, h.a, "flood", flood)
	if _, err := p.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	if err := p.Begin(); err != nil {
		t.Fatal(err)
	}
	r, err := p.Stop(ctx)
	if err != nil || r.Flood.Sent > 1 {
		t.Errorf("%+v, %v", r.Flood, err)
	}
}

func TestSYNFloodRefusesItsOwnAddress(t *testing.T) {
	h, ctx := newTwoHosts(t), testContext(t)
	for i, from := range []string{"10.7.0.0/24", "fd00:7::/64"} {
		p := startOn(t, ctx, h.a, "flood", peers.SYNFlood{Connect: endpoint(h.bIPs[i], 80), From: netip.MustParsePrefix(from)})
		_, err := p.Ready(ctx)
		contains(t, err, h.aIPs[i]+": this host's address is one of the sources, "+from)
	}
}
