package harness

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/results"
)

// A Network is the topology of a lab. Its hosts and ends are those of package netns, with what a spec does to them.
type Network struct {
	Clients, Routers, Servers []*Host
	Links                     []*Link

	// ToServer and ToClient are the ends on whose egress an impairment of that direction belongs: the router's two
	// in a routed topology, the bottleneck's in a dumbbell, the hosts' own in a direct one. See [netns.Topology].
	ToServer, ToClient *End

	topology *netns.Topology
	lab      *Lab
}

// A Link joins two hosts.
type Link struct{ A, B *End }

// Client is the first client.
func (n *Network) Client() *Host { return n.Clients[0] }

// Server is the first server.
func (n *Network) Server() *Host { return n.Servers[0] }

// Hosts are all hosts: clients, routers, servers.
func (n *Network) Hosts() []*Host { return slices.Concat(n.Clients, n.Routers, n.Servers) }

// Impair sets the same on both directions, ToServer and ToClient: see [End.Impair].
func (n *Network) Impair(netem impair.Netem) {
	ginkgo.GinkgoHelper()
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
	l.network, l.offload = l.networkOf(topology), c.Offload
	for _, host := range l.network.Hosts() {
		host.before, err = kernel.ReadCounters(host)
		check(err)
	}
	return l.network
}

// networkOf is a topology as the lab's: each host and each end is there once.
func (l *Lab) networkOf(t *netns.Topology) *Network {
	n := &Network{topology: t, lab: l}
	ends := map[*netns.End]*End{}
	hosts := func(of []*netns.Host) []*Host {
		var all []*Host
		for _, h := range of {
			host := &Host{Host: h, lab: l}
			for _, e := range h.Ends() {
				ends[e] = &End{End: e, host: host, lab: l}
				host.ends = append(host.ends, ends[e])
			}
			all = append(all, host)
		}
		return all
	}
	n.Clients, n.Routers, n.Servers = hosts(t.Clients), hosts(t.Routers), hosts(t.Servers)
	for _, link := range t.Links {
		n.Links = append(n.Links, &Link{ends[link.A], ends[link.B]})
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
			Ends: [2]string{link.A.String(), link.B.String()}, MTU: link.A.MTU(), Offload: n.lab.offload,
		})
	}
	return topology
}
