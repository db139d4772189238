package netns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// A Plan is what a [Graph] says about its network, and what follows from that: names, addresses and routes.
// [Graph.Build] sets up just this.
type Plan struct {
	Hosts []HostPlan // routers too, in the order of the graph
	Links []LinkPlan // in the order of the graph
}

// A HostPlan is a host or a router to be.
type HostPlan struct {
	Name     string
	Router   bool
	Settings []Setting // as for [NewHost]; a router's begin with those of [Forwarding]
	Ends     []EndPlan // in the order in which it is connected
	Routes   []Route   // beyond those to its own links, in the order in which they are added
}

// A LinkPlan is a link to be.
type LinkPlan struct {
	Name    string
	Number  int  // 1 to 255; addresses follow from it
	Offload bool // see [LinkConfig]
	A, B    EndPlan
}

// An EndPlan is one end of a link to be.
type EndPlan struct {
	Link string // its name
	Host string
	Name string // of the interface
	MAC  net.HardwareAddr
	IPv4 netip.Prefix // the address, with the length of the link's prefix
	IPv6 netip.Prefix // likewise; the zero Prefix where the MTU is too small for IPv6
	MTU  int          // bytes
}

// String returns the names of host and interface, such as "client/eth0".
func (e EndPlan) String() string { return e.Host + "/" + e.Name }

// address is the end's address of one family; the zero Prefix if it has none.
func (e EndPlan) address(v6 bool) netip.Prefix {
	if v6 {
		return e.IPv6
	}
	return e.IPv4
}

// A Route leads packets to a prefix, from any source or from one, to the next host.
type Route struct {
	From netip.Prefix // the zero Prefix stands for any source; such a route comes before all others
	To   netip.Prefix
	Via  netip.Addr // the next host's address, on a link of this host
}

// String returns the route much as ip(8) writes it, such as "10.0.2.0/24 via 10.0.1.2".
func (r Route) String() string {
	if r.From.IsValid() {
		return fmt.Sprintf("from %v to %v via %v", r.From, r.To, r.Via)
	}
	return fmt.Sprintf("%v via %v", r.To, r.Via)
}

// planLink decides on the names of the interfaces and on the addresses. The number and the name of the link are given,
// and the ends that its hosts already have.
func planLink(a, b string, endsA, endsB []EndPlan, c LinkConfig) (LinkPlan, error) {
	l := LinkPlan{Name: c.Name, Number: c.Number, Offload: c.Offload}
	for i, e := range []struct {
		end        *EndPlan
		host, name string
		others     []EndPlan
	}{{&l.A, a, c.NameA, endsA}, {&l.B, b, c.NameB, endsB}} {
		name, err := interfaceName(e.host, e.name, e.others)
		if err != nil {
			return LinkPlan{}, err
		}
		*e.end = planEnd(c, i+1)
		e.end.Host, e.end.Name = e.host, name
	}
	return l, nil
}

// planEnd gives the end its addresses: they tell the link's number and the end's, 1 for A and 2 for B.
func planEnd(c LinkConfig, end int) EndPlan {
	e := EndPlan{Link: c.Name, MTU: c.MTU}
	if e.MTU == 0 {
		e.MTU = DefaultMTU
	}
	// Locally administered, unicast (IEEE 802, section 8.2).
	e.MAC = net.HardwareAddr{0x02, 0, 0, 0, byte(c.Number), byte(end)}
	e.IPv4 = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(c.Number), byte(end)}), 24)
	if e.MTU >= minMTUIPv6 {
		// The number's decimal digits, so that link 107 is 10.0.107.0/24 and fd00:107::/64.
		e.IPv6 = netip.PrefixFrom(netip.MustParseAddr(fmt.Sprintf("fd00:%d::%d", c.Number, end)), 64)
	}
	return e
}

