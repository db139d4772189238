package reordering

import (
	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("reports a segment duplicated by the network with a DSACK, and retransmits nothing", Label("quick", "netem", "rfc2883"),
	func(ctx SpecContext) {
		const segments = 20
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client(), net.Server())
		duplicate := net.ToServer.Rule(rules.Duplicate(rules.Data.Number(5)))

		server := lab.Start(net.Server(), peers.Script{Listen: net.Server().Addr(80), Steps: peers.Steps(
			peers.Read(segments*harness.MSS()), peers.Sleep(harness.Settle))})
		client := lab.Start(net.Client(), peers.Script{Connect: net.Server().Addr(80), Steps: peers.Steps(
			peers.Write(segments*harness.MSS()), peers.ReadAll())})
		client.Wait()
		server.Wait()

		// RFC 2883, section 4.1.1: the first SACK block is the duplicate, and is below the ACK number. The ACK can
		// cover the next segment as well, if that arrived while the program held the socket (tcp_add_backlog).
		Expect(duplicate.Hits()).To(HaveLen(1))
		atClient := analysis.On(net.Client().End("eth0").String())
		data := wire.Stop().DataFrom(net.Client(), atClient)
		Expect(data).To(And(HaveLen(segments), HaveRetransmissions(0)))
		fifth := analysis.Block{Left: data[4].Seq, Right: data[4].NextSeq()}
		Expect(wire.Segments(atClient)).To(Contain(Segments("DSACKs of the fifth segment", func(s analysis.Segment) bool {
			blocks := s.Options.SACK()
			return len(blocks) > 0 && blocks[0] == fifth && int32(s.Ack-fifth.Right) >= 0
		}), 1))
		Expect(net.Server().Counters()).To(HaveGrown("TcpExtTCPDSACKOldSent", 1))

		Expect(wire.Segments(analysis.On(net.Server().End("eth0").String()))).To(HaveRetransmissions(1)) // it arrived twice
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPDSACKRecv": 1, "TcpRetransSegs": 0})
	})
