package netns

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/vishvananda/netlink"
)

var kinds = []struct {
	name  string
	build func(Config) (*Topology, error)
}{
	{KindDirect, Direct},
	{KindRouted, Routed},
	{KindDumbbell, func(c Config) (*Topology, error) { return Dumbbell(3, c) }},
}

func (t *Topology) ends() (ends []*End) {
	for _, l := range t.Links {
		ends = append(ends, l.A, l.B)
	}
	return ends
}

func attrs(t *testing.T, e *End) *netlink.LinkAttrs {
	t.Helper()
	link, err := e.Host().Netlink().LinkByIndex(e.Index())
	if err != nil {
		t.Fatal(err)
	}
	return link.Attrs()
}

// tcpSegments returns how many TCP segments the host has sent. OutSegs does not count retransmissions, which
// happens without loss too when the machine is busy.
func tcpSegments(t *testing.T, h *Host) uint64 {
	t.Helper()
	var data []byte
	if err := h.Do(func() (err error) { data, err = os.ReadFile("/proc/thread-self/net/snmp"); return err }); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, line := range strings.Split(string(data), "\n") {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "Tcp:" {
			continue
		}
		if names == nil {
			names = fields
			continue
		}
		var sum uint64
		for _, name := range []string{"OutSegs", "RetransSegs"} {
			n, err := strconv.ParseUint(fields[slices.Index(names, name)], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += n
		}
		return sum
	}
	t.Fatal("no Tcp line in snmp")
	return 0
}

// transfer sends a message from the client to the server over TCP, and back.
func transfer(t *testing.T, client, server *Host, addr netip.Addr) {
	t.Helper()
	deadline := time.Now().Add(testenv.Patience)
	var listener net.Listener
	err := server.Do(func() (err error) {
		listener, err = net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	echoed := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			_, err = io.Copy(conn, conn)
			conn.Close()
		}
		echoed <- err
	}()
	var conn net.Conn
	err = client.Do(func() (err error) {
		conn, err = (&net.Dialer{Deadline: deadline}).Dial("tcp", listener.Addr().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	message := bytes.Repeat([]byte("tcplab"), 20_000)
	go func() {
		_, _ = conn.Write(message) // the comparison below sees what is missing
		_ = conn.(*net.TCPConn).CloseWrite()
	}()
	got, err := io.ReadAll(conn)
	if err != nil || !bytes.Equal(got, message) {
		t.Fatalf("%v: got %d bytes of %d back, %v", addr, len(got), len(message), err)
	}
	if err := <-echoed; err != nil {
		t.Fatal(err)
	}
}

func TestTCPGoesThrough(t *testing.T) {
	needNamespaces(t)
	for _, kind := range kinds {
		for _, offload := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/offload=%v", kind.name, offload), func(t *testing.T) {
				topology, err := kind.build(Config{Offload: offload})
				if err != nil {
					t.Fatal(err)
				}
				closeLater(t, topology)
				for i, server := range topology.Servers {
					client := topology.Clients[i]
					// At once: addresses, neighbours and routes must be in place, with no retransmission.
					transfer(t, client, server, server.IPv6())
					transfer(t, client, server, server.IPv4())
				}
				for _, e := range topology.ends() {
					if got := attrs(t, e).GSOMaxSegs; got == 1 == offload {
						t.Errorf("gso_max_segs of %v is %d", e, got)
					}
				}
				if offload {
					return // then a packet is many segments
				}
				for _, h := range slices.Concat(topology.Clients, topology.Servers) {
					// Nothing but TCP: no ARP, no neighbour discovery, no ICMP, one packet for each segment.
					packets := attrs(t, h.Ends()[0]).Statistics.TxPackets
					if segments := tcpSegments(t, h); packets != segments {
						t.Errorf("%s sent %d packets, and %d TCP segments", h.Name(), packets, segments)
					}
				}
			})
		}
	}
}

func TestLinksAreSilent(t *testing.T) {
	needNamespaces(t)
	if testing.Short() {
		t.Skip("waits for 3 s")
	}
	var topologies []*Topology
	for _, kind := range kinds {
		// The router multicast groups must not be reported either when someone sets this.
		topology, err := kind.build(Config{Sysctls: []Setting{{"net.ipv6.conf.eth0.forwarding", "1"}}})
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, topology)
		topologies = append(topologies, topology)
	}
	// Duplicate address detection takes 1 s, router solicitations begin within 1 s and repeat after 4 s, multicast
	// reports come within 1 s of joining, and twice (net/ipv6/addrconf.c, net/ipv6/mcast.c).
	time.Sleep(3 * time.Second)
	for _, topology := range topologies {
		for _, e := range topology.ends() {
			if s := attrs(t, e).Statistics; s.TxPackets != 0 || s.RxPackets != 0 || s.TxDropped != 0 {
				t.Errorf("%s: %v sent %d, received %d, dropped %d", topology.Kind, e, s.TxPackets, s.RxPackets, s.TxDropped)
			}
		}
	}
}