// interfaceName is the name that was asked for, or else the next of eth0, eth1, ... others are the ends that the host
// has.
func interfaceName(host, name string, others []EndPlan) (string, error) {
	if name == "" {
		name = fmt.Sprintf("eth%d", len(others))
	}
	if err := checkInterfaceName(name); err != nil {
		return "", fmt.Errorf("interface on host %s: %w", host, err)
	}
	if slices.ContainsFunc(others, func(e EndPlan) bool { return e.Name == name }) {
		return "", fmt.Errorf("interface %s: host %s has one of this name", name, host)
	}
	return name, nil
}

// String lists hosts with their addresses and routes, for people.
func (p *Plan) String() string {
	var b strings.Builder
	for _, h := range p.Hosts {
		fmt.Fprintf(&b, "%s\n", h.Name)
		for _, e := range h.Ends {
			fmt.Fprintf(&b, "    %s %v", e.Name, e.IPv4)
			if e.IPv6.IsValid() {
				fmt.Fprintf(&b, " %v", e.IPv6)
			}
			fmt.Fprintf(&b, " on %s\n", e.Link)
		}
		for _, r := range h.Routes {
			fmt.Fprintf(&b, "    %v\n", r)
		}
	}
	return b.String()
}

// Path follows a packet from a host to an address, by the routes alone: it returns the ends that the packet leaves by,
// in order. Those are the ends where impairments act on it. The packet's source is the address of the first of them. An
// error names the host that has no route.
func (p *Plan) Path(from string, to netip.Addr) ([]EndPlan, error) {
	host := p.host(from)
	if host == nil {
		return nil, fmt.Errorf("path from %s to %v: there is no such host", from, to)
	}
	v6 := to.Is6()
	var path []EndPlan
	var source netip.Addr
	for !host.has(to) {
		if len(path) > 0 && !host.Router {
			return path, fmt.Errorf("path from %s to %v: host %s is no router", from, to, host.Name)
		}
		if len(path) > len(p.Hosts) {
			return path, fmt.Errorf("path from %s to %v: the routes form a loop", from, to)
		}
		out, via, ok := host.next(source, to)
		if !ok {
			return path, fmt.Errorf("path from %s to %v: host %s has no route", from, to, host.Name)
		}
		if len(path) == 0 {
			source = out.address(v6).Addr()
		}
		path = append(path, out)
		peer := p.peer(out)
		if peer.address(v6).Addr() != via {
			return path, fmt.Errorf("path from %s to %v: no host has %v", from, to, via)
		}
		host = p.host(peer.Host)
	}
	return path, nil
}

func (p *Plan) host(name string) *HostPlan {
	i := slices.IndexFunc(p.Hosts, func(h HostPlan) bool { return h.Name == name })
	if i < 0 {
		return nil
	}
	return &p.Hosts[i]
}

// peer is the other end of the end's link.
func (p *Plan) peer(e EndPlan) EndPlan {
	for _, l := range p.Links {
		switch {
		case l.Name != e.Link:
		case l.A.Host == e.Host:
			return l.B
		default:
			return l.A
		}
	}
	return EndPlan{}
}

// has tells whether the host has an address. Linux takes packets for it on any link.
func (h *HostPlan) has(a netip.Addr) bool {
	return slices.ContainsFunc(h.Ends, func(e EndPlan) bool { return e.address(a.Is6()).Addr() == a })
}

// next is the way of a packet out of the host: the end, and the address of the next host. Routes for the source come
// first, then the longest prefix, those of the host's own links included.
func (h *HostPlan) next(source, to netip.Addr) (EndPlan, netip.Addr, bool) {
	best, via := -1, netip.Addr{}
	for _, r := range h.Routes {
		bits := r.To.Bits()
		if r.From.IsValid() {
			bits += 1000
		}
		if r.To.Contains(to) && (!r.From.IsValid() || r.From.Addr() == source) && bits > best {
			best, via = bits, r.Via
		}
	}
	for _, e := range h.Ends {
		prefix := e.address(to.Is6())
		if prefix.Contains(to) && prefix.Bits() > best {
			return e, to, true
		}
	}
	for _, e := range h.Ends {
		if prefix := e.address(to.Is6()); via.IsValid() && prefix.Contains(via) {
			return e, via, true
		}
	}
	return EndPlan{}, netip.Addr{}, false
}
