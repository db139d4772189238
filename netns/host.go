package netns

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/thread"
)

const (
	maxName = 64 // of a host, and of a link

	// loopback is always the first interface of a namespace (net/core/dev.c, LOOPBACK_IFINDEX).
	loopback = 1

	// eventTimeout bounds the wait for asynchronous work of the kernel, which takes less than a millisecond. It turns
	// a hang into an error.
	eventTimeout = 10 * time.Second
)

// A Host is one machine of a test network: a network namespace of its own; everything else it shares with the machine
// that this program runs on. Its methods may be called from any goroutine.
type Host struct {
	name   string
	serial uint64 // order of creation
	fd     int
	nl     *netlink.Handle

	mu       sync.Mutex // also held while the namespace is being entered, so that fd stays what it is
	closed   bool
	ends     []*End
	settings []Setting
	sources  []netip.Prefix // whose packets have routes of their own: see tableFor
	children map[*child]struct{}
}

var serial atomic.Uint64

// NewHost creates a host without links, with its loopback interface up. The name is for people and for files: 1 to 64
// letters, digits, dots, dashes and underscores, not starting with a dot or a dash. The kernel does not know it. The
// settings are applied after the defaults of this package (see the package documentation), before any socket can be
// opened in the host.
//
// It returns [ErrNotPermitted] without root, and [ErrNotSupported] where the kernel lacks network namespaces.
func NewHost(name string, settings ...Setting) (*Host, error) {
	if err := errors.Join(checkName("host", name), checkSettings("settings", settings)); err != nil {
		return nil, fmt.Errorf("create host %q: %w", name, err)
	}
	var h *Host
	err := thread.Run(func() (err error) {
		h, err = createHost(name, settings)
		return err
	})
	return h, err
}

// checkName checks the name of a host or of a link, whichever of is.
func checkName(of, name string) error {
	ok := name != "" && len(name) <= maxName && name[0] != '.' && name[0] != '-'
	for _, r := range name {
		ok = ok && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r))
	}
	if !ok {
		return fmt.Errorf("%s name %q: allowed are 1 to %d letters, digits, dots, dashes and underscores, starting with none of dot and dash", of, name, maxName)
	}
	return nil
}

// createHost leaves the calling thread in the new host's namespace.
func createHost(name string, settings []Setting) (_ *Host, err error) {
	h := &Host{name: name, serial: serial.Add(1), fd: -1, children: map[*child]struct{}{}}
	defer func() {
		if err != nil {
			err = fmt.Errorf("create host %s: %w", name, errors.Join(err, h.Close()))
		}
	}()
	limits, err := readLimits()
	if err != nil {
		return nil, err
	}
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if errors.Is(err, unix.EINVAL) { // unshare(2): the flag is unknown
			return nil, fmt.Errorf("unshare: %w: network namespaces (CONFIG_NET_NS) are %w", err, ErrNotSupported)
		}
		return nil, explain(os.NewSyscallError("unshare", err))
	}
	if h.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return nil, fmt.Errorf("open /proc/thread-self/ns/net: %w", err)
	}
	if h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, fmt.Errorf("open a netlink socket: %w", err)
	}
	if err := unix.Access("/proc/sys/net/ipv6", unix.F_OK); err != nil {
		return nil, fmt.Errorf("find /proc/sys/net/ipv6: %w: IPv6 (CONFIG_IPV6, without ipv6.disable=1) is %w", err, ErrNotSupported)
	}
	if err := setLimits(limits); err != nil {
		return nil, err
	}
	for _, s := range slices.Concat(defaults, settings) {
		if err := h.setSysctlHere(s); err != nil {
			return nil, err
		}
	}
	if err := h.nl.LinkSetUp(byIndex(loopback)); err != nil {
		return nil, fmt.Errorf("bring up lo: %w", err)
	}
	return h, nil
}

// byIndex stands for a link in requests that name it by its index alone.
func byIndex(index int) netlink.Link {
	return &netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}
}

// Name returns the name that the host was created with.
func (h *Host) Name() string { return h.name }

// FD returns a file descriptor of the host's namespace, for libraries that take one. It is closed by Close.
func (h *Host) FD() int { return h.fd }

// Netlink returns a handle for NETLINK_ROUTE in the host. Close closes it, after which its requests fail. Other
// families need a handle of their own, from [Host.FD]; name the family.
func (h *Host) Netlink() *netlink.Handle { return h.nl }

