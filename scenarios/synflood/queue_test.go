package synflood

import (
	"fmt"
	"net/netip"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
)

var _ = DescribeTable("in a SYN flood the listener", Label("quick", "netem", "rfc4987"),
	func(ctx SpecContext, cookies string, expected oracle.Flood) {
		lab := harness.NewLab(ctx)
		net, wire := flooded(lab, cookies)
		held := net.Server().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.SynRecv}}).List()
		counted := net.Server().Counters()

		// The queue is full when it is longer than the backlog (inet_csk_reqsk_queue_is_full). Further SYNs get a
		// cookie or are dropped (tcp_conn_request, tcp_syn_flood_action). With tcp_syncookies 2 all get cookies
		// (ip-sysctl.rst).
		k := net.Server().Oracle()
		Expect(k.SYNFlood(syns, backlog)).To(Equal(expected))
		if !k.Version.AtLeast(6, 14) && expected.Held > backlog && len(held) == backlog {
			// A stable release from before 2025 holds one less (see oracle.Kernel.SYNQueue); the version does not tell.
			expected.Held--
			if expected.Cookies > 0 {
				expected.Cookies++
			} else {
				expected.Dropped++
				expected.Full++
			}
		}
		lab.Measure("in SYN-RECV", len(held), bounds.Exactly(expected.Held), fmt.Sprintf("listen(%d)", backlog))
		Expect(counted).To(HaveCounters{
			"TcpExtSyncookiesSent": expected.Cookies, "TcpExtTCPReqQFullDoCookies": expected.Cookies,
		})
		Expect(counted).To(HaveCounters{
			"TcpExtTCPReqQFullDrop": expected.Full, "TcpExtListenDrops": expected.Dropped,
		})

		// A client sees no difference between a queued request and a cookie.
		answered := map[netip.AddrPort]bool{}
		for _, s := range wire.Stop().Segments(analysis.SYNACKs) {
			answered[s.Dst] = true
		}
		Expect(wire.Segments(analysis.SYNs)).To(HaveLen(syns))
		lab.Measure("answered", len(answered), bounds.Exactly(expected.Held+expected.Cookies), "tcp_syncookies "+cookies)
	},
	Entry("fills the SYN queue, then sends SYN cookies", "1", oracle.Flood{Held: backlog + 1, Cookies: syns - backlog - 1}),
	Entry("fills the SYN queue, then drops SYNs without cookies", "0", oracle.Flood{Held: backlog + 1, Dropped: syns - backlog - 1, Full: syns - backlog - 1}),
	Entry("sends SYN cookies only, with tcp_syncookies 2", "2", oracle.Flood{Cookies: syns}),
)
