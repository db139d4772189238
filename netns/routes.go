package netns

import (
	"fmt"
	"net/netip"
	"slices"
	"sync"
)

var (
	anyIPv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	anyIPv6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// A family is what a plan has for IPv4, or for IPv6: links that have no address of it are not there.
type family struct {
	v6    bool
	hosts []HostPlan
	at    map[string]int // where a host is in hosts
	hops  [][]hop        // those of each host, in the order in which it is connected
}

// A hop is from a host to the one at the other end of a link.
type hop struct {
	out, in EndPlan // the end that a packet leaves by, and the one that it comes to
	to      int     // the other host
}

func newFamily(p *Plan, v6 bool) *family {
	f := &family{v6: v6, hosts: p.Hosts, at: map[string]int{}, hops: make([][]hop, len(p.Hosts))}
	for i, h := range p.Hosts {
		f.at[h.Name] = i
	}
	for _, l := range p.Links {
		if !l.A.address(v6).IsValid() {
			continue
		}
		a, b := f.at[l.A.Host], f.at[l.B.Host]
		f.hops[a] = append(f.hops[a], hop{l.A, l.B, b})
		f.hops[b] = append(f.hops[b], hop{l.B, l.A, a})
	}
	return f
}

// unreachable is a distance.
const unreachable = -1

// distances returns how many links each host is away from the nearest target, by paths on which only routers forward,
// and none that is closed.
func (f *family) distances(targets []int, closed ...int) []int {
	dist := make([]int, len(f.hosts))
	for i := range dist {
		dist[i] = unreachable
	}
	for _, t := range targets {
		dist[t] = 0
	}
	for queue := slices.Clone(targets); len(queue) > 0; queue = queue[1:] {
		h := queue[0]
		if dist[h] > 0 && !f.hosts[h].Router {
			continue // it forwards nothing
		}
		for _, hop := range f.hops[h] {
			if dist[hop.to] == unreachable && !slices.Contains(closed, hop.to) {
				dist[hop.to] = dist[h] + 1
				queue = append(queue, hop.to)
			}
		}
	}
	return dist
}

// next is the first hop of a host on its shortest path, by distances. The host must not be a target, and must reach
// one.
func (f *family) next(host int, dist []int) hop {
	i := slices.IndexFunc(f.hops[host], func(h hop) bool {
		return dist[h.to] == dist[host]-1 && (dist[h.to] == 0 || f.hosts[h.to].Router)
	})
	return f.hops[host][i]
}

// checkReachable refuses a network that is in parts, and hosts that have no path through routers to each other.
func (f *family) checkReachable() error {
	for to := range f.hosts {
		dist := f.distances([]int{to})
		for from := range f.hosts[:to] {
			if dist[from] == unreachable && !f.hosts[from].Router && !f.hosts[to].Router {
				return fmt.Errorf("hosts %s and %s have no path to each other: link them, and let what lies between be routers",
					f.hosts[from].Name, f.hosts[to].Name)
			}
		}
	}
	for i, linked := range f.linkedToFirst() {
		if !linked {
			return fmt.Errorf("host %s and host %s have no link or path between them: link the parts of the graph",
				f.hosts[0].Name, f.hosts[i].Name)
		}
	}
	return nil
}

// linkedToFirst tells of each host whether it is in one part with the first, whoever forwards.
func (f *family) linkedToFirst() []bool {
	linked := make([]bool, len(f.hosts))
	linked[0] = true
	for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
		for _, hop := range f.hops[queue[0]] {
			if !linked[hop.to] {
				linked[hop.to] = true
				queue = append(queue, hop.to)
			}
		}
	}
	return linked
}

// A destination is a prefix, and how far all hosts are from it.
type destination struct {
	to   netip.Prefix
	dist []int
}

// prefixOf is a link as a destination. It is reached by the nearest router on it.
func (f *family) prefixOf(l LinkPlan) destination {
	var routers []int
	for _, e := range []EndPlan{l.A, l.B} {
		if at := f.at[e.Host]; f.hosts[at].Router {
			routers = append(routers, at)
		}
	}
	return destination{l.A.address(f.v6).Masked(), f.distances(routers)}
}

// addressesOn are the addresses on a link, each as a destination. They are for where no router on the link is in reach:
// its host can be, by another link of its own.
func (f *family) addressesOn(l LinkPlan) []destination {
	var addresses []destination
	for _, e := range []EndPlan{l.A, l.B} {
		address := e.address(f.v6).Addr()
		prefix := netip.PrefixFrom(address, address.BitLen())
		addresses = append(addresses, destination{prefix, f.distances([]int{f.at[e.Host]})})
	}
	return addresses
}

// routesTo are those of each host to a link.
func (f *family) routesTo(l LinkPlan) [][]Route {
	routes := make([][]Route, len(f.hosts))
	if !l.A.address(f.v6).IsValid() {
		return routes
	}
	prefix := f.prefixOf(l)
	ends := sync.OnceValue(func() []destination { return f.addressesOn(l) })
	for h := range f.hosts {
		switch {
		case h == f.at[l.A.Host] || h == f.at[l.B.Host]:
		case prefix.dist[h] != unreachable:
			routes[h] = []Route{f.route(h, prefix)}
		default:
			for _, end := range ends() {
				if end.dist[h] != unreachable {
					routes[h] = append(routes[h], f.route(h, end))
				}
			}
		}
	}
	return routes
}

