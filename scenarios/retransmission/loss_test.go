package retransmission

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// bytes of a transfer: some 1450 segments of 1448 bytes, so that with 2 % loss the chance
// that none is lost is below 1 in 10^12.
const bytes = 2 << 20

// An outcome is what three witnesses, which share no code, say of the client's
// retransmissions, and what the link says that it dropped.
type outcome struct {
	onTheWire int    // retransmissions in the capture, at the sender
	counted   int64  // TcpRetransSegs of its host
	ofSocket  uint32 // tcp_info's total_retrans
	dropped   uint32 // by the link, on the way to the server
	received  int64  // bytes that the server read
}

// transfer sends bytes from client to server over a link with this loss in that direction.
func transfer(lab *harness.Lab, loss impair.Loss) outcome {
	GinkgoHelper()
	net := lab.Routed()
	lab.Impair(net.ToServer, impair.Netem{Delay: 10 * time.Millisecond, Loss: loss})
	lab.Impair(net.ToClient, impair.Netem{Delay: 10 * time.Millisecond})
	wire := lab.Capture(net.Client())

	server := lab.Start(net.Server(), peers.BulkServer{Listen: harness.Addr(net.Server(), 5001)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: harness.Addr(net.Server(), 5001), Bytes: bytes})
	sent, received := lab.Wait(client), lab.Wait(server)

	retransmissions := 0
	for _, flow := range analysis.CountRetransmissions(slices.Values(wire.Segments())) {
		if flow.Flow.Src == sent.Connections[0].Local {
			retransmissions += flow.Retransmitted
		}
	}
	return outcome{
		onTheWire: retransmissions,
		counted:   counter(lab, net.Client(), "TcpRetransSegs"),
		ofSocket:  sent.Connections[0].TCPInfo.Total_retrans,
		dropped:   lab.Queue(net.ToServer).Drops,
		received:  received.Bulk.Bytes,
	}
}

func counter(lab *harness.Lab, host *netns.Host, name string) int64 {
	GinkgoHelper()
	value, err := lab.Counters(host).Get(name)
	Expect(err).NotTo(HaveOccurred())
	return value
}

var _ = It("sends what was lost again, and wire, counters and socket agree on how often", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	result := transfer(lab, impair.RandomLoss{Percent: 2})

	Expect(result.received).To(BeEquivalentTo(bytes))
	Expect(result.dropped).To(BeNumerically(">", 0))
	// RFC 9293, section 3.8.1: all lost data is sent again. Of what the client sends, only a mere ACK takes no
	// sequence number and is not: the third segment of the handshake.
	Expect(result.onTheWire).To(BeNumerically(">=", int(result.dropped)-1))
	Expect(result.counted).To(BeEquivalentTo(result.onTheWire))
	Expect(result.ofSocket).To(BeEquivalentTo(result.onTheWire))
	lab.Figure("dropped by the link", float64(result.dropped), "", "")
	lab.Figure("retransmitted", float64(result.onTheWire), "", "as many or more")
})

var _ = It("sends nothing twice where nothing is lost", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	result := transfer(lab, nil)

	Expect(result).To(Equal(outcome{received: bytes}))
})