// What is printed here is what the package's documentation draws.
func TestAddressPlan(t *testing.T) {
	needNamespaces(t)
	for _, c := range []struct {
		build            func() (*Topology, error)
		links            []string
		hosts            []string
		toServer, toBack string
	}{
		{
			func() (*Topology, error) { return Direct(Config{}) },
			[]string{"client/eth0 10.0.1.1/24 fd00:1::1/64 02:00:00:00:01:01 - server/eth0 10.0.1.2/24 fd00:1::2/64 02:00:00:00:01:02"},
			[]string{"client 10.0.1.1 fd00:1::1", "server 10.0.1.2 fd00:1::2"},
			"client/eth0", "server/eth0",
		},
		{
			func() (*Topology, error) { return Routed(Config{}) },
			[]string{
				"client/eth0 10.0.1.1/24 fd00:1::1/64 02:00:00:00:01:01 - router/eth0 10.0.1.2/24 fd00:1::2/64 02:00:00:00:01:02",
				"router/eth1 10.0.2.1/24 fd00:2::1/64 02:00:00:00:02:01 - server/eth0 10.0.2.2/24 fd00:2::2/64 02:00:00:00:02:02",
			},
			[]string{"client 10.0.1.1 fd00:1::1", "router 10.0.1.2 fd00:1::2", "server 10.0.2.2 fd00:2::2"},
			"router/eth1", "router/eth0",
		},
		{
			func() (*Topology, error) { return Dumbbell(2, Config{}) },
			[]string{
				"left/eth0 10.0.200.1/24 fd00:200::1/64 02:00:00:00:c8:01 - right/eth0 10.0.200.2/24 fd00:200::2/64 02:00:00:00:c8:02",
				"client1/eth0 10.0.1.1/24 fd00:1::1/64 02:00:00:00:01:01 - left/eth1 10.0.1.2/24 fd00:1::2/64 02:00:00:00:01:02",
				"right/eth1 10.0.101.1/24 fd00:101::1/64 02:00:00:00:65:01 - server1/eth0 10.0.101.2/24 fd00:101::2/64 02:00:00:00:65:02",
				"client2/eth0 10.0.2.1/24 fd00:2::1/64 02:00:00:00:02:01 - left/eth2 10.0.2.2/24 fd00:2::2/64 02:00:00:00:02:02",
				"right/eth2 10.0.102.1/24 fd00:102::1/64 02:00:00:00:66:01 - server2/eth0 10.0.102.2/24 fd00:102::2/64 02:00:00:00:66:02",
			},
			[]string{
				"client1 10.0.1.1 fd00:1::1", "client2 10.0.2.1 fd00:2::1",
				"left 10.0.200.1 fd00:200::1", "right 10.0.200.2 fd00:200::2",
				"server1 10.0.101.2 fd00:101::2", "server2 10.0.102.2 fd00:102::2",
			},
			"left/eth0", "right/eth0",
		},
	} {
		topology, err := c.build()
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, topology)
		var links, hosts []string
		show := func(e *End) string {
			if a := attrs(t, e); a.Name != e.Name() || a.HardwareAddr.String() != e.MAC().String() || a.MTU != 1500 || a.MTU != e.MTU() {
				t.Errorf("%v: the kernel has %s %v %d", e, a.Name, a.HardwareAddr, a.MTU)
			}
			return fmt.Sprint(e, " ", e.IPv4(), " ", e.IPv6(), " ", e.MAC())
		}
		for _, l := range topology.Links {
			links = append(links, show(l.A)+" - "+show(l.B))
		}
		for _, h := range topology.Hosts() {
			hosts = append(hosts, fmt.Sprint(h.Name(), " ", h.IPv4(), " ", h.IPv6()))
		}
		if !slices.Equal(links, c.links) || !slices.Equal(hosts, c.hosts) ||
			topology.ToServer.String() != c.toServer || topology.ToClient.String() != c.toBack {
			t.Errorf("%s:\n%s\n%s\n%v %v", topology.Kind, strings.Join(links, "\n"), strings.Join(hosts, "\n"), topology.ToServer, topology.ToClient)
		}
	}
}

