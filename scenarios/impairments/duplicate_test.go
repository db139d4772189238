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

var _ = It("duplicates a share of the packets", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const percent, probes = 20, 2000
	lab := harness.NewLab(ctx)
	link := newLink(lab, impair.Netem{Duplicate: impair.Duplicate{Percent: percent}})

	link.begin(peers.ProbeSender{Count: probes})
	seen := link.account()

	doubled := make([]bool, probes)
	for number, p := range seen.probes {
		Expect(p.went).To(Or(HaveLen(1), HaveLen(2)), "probe %d", number) // netem_enqueue duplicates no duplicate
		doubled[number] = len(p.went) == 2
	}
	lab.Measure("doubled", count(doubled), allowed(doubled, percent/100.))
	Expect(seen.received.Received - seen.received.Distinct).To(Equal(count(doubled)))
	Expect(seen.queue.Packets).To(BeEquivalentTo(probes + count(doubled)))
})

var _ = It("has TCP answer each duplicate with a D-SACK, and send nothing again", Label("quick", "netem", "rfc2883"), func(ctx SpecContext) {
	const bytes, percent = 1 << 20, 10
	lab := harness.NewLab(ctx)
	net := lab.Path(20 * time.Millisecond)
	wire := lab.Capture(net.Routers[0].End("eth0"), net.Server().End("eth0"))

	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(5001)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(5001), Bytes: bytes})
	client.Started() // a doubled SYN would be another matter
	net.ToServer.Impair(impair.Netem{Delay: 10 * time.Millisecond, Duplicate: impair.Duplicate{Percent: percent}})
	sent, received := client.Wait(), server.Wait()

	// Data that came to the router once, and to the server twice.
	var before []uint32
	behind := map[uint32]int{}
	for _, s := range wire.Stop().Segments(analysis.WithData) {
		switch {
		case s.Src != sent.Connections[0].Local || s.Direction != analysis.Inbound:
		case s.Interface == net.Routers[0].End("eth0").String():
			before = append(before, s.Seq)
		default:
			behind[s.Seq]++
		}
	}
	doubled := make([]bool, len(before))
	for i, seq := range before {
		Expect(behind[seq]).To(Or(Equal(1), Equal(2)), "segment %d", i)
		doubled[i] = behind[seq] == 2
	}
	first := slices.Index(doubled, true)
	Expect(received.Bulk.Bytes).To(BeEquivalentTo(bytes))
	Expect(first).NotTo(Equal(-1), "a segment that was doubled")
	// From the first that was doubled on, each is a trial.
	lab.Measure("data segments doubled", count(doubled[first+1:]), allowed(doubled[first+1:], percent/100.))
	// RFC 2883, section 4: the receiver of a duplicate says so. A FIN may be doubled, too.
	lab.Measure("D-SACKs", net.Server().Counters()["TcpExtTCPDSACKOldSent"], bounds.Between(count(doubled), count(doubled)+1), "RFC 2883, 4")
	Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPDSACKRecv": BeNumerically(">", 0), "TcpRetransSegs": 0})
})