func (f *family) route(host int, to destination) Route {
	return Route{To: to.to, Via: f.next(host, to.dist).in.address(f.v6).Addr()}
}

// gateway is the address of the first router that a host has a link to.
func (f *family) gateway(host int) (netip.Addr, bool) {
	i := slices.IndexFunc(f.hops[host], func(h hop) bool { return f.hosts[h.to].Router })
	if i < 0 {
		return netip.Addr{}, false
	}
	return f.hops[host][i].in.address(f.v6).Addr(), true
}

// addRoutes adds the shortest paths to the plan. A router gets no default route: two that had one to each other would
// pass what is for nobody to and fro until its TTL ends.
func addRoutes(p *Plan, families []*family) {
	gateways := map[netip.Addr]bool{}
	for h := range p.Hosts {
		for _, f := range families {
			via, ok := f.gateway(h)
			if p.Hosts[h].Router || !ok {
				continue
			}
			p.Hosts[h].Routes = append(p.Hosts[h].Routes, Route{To: anywhere(f.v6), Via: via})
			gateways[via] = true
		}
	}
	for _, l := range p.Links {
		for _, f := range families {
			for h, routes := range f.routesTo(l) {
				host := &p.Hosts[h]
				for _, r := range routes {
					// An address belongs to one link, so no other host has the same gateway for another reason.
					if host.Router || !gateways[r.Via] {
						host.Routes = append(host.Routes, r)
					}
				}
			}
		}
	}
}

func anywhere(v6 bool) netip.Prefix {
	if v6 {
		return anyIPv6
	}
	return anyIPv4
}

// addDetour adds the routes of a detour to the plan, by each family that can take it.
func addDetour(p *Plan, families []*family, d detour) error {
	for _, f := range families {
		path, ok := f.pathOver(d)
		if !ok && f.v6 {
			continue
		}
		if !ok {
			return fmt.Errorf("route from %s to %s over %s: no such path exists without a router that is passed twice, "+
				"or a host that would have to forward: choose another link", d.from, d.to, d.over)
		}
		from, to := p.host(d.from), p.host(d.to)
		for i, hop := range path {
			host := p.host(hop.out.Host)
			for _, r := range f.detourRoutes(hop, from, to, i == 0) {
				// One of two routes to the same prefix: the host takes the detour.
				same := func(old Route) bool { return old.From == r.From && old.To == r.To }
				host.Routes = slices.DeleteFunc(host.Routes, same)
				host.Routes = append(host.Routes, r)
			}
		}
	}
	return nil
}

// detourRoutes are those for one hop, to each address of the other host: in the first host for all that it sends, in
// routers for what it has sent, by any of its addresses.
func (f *family) detourRoutes(hop hop, from, to *HostPlan, first bool) []Route {
	sources := []netip.Prefix{{}}
	if !first {
		sources = f.addressesOf(from)
	}
	via := hop.in.address(f.v6).Addr()
	var routes []Route
	for _, source := range sources {
		for _, address := range f.addressesOf(to) {
			if address.Addr() != via { // else it is on the hop's link
				routes = append(routes, Route{From: source, To: address, Via: via})
			}
		}
	}
	return routes
}

// addressesOf are a host's own, each as a prefix that has nothing else in it.
func (f *family) addressesOf(h *HostPlan) []netip.Prefix {
	var addresses []netip.Prefix
	for _, e := range h.Ends {
		if a := e.address(f.v6).Addr(); a.IsValid() {
			addresses = append(addresses, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return addresses
}

// pathOver is the path of a detour: the shorter one of the two directions over the link.
func (f *family) pathOver(d detour) ([]hop, bool) {
	from, to := f.at[d.from], f.at[d.to]
	var best []hop
	for h, hops := range f.hops {
		for _, over := range hops {
			if over.out.Link != d.over {
				continue
			}
			path, ok := f.pathBy(from, to, h, over)
			isA := over.out.address(f.v6).Addr().Less(over.in.address(f.v6).Addr())
			if ok && (best == nil || len(path) < len(best) || len(path) == len(best) && isA) {
				best = path
			}
		}
	}
	return best, best != nil
}

// pathBy is the shortest path to a hop, the hop, and the shortest path from there that passes no host a second time.
func (f *family) pathBy(from, to, near int, over hop) ([]hop, bool) {
	far := over.to
	if near == to || far == from || near != from && !f.hosts[near].Router || far != to && !f.hosts[far].Router {
		return nil, false
	}
	var path []hop
	passed := []int{from}
	walk := func(host, target int, closed ...int) bool {
		dist := f.distances([]int{target}, closed...)
		for host != target {
			if dist[host] == unreachable {
				return false
			}
			hop := f.next(host, dist)
			path, passed = append(path, hop), append(passed, hop.to)
			host = hop.to
		}
		return true
	}
	if !walk(from, near, far, to) {
		return nil, false
	}
	path = append(path, over)
	if !walk(far, to, passed...) {
		return nil, false
	}
	return path, true
}
