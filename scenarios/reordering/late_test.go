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

var _ = DescribeTable("sends a late segment again, and takes that back",
	Label("quick", "netem", "rfc8985"),
	func(ctx SpecContext, withTimestamps int, undone []string, next int) {
		// More than RACK's window at first, RTT / 4, and less than the one after a DSACK, RTT / 2 (RFC 8985, 6.2).
		const late, segments = 2 * roundTrip / 5, 20
		lab := harness.NewLab(ctx)
		net := lab.Path(roundTrip, harness.Sysctls(netns.IPv4("tcp_timestamps", withTimestamps)))
		wire := lab.Capture(net.Client(), net.Server())
		first := net.ToServer.Rule(rules.Hold(late, rules.Data.Number(5)))
		second := net.ToServer.Rule(rules.Hold(late, rules.Data.Number(segments+5)))

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

		// As long as no reordering was seen, the third duplicate ACK is a loss (RFC 8985, 6.2, step 4). That it was none,
		// tells the late segment's timestamp (RFC 4015), or the DSACK for the copy (RFC 2883, RFC 3708).
		Expect(before).To(HaveCounters{"TcpRetransSegs": 1, "TcpExtTCPDSACKRecv": 1})
		Expect(sum(before, undone)).To(BeEquivalentTo(1))
		// Where the timestamp has shown it to be reordering, duplicate ACKs no longer count, and the DSACK has widened the
		// window: the second is late by less, nothing is sent again, and its ACK shows more reordering. A DSACK alone
		// teaches nothing (tcp_dsack_seen: reord_seen).
		after := net.Client().Counters().Since(before)
		Expect(after).To(HaveCounters{
			"TcpRetransSegs": next, "TcpExtTCPDSACKRecv": next,
			"TcpExtTCPSACKReorder": 1 - next,
		})
		Expect(sum(after, undone)).To(BeEquivalentTo(next))

		Expect(first.Hits()).To(HaveLen(1))
		Expect(second.Hits()).To(HaveLen(1))
		crossings := wire.Stop().Crossings(net.Client().End("eth0"), net.Server().End("eth0"), analysis.WithData)
		Expect(crossings).To(And(HaveLen(2*segments+1+next), HaveEach(HaveField("Lost", false))))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPTimeouts": 0, "TcpExtTCPTSReorder": withTimestamps})
	},
	Entry("by its timestamp, and then waits for the next one that is as late", 1, []string{"TcpExtTCPPartialUndo"}, 0),
	// The first if the DSACK comes in the ACK that ends the recovery, the second if it comes behind that.
	Entry("by the DSACK without timestamps, and does the same for the next one", 0,
		[]string{"TcpExtTCPFullUndo", "TcpExtTCPDSACKUndo"}, 1),
)

func sum(counters kernel.Counters, names []string) int64 {
	var n int64
	for _, name := range names {
		n += counters[name]
	}
	return n
}
