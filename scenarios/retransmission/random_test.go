package retransmission

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/statistics"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("recovers from 10 % random loss, and qdisc, capture and both hosts agree on the repairs", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext) {
		const segments, lossRate = 700, 0.1
		lab := harness.NewLab(ctx)
		net := lossy(lab, impair.RandomLoss{Percent: 100 * lossRate})
		wire := lab.Capture(net.Client(), net.Server())

		server := lab.Start(net.Server(), peers.Script{Listen: net.Server().Addr(80), Steps: peers.Steps(
			peers.Read(segments*harness.MSS()), peers.Await())})
		lab.Start(net.Client(), peers.Script{Connect: net.Server().Addr(80), Steps: peers.Steps(
			peers.Write(segments*harness.MSS()), peers.Sleep(peers.UntilStopped))})
		server.Waiting()
		time.Sleep(harness.Settle) // the last ACKs arrive, and no FIN is sent

		lost, toRepair, early := 0, 0, 0
		for i, transit := range wire.Stop().Transits(net.Client().End("eth0"), net.Server().End("eth0")) {
			if !transit.Lost() {
				continue
			}
			lost++
			if i < segments { // there are at least that many packets
				early++
			}
			if transit.Sent.SequenceLength() > 0 { // a pure ACK takes no sequence number, and is not retransmitted
				toRepair++
			}
		}
		Expect(net.ToServer.Queue().Drops).To(BeEquivalentTo(lost))
		least, most := statistics.Binomial(segments, lossRate, 1e-9)
		lab.Measure(fmt.Sprintf("lost of the first %d", segments), early, bounds.Between(least, most),
			"binomial, but for 1 in 1,000,000,000")

		// A retransmission repairs a loss, or arrives as a duplicate, which the receiver reports by a DSACK (RFC
		// 2883).
		counters := net.Server().Counters()
		twice := counters["TcpExtTCPDSACKOldSent"] + counters["TcpExtTCPDSACKOfoSent"]
		Expect(net.Client().Counters()).To(HaveGrown("TcpRetransSegs", toRepair+int(twice)))
		lab.Note("spurious retransmissions", twice)
	})
