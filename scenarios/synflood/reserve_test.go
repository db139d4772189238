package synflood

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = DescribeTable("reserves a quarter of tcp_max_syn_backlog for proven peers, without SYN cookies:", Label("quick", "netem", "linux"),
	func(ctx SpecContext, known bool) {
		const most, long = 128, 512 // the listener's own queue does not fill up
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.ServerSysctls(netns.IPv4("tcp_syncookies", 0), netns.IPv4("tcp_max_syn_backlog", most),
			netns.IPv4("tcp_no_metrics_save", 0))) // by default, hosts of a lab save no metrics (package netns)
		lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Backlog: long})
		if known {
			// The RTT of an earlier, closed connection proves a peer to be alive (tcp_peer_is_proven;
			// net/ipv4/tcp_metrics.c: tcp_update_metrics).
			Expect(connect(lab, net).Err).To(BeNil())
			time.Sleep(rtt)
		}
		wire := lab.Capture(net.Server())
		lab.Start(net.Client(), peers.SYNFlood{
			Connect: net.Server().Addr(80), From: net.Client().UnusedAddresses(), Count: syns,
		}).Wait()
		time.Sleep(rtt)

		k := net.Server().Oracle()
		held := k.SYNQueue(long)
		Expect(held).To(Equal(most - most/4 + 1)) // tcp_conn_request: until less than a quarter is left
		requests := net.Server().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.SynRecv}}).List()
		lab.Measure("in SYN-RECV", len(requests), bounds.Exactly(held), "three quarters of tcp_max_syn_backlog, and one")
		Expect(k.SYNQueueKnown(long)).To(BeNumerically(">", held))
		// The dropped SYNs hit the reserve, which TCPReqQFullDrop does not count.
		refused := k.SYNFlood(syns, long).Dropped
		Expect(net.Server().Counters()).To(HaveCounters{"TcpExtListenDrops": refused, "TcpExtTCPReqQFullDrop": 0})

		connection := connect(lab, net)
		if known {
			Expect(connection.Err).To(BeNil())
			Expect(wire.Stop().Segments(analysis.Connection(analysis.Flow{Src: connection.Local, Dst: connection.Remote}))).To(Contain(Handshake(), 1))
			Expect(net.Server().Counters()).To(HaveGrown("TcpExtListenDrops", refused))
		} else {
			Expect(connection.Err).To(MatchError(unix.ETIMEDOUT))
			tried := len(wire.Stop().From(net.Client(), analysis.SYNs))
			Expect(wire.Stop().Segments(analysis.SYNACKs, analysis.To(net.Client().IP()))).To(BeEmpty())
			Expect(net.Server().Counters()).To(HaveGrown("TcpExtListenDrops", refused+tried))
		}
	},
	Entry("a known client connects", true),
	Entry("an unknown one times out", false),
)
