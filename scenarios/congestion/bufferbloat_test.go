package congestion

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// longestRTT is the longest time from a segment to the ACK of its last byte, until the first SACK block reports
// a loss. After that, ACKs also wait for retransmissions.
func longestRTT(segments []analysis.Segment) time.Duration {
	var longest time.Duration
	for s := range analysis.Classify(slices.Values(segments)) {
		if len(s.Options.SACK()) > 0 {
			break
		}
		longest = max(longest, s.RTT)
	}
	return longest
}

func smoothedRTTs(socket []kernel.Point) []time.Duration {
	var all []time.Duration
	for _, p := range socket {
		all = append(all, time.Duration(p.TCPInfo.Rtt)*time.Microsecond)
	}
	return all
}

func longestQueue(samples []kernel.QdiscSample) uint64 {
	var longest uint64
	for _, s := range samples {
		longest = max(longest, s.Length)
	}
	return longest
}

var _ = DescribeTable("bufferbloat: RTT grows by the drain time of a full queue", Label("quick", "netem", "linux"),
	func(ctx SpecContext, limit int) {
		path := oracle.Bottleneck{Rate: 10 * impair.Mbit, RTT: 40 * time.Millisecond}
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		impairBottleneck(net, path, limit)
		queue := net.ToServer.SampleQueue(5 * time.Millisecond)

		f := transfer(lab, net, 5*time.Millisecond, peers.BulkClient{
			Connect: net.Server().Addr(port), Bytes: 1 << 20, Socket: peers.Socket{Congestion: "reno"}, // it has no HyStart
		}, peers.Socket{})

		// The queue stays full for at least one RTT, until the sender learns of a loss. By then SRTT has grown as
		// far.
		full := path.FullQueueRTT(limit).LateBy(harness.HostDelay)
		lab.Measure("longest RTT", longestRTT(f.segments), full)
		lab.Check("longest SRTT", slices.Max(smoothedRTTs(f.socket)), full)
		// The queue alternates between full and one less than full: a sample may see either.
		lab.Check("longest queue", longestQueue(queue.Stop().List()), bounds.Between(limit-1, limit), "netem's limit")
		// Each dropped packet is retransmitted. There is no tolerance, so no margin.
		Expect(net.ToServer.Queue().Drops).To(bounds.Between(1, f.TCPInfo.Total_retrans))
	},
	Entry("of 50 packets", 50),
	Entry("of 100 packets", 100),
	Entry("of 200 packets", 200),
)

var _ = DescribeTable("the queue over the buffer, once a flow goes on:", Label("long", "netem"), func(ctx SpecContext, congestion string, packets int) {
	const warm, measured = 10 * time.Second, 12 * time.Second
	expected := slow.DropTailWait(packets, oracle.CubicBeta)
	if congestion == "bbr" {
		expected = slow.BBRWait()
	}
	lab := harness.NewLab(ctx)
	net := lab.Routed(largeBuffers)
	net.ToServer.Impair(impair.Netem{Rate: impair.Rate{BitsPerSecond: slow.Rate}, Limit: packets})
	net.ToClient.Impair(impair.Netem{Delay: slow.RTT, Limit: queueLimit})
	samples := net.Client().Sample(50*time.Millisecond, kernel.SocketFilter{States: []kernel.State{kernel.Established}, Port: port})
	lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port)})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(port), Duration: warm + measured, Socket: peers.Socket{Congestion: congestion}})
	time.Sleep(warm)
	queue := net.ToServer.SampleQueue(50 * time.Millisecond)
	time.Sleep(measured)
	waits := queue.Stop().List()
	c := client.Wait().Connections[0]
	rtts := smoothedRTTs(from(samples.Stop().Connection(c.Local, c.Remote), warm))
	slices.Sort(rtts)

	// The socket sees base and queue; the queue is counted by the qdisc.
	frame := oracle.Exactly(slow.Frame())
	rtt := expected.Plus(frame).Plus(oracle.Between(slow.RTT, slow.RTT+harness.HostDelay).From("RTT"))
	lab.Measure("SRTT, median", rtts[len(rtts)/2], rtt)
	lab.Measure("queue, median", time.Duration(medianBacklog(waits))*slow.Frame(), expected.Plus(oracle.Between(0, slow.Frame())))
	lab.Note("a full buffer takes", time.Duration(packets)*slow.Frame())
},
	Entry("CUBIC, 1 BDP", Label("linux"), "cubic", 33),
	Entry("CUBIC, 2 BDP", Label("linux"), "cubic", 66),
	Entry("CUBIC, 4 BDP", Label("linux"), "cubic", 132),
	Entry("BBR, 1 BDP", Label("linux"), "bbr", 33),
	Entry("BBR, 2 BDP: the same", Label("linux"), "bbr", 66),
	Entry("BBR, 4 BDP: the same", Label("linux"), "bbr", 132),
)
