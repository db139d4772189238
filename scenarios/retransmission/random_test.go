package retransmission

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/statistics"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("makes good for a random loss of 10 %, and qdisc, capture and both hosts agree on what that took", Label("quick", "netem", "rfc9293"),
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
		time.Sleep(harness.Settle) // the last ACKs come back, and no FIN is sent

		lost, toRepair, early := 0, 0, 0
		for i, crossing := range wire.Stop().Crossings(net.Client().End("eth0"), net.Server().End("eth0")) {
			if !crossing.Lost {
				continue
			}
			lost++
			if i < segments { // so many packets there are in any case
				early++
			}
			if crossing.Sent.SequenceLength() > 0 { // a mere ACK takes no sequence number, and is not repeated
				toRepair++
			}
		}
		Expect(net.ToServer.Queue().Drops).To(BeEquivalentTo(lost))
		least, most := statistics.Binomial(segments, lossRate, 1e-9)
		lab.Measure(fmt.Sprintf("lost of the first %d", segments), early, bounds.Between(least, most),
			"binomial, but for 1 in 1,000,000,000")

		// What was sent again was lost, or else arrived twice, which the receiver tells by a DSACK (RFC 2883).
		counters := net.Server().Counters()
		twice := counters["TcpExtTCPDSACKOldSent"] + counters["TcpExtTCPDSACKOfoSent"]
		Expect(net.Client().Counters()).To(HaveGrown("TcpRetransSegs", toRepair+int(twice)))
		lab.Note("retransmitted in vain", twice)
	})
