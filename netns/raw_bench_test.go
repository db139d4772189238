package netns

import (
	"errors"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/thread"
)

// A rawHost is a namespace and nothing else.
type rawHost struct {
	fd int
	nl *netlink.Handle
}

func newRawHost() (h rawHost, err error) {
	err = thread.Run(func() (err error) {
		if err = unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return os.NewSyscallError("unshare", err)
		}
		if h.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return err
		}
		h.nl, err = netlink.NewHandle(unix.NETLINK_ROUTE)
		return err
	})
	return h, err
}

func (h rawHost) close() error {
	h.nl.Close()
	return unix.Close(h.fd)
}

// end brings one end of a link up, with an address.
func (h rawHost) end(name, address string) error {
	link, err := h.nl.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(address)
	if err != nil {
		return err
	}
	return errors.Join(h.nl.AddrAdd(link, addr), h.nl.LinkSetUp(link))
}

func (h rawHost) gateway(address string) error {
	return h.nl.RouteAdd(&netlink.Route{Gw: net.ParseIP(address)})
}

// rawRouted is the least that makes two hosts with a router between them reach each other by IPv4: the requests that Routed
// needs, none of which is read back, and nothing of what makes its hosts alike on all machines.
func rawRouted() error {
	var hosts [3]rawHost
	for i := range hosts {
		var err error
		if hosts[i], err = newRawHost(); err != nil {
			return err
		}
		defer hosts[i].close()
	}
	client, router, server := hosts[0], hosts[1], hosts[2]
	for i, host := range []rawHost{client, server} {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = "eth0"
		veth := netlink.NewVeth(attributes)
		veth.PeerName, veth.PeerNamespace = fmt.Sprintf("eth%d", i), netlink.NsFd(router.fd)
		if err := host.nl.LinkAdd(veth); err != nil {
			return err
		}
		subnet := i + 1
		if err := errors.Join(
			host.end("eth0", fmt.Sprintf("10.0.%d.1/24", subnet)), router.end(fmt.Sprintf("eth%d", i), fmt.Sprintf("10.0.%d.254/24", subnet)),
			host.gateway(fmt.Sprintf("10.0.%d.254", subnet)),
		); err != nil {
			return err
		}
	}
	return thread.Run(func() error {
		if err := unix.Setns(router.fd, unix.CLONE_NEWNET); err != nil {
			return err
		}
		return os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte("1"), 0)
	})
}

// BenchmarkRoutedAgainstRaw takes turns with what the same topology costs by netlink alone.
func BenchmarkRoutedAgainstRaw(b *testing.B) {
	var ours, raw time.Duration
	for b.Loop() {
		began := time.Now()
		t, err := Routed(Config{})
		if errors.Is(err, ErrNotPermitted) {
			b.Skip(err)
		}
		if err == nil {
			err = t.Close()
		}
		between := time.Now()
		if err = errors.Join(err, rawRouted()); err != nil {
			b.Fatal(err)
		}
		ours, raw = ours+between.Sub(began), raw+time.Since(between)
	}
	n := float64(b.N)
	b.ReportMetric(0, "ns/op") // of both together
	b.ReportMetric(ours.Seconds()*1e3/n, "ms/ours")
	b.ReportMetric(raw.Seconds()*1e3/n, "ms/raw")
	b.ReportMetric(ours.Seconds()/raw.Seconds(), "ours/raw")
}
