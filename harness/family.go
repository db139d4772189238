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
