package netns

import (
	"errors"
	"fmt"
	"slices"
)

// A Graph describes a network of hosts, routers and links, of any shape. Its zero value is an empty one. Nothing is
// checked or set up before [Graph.Plan] or [Graph.Build], which can be called any number of times.
//
// Hosts, routers and links are known by their names, which the methods that declare them return.
type Graph struct {
	kind    string // of a ready-made topology
	nodes   []node
	edges   []edge
	detours []detour
}

// A role is what a host is in a ready-made topology, in the order in which they are created there. It is 0 for all but
// clients and servers.
type role int

const (
	roleClient role = iota - 1
	_
	roleServer
)

type node struct {
	name     string
	router   bool
	role     role
	settings []Setting
}

type edge struct {
	name    string
	a, b    string
	configs []LinkConfig // one at most
}

// config is the link's, with its name.
func (e edge) config() LinkConfig {
	var c LinkConfig
	if len(e.configs) > 0 {
		c = e.configs[0]
	}
	c.Name = e.name
	return c
}

type detour struct {
	from, to, over string
}

// Host declares a host, which forwards nothing, and returns its name. For names and settings see [NewHost]. Settings of
// an interface (net.ipv4.conf.eth0....) are set once all links are there, the others before any.
func (g *Graph) Host(name string, settings ...Setting) string {
	return g.add(node{name: name, settings: slices.Clone(settings)})
}

// Router declares a host that forwards packets, and returns its name. It has the settings of [Forwarding], and then
// those that are given.
func (g *Graph) Router(name string, settings ...Setting) string {
	return g.add(node{name: name, router: true, settings: slices.Concat(Forwarding(), settings)})
}

func (g *Graph) add(n node) string {
	g.nodes = append(g.nodes, n)
	return n.name
}

// Link declares a link between two hosts or routers, and returns its name. There can be one configuration. Two hosts
// may have several links: see [Graph.Plan] on which of them is used. Without a name of its own, a link is called by its
// hosts', such as client-r1, and the second of this name client-r1-2.
func (g *Graph) Link(a, b string, config ...LinkConfig) string {
	e := edge{a: a, b: b, configs: slices.Clone(config)}
	if len(config) > 0 {
		e.name = config[0].Name
	}
	if e.name == "" {
		e.name = g.freeName(a + "-" + b)
	}
	g.edges = append(g.edges, e)
	return e.name
}

func (g *Graph) freeName(base string) string {
	name := base
	for n := 2; g.edge(name) != nil; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name
}

// Route sends the packets of one host to another over a link, even if that is not the shortest path. It changes nothing
// for other packets, and is for one direction: call it once more for the way back.
//
// The packets take the shortest path to the link, and then the shortest that passes no router for a second time; if
// both directions of the link allow for one, they take the shorter one, and of equals that from A to B. IPv6 keeps to
// the shortest path where links without IPv6 leave no such path.
//
// The routers on the path choose by the host's addresses, with policy rules (ip-rule(8)).
func (g *Graph) Route(from, to, over string) {
	g.detours = append(g.detours, detour{from, to, over})
}

func (g *Graph) node(name string) *node {
	i := slices.IndexFunc(g.nodes, func(n node) bool { return n.name == name })
	if i < 0 {
		return nil
	}
	return &g.nodes[i]
}

func (g *Graph) edge(name string) *edge {
	i := slices.IndexFunc(g.edges, func(e edge) bool { return e.name == name })
	if i < 0 {
		return nil
	}
	return &g.edges[i]
}

