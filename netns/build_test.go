package netns

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// mustBuild builds a graph, and returns its plan with it.
func mustBuild(t testing.TB, g *Graph) (*Topology, *Plan) {
	t.Helper()
	topology, err := g.Build()
	if err != nil {
		t.Fatal(err)
	}
	closeLater(t, topology)
	return topology, mustPlan(t, g)
}

// asked is the path that the kernels of the hosts choose for a packet, each being asked for its own part of it.
func asked(t *testing.T, topology *Topology, from string, to netip.Addr) (path []string, err error) {
	t.Helper()
	v6 := to.Is6()
	host, source, in := topology.Host(from), netip.Addr{}, 0
	for {
		options := &netlink.RouteGetOptions{}
		if source.IsValid() {
			options.SrcAddr, options.IifIndex = source.AsSlice(), in
		}
		routes, err := host.Netlink().RouteGetWithOptions(to.AsSlice(), options)
		if err != nil {
			return path, err
		}
		if len(routes) != 1 || len(path) > len(topology.hosts) {
			t.Fatalf("from %s to %v: %v at %s, path %v", from, to, routes, host.Name(), path)
		}
		if routes[0].Type == unix.RTN_LOCAL {
			return path, nil
		}
		out := host.endOf(routes[0].LinkIndex)
		if out == nil {
			return path, fmt.Errorf("%s sends it to interface %d", host.Name(), routes[0].LinkIndex)
		}
		path = append(path, out.String())
		if !source.IsValid() {
			source = out.plan.address(v6).Addr()
		}
		peer := topology.peer(out)
		host, in = peer.host, peer.index
	}
}

func (h *Host) endOf(index int) *End {
	for _, e := range h.Ends() {
		if e.index == index {
			return e
		}
	}
	return nil
}

func (t *Topology) peer(e *End) *End {
	for _, l := range t.Links {
		switch e {
		case l.A:
			return l.B
		case l.B:
			return l.A
		}
	}
	return nil
}

// What the plan says is what the kernels do, from each host to each address.
func TestKernelRoutesAsPlanned(t *testing.T) {
	needNamespaces(t)
	graphs := map[string]*Graph{
		"chain": chain(5), "parking lot": parkingLot(3), "two paths": twoPaths(), "multihomed": multihomed(),
		"parallel": parallel(), "square": square(),
	}
	for seed := range uint64(8) {
		graphs[fmt.Sprint("seed ", seed)] = randomGraph(rand.New(rand.NewPCG(seed, 0)))
	}
	for _, name := range slices.Sorted(maps.Keys(graphs)) {
		t.Run(name, func(t *testing.T) {
			topology, plan := mustBuild(t, graphs[name])
			for _, from := range plan.Hosts {
				for _, e := range topology.ends() {
					for _, addr := range []netip.Addr{e.IPv4().Addr(), e.IPv6().Addr()} {
						if !addr.IsValid() {
							continue
						}
						planned, planErr := plan.Path(from.Name, addr)
						got, err := asked(t, topology, from.Name, addr)
						if fmt.Sprint(planned) != fmt.Sprint(got) || (planErr == nil) != (err == nil) {
							t.Errorf("from %s to %v: %v, %v, planned is %v, %v", from.Name, addr, got, err, planned, planErr)
						}
					}
				}
			}
			if t.Failed() {
				t.Logf("\n%v", plan)
			}
		})
	}
}

func TestTCPGoesThroughGraphs(t *testing.T) {
	needNamespaces(t)
	for _, c := range []struct {
		name  string
		graph *Graph
		pairs [][2]string
	}{
		{"chain", chain(5), [][2]string{{"client", "server"}, {"r2", "server"}}},
		{"parking lot", parkingLot(3), [][2]string{{"client0", "server0"}, {"client2", "server2"}, {"server1", "client3"}}},
		{"two paths", twoPaths(), [][2]string{{"client1", "server1"}, {"client2", "server2"}, {"client2", "server1"}}},
		{"multihomed", multihomed(), [][2]string{{"client", "server"}}},
		{"parallel", parallel(), [][2]string{{"client", "server"}}},
	} {
		t.Run(c.name, func(t *testing.T) {
			topology, _ := mustBuild(t, c.graph)
			for _, pair := range c.pairs {
				client, server := topology.Host(pair[0]), topology.Host(pair[1])
				for _, e := range server.Ends() {
					transfer(t, client, server, e.IPv4().Addr())
					transfer(t, client, server, e.IPv6().Addr())
				}
			}
		})
	}
}

// packets are how many each end of a link has sent.
func packets(t *testing.T, l *Link) [2]uint64 {
	t.Helper()
	return [2]uint64{attrs(t, l.A).Statistics.TxPackets, attrs(t, l.B).Statistics.TxPackets}
}

