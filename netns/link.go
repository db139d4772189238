package netns

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/ethernet"
	"github.com/tcplab/tcplab/netns/netdev"
)

const (
	// DefaultMTU is Ethernet's (RFC 894).
	DefaultMTU = ethernet.MTU

	minMTU     = 68    // RFC 791, section 3.2; also ETH_MIN_MTU in include/uapi/linux/if_ether.h
	minMTUIPv6 = 1280  // RFC 8200, section 5
	maxMTU     = 65535 // ETH_MAX_MTU in include/uapi/linux/if_ether.h

	maxInterfaceName = unix.IFNAMSIZ - 1
	maxLinkNumber    = 255
)

// LinkConfig configures a link. The zero value is a link with the MTU of Ethernet and one segment per packet.
type LinkConfig struct {
	// Name is the link's: 1 to 64 letters, digits, dots, dashes and underscores, starting with none of dot and dash. When
	// empty, it is made of the names of its hosts: client-router.
	Name string

	// NameA and NameB name the interfaces at the two ends: up to 15 bytes. When empty, a host's interfaces are
	// called eth0, eth1, ... in the order in which they are connected.
	NameA, NameB string

	// Number is the link's number in its network, 1 to 255. Addresses follow from it, so it must be unique where
	// packets are forwarded between links. 0 takes the number after the highest that either host has, and in a [Graph] the
	// lowest that no other link has.
	Number int

	// MTU is in bytes: 68 to 65535; 0 means 1500. Below 1280 the link has no IPv6 (RFC 8200).
	MTU int

	// Offload lets TCP pass packets of many segments at once, as it does to a network card. Qdiscs then lose and
	// delay such a packet as one. Without it, gso_max_segs is 1 at both ends, and a packet has at most one segment.
	Offload bool
}

// A Link joins two hosts by a pair of veth interfaces.
type Link struct {
	A, B *End

	name string
}

// Name returns the name of the link, such as "client-router".
func (l *Link) Name() string { return l.name }

// An End is the interface at one end of a link.
type End struct {
	host    *Host
	plan    EndPlan
	number  int // of the link
	offload bool
	index   int
}

// firstIndexA is above any index that the kernel assigns by itself: see create.
const firstIndexA = 1000

// Ends returns a slice of this end only, as [Host.Ends] returns all ends of a host: for functions that take either.
func (e *End) Ends() []*End { return []*End{e} }

// Host returns the host that the interface is in.
func (e *End) Host() *Host { return e.host }

// Name returns the name of the interface in its host.
func (e *End) Name() string { return e.plan.Name }

// Index returns the index of the interface in its host.
func (e *End) Index() int { return e.index }

// Device returns the interface with its namespace, as what impairs or captures takes it. Once the host is closed it is
// one that they refuse.
func (e *End) Device() netdev.Device {
	return netdev.Device{NetNS: e.host.FD(), Name: e.plan.Name, Index: e.index}
}

// MAC returns the interface's Ethernet address.
func (e *End) MAC() net.HardwareAddr { return slices.Clone(e.plan.MAC) }

// IPv4 returns the interface's address, with the length of the link's prefix.
func (e *End) IPv4() netip.Prefix { return e.plan.IPv4 }

// IPv6 returns the interface's address, with the length of the link's prefix. It is the zero Prefix when the link's
// MTU is too small for IPv6.
func (e *End) IPv6() netip.Prefix { return e.plan.IPv6 }

// MTU returns the interface's MTU in bytes.
func (e *End) MTU() int { return e.plan.MTU }

// Offload reports whether the link was made with [LinkConfig].Offload: a packet can then be many segments.
func (e *End) Offload() bool { return e.offload }

// String returns the names of host and interface, such as "client/eth0".
func (e *End) String() string { return e.plan.String() }

// Connect connects two hosts by a link: a veth pair that is created directly in the two namespaces. When it returns,
// both interfaces have a carrier and their addresses, and are ready for use.
//
// If Connect fails, nothing of the link is left. The error is [ErrNotSupported] if the kernel lacks veth.
func Connect(a, b *Host, c LinkConfig) (*Link, error) {
	switch {
	case a == nil || b == nil:
		return nil, errors.New("connect hosts: a host is nil")
	case a == b:
		return nil, fmt.Errorf("connect host %s to itself: allowed are two hosts", a.name)
	case a.name == b.name:
		return nil, fmt.Errorf("connect two hosts that are both called %s: allowed are two names", a.name)
	}
	return connect(a, b, func() (LinkPlan, error) { return planNext(a, b, c) })
}

// connect makes the link that plan returns, which can rely on that the hosts stay as they are meanwhile.
func connect(a, b *Host, plan func() (LinkPlan, error)) (*Link, error) {
	l, err := connectLocked(a, b, plan)
	if err != nil {
		return nil, fmt.Errorf("connect %s and %s: %w", a.name, b.name, err)
	}
	return l, nil
}

