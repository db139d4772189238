package retransmission

import (
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = DescribeTable("doubles the RTO in a blackhole only up to the maximum RTO set", Label("quick", "netem", "rfc6298"),
	ComponentSemVerConstraint("kernel", ">= 6.15.0"), // since when there are tcp_rto_max_ms and TCP_RTO_MAX_MS
	func(ctx SpecContext, sysctl, socket, hypothetical time.Duration) {
		const retries2 = 8
		lab := harness.NewLab(ctx)
		settings := []netns.Setting{netns.IPv4("tcp_retries2", retries2)}
		if sysctl != 0 {
			settings = append(settings, netns.IPv4("tcp_rto_max_ms", int(sysctl/time.Millisecond)))
		}
		waited := expectRetriesInBlackhole(lab, lab.Path(rtt, harness.Sysctls(settings...)), peers.Socket{RTOMax: socket})

		// ip-sysctl.rst, tcp_retries2: the number stands for the time of that many retransmissions with an RTO of 200
		// ms at first (RFC 6298, 5.5 and 5.7, with another maximum). The first RTO after that time ends the
		// connection.
		most := max(socket, sysctl)
		if socket != 0 {
			most = socket
		}
		lab.Check("time of tcp_retries2", waited, oracle.Between(hypothetical, hypothetical+2*most+time.Second), "ip-sysctl.rst")
	},
	// 0.2, 0.4, 0.8 s and 6 times the maximum; 0.2 to 1.6 s and 5 times.
	Entry("by tcp_rto_max_ms 1000", time.Second, time.Duration(0), 7400*time.Millisecond),
	Entry("by TCP_RTO_MAX_MS 2000", time.Duration(0), 2*time.Second, 13*time.Second),
	Entry("by the socket option, if both are set", time.Second, 2*time.Second, 13*time.Second),
)