// Ends returns the host's link ends, in the order in which they were connected.
func (h *Host) Ends() []*End {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.ends)
}

// IPv4 returns the IPv4 address of the host's first link, or the zero Addr when it has no link.
func (h *Host) IPv4() netip.Addr {
	if ends := h.Ends(); len(ends) > 0 {
		return ends[0].plan.IPv4.Addr()
	}
	return netip.Addr{}
}

// IPv6 returns the IPv6 address of the host's first link, or the zero Addr when it has no link, or its link an MTU
// that is too small for IPv6.
func (h *Host) IPv6() netip.Addr {
	if ends := h.Ends(); len(ends) > 0 {
		return ends[0].plan.IPv6.Addr()
	}
	return netip.Addr{}
}

// Do runs f inside the host and returns its error. f runs in a goroutine of its own, on an operating system thread
// of its own, which is in the host's namespace and ends with f.
//
// A socket stays in the namespace in which it was opened, so f may return what it dialled or listens on. Goroutines
// that f starts are not in the host. Neither are those of a library: Go, for example, dials the addresses of a host
// name in new goroutines (but not a literal IP address).
//
// A panic in f continues in the caller with the same value, and so does runtime.Goexit, which FailNow of package
// testing uses.
func (h *Host) Do(f func() error) error {
	return thread.Run(func() error {
		if err := h.enter(); err != nil {
			return err
		}
		return f()
	})
}

// enter moves the calling thread, which must be one of package thread's, into the host.
func (h *Host) enter() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.enterLocked()
}

func (h *Host) enterLocked() error {
	if h.closed {
		return fmt.Errorf("enter host %s: %w", h.name, ErrClosed)
	}
	if err := unix.Setns(h.fd, unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter host %s: %w", h.name, explain(os.NewSyscallError("setns", err)))
	}
	return nil
}

// AddRoute adds a route to dst through the router via, which must be on a link of this host. Both must be of the same
// family. The default routes are 0.0.0.0/0 and ::/0. The host then knows that via is a router, as it would from
// neighbour advertisements (RFC 4861, section 4.4).
func (h *Host) AddRoute(dst netip.Prefix, via netip.Addr) error {
	switch {
	case !dst.IsValid() || dst.Masked() != dst:
		return fmt.Errorf("add route to %v on host %s: allowed is a prefix whose host bits are zero", dst, h.name)
	case !via.IsValid() || via.Is4() != dst.Addr().Is4() || via.Zone() != "":
		return fmt.Errorf("add route to %v via %v on host %s: allowed is a router's address of the same family, without zone", dst, via, h.name)
	}
	return h.addRoute(Route{To: dst, Via: via})
}

func (h *Host) addRoute(r Route) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return fmt.Errorf("add route to %v on host %s: %w", r.To, h.name, ErrClosed)
	}
	if err := h.addRouteLocked(r); err != nil {
		return fmt.Errorf("add route %v on host %s: %w", r, h.name, err)
	}
	return nil
}

func (h *Host) addRouteLocked(r Route) error {
	table, err := h.tableFor(r.From)
	if err != nil {
		return err
	}
	if err := h.nl.RouteAdd(&netlink.Route{Dst: ipNet(r.To), Gw: r.Via.AsSlice(), Table: table}); err != nil {
		return err
	}
	if err := h.markRouter(r.Via); err != nil {
		return fmt.Errorf("mark %v as a router: %w", r.Via, err)
	}
	if r.From.IsValid() {
		return h.checkForwarding(r)
	}
	return nil
}

const (
	// firstTable is the first of the tables for packets of one source. The kernel's own are 253 to 255.
	firstTable = 1000

	// sourceRule is the priority of the rules that choose them: after the local addresses (0), before the main table
	// (32766).
	sourceRule = 1000
)

// tableFor returns the routing table for packets from a source: 0, which stands for the main one, for packets from any.
// The first time it adds the rule that leads there. What is not in the table is looked up in the main one.
func (h *Host) tableFor(source netip.Prefix) (int, error) {
	if !source.IsValid() {
		return 0, nil
	}
	if i := slices.Index(h.sources, source); i >= 0 {
		return firstTable + i, nil
	}
	rule := netlink.NewRule()
	rule.Src, rule.Table, rule.Priority = ipNet(source), firstTable+len(h.sources), sourceRule
	if source.Addr().Is6() {
		rule.Family = unix.AF_INET6
	}
	if err := h.nl.RuleAdd(rule); err != nil {
		if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
			err = fmt.Errorf("%w: policy rules (CONFIG_IP_MULTIPLE_TABLES, CONFIG_IPV6_MULTIPLE_TABLES) are %w", err, ErrNotSupported)
		}
		return 0, fmt.Errorf("add rule for packets from %v: %w", source, err)
	}
	h.sources = append(h.sources, source)
	return rule.Table, nil
}