func connectLocked(a, b *Host, plan func() (LinkPlan, error)) (*Link, error) {
	// Lock in the order of creation, or two calls could deadlock.
	first, second := a, b
	if first.serial > second.serial {
		first, second = second, first
	}
	first.mu.Lock()
	defer first.mu.Unlock()
	second.mu.Lock()
	defer second.mu.Unlock()
	for _, h := range []*Host{a, b} {
		if h.closed {
			return nil, fmt.Errorf("host %s: %w", h.name, ErrClosed)
		}
	}
	p, err := plan()
	if err != nil {
		return nil, err
	}
	l := &Link{name: p.Name}
	l.A = &End{host: a, plan: p.A, number: p.Number, offload: p.Offload}
	l.B = &End{host: b, plan: p.B, number: p.Number, offload: p.Offload}
	if err := l.create(); err != nil {
		return nil, err
	}
	if err := l.configure(); err != nil {
		if delErr := a.nl.LinkDel(byIndex(l.A.index)); delErr != nil {
			err = errors.Join(err, fmt.Errorf("delete %v: %w", l.A, delErr))
		}
		return nil, err
	}
	a.ends = append(a.ends, l.A)
	b.ends = append(b.ends, l.B)
	return l, nil
}

func checkMTU(mtu int) error {
	if mtu != 0 && (mtu < minMTU || mtu > maxMTU) {
		return fmt.Errorf("MTU %d: allowed are %d to %d (bytes; IPv6 needs %d), or 0 for %d", mtu, minMTU, maxMTU, minMTUIPv6, DefaultMTU)
	}
	return nil
}

// check refuses what no link can be.
func (c LinkConfig) check() error {
	errs := []error{checkMTU(c.MTU)}
	if c.Number < 0 || c.Number > maxLinkNumber {
		errs = append(errs, fmt.Errorf("link number %d: allowed are 1 to %d, or 0 for the next", c.Number, maxLinkNumber))
	}
	if c.Name != "" {
		errs = append(errs, checkName("link", c.Name))
	}
	return errors.Join(errs...)
}

// planNext plans a link between two hosts that may have some.
func planNext(a, b *Host, c LinkConfig) (LinkPlan, error) {
	if err := c.check(); err != nil {
		return LinkPlan{}, err
	}
	next := 1
	for _, h := range []*Host{a, b} {
		for _, e := range h.ends {
			if e.number == c.Number {
				return LinkPlan{}, fmt.Errorf("link number %d: host %s has it at %s", c.Number, h.name, e.Name())
			}
			next = max(next, e.number+1)
		}
	}
	if c.Number == 0 && next > maxLinkNumber {
		return LinkPlan{}, fmt.Errorf("link number %d: a host has number %d already, give the link one that is free",
			next, maxLinkNumber)
	}
	c.Number = cmp.Or(c.Number, next)
	c.Name = cmp.Or(c.Name, a.name+"-"+b.name)
	return planLink(a.name, b.name, a.plans(), b.plans(), c)
}

// plans are the host's ends as they were planned.
func (h *Host) plans() []EndPlan {
	plans := make([]EndPlan, len(h.ends))
	for i, e := range h.ends {
		plans[i] = e.plan
	}
	return plans
}

// checkInterfaceName follows dev_valid_name in net/core/dev.c, and also refuses a name that the kernel would take for
// a pattern, the name of the loopback, and the names that mean all interfaces in sysctls.
func checkInterfaceName(name string) error {
	reserved := []string{".", "..", "lo", "all", "default"}
	bad := func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("/:%", r) }
	if name == "" || len(name) > maxInterfaceName || strings.ContainsFunc(name, bad) || slices.Contains(reserved, name) {
		return fmt.Errorf("name %q: allowed are 1 to %d visible ASCII characters without / : %%, and not %s",
			name, maxInterfaceName, strings.Join(reserved, " "))
	}
	return nil
}

// create creates the pair, with both interfaces down.
func (l *Link) create() error {
	a, b := l.A, l.B
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr = a.plan.Name, a.plan.MTU, a.plan.MAC
	// The kernel numbers the interfaces of each namespace separately, so both ends of a pair often have index 2. Then
	// the link watch takes them for one interface without a lower device, and delays the carrier event by up to a
	// second (net/core/link_watch.c, linkwatch_urgent_event). So A gets an index out of that range; B keeps its own.
	attrs.Index = firstIndexA + a.number
	// The default is one queue per CPU (drivers/net/veth.c, veth_get_num_queues).
	attrs.NumTxQueues, attrs.NumRxQueues = 1, 1
	if !a.offload {
		attrs.GSOMaxSegs = 1
	}
	pair := &netlink.Veth{
		LinkAttrs:        attrs,
		PeerName:         b.plan.Name,
		PeerHardwareAddr: b.plan.MAC,
		PeerNamespace:    netlink.NsFd(b.host.fd),
	}
	if err := a.host.nl.LinkAdd(pair); err != nil {
		switch {
		case errors.Is(err, unix.EOPNOTSUPP):
			err = fmt.Errorf("%w: veth (CONFIG_VETH, `modprobe veth`) is %w", err, ErrNotSupported)
		case errors.Is(err, unix.EEXIST):
			err = fmt.Errorf("%w: one of the hosts has an interface of this name", err)
		}
		return fmt.Errorf("create veth pair %v and %v: %w", a, b, err)
	}
	a.index = attrs.Index
	return nil
}

