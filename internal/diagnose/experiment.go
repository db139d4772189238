package diagnose

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/probe"
)

// The headers of IP and TCP without options, which the MSS does not count (RFC 9293, 3.7.1).
func headers(address netip.Addr) int {
	if address.Is4() {
		return 40
	}
	return 60
}

// leastMTU is what every path carries: of IPv6 by RFC 8200, 5; of IPv4 what every host reassembles, RFC 791.
func leastMTU(address netip.Addr) int {
	if address.Is4() {
		return 576
	}
	return 1280
}

// mtus are those of links that are in use: PPPoE (RFC 2516), 6in4, GRE, VXLAN and VPNs of several kinds.
var mtus = []int{1492, 1480, 1476, 1460, 1450, 1440, 1420, 1400, 1380, 1360, 1340, 1300, 1280, 1200, 1000, 576}

// smallSegments asks once more with segments that every path carries and, at the same time, as before. If only the small ones are answered,
// it looks for the largest that are.
func (r *run) smallSegments(ctx context.Context, o probe.Options, last Attempt) {
	least := leastMTU(o.Address)
	full := last.mtu()
	if full <= least {
		return
	}
	r.progress("asking in small segments")
	r.together(ctx,
		func() Attempt { return attempt(ctx, purposeSmall, o, small(least-headers(o.Address))) },
		func() Attempt { return attempt(ctx, purposeAgain, o, nil) })
	if !r.blackHole() {
		return
	}
	r.progress("looking for the MTU of the path")
	var sizes []func() Attempt
	for _, mtu := range mtus {
		if mtu > least && mtu < full {
			sizes = append(sizes, func() Attempt { return attempt(ctx, purposeSmall, o, small(mtu-headers(o.Address))) })
		}
	}
	r.together(ctx, sizes...)
}

// together makes attempts at the same time.
func (r *run) together(ctx context.Context, each ...func() Attempt) {
	made := make([]Attempt, len(each))
	var all sync.WaitGroup
	for i, make := range each {
		all.Go(func() { made[i] = make() })
	}
	all.Wait()
	for _, a := range made {
		r.take(ctx, a)
	}
}

// mtu is the greatest packet of an attempt, as its side knows the path.
func (a Attempt) mtu() int {
	if a.Info == nil {
		return 0
	}
	return int(a.Info.Pmtu)
}

// A Hop is a router that has answered a SYN whose time to live ended there.
type Hop struct {
	To   netip.Addr `json:"to"`
	TTL  int        `json:"ttl"`
	From netip.Addr `json:"from"`
}

const (
	mostHops  = 24
	traceTime = 900 * time.Millisecond // less than the first RTO of a SYN: each is sent once
)

// trace sends SYNs that live for one hop, two, and so on. A router that ends one says so by ICMP, if it does.
func trace(ctx context.Context, to netip.AddrPort) []Hop {
	var hops []Hop
	sockets := map[int]int{} // file descriptors by TTL
	defer func() {
		for _, fd := range sockets {
			unix.Close(fd)
		}
	}()
	for ttl := 1; ttl <= mostHops; ttl++ {
		fd, err := synWithTTL(to, ttl)
		if err != nil {
			break
		}
		sockets[ttl] = fd
	}
	select {
	case <-time.After(traceTime):
	case <-ctx.Done():
	}
	for ttl, fd := range sockets {
		if icmp := lastICMP(fd); icmp != nil && icmp.exceeded() {
			hops = append(hops, Hop{to.Addr(), ttl, icmp.From})
		}
	}
	slices.SortFunc(hops, func(a, b Hop) int { return cmp.Compare(a.TTL, b.TTL) })
	return hops
}

func (i ICMP) exceeded() bool { return !i.IPv6 && i.Type == 11 || i.IPv6 && i.Type == 3 }

func synWithTTL(to netip.AddrPort, ttl int) (fd int, err error) {
	family, level, limit, errors := unix.AF_INET, unix.IPPROTO_IP, unix.IP_TTL, unix.IP_RECVERR
	var address unix.Sockaddr
	if to.Addr().Is4() {
		address = &unix.SockaddrInet4{Port: int(to.Port()), Addr: to.Addr().As4()}
	} else {
		family, level, limit, errors = unix.AF_INET6, unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, unix.IPV6_RECVERR
		address = &unix.SockaddrInet6{Port: int(to.Port()), Addr: to.Addr().As16()}
	}
	if fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	for _, option := range [][2]int{{limit, ttl}, {errors, 1}} {
		if err := unix.SetsockoptInt(fd, level, option[0], option[1]); err != nil {
			unix.Close(fd)
			return -1, fmt.Errorf("setsockopt: %w", err)
		}
	}
	if err := unix.Connect(fd, address); err != unix.EINPROGRESS && err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}
