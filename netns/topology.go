package netns

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// The kinds of topology. Others are a [Graph] of one's own.
const (
	KindDirect   = "direct"
	KindRouted   = "routed"
	KindDumbbell = "dumbbell"
	KindGraph    = "graph"
)

const (
	// MaxPairs is how many pairs a dumbbell can have. Link i belongs to client i, link 100+i to server i.
	MaxPairs = 99

	serverLinks    = 100
	bottleneckLink = 200
)

// Config configures a ready-made topology. The zero value works.
type Config struct {
	// MTU of all links, in bytes: 68 to 65535; 0 means 1500. Below 1280 there is no IPv6 (RFC 8200).
	MTU int

	// BottleneckMTU is the MTU of the bottleneck of a dumbbell; 0 means MTU. A smaller one makes a path whose MTU no
	// end host knows. The other topologies have no bottleneck, and refuse it.
	BottleneckMTU int

	// Offload lets TCP pass packets of many segments at once: see [LinkConfig].
	Offload bool

	// Sysctls are set in all hosts, then those of the role, in this order, before any socket can be opened. Settings
	// of an interface (net.ipv4.conf.eth0....) follow when all interfaces exist.
	Sysctls       []Setting
	ClientSysctls []Setting
	ServerSysctls []Setting
	RouterSysctls []Setting
}

func (c Config) check(kind string) error {
	return errors.Join(
		checkMTU(c.MTU),
		c.checkBottleneck(kind),
		checkSettings("Sysctls", c.Sysctls),
		checkSettings("ClientSysctls", c.ClientSysctls),
		checkSettings("ServerSysctls", c.ServerSysctls),
		checkSettings("RouterSysctls", c.RouterSysctls),
	)
}

func (c Config) checkBottleneck(kind string) error {
	if kind != KindDumbbell && c.BottleneckMTU != 0 {
		return fmt.Errorf("BottleneckMTU %d: allowed in a %s topology only", c.BottleneckMTU, KindDumbbell)
	}
	if err := checkMTU(c.BottleneckMTU); err != nil {
		return fmt.Errorf("BottleneckMTU: %w", err)
	}
	return nil
}

// Direct builds a client and a server with one link between them.
func Direct(c Config) (*Topology, error) {
	g := c.preset(KindDirect)
	link := g.link(g.client("client"), g.server("server"))
	return g.build(func(t *Topology) (toServer, toClient *End) { return t.Link(link).A, t.Link(link).B })
}

// Routed builds a client and a server with a router between them.
func Routed(c Config) (*Topology, error) {
	g := c.preset(KindRouted)
	client, router, server := g.client("client"), g.router("router"), g.server("server")
	near, far := g.link(client, router), g.link(router, server)
	return g.build(func(t *Topology) (toServer, toClient *End) { return t.Link(far).A, t.Link(near).B })
}

// Dumbbell builds 1 to 99 pairs of a client and a server. All clients are connected to one router, all servers to
// another, and all pairs share the link between the routers, which is called "bottleneck". It is the first of the
// links.
func Dumbbell(pairs int, c Config) (*Topology, error) {
	if pairs < 1 || pairs > MaxPairs {
		return nil, fmt.Errorf("build a %s topology of %d pairs: allowed are 1 to %d", KindDumbbell, pairs, MaxPairs)
	}
	g := c.preset(KindDumbbell)
	left, right := g.router("left"), g.router("right")
	bottleneck := g.Link(left, right, LinkConfig{
		Name: "bottleneck", Number: bottleneckLink, MTU: cmp.Or(c.BottleneckMTU, c.MTU), Offload: c.Offload,
	})
	for i := 1; i <= pairs; i++ {
		client, server := g.client(fmt.Sprintf("client%d", i)), g.server(fmt.Sprintf("server%d", i))
		g.Link(client, left, LinkConfig{Number: i, MTU: c.MTU, Offload: c.Offload})
		g.Link(right, server, LinkConfig{Number: serverLinks + i, MTU: c.MTU, Offload: c.Offload})
	}
	return g.build(func(t *Topology) (toServer, toClient *End) { return t.Link(bottleneck).A, t.Link(bottleneck).B })
}

// A preset is the graph of a ready-made topology.
type preset struct {
	Graph
	config Config
}

func (c Config) preset(kind string) *preset { return &preset{Graph{kind: kind}, c} }

func (g *preset) client(name string) string {
	return g.add(node{name: name, role: roleClient, settings: slices.Concat(g.config.Sysctls, g.config.ClientSysctls)})
}

func (g *preset) server(name string) string {
	return g.add(node{name: name, role: roleServer, settings: slices.Concat(g.config.Sysctls, g.config.ServerSysctls)})
}

func (g *preset) router(name string) string {
	return g.Router(name, slices.Concat(g.config.Sysctls, g.config.RouterSysctls)...)
}

func (g *preset) link(a, b string) string {
	return g.Link(a, b, LinkConfig{MTU: g.config.MTU, Offload: g.config.Offload})
}

// build checks the configuration first, whose errors name its fields. Hosts are created clients first, then routers,
// then servers.
func (g *preset) build(directions func(*Topology) (toServer, toClient *End)) (*Topology, error) {
	if err := g.config.check(g.kind); err != nil {
		return nil, fmt.Errorf("build a %s topology: %w", g.kind, err)
	}
	slices.SortStableFunc(g.nodes, func(a, b node) int { return cmp.Compare(a.role, b.role) })
	t, err := g.Build()
	if err != nil {
		return nil, err
	}
	t.ToServer, t.ToClient = directions(t)
	return t, nil
}