// Plan decides on names, addresses and routes. It needs no root and no kernel, and equal graphs have equal plans.
//
// Links get their numbers, and so their addresses, in the order in which they are declared: 1, 2, 3, ..., but for those
// that other links ask for. There can be 255.
//
// Routes lead to each link by the path with the fewest links. Of several such paths, each host and router takes the one
// that begins with the link that was declared first. So of two links between the same two routers the second carries
// only what is for its own addresses, and what [Graph.Route] sends there. Only routers forward. A host has a default
// route to the first router that it is linked to, and routes to the links that are nearer by another one. A router has
// a route to each link, and no default route.
//
// Plan refuses, in one error, names that are declared twice or not at all, links from a host to itself, names and
// values that the kernel would not take, and hosts that cannot reach each other by IPv4.
func (g *Graph) Plan() (*Plan, error) {
	if err := g.check(); err != nil {
		return nil, err
	}
	p, err := g.planLinks()
	if err != nil {
		return nil, err
	}
	families := []*family{newFamily(p, false), newFamily(p, true)}
	if err := families[0].checkReachable(); err != nil {
		return nil, err
	}
	addRoutes(p, families)
	for _, d := range g.detours {
		if err := addDetour(p, families, d); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// check finds all that is wrong with the declarations, each by itself.
func (g *Graph) check() error {
	var errs []error
	if len(g.nodes) == 0 {
		errs = append(errs, errors.New("the graph has no host: declare one by Host or Router"))
	}
	for i, n := range g.nodes {
		errs = append(errs, checkName("host", n.name), checkSettings("settings of host "+n.name, n.settings))
		if slices.ContainsFunc(g.nodes[:i], func(other node) bool { return other.name == n.name }) {
			errs = append(errs, fmt.Errorf("host %s is declared twice: give each a name of its own", n.name))
		}
	}
	if len(g.edges) > maxLinkNumber {
		errs = append(errs, fmt.Errorf("%d links: there are addresses for %d", len(g.edges), maxLinkNumber))
	}
	for i, e := range g.edges {
		if err := g.checkEdge(e, g.edges[:i]); err != nil {
			errs = append(errs, fmt.Errorf("link %s: %w", e.name, err))
		}
	}
	for i, d := range g.detours {
		if err := g.checkDetour(d, g.detours[:i]); err != nil {
			errs = append(errs, fmt.Errorf("route from %s to %s over %s: %w", d.from, d.to, d.over, err))
		}
	}
	return errors.Join(errs...)
}

func (g *Graph) checkEdge(e edge, earlier []edge) error {
	var errs []error
	for _, name := range []string{e.a, e.b} {
		errs = append(errs, g.checkDeclared(name))
	}
	if e.a == e.b {
		errs = append(errs, fmt.Errorf("it leads from host %s to itself: allowed are two hosts", e.a))
	}
	if len(e.configs) > 1 {
		errs = append(errs, fmt.Errorf("%d configurations: allowed is one", len(e.configs)))
	}
	c := LinkConfig{}
	if len(e.configs) > 0 {
		c = e.configs[0]
	}
	errs = append(errs, c.check())
	for _, other := range earlier {
		if other.name == e.name {
			errs = append(errs, fmt.Errorf("another link, from %s to %s, has this name: give each a name of its own",
				other.a, other.b))
		}
		if c.Number != 0 && other.config().Number == c.Number {
			errs = append(errs, fmt.Errorf("link number %d: link %s has it", c.Number, other.name))
		}
	}
	return errors.Join(errs...)
}

func (g *Graph) checkDeclared(host string) error {
	if g.node(host) == nil {
		return fmt.Errorf("there is no host %q: declare it by Host or Router", host)
	}
	return nil
}

func (g *Graph) checkDetour(d detour, earlier []detour) error {
	errs := []error{g.checkDeclared(d.from), g.checkDeclared(d.to)}
	if g.edge(d.over) == nil {
		errs = append(errs, fmt.Errorf("there is no link %q: declare it by Link", d.over))
	}
	if n := g.node(d.from); n != nil && n.router {
		errs = append(errs, fmt.Errorf("%s is a router: allowed are the packets of a host", d.from))
	}
	if d.from == d.to {
		errs = append(errs, errors.New("allowed are two hosts"))
	}
	if slices.ContainsFunc(earlier, func(other detour) bool { return other.from == d.from && other.to == d.to }) {
		errs = append(errs, errors.New("these packets have a route of their own already"))
	}
	return errors.Join(errs...)
}

// planLinks plans hosts and links, which have been checked, without routes.
func (g *Graph) planLinks() (*Plan, error) {
	p := &Plan{}
	at := map[string]int{}
	for i, n := range g.nodes {
		p.Hosts = append(p.Hosts, HostPlan{Name: n.name, Router: n.router, Settings: slices.Clone(n.settings)})
		at[n.name] = i
	}
	taken := map[int]bool{}
	for _, e := range g.edges {
		taken[e.config().Number] = true
	}
	free := 1
	for _, e := range g.edges {
		c := e.config()
		if c.Number == 0 {
			for taken[free] {
				free++
			}
			c.Number = free
			free++
		}
		a, b := &p.Hosts[at[e.a]], &p.Hosts[at[e.b]]
		l, err := planLink(e.a, e.b, a.Ends, b.Ends, c)
		if err != nil {
			return nil, fmt.Errorf("link %s: %w", e.name, err)
		}
		a.Ends, b.Ends = append(a.Ends, l.A), append(b.Ends, l.B)
		p.Links = append(p.Links, l)
	}
	return p, nil
}
