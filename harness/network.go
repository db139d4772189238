package harness

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/results"
)

// A Network is the topology of a lab. Its hosts and ends are those of package netns, with what a spec does to them.
type Network struct {
	Clients, Routers, Servers []*Host // a graph has neither clients nor servers
	Links                     []*Link

	// ToServer and ToClient are the ends on whose egress an impairment of that direction belongs: the router's two
	// in a routed topology, the bottleneck's in a dumbbell, the hosts' own in a direct one. That of a graph has none until
	// they are set. See [netns.Topology].
	ToServer, ToClient *End

	topology *netns.Topology
	hosts    []*Host
}

// A Link joins two hosts.
type Link struct {
	*netns.Link
	A, B *End
}

// Client is the first client.
func (n *Network) Client() *Host { return n.Clients[0] }

// Server is the first server.
func (n *Network) Server() *Host { return n.Servers[0] }

// Hosts are all hosts: clients, routers, servers, or those of a graph in its order.
func (n *Network) Hosts() []*Host { return slices.Clone(n.hosts) }

// Host is the host or router of that name.
func (n *Network) Host(name string) *Host {
	ginkgo.GinkgoHelper()
	return named("host", name, n.hosts)
}

// Link is the link of that name, which a graph's Link returns.
func (n *Network) Link(name string) *Link {
	ginkgo.GinkgoHelper()
	return named("link", name, n.Links)
}

// named is the one of that name. If there is none it fails the spec, and says what there is.
func named[T interface{ Name() string }](what, name string, all []T) T {
	ginkgo.GinkgoHelper()
	var names []string
	for _, one := range all {
		if one.Name() == name {
			return one
		}
		names = append(names, one.Name())
	}
	check(fmt.Errorf("there is no %s %q, but %s", what, name, strings.Join(names, ", ")))
	panic("unreachable")
}

// Impair sets the same on both directions, ToServer and ToClient: see [End.Impair].
func (n *Network) Impair(netem impair.Netem) {
	ginkgo.GinkgoHelper()
	if n.ToServer == nil || n.ToClient == nil {
		check(errors.New("impair both directions: the topology is a graph: impair ends of its links, or set its ToServer and ToClient"))
	}
	n.ToServer.Impair(netem)
	n.ToClient.Impair(netem)
}

// Direct builds client and server with one link between them: impairments act on the hosts'
// own egress, where they talk back to the sending TCP. See [Lab.Routed].
func (l *Lab) Direct(config ...netns.Config) *Network {
	ginkgo.GinkgoHelper()
	return l.build(netns.Direct, config)
}

// Routed builds client, router and server. Impairments act at the router: on its egress to
// the server (ToServer) and to the client (ToClient).
func (l *Lab) Routed(config ...netns.Config) *Network {
	ginkgo.GinkgoHelper()
	return l.build(netns.Routed, config)
}

// Path is [Lab.Routed] with half of a round trip of delay each way, at the router: what most scenarios begin with. A later
// [End.Impair] or [Network.Impair] takes the delay's place.
func (l *Lab) Path(rtt time.Duration, config ...netns.Config) *Network {
	ginkgo.GinkgoHelper()
	net := l.Routed(config...)
	net.Impair(impair.Netem{Delay: rtt / 2})
	return net
}

// Dumbbell builds pairs of clients and servers that share one link between two routers.
func (l *Lab) Dumbbell(pairs int, config ...netns.Config) *Network {
	ginkgo.GinkgoHelper()
	return l.build(func(c netns.Config) (*netns.Topology, error) { return netns.Dumbbell(pairs, c) }, config)
}

func (l *Lab) build(make func(netns.Config) (*netns.Topology, error), config []netns.Config) *Network {
	ginkgo.GinkgoHelper()
	if l.network != nil {
		check(errors.New("build topology: the lab has one"))
	}
	var c netns.Config
	switch len(config) {
	case 0:
	case 1:
		c = config[0]
	default:
		check(fmt.Errorf("build topology: %d configurations, at most one makes sense", len(config)))
	}
	check(useSmallTables())
	topology, err := make(c)
	check(err)
	l.network = l.networkOf(topology)
	// One such link is enough: a router passes on packets of many segments as they are.
	l.offload = slices.ContainsFunc(topology.Links, func(link *netns.Link) bool { return link.A.Offload() })
	for _, host := range l.network.Hosts() {
		host.before, err = kernel.ReadCounters(host)
		check(err)
	}
	return l.network
}

// networkOf is a topology as the lab's: each host and each end is there once.
func (l *Lab) networkOf(t *netns.Topology) *Network {
	n := &Network{topology: t}
	hosts, ends := map[*netns.Host]*Host{}, map[*netns.End]*End{}
	for _, h := range t.Hosts() {
		hosts[h] = &Host{Host: h, lab: l}
		for _, e := range h.Ends() {
			ends[e] = &End{End: e, host: hosts[h], lab: l}
			hosts[h].ends = append(hosts[h].ends, ends[e])
		}
	}
	ours := func(of []*netns.Host) []*Host {
		var all []*Host
		for _, h := range of {
			all = append(all, hosts[h])
		}
		return all
	}
	n.hosts, n.Clients, n.Routers, n.Servers = ours(t.Hosts()), ours(t.Clients), ours(t.Routers), ours(t.Servers)
	for _, link := range t.Links {
		n.Links = append(n.Links, &Link{link, ends[link.A], ends[link.B]})
	}
	n.ToServer, n.ToClient = ends[t.ToServer], ends[t.ToClient]
	return n
}

// describe is what the record has of the topology.
func (n *Network) describe() *results.Topology {
	topology := &results.Topology{Kind: n.topology.Kind}
	for _, host := range n.Hosts() {
		described := results.Host{Name: host.Name(), Sysctls: map[string]string{}}
		for _, end := range host.Ends() {
			described.Addresses = append(described.Addresses, end.IPv4().String(), end.IPv6().String())
		}
		for _, setting := range host.Sysctls() {
			described.Sysctls[setting.Key] = setting.Value
		}
		topology.Hosts = append(topology.Hosts, described)
	}
	for _, link := range n.Links {
		topology.Links = append(topology.Links, results.Link{
			Ends: [2]string{link.A.String(), link.B.String()}, MTU: link.A.MTU(), Offload: link.A.Offload(),
		})
	}
	return topology
}
