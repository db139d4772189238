package netns

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/thread"
)

// A Topology is a set of hosts and the links between them. Close removes all of it.
type Topology struct {
	Kind    string
	Clients []*Host // of a ready-made topology; a Graph has none
	Routers []*Host
	Servers []*Host // likewise
	Links   []*Link

	// ToServer and ToClient are the ends at whose egress to impair that direction: those of the router in a routed
	// topology, and of the bottleneck in a dumbbell. In a direct topology they are those of the hosts, where drops in
	// the queue affect the local TCP. A topology that was built from a [Graph] has none until they are set.
	ToServer, ToClient *End

	hosts []*Host // all, in the order of the graph
}

// Client returns the first client.
func (t *Topology) Client() *Host { return t.Clients[0] }

// Server returns the first server.
func (t *Topology) Server() *Host { return t.Servers[0] }

// Hosts returns all hosts, routers among them: in the order in which the [Graph] declares them, and of a ready-made
// topology clients, routers, servers.
func (t *Topology) Hosts() []*Host { return slices.Clone(t.hosts) }

// Host returns the host or router of a name, which is one that the program itself has given: it panics if there is
// none.
func (t *Topology) Host(name string) *Host { return named("host", name, t.hosts) }

// Link returns the link of a name. It panics if there is none.
func (t *Topology) Link(name string) *Link { return named("link", name, t.Links) }

func named[T interface{ Name() string }](what, name string, all []T) T {
	var names []string
	for _, one := range all {
		if one.Name() == name {
			return one
		}
		names = append(names, one.Name())
	}
	panic(fmt.Sprintf("netns: the topology has no %s %q, but %s", what, name, strings.Join(names, ", ")))
}

// Close closes all hosts. Closing again does nothing.
func (t *Topology) Close() error {
	var errs []error
	for _, h := range t.hosts {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}

// Build sets up what the graph describes, by its [Graph.Plan]: hosts, links, routes, and what is to be set on
// interfaces, each in the order of the plan; the routes of routers come after those of the hosts. If it does not
// succeed, nothing is left.
func (g *Graph) Build() (_ *Topology, err error) {
	kind := cmp.Or(g.kind, KindGraph)
	plan, err := g.Plan()
	if err != nil {
		return nil, fmt.Errorf("build a %s topology: %w", kind, err)
	}
	t := &Topology{Kind: kind}
	finished := false
	defer func() {
		if !finished { // also if a test ends in between
			err = errors.Join(err, t.Close())
		}
	}()
	// All hosts are created by one thread, which ends in the namespace of the last one.
	if err := thread.Run(func() error { return t.build(plan) }); err != nil {
		return nil, fmt.Errorf("build a %s topology: %w", kind, err)
	}
	t.group(g.nodes)
	finished = true
	return t, nil
}

func (t *Topology) build(p *Plan) error {
	for _, step := range []func(*Plan) error{t.createHosts, t.connect, t.addRoutes, t.setInterfaceSysctls} {
		if err := step(p); err != nil {
			return err
		}
	}
	return nil
}

func (t *Topology) createHosts(p *Plan) error {
	for _, host := range p.Hosts {
		settings, _ := splitSettings(host.Settings)
		h, err := createHost(host.Name, settings)
		if err != nil {
			return err
		}
		t.hosts = append(t.hosts, h)
	}
	return nil
}

func (t *Topology) connect(p *Plan) error {
	for _, planned := range p.Links {
		link, err := connect(t.Host(planned.A.Host), t.Host(planned.B.Host), func() (LinkPlan, error) { return planned, nil })
		if err != nil {
			return err
		}
		t.Links = append(t.Links, link)
	}
	return nil
}

func (t *Topology) addRoutes(p *Plan) error {
	for _, routers := range []bool{false, true} {
		for i, host := range p.Hosts {
			if host.Router != routers {
				continue
			}
			for _, r := range host.Routes {
				if err := t.hosts[i].addRoute(r); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (t *Topology) setInterfaceSysctls(p *Plan) error {
	for i, host := range p.Hosts {
		_, settings := splitSettings(host.Settings)
		for _, s := range settings {
			if err := t.hosts[i].SetSysctl(s.Key, s.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// group sorts the hosts into clients, routers and servers.
func (t *Topology) group(nodes []node) {
	for i, n := range nodes {
		switch {
		case n.router:
			t.Routers = append(t.Routers, t.hosts[i])
		case n.role == roleClient:
			t.Clients = append(t.Clients, t.hosts[i])
		case n.role == roleServer:
			t.Servers = append(t.Servers, t.hosts[i])
		}
	}
}
