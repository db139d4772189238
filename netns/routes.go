package netns

import (
	"fmt"
	"net/netip"
	"slices"
)

var (
	anyIPv4 = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	anyIPv6 = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
)

// A web is what a plan has for one family of addresses: links that have no address of it are not there.
type web struct {
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

func newWeb(p *Plan, v6 bool) *web {
	w := &web{v6: v6, hosts: p.Hosts, at: map[string]int{}, hops: make([][]hop, len(p.Hosts))}
	for i, h := range p.Hosts {
		w.at[h.Name] = i
	}
	for _, l := range p.Links {
		if !l.A.address(v6).IsValid() {
			continue
		}
		a, b := w.at[l.A.Host], w.at[l.B.Host]
		w.hops[a] = append(w.hops[a], hop{l.A, l.B, b})
		w.hops[b] = append(w.hops[b], hop{l.B, l.A, a})
	}
	return w
}

// unreachable is a distance.
const unreachable = -1

// distances returns how many links each host is away from the nearest target, by paths on which only routers forward, and none
// that is closed.
func (w *web) distances(targets []int, closed ...int) []int {
	dist := make([]int, len(w.hosts))
	for i := range dist {
		dist[i] = unreachable
	}
	for _, t := range targets {
		dist[t] = 0
	}
	for queue := slices.Clone(targets); len(queue) > 0; queue = queue[1:] {
		h := queue[0]
		if dist[h] > 0 && !w.hosts[h].Router {
			continue // others do not get any further by it
		}
		for _, hop := range w.hops[h] {
			if dist[hop.to] == unreachable && !slices.Contains(closed, hop.to) {
				dist[hop.to] = dist[h] + 1
				queue = append(queue, hop.to)
			}
		}
	}
	return dist
}

// next is the first hop of a host on its shortest way, by distances. The host must not be a target, and a target be in reach.
func (w *web) next(host int, dist []int) hop {
	i := slices.IndexFunc(w.hops[host], func(h hop) bool {
		return dist[h.to] == dist[host]-1 && (dist[h.to] == 0 || w.hosts[h.to].Router)
	})
	return w.hops[host][i]
}

// checkReachable refuses a network that is in parts, and hosts that have no path through routers to each other.
func (w *web) checkReachable() error {
	for to := range w.hosts {
		dist := w.distances([]int{to})
		for from := range w.hosts[:to] {
			if dist[from] == unreachable && !w.hosts[from].Router && !w.hosts[to].Router {
				return fmt.Errorf("hosts %s and %s have no path to each other: link them, and let what lies between be routers",
					w.hosts[from].Name, w.hosts[to].Name)
			}
		}
	}
	for i, linked := range w.linkedToFirst() {
		if !linked {
			return fmt.Errorf("host %s and host %s have no link or path between them: link the parts of the graph",
				w.hosts[0].Name, w.hosts[i].Name)
		}
	}
	return nil
}

// linkedToFirst tells of each host whether it is in one part with the first, whoever forwards.
func (w *web) linkedToFirst() []bool {
	linked := make([]bool, len(w.hosts))
	linked[0] = true
	for queue := []int{0}; len(queue) > 0; queue = queue[1:] {
		for _, hop := range w.hops[queue[0]] {
			if !linked[hop.to] {
				linked[hop.to] = true
				queue = append(queue, hop.to)
			}
		}
	}
	return linked
}

// A way leads to a prefix from all hosts in reach.
type way struct {
	to   netip.Prefix
	dist []int
}

// waysTo returns the ways to a link: to its prefix, by the nearest router on it. From where there is none in reach, a host with
// other links can be: the ways to its own address.
func (w *web) waysTo(l LinkPlan) (prefix way, addresses []way) {
	if !l.A.address(w.v6).IsValid() {
		return way{}, nil
	}
	var routers []int
	for _, e := range []EndPlan{l.A, l.B} {
		at, address := w.at[e.Host], e.address(w.v6).Addr()
		if w.hosts[at].Router {
			routers = append(routers, at)
		}
		addresses = append(addresses, way{netip.PrefixFrom(address, address.BitLen()), w.distances([]int{at})})
	}
	return way{l.A.address(w.v6).Masked(), w.distances(routers)}, addresses
}

// routesTo are those of each host to a link.
func (w *web) routesTo(l LinkPlan) [][]Route {
	routes := make([][]Route, len(w.hosts))
	prefix, addresses := w.waysTo(l)
	for h := range w.hosts {
		switch {
		case addresses == nil || h == w.at[l.A.Host] || h == w.at[l.B.Host]:
		case prefix.dist[h] != unreachable:
			routes[h] = []Route{w.route(h, prefix)}
		default:
			for _, a := range addresses {
				if a.dist[h] != unreachable {
					routes[h] = append(routes[h], w.route(h, a))
				}
			}
		}
	}
	return routes
}

func (w *web) route(host int, to way) Route {
	return Route{To: to.to, Via: w.next(host, to.dist).in.address(w.v6).Addr()}
}

// gateway is the address of the first router that a host has a link to.
func (w *web) gateway(host int) (netip.Addr, bool) {
	i := slices.IndexFunc(w.hops[host], func(h hop) bool { return w.hosts[h.to].Router })
	if i < 0 {
		return netip.Addr{}, false
	}
	return w.hops[host][i].in.address(w.v6).Addr(), true
}

// addRoutes adds the shortest paths to the plan. A router gets no default route: two that had one to each other would pass what
// is for nobody to and fro until its TTL ends.
func addRoutes(p *Plan, webs []*web) {
	gateways := map[netip.Addr]bool{}
	for h := range p.Hosts {
		for _, w := range webs {
			via, ok := w.gateway(h)
			if p.Hosts[h].Router || !ok {
				continue
			}
			p.Hosts[h].Routes = append(p.Hosts[h].Routes, Route{To: anywhere(w.v6), Via: via})
			gateways[via] = true
		}
	}
	for _, l := range p.Links {
		for _, w := range webs {
			for h, routes := range w.routesTo(l) {
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
func addDetour(p *Plan, webs []*web, d detour) error {
	for _, w := range webs {
		path, ok := w.pathOver(d)
		if !ok && w.v6 {
			continue
		}
		if !ok {
			return fmt.Errorf("route from %s to %s over %s: there is no such path on which routers forward, and none twice: choose another link",
				d.from, d.to, d.over)
		}
		from, to := p.host(d.from), p.host(d.to)
		for i, hop := range path {
			host := p.host(hop.out.Host)
			for _, r := range w.detourRoutes(hop, from, to, i == 0) {
				// One of two routes to the same prefix: the host takes the detour.
				host.Routes = slices.DeleteFunc(host.Routes, func(old Route) bool { return old.From == r.From && old.To == r.To })
				host.Routes = append(host.Routes, r)
			}
		}
	}
	return nil
}

// detourRoutes are those for one hop, to each address of the other host: in the first host for all that it sends, in routers
// for what it has sent, by any of its addresses.
func (w *web) detourRoutes(hop hop, from, to *HostPlan, first bool) []Route {
	sources := []netip.Prefix{{}}
	if !first {
		sources = w.addressesOf(from)
	}
	via := hop.in.address(w.v6).Addr()
	var routes []Route
	for _, source := range sources {
		for _, address := range w.addressesOf(to) {
			if address.Addr() != via { // else it is on the hop's link
				routes = append(routes, Route{From: source, To: address, Via: via})
			}
		}
	}
	return routes
}

// addressesOf are a host's own, each as a prefix that has nothing else in it.
func (w *web) addressesOf(h *HostPlan) []netip.Prefix {
	var addresses []netip.Prefix
	for _, e := range h.Ends {
		if a := e.address(w.v6).Addr(); a.IsValid() {
			addresses = append(addresses, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return addresses
}

// pathOver is the way of a detour: the shorter one of the two that pass the link.
func (w *web) pathOver(d detour) ([]hop, bool) {
	from, to := w.at[d.from], w.at[d.to]
	var best []hop
	for h, hops := range w.hops {
		for _, over := range hops {
			if over.out.Link != d.over {
				continue
			}
			path, ok := w.pathBy(from, to, h, over)
			isA := over.out.address(w.v6).Addr().Less(over.in.address(w.v6).Addr())
			if ok && (best == nil || len(path) < len(best) || len(path) == len(best) && isA) {
				best = path
			}
		}
	}
	return best, best != nil
}

// pathBy is the shortest path to a hop, the hop, and the shortest path from there that passes no host a second time.
func (w *web) pathBy(from, to, near int, over hop) ([]hop, bool) {
	far := over.to
	if near == to || far == from || near != from && !w.hosts[near].Router || far != to && !w.hosts[far].Router {
		return nil, false
	}
	var path []hop
	passed := []int{from}
	walk := func(host, target int, closed ...int) bool {
		dist := w.distances([]int{target}, closed...)
		for host != target {
			if dist[host] == unreachable {
				return false
			}
			hop := w.next(host, dist)
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
