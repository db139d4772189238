package harness

import (
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
// of both; a scenario takes those that [Host.Addr] and [Host.IP] give it.
func IPv6() bool { return os.Getenv(familyVariable) == "6" }

// ByFamily is the first with IPv4, and the second with IPv6: for what has another name or value in each, such
// as the counters IpExtInCEPkts and Ip6InCEPkts.
func ByFamily[T any](ipv4, ipv6 T) T {
	if IPv6() {
		return ipv6
	}
	return ipv4
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
