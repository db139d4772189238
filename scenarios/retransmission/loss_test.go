package retransmission

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// bytes of a transfer: about 1450 segments of 1448 bytes. With 2 % loss, the probability that none is lost is below 1
// in 10^12.
const bytes = 2 << 20

// lossy is a routed network that loses packets on the way to the server.
func lossy(lab *harness.Lab, loss impair.Loss) *netns.Topology {
	GinkgoHelper()
	net := lab.Routed()
	lab.Impair(net.ToServer, impair.Netem{Delay: delay, Loss: loss})
	lab.Impair(net.ToClient, impair.Netem{Delay: delay})
	return net
}

// transfer sends bytes from client to server, and returns the connection as seen by the client.
func transfer(lab *harness.Lab, net *netns.Topology) peers.Connection {
	GinkgoHelper()
	server := lab.Start(net.Server(), peers.BulkServer{Listen: harness.Addr(net.Server(), 5001)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: harness.Addr(net.Server(), 5001), Bytes: bytes})
	sent, received := lab.Wait(client), lab.Wait(server)
	Expect(received.Bulk.Bytes).To(BeEquivalentTo(bytes))
	return sent.Connections[0]
}

var _ = It("retransmits what was lost, and wire, events, counters and socket agree on the count", Label("quick", "netem", "tracefs", "rfc9293"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lossy(lab, impair.RandomLoss{Percent: 2})
		wire, events := lab.Capture(net.Client()), lab.Events(net.Client())
		retransmitted := transfer(lab, net).TCPInfo.Total_retrans

		// RFC 9293, section 3.8.1: all lost data is retransmitted. Only a pure ACK takes no sequence number and is
		// not.
		dropped := lab.Queue(net.ToServer).Drops
		sent := wire.Segments(analysis.From(harness.IP(net.Client())))
		pureACKs := 0
		for _, s := range sent {
			if s.SequenceLength() == 0 {
				pureACKs++
			}
		}
		Expect(dropped).To(BeNumerically(">", 0))
		lab.Note("dropped by the link", dropped)
		lab.Measure("retransmits", retransmitted, bounds.AtLeast(int(dropped)-pureACKs), "RFC 9293, 3.8.1: as many, or more")
		Expect(sent).To(HaveRetransmissions(retransmitted))
		Expect(events).To(HaveRetransmissions(retransmitted))
		Expect(lab.Counters(net.Client())).To(HaveGrown("TcpRetransSegs", retransmitted))
		// The cause of each, derived from the congestion state events, matches the counters (tcp_retransmit_timer,
		// tcp_xmit_retransmit_queue).
		client := wire.Report(events).Conversations[0].Client
		Expect(client.KernelKnows).To(BeEquivalentTo(retransmitted))
		Expect(lab.Counters(net.Client())).To(And(
			HaveGrown("TcpExtTCPFastRetrans", client.Causes[analysis.CauseFast].Count),
			HaveGrown("TcpExtTCPSlowStartRetrans", client.Causes[analysis.CauseRecovery].Count),
			HaveGrown("TcpExtTCPTimeouts", client.Causes[analysis.CauseRTO].Count+client.Causes[analysis.CauseSYN].Count)))
	})

var _ = It("retransmits nothing if nothing is lost", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lossy(lab, nil)
	wire := lab.Capture(net.Client())
	connection := transfer(lab, net)

	Expect(connection.TCPInfo.Total_retrans).To(BeZero())
	Expect(wire).To(HaveRetransmissions(0))
	Expect(lab.Counters(net.Client())).To(HaveGrown("TcpRetransSegs", 0))
	Expect(lab.Queue(net.ToServer).Drops).To(BeZero())
})

var _ = It("loses exactly what the link dropped, and the rest arrives after its delay", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lossy(lab, impair.RandomLoss{Percent: 2})
	wire := lab.Capture(net.Client(), net.Server()) // one timeline of both
	transfer(lab, net)

	// Two captures, which do not know of the link, confirm its drops and its delay. No packet is early. Some can be
	// late on a busy machine, but not most.
	lost, delays := 0, []time.Duration{}
	for _, transit := range wire.Transits(net.Client().Ends()[0], net.Server().Ends()[0]) {
		if transit.Lost() {
			lost++
			continue
		}
		delays = append(delays, transit.Delay())
	}
	Expect(delays).NotTo(BeEmpty())
	slices.Sort(delays)
	median := delays[len(delays)/2]
	dropped := lab.Queue(net.ToServer).Drops
	Expect(dropped).To(BeNumerically(">", 0))
	lab.Measure("lost in transit", lost, bounds.Exactly(dropped), "what the link dropped")
	lab.Check("least delay", delays[0], oracle.Exactly(delay).LateBy(hostDelay), "netem's delay")
	lab.Measure("median delay", median, oracle.Exactly(delay).LateBy(hostDelay), "netem's delay")
})
