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

var _ = DescribeTable("holds as many requests as its queue takes,", Label("quick", "netem", "rfc4987"),
	func(ctx SpecContext, cookies string, expected oracle.Flood) {
		lab := harness.NewLab(ctx)
		net, wire := flooded(lab, cookies)
		held := net.Server().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.SynRecv}}).List()
		counted := net.Server().Counters()

		// The queue is full when it is longer than the backlog (inet_csk_reqsk_queue_is_full); the rest gets a cookie
		// or nothing (tcp_conn_request, tcp_syn_flood_action). tcp_syncookies 2 gives cookies always (ip-sysctl.rst).
		Expect(net.Server().Oracle().SYNFlood(syns, backlog)).To(Equal(expected))
		lab.Measure("in SYN-RECV", len(held), bounds.Exactly(expected.Held), fmt.Sprintf("listen(%d)", backlog))
		Expect(counted).To(HaveCounters{
			"TcpExtSyncookiesSent": expected.Cookies, "TcpExtTCPReqQFullDoCookies": expected.Cookies,
		})
		Expect(counted).To(HaveCounters{
			"TcpExtTCPReqQFullDrop": expected.Full, "TcpExtListenDrops": expected.Dropped,
		})

		// Held or not, who is answered can't tell the difference.
		answered := map[netip.AddrPort]bool{}
		for _, s := range wire.Stop().Segments(analysis.SYNACKs) {
			answered[s.Dst] = true
		}
		Expect(wire.Segments(analysis.SYNs)).To(HaveLen(syns))
		lab.Measure("answered", len(answered), bounds.Exactly(expected.Held+expected.Cookies), "tcp_syncookies "+cookies)
	},
	Entry("and answers the rest with SYN cookies", "1", oracle.Flood{Held: backlog + 1, Cookies: syns - backlog - 1}),
	Entry("and drops the rest without SYN cookies", "0", oracle.Flood{Held: backlog + 1, Dropped: syns - backlog - 1, Full: syns - backlog - 1}),
	Entry("which are none with cookies for all", "2", oracle.Flood{Cookies: syns}),
)
