package netns

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

// chain is a client, a number of routers in a row, and a server.
func chain(routers int) *Graph {
	g := &Graph{}
	last := g.Host("client")
	for i := 1; i <= routers; i++ {
		next := g.Router(fmt.Sprintf("r%d", i))
		g.Link(last, next)
		last = next
	}
	g.Link(last, g.Host("server"))
	return g
}

// parkingLot is a row of routers whose links are bottlenecks: one flow passes all of them, and one of the others each.
func parkingLot(bottlenecks int) *Graph {
	g := &Graph{}
	left := g.Router("r0")
	g.Link(g.Host("client0"), left)
	for i := 1; i <= bottlenecks; i++ {
		right := g.Router(fmt.Sprintf("r%d", i))
		g.Link(left, right, LinkConfig{Name: fmt.Sprintf("bottleneck%d", i)})
		g.Link(g.Host(fmt.Sprintf("client%d", i)), left)
		g.Link(right, g.Host(fmt.Sprintf("server%d", i)))
		left = right
	}
	g.Link(left, g.Host("server0"))
	return g
}

// twoPaths has an upper path between two clients and two servers, and a lower one that is just as long. The second
// client's packets, and the answers, take the lower.
func twoPaths() *Graph {
	g := &Graph{}
	left, right, upper, lower := g.Router("left"), g.Router("right"), g.Router("upper"), g.Router("lower")
	g.Link(left, upper)
	g.Link(upper, right)
	over := g.Link(left, lower)
	g.Link(lower, right)
	for _, n := range []string{"1", "2"} {
		g.Link(g.Host("client"+n), left)
		g.Link(right, g.Host("server"+n))
	}
	g.Route("client2", "server2", over)
	g.Route("server2", "client2", over)
	return g
}

// multihomed are two hosts that two routers connect, which do not know each other.
func multihomed() *Graph {
	g := &Graph{}
	client, server, first, second := g.Host("client"), g.Host("server"), g.Router("first"), g.Router("second")
	g.Link(client, first)
	g.Link(first, server)
	g.Link(client, second)
	g.Link(second, server)
	return g
}

// parallel are two routers with two links between them.
func parallel() *Graph {
	g := &Graph{}
	client, r1, r2, server := g.Host("client"), g.Router("r1"), g.Router("r2"), g.Host("server")
	g.Link(client, r1)
	g.Link(r1, r2)
	g.Link(r2, r1)
	g.Link(r1, r2)
	g.Link(r2, server)
	g.Route(client, server, "r1-r2-2")
	return g
}

// square are four routers in a ring, with a link across, which both the client's packets and the server's pass from a
// to b.
func square() *Graph {
	g := &Graph{}
	near, a, b, far := g.Router("near"), g.Router("a"), g.Router("b"), g.Router("far")
	client, server := g.Host("client"), g.Host("server")
	for _, ends := range [][2]string{{client, near}, {near, b}, {near, a}, {a, far}, {b, far}, {far, server}} {
		g.Link(ends[0], ends[1])
	}
	across := g.Link(a, b)
	g.Route(client, server, across)
	g.Route(server, client, across)
	return g
}

func mustPlan(t testing.TB, g *Graph) *Plan {
	t.Helper()
	p, err := g.Plan()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p *Plan) routesOf(host string) string {
	var lines []string
	for _, r := range p.host(host).Routes {
		lines = append(lines, r.String())
	}
	return strings.Join(lines, "\n")
}

// pathOf is a path in words: the names of its hosts.
func (p *Plan) pathOf(t testing.TB, from string, to netip.Addr) string {
	t.Helper()
	path, err := p.Path(from, to)
	if err != nil {
		t.Error(err)
	}
	names := []string{from}
	for _, e := range path {
		names = append(names, p.peer(e).Host)
	}
	return strings.Join(names, " ")
}

