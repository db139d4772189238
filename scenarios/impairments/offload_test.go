package impairments

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/netns/netdev"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("drops a whole GSO packet at once if offload is on, so that a loss percentage means nothing", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const bytes, begun = 8 << 20, 1 << 20
	mss := harness.Payload(netns.DefaultMTU)
	perfect := impair.Netem{Delay: 5 * time.Millisecond}
	lossy := perfect
	lossy.Loss = impair.RandomLoss{Percent: 100}
	lab := harness.NewLab(ctx)
	net := lab.Routed(netns.Config{Offload: true}) // off in all other specs: gso_max_segs is 1
	net.Impair(perfect)
	wire := lab.Capture(net.Routers[0].End("eth0"), net.Server().End("eth0"))
	queue := func() netdev.Stats { return net.ToServer.Queue() }

	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(5001)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(5001), Bytes: bytes})
	Eventually(queue).WithPolling(time.Millisecond).Should(HaveField("Bytes", BeNumerically(">", begun))) // the window has grown
	net.ToServer.Impair(lossy)
	Eventually(queue).WithPolling(time.Millisecond).Should(HaveField("Drops", BeNumerically(">", 0)))
	net.ToServer.Impair(perfect)
	client.Wait()
	server.Wait()

	// netem decides once for a GSO packet of up to 64 KB, and counts it as one drop.
	_, lost := passage(wire.Stop().Segments(), net)
	segments := 0
	for _, s := range lost {
		segments += (s.Length + mss - 1) / mss
	}
	Expect(queue().Drops).To(BeEquivalentTo(len(lost)))
	lab.Note("drops, as netem counts", len(lost))
	lab.Measure("segments dropped", segments, bounds.AtLeast(2*len(lost)+1), "more than two in each drop")
	spurious := int(net.Client().Counters()["TcpRetransSegs"]) - segments
	lab.Check("retransmits of what was not dropped", spurious, bounds.AtLeast(0), "RFC 9293, 3.8.1")
})
