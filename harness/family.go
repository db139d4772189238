package harness

import (
	"net/netip"
	"os"
	"slices"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/netns"
)

// familyVariable chooses the Internet protocol: "6", or else IPv4.
const familyVariable = "TCPLAB_FAMILY"

// ipv4Label marks a spec that is bound to IPv4: with IPv6 it is skipped.
const ipv4Label = "ipv4"

// IPv6 tells whether the scenarios of this run use IPv6, rather than IPv4. All hosts have addresses
// of both; a scenario takes those that [Addr] and [IP] give it.
func IPv6() bool { return os.Getenv(familyVariable) == "6" }

// IP is the address of a host's first link, of the run's family.
func IP(host *netns.Host) netip.Addr {
	if IPv6() {
		return host.IPv6()
	}
	return host.IPv4()
}

// Addr is an address on a host: see [IP].
func Addr(host *netns.Host, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(IP(host), port)
}

// Strangers are addresses of the subnet of a host's first link that no host of a topology has: 126 of
// them, the upper half of its last byte. Packets to them are lost on that link, and nobody is told, so
// they can be the sources of a [peers.SYNFlood] from that host.
func Strangers(host *netns.Host) netip.Prefix {
	link := host.Ends()[0]
	if IPv6() {
		return upperHalf(link.IPv6())
	}
	return upperHalf(link.IPv4())
}

// upperHalf is the upper half of the last byte's addresses in the first of a subnet's blocks of 256.
func upperHalf(subnet netip.Prefix) netip.Prefix {
	first := subnet.Masked().Addr()
	bytes := first.AsSlice()
	bytes[len(bytes)-1] |= 0x80
	half, _ := netip.AddrFromSlice(bytes)
	return netip.PrefixFrom(half, first.BitLen()-7)
}

// IPHeader is the length of the run's IP header in bytes, without options (RFC 791, RFC 8200): 20
// or 40.
func IPHeader() int {
	if IPv6() {
		return 40
	}
	return 20
}

// skipOtherFamily skips a spec that is bound to IPv4 in a run with IPv6.
func skipOtherFamily() {
	if IPv6() && slices.Contains(ginkgo.CurrentSpecReport().Labels(), ipv4Label) {
		ginkgo.Skip("is bound to IPv4")
	}
}
