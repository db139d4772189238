package harness

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/netns"
)

// A Host is one of a lab's. What it does that can fail fails the spec.
type Host struct {
	*netns.Host
	lab       *Lab
	ends      []*End
	before    kernel.Counters // when the topology was built
	pressured bool            // its memory may run short
}

// Ends are the host's link ends, in the order in which they were connected.
func (h *Host) Ends() []*End { return slices.Clone(h.ends) }

// End is the host's link end of that name, such as "eth0": its first one.
func (h *Host) End(name string) *End {
	ginkgo.GinkgoHelper()
	return named(h.Name()+"'s link end", name, h.ends)
}

// IP is the address of the host's first link, of the run's family.
func (h *Host) IP() netip.Addr { return ByFamily(h.IPv4(), h.IPv6()) }

// Addr is an address on the host: see [Host.IP].
func (h *Host) Addr(port uint16) netip.AddrPort { return netip.AddrPortFrom(h.IP(), port) }

// UnusedAddresses are addresses of the subnet of the host's first link that no host of a topology has: 126 of
// them, the upper half of its last byte. Packets to them are lost on that link, and nobody is told, so
// they can be the sources of a [peers.SYNFlood] from that host.
func (h *Host) UnusedAddresses() netip.Prefix {
	link := h.ends[0]
	return upperHalf(ByFamily(link.IPv4(), link.IPv6()))
}

// upperHalf is the upper half of the last byte's addresses in the first of a subnet's blocks of 256.
func upperHalf(subnet netip.Prefix) netip.Prefix {
	first := subnet.Masked().Addr()
	bytes := first.AsSlice()
	bytes[len(bytes)-1] |= 0x80
	half, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(half, first.BitLen()-7)
}

// Counters are what the host's kernel counted since the topology was built, by nstat's names.
func (h *Host) Counters() kernel.Counters {
	ginkgo.GinkgoHelper()
	check(h.lab.faulty("read the counters of " + h.Name()))
	now, err := kernel.ReadCounters(h)
	check(err)
	return now.Since(h.before)
}

// Sysctl reads a number from the host's sysctls. [netns.Host.Sysctl] reads any.
func (h *Host) Sysctl(key string) int {
	ginkgo.GinkgoHelper()
	text, err := h.Host.Sysctl(key)
	check(err)
	value, err := strconv.Atoi(text)
	if err != nil {
		check(fmt.Errorf("sysctl %s on %s: %w", key, h.Name(), err))
	}
	return value
}

// Oracle knows what TCP should do on the host: by its sysctls as they are now, and the version and
// tick of the running kernel.
func (h *Host) Oracle() oracle.Kernel {
	ginkgo.GinkgoHelper()
	version, err := kernelversion.Running()
	check(err)
	hz, err := oracle.RunningHZ()
	check(err)
	k, err := oracle.Read(h.Host, version, hz)
	check(err)
	return k
}

// AllowMemoryPressure says that TCP may run out of memory on the host: the scenario is about that. On others it fails the
// spec, for what is measured then is the memory, and not the link.
//
// All hosts share net.ipv4.tcp_mem, which follows from the machine's memory (in a guest it is a quarter of that): a socket with
// much unsent data on one host can close the receive windows of another.
func (h *Host) AllowMemoryPressure() { h.pressured = true }
