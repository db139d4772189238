package reordering

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = DescribeTable("undoes the spurious retransmission of a late segment",
	Label("quick", "netem", "rfc8985"),
	func(ctx SpecContext, withTimestamps, recovery int, undone []string, next int) {
		// More than RACK's initial reordering window, RTT / 4, and less than the one after a DSACK, RTT / 2 (RFC
		// 8985, 6.2).
		const late, segments = 2 * rtt / 5, 20
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_timestamps", withTimestamps), netns.IPv4("tcp_recovery", recovery)))
		wire := lab.Capture(net.Client(), net.Server())
		first := net.ToServer.Rule(rules.Delay(late, rules.Data.Number(5)))
		second := net.ToServer.Rule(rules.Delay(late, rules.Data.Number(segments+5)))

		bytes := segments * (harness.MSS() + int64(harness.TCPTimestamps*(1-withTimestamps)))
		server := lab.Start(net.Server(), peers.Script{Listen: net.Server().Addr(80), Steps: peers.Steps(
			peers.Read(2*bytes), peers.Sleep(harness.Settle))})
		client := lab.Start(net.Client(), peers.Script{Connect: net.Server().Addr(80), Steps: peers.Steps(
			peers.Write(bytes), peers.Await(), peers.Write(bytes), peers.ReadAll())})
		client.Waiting()
		time.Sleep(harness.Settle)
		before := net.Client().Counters()
		client.Continue()
		client.Wait()
		server.Wait()

		// Until reordering is detected, the third duplicate ACK means a loss (RFC 8985, 6.2, step 4). That it was
		// none is shown by the timestamp of the late segment (RFC 4015), or by the DSACK for the copy (RFC 2883, RFC
		// 3708).
		Expect(before).To(HaveCounters{"TcpRetransSegs": 1, "TcpExtTCPDSACKRecv": 1})
		Expect(sum(before, undone)).To(BeEquivalentTo(1))
		// Once the timestamp has shown reordering, duplicate ACKs no longer count, and the DSACK has widened the
		// window. The second late segment is within it: nothing is retransmitted, and its ACK shows more reordering.
		// A DSACK alone does not count as reordering (tcp_dsack_seen: reord_seen).
		after := net.Client().Counters().Since(before)
		Expect(after).To(HaveCounters{
			"TcpRetransSegs": next, "TcpExtTCPDSACKRecv": next,
			"TcpExtTCPSACKReorder": 1 - next,
		})
		Expect(sum(after, undone)).To(BeEquivalentTo(next))

		Expect(first.Hits()).To(HaveLen(1))
		Expect(second.Hits()).To(HaveLen(1))
		transits := wire.Stop().Transits(net.Client().End("eth0"), net.Server().End("eth0"), analysis.WithData)
		Expect(transits).To(And(HaveLen(2*segments+1+next), HaveEach(HaveField("Lost()", false))))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPTimeouts": 0, "TcpExtTCPTSReorder": withTimestamps * (1 + next)})
	},
	Entry("by its timestamp, and then waits for the next late one", 1, 1, []string{"TcpExtTCPPartialUndo"}, 0),
	// The first counter if the DSACK arrives in the ACK that ends recovery, the second if it arrives after that.
	Entry("by DSACK without timestamps, and again for the next one", 0, 1,
		[]string{"TcpExtTCPFullUndo", "TcpExtTCPDSACKUndo"}, 1),
	// RFC 6675 counts how many segments have overtaken the late one. That many and no more are allowed from then on, and in the next, larger
	// burst it is more. RACK goes by the time, which is the same. Linux 6.17 removed RFC 6675, which tcp_recovery could select.
	Entry("by its timestamp with tcp_recovery 0, and again for the next one, as more segments overtake it", ComponentSemVerConstraint("kernel", "< 6.17.0"), 1, 0,
		[]string{"TcpExtTCPPartialUndo"}, 1),
)

func sum(counters kernel.Counters, names []string) int64 {
	var n int64
	for _, name := range names {
		n += counters[name]
	}
	return n
}
