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

// ByFamily is the first with IPv4, and the second with IPv6: for what has another name or value in each, such
// as the counters IpExtInCEPkts and Ip6InCEPkts.
func ByFamily[T any](ipv4, ipv6 T) T {
	if IPv6() {
		return ipv6
	}
	return ipv4
}

// IP is the address of a host's first link, of the run's family.
func IP(host *netns.Host) netip.Addr { return ByFamily(host.IPv4(), host.IPv6()) }

// Addr is an address on a host: see [IP].
func Addr(host *netns.Host, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(IP(host), port)
}

// Strangers are addresses of the subnet of a host's first link that no host of a topology has: 126 of
// them, the upper half of its last byte. Packets to them are lost on that link, and nobody is told, so
// they can be the sources of a [peers.SYNFlood] from that host.
func Strangers(host *netns.Host) netip.Prefix {
	link := host.Ends()[0]
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

// IPHeader is the length of the run's IP header in bytes, without options (RFC 791, RFC 8200): 20
// or 40.
func IPHeader() int { return ByFamily(20, 40) }

// TCPTimestamps is the length of the TCP option with its padding in bytes (RFC 7323, appendix A). Each
// segment has it, unless tcp_timestamps is 0.
const TCPTimestamps = 12

// Payload is what a segment with timestamps carries at most through an MTU, in bytes: what the headers
// of IP (see [IPHeader]) and TCP leave of it.
func Payload(mtu int) int { return mtu - IPHeader() - 20 - TCPTimestamps }

// MSS is what a full segment with timestamps carries between hosts of links as a lab makes them ([netns.DefaultMTU]), in bytes:
// the effective MSS, TCP_INFO's snd_mss. It has the type that peers count bytes in.
func MSS() int64 { return int64(Payload(netns.DefaultMTU)) }

// skipOtherFamily skips a spec that is bound to IPv4 in a run with IPv6.
func skipOtherFamily() {
	if IPv6() && slices.Contains(ginkgo.CurrentSpecReport().Labels(), ipv4Label) {
		ginkgo.Skip("is bound to IPv4")
	}
}