// configure sets up a created pair for use. The order matters: see Silence in the package documentation.
func (l *Link) configure() error {
	link, err := l.B.host.nl.LinkByName(l.B.plan.Name)
	if err != nil {
		return fmt.Errorf("look up %v: %w", l.B, err)
	}
	l.B.index = link.Attrs().Index
	if !l.B.offload {
		// LinkAdd has no such attribute for the peer.
		if err := l.B.host.nl.LinkSetGSOMaxSegs(link, 1); err != nil {
			return fmt.Errorf("set gso_max_segs of %v to 1: %w", l.B, err)
		}
	}
	ends := []*End{l.A, l.B}
	for _, e := range ends {
		if err := e.up(); err != nil {
			return err
		}
	}
	for _, e := range ends {
		if err := e.awaitCarrier(); err != nil {
			return err
		}
	}
	for i, e := range ends {
		if err := e.addAddresses(ends[1-i]); err != nil {
			return err
		}
	}
	for _, e := range ends {
		if err := e.awaitIPv6(); err != nil {
			return err
		}
	}
	return nil
}

func (e *End) up() error {
	link := byIndex(e.index)
	if err := e.host.nl.LinkSetARPOff(link); err != nil {
		return fmt.Errorf("turn ARP off on %v: %w", e, err)
	}
	if err := e.host.nl.LinkSetMulticastOff(link); err != nil {
		return fmt.Errorf("turn multicast off on %v: %w", e, err)
	}
	if err := e.host.nl.LinkSetUp(link); err != nil {
		return fmt.Errorf("bring up %v: %w", e, err)
	}
	return nil
}

// awaitCarrier returns when packets can be sent. The end that came up first gets its carrier when the other one comes
// up. Until the link watch of the kernel has processed that, its queue drops everything (net/core/link_watch.c).
// Since Linux 6.8 asking for the state makes it do so at once (rtnl_getlink).
func (e *End) awaitCarrier() error {
	err := e.host.await(unix.RTNLGRP_LINK, func() (bool, error) {
		link, err := e.host.nl.LinkByIndex(e.index)
		if err != nil {
			return false, err
		}
		if segs := link.Attrs().GSOMaxSegs; !e.offload && segs != 1 {
			return false, fmt.Errorf("gso_max_segs is %d, not the 1 that was set", segs)
		}
		return link.Attrs().OperState == netlink.OperUp, nil
	})
	if err != nil {
		return fmt.Errorf("wait for the carrier of %v: %w", e, err)
	}
	return nil
}

// addAddresses adds the addresses of the end, and neighbour entries for those of its peer.
func (e *End) addAddresses(peer *End) error {
	for _, p := range [][2]netip.Prefix{{e.plan.IPv4, peer.plan.IPv4}, {e.plan.IPv6, peer.plan.IPv6}} {
		own, other := p[0], p[1].Addr()
		if !own.IsValid() {
			continue
		}
		addr := &netlink.Addr{IPNet: ipNet(own)}
		neigh := &netlink.Neigh{
			LinkIndex:    e.index,
			Family:       unix.AF_INET,
			State:        netlink.NUD_PERMANENT,
			IP:           other.AsSlice(),
			HardwareAddr: peer.plan.MAC,
		}
		if own.Addr().Is6() {
			addr.Flags = unix.IFA_F_NODAD
			neigh.Family = unix.AF_INET6
		}
		if err := e.host.nl.AddrAdd(byIndex(e.index), addr); err != nil {
			return fmt.Errorf("add address %v to %v: %w", own, e, err)
		}
		if err := e.host.nl.NeighSet(neigh); err != nil {
			return fmt.Errorf("add neighbour %v to %v: %w", other, e, err)
		}
	}
	return nil
}

// awaitIPv6 returns when the host accepts packets to the IPv6 address of the end. A worker of the kernel adds the
// local route, even without duplicate address detection (net/ipv6/addrconf.c, addrconf_dad_work).
func (e *End) awaitIPv6() error {
	if !e.plan.IPv6.IsValid() {
		return nil
	}
	err := e.host.await(unix.RTNLGRP_IPV6_ROUTE, func() (bool, error) {
		routes, err := e.host.nl.RouteGet(e.plan.IPv6.Addr().AsSlice())
		if err != nil {
			return false, err
		}
		return len(routes) == 1 && routes[0].Type == unix.RTN_LOCAL, nil
	})
	if err != nil {
		return fmt.Errorf("wait for address %v of %v: %w", e.plan.IPv6, e, err)
	}
	return nil
}