func TestRoutes(t *testing.T) {
	for _, c := range []struct {
		name  string
		graph *Graph
		host  string
		want  []string
	}{
		{"chain", chain(5), "client", []string{"0.0.0.0/0 via 10.0.1.2", "::/0 via fd00:1::2"}},
		{"chain", chain(5), "r2", []string{
			"10.0.1.0/24 via 10.0.2.1", "fd00:1::/64 via fd00:2::1",
			"10.0.4.0/24 via 10.0.3.2", "fd00:4::/64 via fd00:3::2",
			"10.0.5.0/24 via 10.0.3.2", "fd00:5::/64 via fd00:3::2",
			"10.0.6.0/24 via 10.0.3.2", "fd00:6::/64 via fd00:3::2",
		}},
		{"parallel", parallel(), "r1", []string{
			"10.0.5.0/24 via 10.0.2.2", "fd00:5::/64 via fd00:2::2",
			"from 10.0.1.1/32 to 10.0.5.2/32 via 10.0.4.2", "from fd00:1::1/128 to fd00:5::2/128 via fd00:4::2",
		}},
		{"parallel", parallel(), "r2", []string{"10.0.1.0/24 via 10.0.2.1", "fd00:1::/64 via fd00:2::1"}},
		{"parallel", parallel(), "client", []string{
			"0.0.0.0/0 via 10.0.1.2", "::/0 via fd00:1::2", "10.0.5.2/32 via 10.0.1.2", "fd00:5::2/128 via fd00:1::2",
		}},
		{"multihomed", multihomed(), "client", []string{
			"0.0.0.0/0 via 10.0.1.2", "::/0 via fd00:1::2", "10.0.4.0/24 via 10.0.3.2", "fd00:4::/64 via fd00:3::2",
		}},
		{"multihomed", multihomed(), "first", []string{ // nobody forwards to the other router: its links' hosts alone
			"10.0.3.1/32 via 10.0.1.1", "fd00:3::1/128 via fd00:1::1",
			"10.0.4.2/32 via 10.0.2.2", "fd00:4::2/128 via fd00:2::2",
		}},
	} {
		if got := mustPlan(t, c.graph).routesOf(c.host); got != strings.Join(c.want, "\n") {
			t.Errorf("%s, %s:\n%s\nwant\n%s", c.name, c.host, got, strings.Join(c.want, "\n"))
		}
	}
}

func TestPaths(t *testing.T) {
	for _, c := range []struct {
		name     string
		graph    *Graph
		from, to string
		want     string
	}{
		{"chain", chain(5), "client", "server", "client r1 r2 r3 r4 r5 server"},
		{"chain", chain(5), "server", "r1", "server r5 r4 r3 r2 r1"},
		{"parking lot", parkingLot(3), "client0", "server0", "client0 r0 r1 r2 r3 server0"},
		{"parking lot", parkingLot(3), "client2", "server2", "client2 r1 r2 server2"},
		{"parking lot", parkingLot(3), "server1", "client3", "server1 r1 r2 client3"},
		{"two paths", twoPaths(), "client1", "server1", "client1 left upper right server1"},
		{"two paths", twoPaths(), "client1", "server2", "client1 left upper right server2"},
		{"two paths", twoPaths(), "client2", "server1", "client2 left upper right server1"},
		{"two paths", twoPaths(), "client2", "server2", "client2 left lower right server2"},
		{"two paths", twoPaths(), "server2", "client2", "server2 right lower left client2"},
		{"two paths", twoPaths(), "server1", "client2", "server1 right upper left client2"},
		{"square", square(), "client", "server", "client near a b far server"},
		{"square", square(), "server", "client", "server far a b near client"},
		{"square", square(), "server", "near", "server far a near"},
	} {
		p := mustPlan(t, c.graph)
		to := p.host(c.to).Ends[0]
		for _, addr := range []netip.Addr{to.IPv4.Addr(), to.IPv6.Addr()} {
			if got := p.pathOf(t, c.from, addr); got != c.want {
				t.Errorf("%s, %s to %v: %s, want %s", c.name, c.from, addr, got, c.want)
			}
		}
	}
}