func TestMTU(t *testing.T) {
	needNamespaces(t)
	for _, mtu := range []int{68, 576, 1280, 9000, 65535} {
		topology, err := Routed(Config{MTU: mtu})
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, topology)
		for _, e := range topology.ends() {
			if got := attrs(t, e).MTU; got != mtu {
				t.Errorf("%v has MTU %d, want %d", e, got, mtu)
			}
			if got, want := e.IPv6().IsValid(), mtu >= 1280; got != want {
				t.Errorf("%v has IPv6 address %v with MTU %d", e, e.IPv6(), mtu)
			}
		}
		if mtu >= 576 { // TCP over less is left to those who ask for it
			transfer(t, topology.Client(), topology.Server(), topology.Server().IPv4())
		}
	}
}

func TestBottleneckMTU(t *testing.T) {
	needNamespaces(t)
	for _, c := range []struct{ mtu, bottleneck, want int }{{0, 1400, 1400}, {1400, 0, 1400}, {9000, 1500, 1500}, {1500, 1000, 1000}, {1000, 1500, 1500}} {
		topology, err := Dumbbell(2, Config{MTU: c.mtu, BottleneckMTU: c.bottleneck})
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, topology)
		for i, e := range topology.ends() {
			want := cmp.Or(c.mtu, DefaultMTU)
			if i < 2 { // the bottleneck is the first link
				want = c.want
			}
			if got := attrs(t, e).MTU; got != want || got != e.MTU() {
				t.Errorf("%+v: %v has MTU %d and says %d, want %d", c, e, got, e.MTU(), want)
			}
		}
		// The routers have to tell the hosts, whose own links are wider.
		transfer(t, topology.Client(), topology.Server(), topology.Server().IPv4())
		if min(cmp.Or(c.mtu, DefaultMTU), c.want) >= minMTUIPv6 {
			transfer(t, topology.Client(), topology.Server(), topology.Server().IPv6())
		}
	}
}

func TestRoutersAreKnownAsSuch(t *testing.T) {
	needNamespaces(t)
	for _, kind := range kinds {
		topology, err := kind.build(Config{})
		if err != nil {
			t.Fatal(err)
		}
		closeLater(t, topology)
		var routers []netip.Addr // that others route through
		for _, r := range topology.Routers {
			for _, e := range r.Ends() {
				routers = append(routers, e.IPv6().Addr())
			}
		}
		for _, h := range topology.Hosts() {
			neighbours, err := h.Netlink().NeighList(0, netlink.FAMILY_V6)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range neighbours {
				addr, _ := netip.AddrFromSlice(n.IP)
				if got, want := n.Flags&netlink.NTF_ROUTER != 0, slices.Contains(routers, addr); got != want {
					t.Errorf("%s: %s knows %v as a router: %v, want %v", topology.Kind, h.Name(), addr, got, want)
				}
				if n.State != netlink.NUD_PERMANENT {
					t.Errorf("%s: %s has %v in state %#x", topology.Kind, h.Name(), addr, n.State)
				}
			}
		}
	}
}

