package impairments

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("duplicates packets at random", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const percent, probes = 20, 2000
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Duplicate: impair.Duplicate{Percent: percent}})

	link.begin(peers.ProbeSender{Count: probes})
	seen := link.account()

	duplicated := make([]bool, probes)
	for number, p := range seen.probes {
		Expect(p.went).To(Or(HaveLen(1), HaveLen(2)), "probe %d", number) // netem_enqueue does not duplicate duplicates
		duplicated[number] = len(p.went) == 2
	}
	lab.Measure("duplicated", count(duplicated), allowed(duplicated, percent/100.))
	Expect(seen.received.Received - seen.received.Distinct).To(Equal(count(duplicated)))
	Expect(seen.queue.Packets).To(BeEquivalentTo(probes + count(duplicated)))
})

var _ = It("makes TCP answer each duplicate by DSACK, and retransmit nothing", Label("quick", "netem", "rfc2883"), func(ctx SpecContext) {
	const bytes, percent = 1 << 20, 10
	lab := harness.NewLab(ctx)
	net := lab.Path(20 * time.Millisecond)
	wire := lab.Capture(net.Routers[0].End("eth0"), net.Server().End("eth0"))

	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(5001)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(5001), Bytes: bytes})
	client.Started() // a duplicated SYN would behave differently
	net.ToServer.Impair(impair.Netem{Delay: 10 * time.Millisecond, Duplicate: impair.Duplicate{Percent: percent}})
	sent, received := client.Wait(), server.Wait()

	// Data segments that arrived once at the router, and once or twice at the server.
	segments := wire.Stop().Segments(analysis.WithData, analysis.Going(analysis.Inbound), analysis.From(sent.Connections[0].Local.Addr()))
	transits := analysis.Transits(slices.Values(segments), analysis.On(net.Routers[0].End("eth0").String()), analysis.On(net.Server().End("eth0").String()))
	duplicated := make([]bool, len(transits))
	for i, t := range transits {
		Expect(t.Arrived).To(Or(HaveLen(1), HaveLen(2)), "segment %d", i)
		duplicated[i] = len(t.Arrived) == 2
	}
	first := slices.Index(duplicated, true)
	Expect(received.Bulk.Bytes).To(BeEquivalentTo(bytes))
	Expect(first).NotTo(Equal(-1), "a segment that was duplicated")
	// From the first duplicated segment on, each segment is a trial.
	lab.Measure("data segments duplicated", count(duplicated[first+1:]), allowed(duplicated[first+1:], percent/100.))
	// RFC 2883, section 4: the receiver reports a duplicate. The FIN may be duplicated, too.
	lab.Measure("DSACKs", net.Server().Counters()["TcpExtTCPDSACKOldSent"], bounds.Between(count(duplicated), count(duplicated)+1), "RFC 2883, 4")
	Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPDSACKRecv": BeNumerically(">", 0), "TcpRetransSegs": 0})
})
