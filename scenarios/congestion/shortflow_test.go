package congestion

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

var _ = DescribeTable("a short flow takes a round trip for each doubling of its size, not a time by the link's rate:", Label("quick", "netem", "rfc6928"),
	func(ctx SpecContext, segments int) {
		const rtt = longRTT
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, largeBuffers) // so that no receive window is in the way
		wire := lab.Capture(net.Client())
		lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port)})
		rounds := net.Client().Oracle().SlowStart(segments)
		lab.Start(net.Client(), peers.Script{
			Connect: net.Server().Addr(port), Socket: peers.Socket{Congestion: "reno"}, // it has no HyStart
			Steps: peers.Steps(
				peers.Write(int64(segments)*harness.MSS()),
				// It closes later: before Linux 6.10 a last segment with FIN leaves though the window is full, see below.
				peers.Sleep(time.Duration(len(rounds)+1)*rtt), peers.CloseWrite(), peers.ReadAll()),
		}).Wait()

		// The wire: from the SYN to the ACK of all. One round trip is the handshake's, and each window takes one.
		seen := wire.Stop()
		syn := harness.First(seen.Segments(analysis.SYNs), "SYNs")
		sent := seen.DataFrom(net.Client())
		Expect(sent).To(HaveLen(segments))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
		took := acknowledged(seen.From(net.Server()), last(sent)) - syn.At
		lab.Measure("connected, sent and acknowledged", took, oracle.FlowTime(rounds, rtt, harness.HostDelay, net.Server().Oracle()))
		lab.Measure("windows", bounds.In(len(perRound(sent, rtt)), "round trips"), bounds.Exactly(len(rounds)).In("round trips"), "RFC 6928; RFC 5681, 3.1")
	},
	Entry("1 segment in 2 RTT", 1),
	Entry("10 segments in 2 RTT: the initial window", 10),
	Entry("11 segments in 3 RTT", 11),
	Entry("30 segments in 3 RTT", 30),
	Entry("31 segments in 4 RTT", 31),
	Entry("70 segments in 4 RTT", 70),
	Entry("71 segments in 5 RTT", 71),
	Entry("150 segments in 5 RTT", 150),
)

var _ = It("the final FIN may leave though the window is full before Linux 6.10: 11 segments in 2 RTT, and in 3 since", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(longRTT)
	k := net.Client().Oracle()
	segments := k.InitialWindow(0) + 1
	wire := lab.Capture(net.Client())
	lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port)})
	lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(port), Bytes: int64(segments) * harness.MSS()}).Wait() // and closes

	seen := wire.Stop()
	sent := seen.DataFrom(net.Client())
	Expect(sent).To(HaveLen(segments))
	Expect(last(sent).Flags & analysis.FlagFIN).NotTo(BeZero())
	rounds := k.SlowStartClosing(segments)
	Expect(perRound(sent, longRTT)).To(Equal(rounds))
	lab.Measure("sent in the first round", bounds.In(perRound(sent, longRTT)[0], "segments"), bounds.Exactly(rounds[0]).In("segments"), "tcp_cwnd_test")
	syn := harness.First(seen.Segments(analysis.SYNs), "SYNs")
	lab.Measure("connected, sent and acknowledged", acknowledged(seen.From(net.Server()), last(sent))-syn.At,
		oracle.FlowTime(rounds, longRTT, harness.HostDelay, net.Server().Oracle()))
})

// acknowledged is when a segment was acknowledged.
func acknowledged(acks []analysis.Segment, segment analysis.Segment) time.Duration {
	GinkgoHelper()
	for _, ack := range acks {
		if ack.Flags&analysis.FlagACK != 0 && int32(ack.Ack-segment.NextSeq()) >= 0 {
			return ack.At
		}
	}
	Fail("the last segment was not acknowledged")
	return 0
}
