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
	"github.com/tcplab/tcplab/peers"
)

// bytes of a transfer: about 1450 segments of 1448 bytes. With 2 % loss, the probability that none is lost is below 1
// in 10^12.
const bytes = 2 << 20

// lossy is a routed network that loses packets on the way to the server.
func lossy(lab *harness.Lab, loss impair.Loss) *harness.Network {
	GinkgoHelper()
	net := lab.Routed()
	net.ToServer.Impair(impair.Netem{Delay: delay, Loss: loss})
	net.ToClient.Impair(impair.Netem{Delay: delay})
	return net
}

// transfer sends bytes from client to server, and returns the connection as seen by the client.
func transfer(lab *harness.Lab, net *harness.Network) peers.Connection {
	GinkgoHelper()
	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(5001)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(5001), Bytes: bytes})
	sent, received := client.Wait(), server.Wait()
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
		dropped := net.ToServer.Queue().Drops
		sent := wire.Stop().From(net.Client())
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
		Expect(events.Stop()).To(HaveRetransmissions(retransmitted))
		Expect(net.Client().Counters()).To(HaveGrown("TcpRetransSegs", retransmitted))
		// The cause of each, derived from the congestion state events, matches the counters (tcp_retransmit_timer,
		// tcp_xmit_retransmit_queue).
		client := wire.Report(events).Conversations[0].Client
		Expect(client.KernelKnows).To(BeEquivalentTo(retransmitted))
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPFastRetrans":      client.Causes[analysis.CauseFast].Count,
			"TcpExtTCPSlowStartRetrans": client.Causes[analysis.CauseRecovery].Count,
			"TcpExtTCPTimeouts":         client.Causes[analysis.CauseRTO].Count + client.Causes[analysis.CauseSYN].Count,
		})
	})

var _ = It("retransmits nothing if nothing is lost", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lossy(lab, nil)
	wire := lab.Capture(net.Client())
	connection := transfer(lab, net)

	Expect(connection.TCPInfo.Total_retrans).To(BeZero())
	Expect(wire.Stop()).To(HaveRetransmissions(0))
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	Expect(net.ToServer.Queue().Drops).To(BeZero())
})

var _ = It("loses exactly what the link dropped, and the rest arrives after its delay", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lossy(lab, impair.RandomLoss{Percent: 2})
	wire := lab.Capture(net.Client(), net.Server()) // one timeline of both
	transfer(lab, net)

	// Two captures, which do not know of the link, confirm its drops and its delay. No packet is early. Some can be
	// late on a busy machine, but not most.
	lost, delays := 0, []time.Duration{}
	for _, transit := range wire.Stop().Transits(net.Client().End("eth0"), net.Server().End("eth0")) {
		if transit.Lost() {
			lost++
			continue
		}
		delays = append(delays, transit.Delay())
	}
	Expect(delays).NotTo(BeEmpty())
	slices.Sort(delays)
	median := delays[len(delays)/2]
	dropped := net.ToServer.Queue().Drops
	Expect(dropped).To(BeNumerically(">", 0))
	lab.Measure("lost in transit", lost, bounds.Exactly(dropped), "what the link dropped")
	lab.Check("least delay", delays[0], oracle.Exactly(delay).LateBy(harness.HostDelay), "netem's delay")
	lab.Measure("median delay", median, oracle.Exactly(delay).LateBy(harness.HostDelay), "netem's delay")
})
