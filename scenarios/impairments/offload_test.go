package impairments

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("loses many segments as one where offload is left on, so that a loss in percent means nothing", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const bytes, begun = 8 << 20, 1 << 20
	mss := harness.Payload(netns.DefaultMTU)
	perfect := impair.Netem{Delay: 5 * time.Millisecond}
	lossy := perfect
	lossy.Loss = impair.RandomLoss{Percent: 100}
	lab := harness.NewLab(ctx)
	net := lab.Routed(netns.Config{Offload: true}) // all other specs have it off: gso_max_segs is 1
	lab.ImpairBoth(perfect)
	wire := lab.Capture(net.Links[0].B, net.Links[1].B)
	queue := func() impair.Stats { return lab.Queue(net.ToServer) }

	server := lab.Start(net.Server(), peers.BulkServer{Listen: harness.Addr(net.Server(), 5001)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: harness.Addr(net.Server(), 5001), Bytes: bytes})
	Eventually(queue).WithPolling(time.Millisecond).Should(HaveField("Bytes", BeNumerically(">", begun))) // the window has grown
	lab.Impair(net.ToServer, lossy)
	Eventually(queue).WithPolling(time.Millisecond).Should(HaveField("Drops", BeNumerically(">", 0)))
	lab.Impair(net.ToServer, perfect)
	lab.Wait(client)
	lab.Wait(server)

	// netem decides once for a super-packet of up to 64 KB, and counts it as one drop.
	_, lost := passage(wire.Stop().Segments(), net)
	segments := 0
	for _, s := range lost {
		segments += (s.Length + mss - 1) / mss
	}
	Expect(queue().Drops).To(BeEquivalentTo(len(lost)))
	lab.Note("drops, as netem counts", len(lost))
	lab.Measure("segments dropped", segments, bounds.AtLeast(2*len(lost)+1), "more than two in each drop")
	needless := int(lab.Counters(net.Client())["TcpRetransSegs"]) - segments
	lab.Check("retransmits of what was not dropped", needless, bounds.AtLeast(0), "RFC 9293, 3.8.1")
})