func TestDetourCarriesTheHostsPackets(t *testing.T) {
	needNamespaces(t)
	topology, _ := mustBuild(t, twoPaths())
	upper, lower := topology.Link("left-upper"), topology.Link("left-lower")
	for _, c := range []struct {
		client, server string
		used, idle     *Link
	}{{"client1", "server1", upper, lower}, {"client2", "server2", lower, upper}} {
		before, others := packets(t, c.used), packets(t, c.idle)
		server := topology.Host(c.server)
		transfer(t, topology.Host(c.client), server, server.IPv4())
		transfer(t, topology.Host(c.client), server, server.IPv6())
		after := packets(t, c.used)
		if after[0] == before[0] || after[1] == before[1] {
			t.Errorf("%s: %s carried %v packets before, %v after", c.client, c.used.Name(), before, after)
		}
		if now := packets(t, c.idle); now != others {
			t.Errorf("%s: %s carried %v packets before, %v after", c.client, c.idle.Name(), others, now)
		}
	}
}

// Each of five routers takes one off the TTL.
func TestChainTakesFromTheTTL(t *testing.T) {
	needNamespaces(t)
	topology, _ := mustBuild(t, chain(5))
	client, server := topology.Host("client"), topology.Host("server")
	const sent = 64
	for _, addr := range []netip.Addr{server.IPv4(), server.IPv6()} {
		var listener net.PacketConn
		if err := server.Do(func() (err error) {
			listener, err = net.ListenPacket("udp", netip.AddrPortFrom(addr, 0).String())
			return err
		}); err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		if err := client.Do(func() error {
			conn, err := net.Dial("udp", listener.LocalAddr().String())
			if err != nil {
				return err
			}
			defer conn.Close()
			if addr.Is6() {
				err = ipv6.NewConn(conn).SetHopLimit(sent)
			} else {
				err = ipv4.NewConn(conn).SetTTL(sent)
			}
			if err != nil {
				return err
			}
			_, err = conn.Write([]byte("how far?"))
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if got := receivedTTL(t, listener, addr.Is6()); got != sent-5 {
			t.Errorf("to %v: TTL %d, sent with %d", addr, got, sent)
		}
	}
}

func receivedTTL(t *testing.T, conn net.PacketConn, v6 bool) int {
	t.Helper()
	buffer := make([]byte, 100)
	if v6 {
		p := ipv6.NewPacketConn(conn)
		if err := p.SetControlMessage(ipv6.FlagHopLimit, true); err != nil {
			t.Fatal(err)
		}
		_, message, _, err := p.ReadFrom(buffer)
		if err != nil {
			t.Fatal(err)
		}
		return message.HopLimit
	}
	p := ipv4.NewPacketConn(conn)
	if err := p.SetControlMessage(ipv4.FlagTTL, true); err != nil {
		t.Fatal(err)
	}
	_, message, _, err := p.ReadFrom(buffer)
	if err != nil {
		t.Fatal(err)
	}
	return message.TTL
}

func TestGraphsSettings(t *testing.T) {
	needNamespaces(t)
	g := &Graph{}
	host := g.Host("host", Setting{"net.ipv4.tcp_sack", "0"}, Setting{"net.ipv4.conf.wan0.log_martians", "1"})
	router := g.Router("router", Setting{"net.ipv4.ip_default_ttl", "9"})
	g.Link(host, router, LinkConfig{NameA: "wan0", Offload: true, MTU: 9000})
	for range 2 { // a graph can be built again
		topology, _ := mustBuild(t, g)
		if topology.Kind != KindGraph || len(topology.Routers) != 1 || topology.Clients != nil || topology.ToServer != nil {
			t.Errorf("%+v", topology)
		}
		for key, want := range map[[2]string]string{
			{"host", "net.ipv4.tcp_sack"}: "0", {"host", "net.ipv4.ip_forward"}: "0",
			{"host", "net.ipv4.conf.wan0.log_martians"}: "1",
			{"router", "net.ipv4.ip_default_ttl"}:       "9", {"router", "net.ipv4.ip_forward"}: "1",
		} {
			if got, err := topology.Host(key[0]).Sysctl(key[1]); err != nil || got != want {
				t.Errorf("%v is %q, %v, want %q", key, got, err, want)
			}
		}
		link := topology.Link("host-router")
		if link.Name() != "host-router" || !link.A.Offload() || !link.B.Offload() {
			t.Errorf("%s: %v %v", link.Name(), link.A.Offload(), link.B.Offload())
		}
		if a := attrs(t, link.A); a.Name != "wan0" || a.MTU != 9000 || a.GSOMaxSegs == 1 {
			t.Errorf("%+v", a)
		}
	}
}

func TestUnknownNamesPanic(t *testing.T) {
	topology := &Topology{hosts: []*Host{{name: "a"}, {name: "b"}}}
	defer func() {
		if got := fmt.Sprint(recover()); !strings.Contains(got, `no host "c", but a, b`) {
			t.Errorf("got %s", got)
		}
	}()
	topology.Host("c")
}