// checkForwarding asks the kernel where it sends a packet that the route is for: rule, table and route have to agree.
func (h *Host) checkForwarding(r Route) error {
	got, err := h.nl.RouteGetWithOptions(r.To.Addr().AsSlice(), &netlink.RouteGetOptions{
		SrcAddr: r.From.Addr().AsSlice(), IifIndex: h.ends[0].index,
	})
	if err != nil {
		return fmt.Errorf("ask for the route: %w", err)
	}
	if len(got) != 1 || !got[0].Gw.Equal(r.Via.AsSlice()) {
		return fmt.Errorf("the kernel sends such packets elsewhere: %v", got)
	}
	return nil
}

// markRouter sets the router flag of a neighbour entry. Neighbour discovery would set it; here entries are permanent.
// Without it the kernel drops what it has learned of the path, such as its MTU, at the next garbage collection,
// within 30 s (net/ipv6/route.c, rt6_age_examine_exception).
func (h *Host) markRouter(via netip.Addr) error {
	if !via.Is6() {
		return nil
	}
	neighbours, err := h.nl.NeighList(0, unix.AF_INET6)
	if err != nil {
		return err
	}
	for _, n := range neighbours {
		if n.State == netlink.NUD_PERMANENT && n.IP.Equal(via.AsSlice()) {
			n.Flags |= netlink.NTF_ROUTER
			return h.nl.NeighSet(&n)
		}
	}
	return nil // somebody else's link, where neighbours are discovered
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// await returns when ready reports true. It asks at once, and again after each event of the netlink group.
func (h *Host) await(group uint, ready func() (bool, error)) error {
	if ok, err := ready(); ok || err != nil {
		return err
	}
	// Subscribe only now, as ready is almost always true at once. Then ask again, for what happened in between.
	var events *nl.NetlinkSocket
	err := thread.Run(func() (err error) {
		if err := unix.Setns(h.fd, unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("setns", err)
		}
		events, err = nl.Subscribe(unix.NETLINK_ROUTE, group)
		return err
	})
	if err != nil {
		return fmt.Errorf("subscribe to netlink group %d: %w", group, err)
	}
	defer events.Close()
	timeout := unix.NsecToTimeval(eventTimeout.Nanoseconds())
	if err := events.SetReceiveTimeout(&timeout); err != nil {
		return err
	}
	for {
		if ok, err := ready(); ok || err != nil {
			return err
		}
		// ENOBUFS says that events were lost, which is an event.
		if _, _, err := events.Receive(); errors.Is(err, unix.EAGAIN) {
			return fmt.Errorf("no event of netlink group %d in %v", group, eventTimeout)
		} else if err != nil && !errors.Is(err, unix.ENOBUFS) && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// Close removes the host: it kills its processes and all that they have left behind in it ([Host.Processes]); its
// links, addresses and sockets disappear. It returns when the processes have ended, and its error names those that do
// not. The kernel removes the namespace in the background, and keeps it as long as something else refers to it, such
// as a socket that was opened there. A second Close does nothing.
func (h *Host) Close() error {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil
	}
	h.closed = true
	children := make([]*child, 0, len(h.children))
	for c := range h.children {
		children = append(children, c)
	}
	h.mu.Unlock()

	var errs []error
	for _, c := range children {
		if err := c.kill(); err != nil {
			errs = append(errs, err)
			continue
		}
		<-c.exited
	}
	if h.fd >= 0 {
		errs = append(errs, h.killLeft())
	}
	if h.nl != nil {
		// A closed Handle would work on the namespace of the calling thread, which is the machine's. Closing a copy
		// closes the same sockets, and leaves h.nl with sockets that fail.
		handle := *h.nl
		handle.Close()
	}
	if h.fd >= 0 {
		if err := unix.Close(h.fd); err != nil {
			errs = append(errs, os.NewSyscallError("close", err))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("close host %s: %w", h.name, err)
	}
	return nil
}