func TestNamesAndNumbersOfLinks(t *testing.T) {
	g := &Graph{}
	a, b, c := g.Router("a"), g.Router("b"), g.Host("c")
	names := []string{
		g.Link(a, b), g.Link(a, b, LinkConfig{Number: 1, MTU: 1000}), g.Link(b, a, LinkConfig{NameA: "wan0"}),
		g.Link(a, b, LinkConfig{Name: "backup", Number: 3, Offload: true}), g.Link(a, c),
	}
	if want := []string{"a-b", "a-b-2", "b-a", "backup", "a-c"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	var got []string
	for _, l := range mustPlan(t, g).Links {
		got = append(got, fmt.Sprintf("%s %d %v %v %d %v %v %v", l.Name, l.Number, l.Offload, l.A, l.A.MTU, l.B, l.B.IPv4, l.B.IPv6))
	}
	want := []string{
		"a-b 2 false a/eth0 1500 b/eth0 10.0.2.2/24 fd00:2::2/64",
		"a-b-2 1 false a/eth1 1000 b/eth1 10.0.1.2/24 invalid Prefix",
		"b-a 4 false b/wan0 1500 a/eth2 10.0.4.2/24 fd00:4::2/64",
		"backup 3 true a/eth3 1500 b/eth3 10.0.3.2/24 fd00:3::2/64",
		"a-c 5 false a/eth4 1500 c/eth0 10.0.5.2/24 fd00:5::2/64",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestLinksWithoutIPv6CarryIPv4Alone(t *testing.T) {
	g := &Graph{}
	client, near, far, server := g.Host("client"), g.Router("near"), g.Router("far"), g.Host("server")
	g.Link(client, near)
	narrow := g.Link(near, far, LinkConfig{MTU: 1000})
	g.Link(near, far)
	g.Link(far, server)
	g.Route(client, server, narrow)
	p := mustPlan(t, g)
	for addr, want := range map[string]string{"10.0.4.2": narrow, "fd00:4::2": "near-far-2"} {
		path, err := p.Path(client, netip.MustParseAddr(addr))
		if err != nil || len(path) != 3 || path[1].Link != want {
			t.Errorf("to %s: %v, %v, want it to go over %s", addr, path, err, want)
		}
	}
}

// small is a graph without fault.
func small() (g *Graph, client, router, server string) {
	g = &Graph{}
	client, router, server = g.Host("client"), g.Router("router"), g.Host("server")
	g.Link(client, router)
	g.Link(router, server)
	return g, client, router, server
}

func TestBadGraphsAreRefused(t *testing.T) {
	for _, c := range []struct {
		spoil func(g *Graph, client, router, server string)
		want  string
	}{
		{func(g *Graph, _, _, _ string) { *g = Graph{} }, "the graph has no host"},
		{func(g *Graph, _, _, _ string) { g.Host("a b") }, `host name "a b": allowed are 1 to 64`},
		{func(g *Graph, _, _, _ string) { g.Host(strings.Repeat("x", 65)) }, "1 to 64"},
		{func(g *Graph, _, router, _ string) { g.Router(router) }, "host router is declared twice"},
		{func(g *Graph, _, _, _ string) { g.Host("h", Setting{"vm.swappiness", "1"}) }, "settings of host h: sysctl key"},
		{func(g *Graph, client, _, _ string) { g.Link(client, "rooter") }, `link client-rooter: there is no host "rooter"`},
		{func(g *Graph, client, _, _ string) { g.Link("", client) }, `there is no host ""`},
		{func(g *Graph, client, _, _ string) { g.Link(client, client) }, "from host client to itself"},
		{func(g *Graph, client, router, _ string) { g.Link(client, router, LinkConfig{}, LinkConfig{}) }, "2 configurations"},
		{func(g *Graph, client, router, _ string) {
			g.Link(client, router, LinkConfig{Name: "router-server"})
		}, "from router to server, has this name"},
		{func(g *Graph, client, router, _ string) { g.Link(client, router, LinkConfig{Name: "-"}) }, `link name "-"`},
		{func(g *Graph, client, router, _ string) {
			g.Link(client, router, LinkConfig{MTU: 67})
		}, "link client-router-2: MTU 67"},
		{func(g *Graph, client, router, _ string) { g.Link(client, router, LinkConfig{Number: 256}) }, "link number 256"},
		{func(g *Graph, client, router, _ string) {
			g.Link(client, router, LinkConfig{Number: 9, Name: "x"})
			g.Link(client, router, LinkConfig{Number: 9})
		}, "link number 9: link x has it"},
		{func(g *Graph, client, router, _ string) {
			g.Link(client, router, LinkConfig{NameB: "a name of 16 byt"})
		}, "interface on host router: name"},
		{func(g *Graph, client, router, _ string) {
			g.Link(client, router, LinkConfig{NameA: "eth0"})
		}, "host client has one of this name"},
		{func(g *Graph, _, _, _ string) { g.Host("alone") }, "hosts client and alone have no path"},
		{func(g *Graph, _, _, _ string) { g.Router("alone") }, "host client and host alone have no link"},
		{func(g *Graph, client, _, _ string) { g.Link(client, g.Host("behind")) }, "hosts server and behind have no path"},
		{func(g *Graph, client, router, _ string) {
			for range 254 {
				g.Link(client, router)
			}
		}, "256 links: there are addresses for 255"},
		{func(g *Graph, client, _, _ string) { g.Route(client, "nobody", "client-router") }, `no host "nobody"`},
		{func(g *Graph, client, _, server string) { g.Route(client, server, "lower") }, `no link "lower"`},
		{func(g *Graph, _, router, server string) { g.Route(router, server, "router-server") }, "router is a router"},
		{func(g *Graph, client, _, _ string) { g.Route(client, client, "client-router") }, "two hosts"},
		{func(g *Graph, client, _, server string) {
			g.Route(client, server, "client-router")
			g.Route(client, server, "router-server")
		}, "have a route of their own already"},
		{func(g *Graph, client, router, server string) {
			g.Link(router, g.Host("aside"))
			g.Route(client, server, "router-aside")
		}, "no such path exists"},
	} {
		g, client, router, server := small()
		c.spoil(g, client, router, server)
		if _, err := g.Plan(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want something with %q", err, c.want)
		}
		// Before a kernel is asked, or this would fail without root.
		top, err := g.Build()
		if top != nil || err == nil || !strings.HasPrefix(err.Error(), "build a graph topology: ") || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want something with %q", err, c.want)
		}
	}
	g := &Graph{}
	g.Link("a", "a")
	g.Host("b", Setting{"x", "1"})
	if _, err := g.Plan(); err == nil || strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("not all that is wrong: %v", err)
	}
}

func TestTheLargestGraph(t *testing.T) {
	p := mustPlan(t, chain(254))
	server := p.host("server").Ends[0]
	path, err := p.Path("client", server.IPv6.Addr())
	if err != nil || len(path) != maxLinkNumber || server.IPv4.String() != "10.0.255.2/24" {
		t.Errorf("%d links to %v, %v", len(path), server.IPv4, err)
	}
}

// randomGraph is connected, with a few links more than it needs, some twice and some without IPv6, and with hosts that
// have one link or two.
func randomGraph(r *rand.Rand) *Graph {
	g := &Graph{}
	var routers []string
	link := func(a, b string) {
		c := LinkConfig{}
		if r.IntN(4) == 0 {
			c.MTU = 1000
		}
		g.Link(a, b, c)
	}
	for i := range 1 + r.IntN(7) {
		name := g.Router(fmt.Sprintf("r%d", i))
		if i > 0 {
			link(routers[r.IntN(i)], name)
		}
		routers = append(routers, name)
	}
	for i := range r.IntN(6) {
		if a, b := routers[r.IntN(len(routers))], routers[r.IntN(len(routers))]; a != b {
			link(a, b)
		}
		for range r.IntN(3) {
			host := fmt.Sprintf("h%d", i)
			if g.node(host) == nil {
				g.Host(host)
			}
			link(host, routers[r.IntN(len(routers))])
		}
	}
	return g
}

// far is a distance that no path has.
const far = 1 << 20

// floydWarshall are the distances between all hosts by paths on which routers forward alone: an algorithm that has
// nothing in common with the one that plans, but for its result.
func floydWarshall(p *Plan, v6 bool) map[[2]string]int {
	dist := map[[2]string]int{}
	for _, a := range p.Hosts {
		for _, b := range p.Hosts {
			dist[[2]string{a.Name, b.Name}] = far
		}
		dist[[2]string{a.Name, a.Name}] = 0
	}
	for _, l := range p.Links {
		if l.A.address(v6).IsValid() {
			dist[[2]string{l.A.Host, l.B.Host}], dist[[2]string{l.B.Host, l.A.Host}] = 1, 1
		}
	}
	for _, by := range p.Hosts {
		if !by.Router {
			continue
		}
		for _, a := range p.Hosts {
			for _, b := range p.Hosts {
				short := dist[[2]string{a.Name, by.Name}] + dist[[2]string{by.Name, b.Name}]
				dist[[2]string{a.Name, b.Name}] = min(dist[[2]string{a.Name, b.Name}], short)
			}
		}
	}
	return dist
}

// lengthTo is how many links a packet has to pass to an address, where the routes lead to the prefix: to the nearest
// router on the link, and over the link unless it is there already.
func lengthTo(p *Plan, dist map[[2]string]int, from string, l LinkPlan, e EndPlan) (least, most int) {
	if from == e.Host {
		return 0, 0
	}
	other := p.peer(e)
	if from == other.Host {
		return 1, 1
	}
	own, others := far, far
	if p.host(e.Host).Router {
		own = dist[[2]string{from, e.Host}]
	}
	if p.host(other.Host).Router {
		others = dist[[2]string{from, other.Host}]
	}
	switch {
	case min(own, others) >= far: // by its own address
		return dist[[2]string{from, e.Host}], dist[[2]string{from, e.Host}]
	case own < others:
		return own, own
	case own > others:
		return others + 1, others + 1
	}
	return own, own + 1
}

func TestAllPathsAreTheShortest(t *testing.T) {
	seen := map[string]int{}
	for seed := range uint64(200) {
		p := mustPlan(t, randomGraph(rand.New(rand.NewPCG(seed, 0))))
		for _, v6 := range []bool{false, true} {
			dist := floydWarshall(p, v6)
			for _, l := range p.Links {
				for _, e := range []EndPlan{l.A, l.B} {
					addr := e.address(v6)
					if !addr.IsValid() {
						continue
					}
					for _, from := range p.Hosts {
						least, most := lengthTo(p, dist, from.Name, l, e)
						path, err := p.Path(from.Name, addr.Addr())
						switch {
						case least >= far:
							seen["unreachable"]++
							if err == nil {
								t.Errorf("seed %d: a path from %s to %v: %v", seed, from.Name, addr, path)
							}
						case err != nil:
							t.Errorf("seed %d: %v", seed, err)
						case len(path) < least || len(path) > most:
							t.Errorf("seed %d: from %s to %v: %v, want %d to %d links", seed, from.Name, addr, path, least, most)
						}
						seen[fmt.Sprint(len(path))]++
					}
				}
			}
		}
		if t.Failed() {
			t.Fatalf("\n%v", p)
		}
	}
	for _, what := range []string{"unreachable", "0", "1", "2", "4"} {
		if seen[what] == 0 {
			t.Errorf("no path was %s", what)
		}
	}
}

// Each detour is on its link, none is a loop, and nobody else's packets take another way than before.
func TestDetoursLeaveOthersAlone(t *testing.T) {
	taken := 0
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		g := randomGraph(r)
		before := mustPlan(t, g)
		var hosts []string
		for _, h := range before.Hosts {
			if !h.Router {
				hosts = append(hosts, h.Name)
			}
		}
		if len(hosts) == 0 {
			continue
		}
		from, to := hosts[r.IntN(len(hosts))], before.Hosts[r.IntN(len(before.Hosts))].Name
		over := before.Links[r.IntN(len(before.Links))]
		if from == to {
			continue
		}
		g.Route(from, to, over.Name)
		after, err := g.Plan()
		if err != nil {
			continue // there is no such path
		}
		taken++
		for _, h := range after.Hosts {
			for _, other := range after.Hosts {
				for _, e := range other.Ends {
					was, err := before.Path(h.Name, e.IPv4.Addr())
					is, err2 := after.Path(h.Name, e.IPv4.Addr())
					mine := h.Name == from && other.Name == to
					onLink := slices.ContainsFunc(is, func(e EndPlan) bool { return e.Link == over.Name })
					if mine && (err2 != nil || !onLink) {
						t.Errorf("seed %d: from %s to %v over %s: %v, %v", seed, from, e.IPv4, over.Name, is, err2)
					}
					if !mine && (fmt.Sprint(was) != fmt.Sprint(is) || fmt.Sprint(err) != fmt.Sprint(err2)) {
						t.Errorf("seed %d: from %s to %v: %v, was %v", seed, h.Name, e.IPv4, is, was)
					}
				}
			}
		}
		if t.Failed() {
			t.Fatalf("over %s\n%v", over.Name, after)
		}
	}
	if taken < 40 {
		t.Errorf("%d detours are too few to tell", taken)
	}
}

func TestEqualGraphsHaveEqualPlans(t *testing.T) {
	for seed := range uint64(20) {
		plan := func() string { return mustPlan(t, randomGraph(rand.New(rand.NewPCG(seed, 0)))).String() }
		if one, other := plan(), plan(); one != other {
			t.Errorf("seed %d:\n%s\n%s", seed, one, other)
		}
	}
}