func TestConfiguredSysctls(t *testing.T) {
	needNamespaces(t)
	topology, err := Routed(Config{
		Sysctls:       []Setting{{"net.ipv4.tcp_sack", "0"}, {"net.ipv4.tcp_no_metrics_save", "0"}, {"net.ipv4.conf.eth0.log_martians", "1"}},
		ClientSysctls: []Setting{{"net.ipv4.tcp_syn_retries", "2"}},
		ServerSysctls: []Setting{{"net.ipv4.tcp_synack_retries", "3"}, {"net.ipv4.tcp_sack", "1"}},
		RouterSysctls: []Setting{{"net.ipv4.conf.eth1.log_martians", "1"}, {"net.ipv4.ip_default_ttl", "9"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, topology)
	common := []Setting{
		{"net.ipv4.conf.all.rp_filter", "0"}, {"net.ipv4.conf.default.rp_filter", "0"}, {"net.ipv4.conf.eth0.log_martians", "1"},
		{"net.ipv4.tcp_no_metrics_save", "0"}, {"net.ipv6.conf.all.disable_ipv6", "0"}, {"net.ipv6.conf.default.addr_gen_mode", "1"},
	}
	for i, special := range [][]Setting{
		{{"net.ipv4.ip_forward", "0"}, {"net.ipv4.tcp_sack", "0"}, {"net.ipv4.tcp_syn_retries", "2"}},
		{
			{"net.ipv4.ip_forward", "1"}, {"net.ipv4.tcp_sack", "0"}, {"net.ipv4.conf.eth1.log_martians", "1"}, {"net.ipv4.ip_default_ttl", "9"},
			{"net.ipv6.conf.all.forwarding", "1"}, {"net.ipv6.conf.default.forwarding", "0"},
		},
		{{"net.ipv4.ip_forward", "0"}, {"net.ipv4.tcp_sack", "1"}, {"net.ipv4.tcp_synack_retries", "3"}},
	} {
		h := topology.Hosts()[i]
		want := slices.SortedFunc(slices.Values(slices.Concat(common, special)), func(a, b Setting) int { return strings.Compare(a.Key, b.Key) })
		if got := h.Sysctls(); !slices.Equal(got, want) {
			t.Errorf("%s has\n%v, want\n%v", h.Name(), got, want)
		}
	}
}

func TestConnectByHand(t *testing.T) {
	needNamespaces(t)
	a, b := newHost(t, "a"), newHost(t, "b")
	if _, err := Connect(a, b, LinkConfig{NameA: "wan0", Number: 255}); err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(a.Ends(), b.Ends()); got != "[a/wan0] [b/eth0]" {
		t.Fatal(got)
	}
	if _, err := Connect(b, a, LinkConfig{}); err == nil || !strings.Contains(err.Error(), "give the link one that is free") {
		t.Fatalf("got %v", err)
	}
	if _, err := Connect(b, a, LinkConfig{Number: 7}); err != nil {
		t.Fatal(err)
	}
	transfer(t, a, b, b.Ends()[1].IPv6().Addr())

	// An interface that this package does not know of.
	pair := &netlink.Veth{LinkAttrs: netlink.NewLinkAttrs(), PeerName: "eth2"}
	pair.Name = "own"
	if err := b.Netlink().LinkAdd(pair); err != nil {
		t.Fatal(err)
	}
	before, err := a.Netlink().LinkList()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Connect(a, b, LinkConfig{Number: 8}); err == nil || !strings.Contains(err.Error(), "has an interface of this name") {
		t.Fatalf("got %v", err)
	}
	// One that fails when the pair is there already.
	if err := b.SetSysctl("net.ipv6.conf.default.disable_ipv6", "1"); err != nil {
		t.Fatal(err)
	}
	if _, err := Connect(a, b, LinkConfig{Number: 8, NameB: "eth3"}); err == nil {
		t.Fatal("an IPv6 address without IPv6")
	}
	after, err := a.Netlink().LinkList()
	if err != nil {
		t.Fatal(err)
	}
	if len(after) != len(before) || len(a.Ends()) != 2 {
		t.Fatalf("%d links before, %d after", len(before), len(after))
	}
}

func TestUnassignedAddressIsABlackHole(t *testing.T) {
	needNamespaces(t)
	topology, err := Routed(Config{})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, topology)
	client := topology.Client()
	addresses := []string{"10.0.1.99", "fd00:1::99"}
	for _, addr := range addresses {
		err := client.Do(func() error {
			conn, err := net.Dial("udp", net.JoinHostPort(addr, "9"))
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.Write([]byte("anybody?"))
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// veth delivers before the sender's call returns, and an answer would be sent from there.
	s := attrs(t, client.Ends()[0]).Statistics
	if int(s.TxPackets) != len(addresses) || s.RxPackets != 0 {
		t.Fatalf("sent %d, received %d", s.TxPackets, s.RxPackets)
	}
}

func TestAllHostsReachEachOther(t *testing.T) {
	needNamespaces(t)
	topology, err := Dumbbell(2, Config{})
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, topology)
	for _, from := range topology.Hosts() {
		for _, to := range topology.Hosts() {
			if from != to {
				transfer(t, from, to, to.IPv4())
				transfer(t, from, to, to.IPv6())
			}
		}
	}
}
