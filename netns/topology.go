package netns

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/tcplab/tcplab/internal/thread"
)

// The kinds of topology.
const (
	KindDirect   = "direct"
	KindRouted   = "routed"
	KindDumbbell = "dumbbell"
)

const (
	// MaxPairs is how many pairs a dumbbell can have. Link i belongs to client i, link 100+i to server i.
	MaxPairs = 99

	serverLinks    = 100
	bottleneckLink = 200
)

var (
	anyIPv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	anyIPv6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// Config configures a topology. The zero value works.
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

// A Topology is a set of hosts and the links between them. Close removes all of it.
type Topology struct {
	Kind    string
	Clients []*Host
	Routers []*Host
	Servers []*Host
	Links   []*Link

	// ToServer and ToClient are the ends at whose egress to impair that direction: those of the router in a routed
	// topology, and of the bottleneck in a dumbbell. In a direct topology they are those of the hosts, where drops in
	// the queue affect the local TCP.
	ToServer, ToClient *End
}

// Client returns the first client.
func (t *Topology) Client() *Host { return t.Clients[0] }

// Server returns the first server.
func (t *Topology) Server() *Host { return t.Servers[0] }

// Hosts returns all hosts: clients, routers, servers.
func (t *Topology) Hosts() []*Host { return slices.Concat(t.Clients, t.Routers, t.Servers) }

// Close closes all hosts. Closing again does nothing.
func (t *Topology) Close() error {
	var errs []error
	for _, h := range t.Hosts() {
		errs = append(errs, h.Close())
	}
	return errors.Join(errs...)
}

// Direct builds a client and a server with one link between them.
func Direct(c Config) (*Topology, error) {
	roles := roles{clients: []string{"client"}, servers: []string{"server"}}
	return build(KindDirect, c, roles, func(t *Topology) error {
		if err := t.connect(c, joint{t.Client(), t.Server(), 1}); err != nil {
			return err
		}
		t.ToServer, t.ToClient = t.Links[0].A, t.Links[0].B
		return nil
	})
}

// Routed builds a client and a server with a router between them.
func Routed(c Config) (*Topology, error) {
	roles := roles{clients: []string{"client"}, routers: []string{"router"}, servers: []string{"server"}}
	return build(KindRouted, c, roles, func(t *Topology) error {
		router := t.Routers[0]
		if err := t.connect(c, joint{t.Client(), router, 1}, joint{router, t.Server(), 2}); err != nil {
			return err
		}
		near, far := t.Links[0], t.Links[1]
		t.ToServer, t.ToClient = far.A, near.B
		return errors.Join(addGateway(near.A, near.B), addGateway(far.B, far.A))
	})
}

// Dumbbell builds 1 to 99 pairs of a client and a server. All clients are connected to one router, all servers to
// another, and all pairs share the bottleneck, the link between the routers. It is the first of the links.
func Dumbbell(pairs int, c Config) (*Topology, error) {
	if pairs < 1 || pairs > MaxPairs {
		return nil, fmt.Errorf("build a %s topology of %d pairs: allowed are 1 to %d", KindDumbbell, pairs, MaxPairs)
	}
	roles := roles{routers: []string{"left", "right"}}
	for i := 1; i <= pairs; i++ {
		roles.clients = append(roles.clients, fmt.Sprintf("client%d", i))
		roles.servers = append(roles.servers, fmt.Sprintf("server%d", i))
	}
	return build(KindDumbbell, c, roles, func(t *Topology) error {
		left, right := t.Routers[0], t.Routers[1]
		narrow := c
		narrow.MTU = cmp.Or(c.BottleneckMTU, c.MTU)
		if err := t.connect(narrow, joint{left, right, bottleneckLink}); err != nil {
			return err
		}
		bottleneck := t.Links[0]
		t.ToServer, t.ToClient = bottleneck.A, bottleneck.B
		for i := range pairs {
			err := t.connect(c, joint{t.Clients[i], left, i + 1}, joint{right, t.Servers[i], serverLinks + i + 1})
			if err != nil {
				return err
			}
			near, far := t.Links[len(t.Links)-2], t.Links[len(t.Links)-1]
			err = errors.Join(
				addGateway(near.A, near.B),
				addGateway(far.B, far.A),
				// The routers have no default routes: with one to each other, a packet to an unknown address would
				// loop over the bottleneck until its TTL ends.
				addSubnet(left, far.B, bottleneck.B),
				addSubnet(right, near.A, bottleneck.A),
			)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// roles are the names of the hosts to be created.
type roles struct {
	clients, routers, servers []string
}

// A joint is a link to be made.
type joint struct {
	a, b   *Host
	number int
}

// build creates the hosts, has them joined, and removes everything again if that does not succeed.
func build(kind string, c Config, r roles, join func(*Topology) error) (_ *Topology, err error) {
	if err := c.check(kind); err != nil {
		return nil, fmt.Errorf("build a %s topology: %w", kind, err)
	}
	t := &Topology{Kind: kind}
	finished := false
	defer func() {
		if !finished {
			err = errors.Join(err, t.Close())
		}
	}()
	// All hosts are created by one thread, which ends in the namespace of the last one.
	err = thread.Run(func() error {
		if err := t.createHosts(c, r); err != nil {
			return err
		}
		if err := join(t); err != nil {
			return err
		}
		return t.setInterfaceSysctls(c)
	})
	if err != nil {
		return nil, fmt.Errorf("build a %s topology: %w", kind, err)
	}
	finished = true
	return t, nil
}

// role is a group of hosts of a topology, and their settings.
type role struct {
	names    []string
	hosts    *[]*Host
	first    []Setting
	settings []Setting
}

func (t *Topology) roles(c Config, r roles) []role {
	return []role{
		{r.clients, &t.Clients, nil, c.ClientSysctls},
		{r.routers, &t.Routers, Forwarding(), c.RouterSysctls},
		{r.servers, &t.Servers, nil, c.ServerSysctls},
	}
}

func (t *Topology) createHosts(c Config, r roles) error {
	for _, role := range t.roles(c, r) {
		settings, _ := splitSettings(slices.Concat(role.first, c.Sysctls, role.settings))
		for _, name := range role.names {
			h, err := createHost(name, settings)
			if err != nil {
				return err
			}
			*role.hosts = append(*role.hosts, h)
		}
	}
	return nil
}

func (t *Topology) setInterfaceSysctls(c Config) error {
	for _, role := range t.roles(c, roles{}) {
		_, settings := splitSettings(slices.Concat(c.Sysctls, role.settings))
		for _, h := range *role.hosts {
			for _, s := range settings {
				if err := h.SetSysctl(s.Key, s.Value); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (t *Topology) connect(c Config, joints ...joint) error {
	for _, j := range joints {
		link, err := Connect(j.a, j.b, LinkConfig{Number: j.number, MTU: c.MTU, Offload: c.Offload})
		if err != nil {
			return err
		}
		t.Links = append(t.Links, link)
	}
	return nil
}

// addGateway makes the router the default gateway of the host at the other end of its link.
func addGateway(e, router *End) error {
	return addRoutes(e.host, [2]netip.Prefix{anyIPv4, anyIPv6}, router)
}

// addSubnet adds a route from the host to the link of an end, through the router.
func addSubnet(h *Host, e, router *End) error {
	return addRoutes(h, [2]netip.Prefix{e.ipv4.Masked(), e.ipv6.Masked()}, router)
}

func addRoutes(h *Host, to [2]netip.Prefix, router *End) error {
	err := h.AddRoute(to[0], router.ipv4.Addr())
	if to[1].IsValid() && router.ipv6.IsValid() {
		err = errors.Join(err, h.AddRoute(to[1], router.ipv6.Addr()))
	}
	return err
}
