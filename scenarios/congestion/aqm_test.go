package congestion

import (
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// slow is a bottleneck with a queue of its own: all of the delay is on the way back.
var slow = oracle.Bottleneck{Rate: 4 * impair.Mbit, RTT: 100 * time.Millisecond}

// queued puts a discipline below a bottleneck of that rate. CAKE has a rate of its own.
func queued(path oracle.Bottleneck, d queue.Discipline) queue.Queue {
	if cake, ok := d.(queue.Cake); ok {
		cake.BitsPerSecond = path.Rate
		return queue.Queue{Discipline: cake}
	}
	return queue.Queue{Bottleneck: queue.Bottleneck{BitsPerSecond: path.Rate}, Discipline: d}
}

var _ = It("CoDel drops by the interval over the root of the count, to the packet", Label("quick", "netem", "rfc8289"), func(ctx SpecContext) {
	const (
		size  = 500 // of a frame, in bytes
		count = 4500
		udp   = 14 + 20 + 8 // headers, of IPv4
		rate  = 10 * impair.Mbit
		drops = 15
		// late is of a packet that leaves, and its drop, by the token bucket's timer and what the guest takes, of either drop: the 200 us for one event
		// that are a fifth of the oracle's grain. It is half of a frame.
		late = oracle.Grain / 5
	)
	lab := harness.NewLab(ctx)
	net := lab.Routed()
	headers := udp
	if net.Server().IP().Is6() {
		headers += 20
	}
	frame := time.Duration(int64(size) * 8 * int64(time.Second) / rate)
	net.ToServer.SetQueue(queue.Queue{Bottleneck: queue.Bottleneck{BitsPerSecond: rate, Burst: 1514}, Discipline: queue.CoDel{Limit: 2 * count}})
	wire := lab.Capture(net.Client(), net.Server())
	receiver := lab.Start(net.Server(), peers.ProbeReceiver{Listen: net.Server().Addr(port)})
	// A sender that does not react: twice as much as the link carries.
	lab.Start(net.Client(), peers.ProbeSender{Connect: net.Server().Addr(port), Count: count, Size: size - headers, Interval: frame / 2}).Wait()
	time.Sleep(count * frame / 2) // what waits leaves
	receiver.Stop()

	// The token bucket takes a packet from CoDel as soon as it has sent the one before (qdisc_peek_dequeued): so that is when CoDel drops.
	transits := wire.Stop().DatagramTransits(net.Client().End("eth0"), net.Server().End("eth0"))
	var at []time.Duration
	for i, t := range transits {
		if i > 0 && t.Lost() && !transits[i-1].Lost() && len(at) < drops {
			at = append(at, transits[i-1].Arrived[0].At)
		}
	}
	Expect(len(at)).To(Equal(drops))
	expected, byRFC := oracle.CoDelDrops(drops, oracle.CoDelInterval), oracle.CoDelByRFC(drops, oracle.CoDelInterval)
	for i := range at[1:] {
		// It drops when the first packet leaves after that time, and its clock counts in 1024 ns.
		const clock = 2 * 1024 * time.Nanosecond
		lab.Measure(fmt.Sprintf("drop %d, after the first", i+2), at[i+1]-at[0], bounds.Between(expected[i+1]-clock-late, expected[i+1]+frame+late),
			"RFC 8289, 5.3; codel_Newton_step")
	}
	lab.Note("drop 2 to 3 by RFC 8289", byRFC[2]-byRFC[1])
})

// A waiting is what requests feel beside a bulk flow.
type waiting struct {
	discipline queue.Discipline
	expected   oracle.Span // beside the RTT
	bulk       string
}

var _ = DescribeTable("latency of requests beside a bulk flow:", Label("long", "netem"), func(ctx SpecContext, w waiting) {
	const warm = 10 * time.Second
	lab := harness.NewLab(ctx)
	net := lab.Routed(largeBuffers)
	net.ToServer.SetQueue(queued(slow, w.discipline))
	net.ToClient.Impair(impair.Netem{Delay: slow.RTT, Limit: queueLimit})
	lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port)})
	bulk := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(port), Duration: warm + 22*time.Second, Socket: peers.Socket{Congestion: w.bulk}})
	lab.Start(net.Server(), peers.EchoServer{Listen: net.Server().Addr(port + 1)})
	time.Sleep(warm)
	backlog := net.ToServer.SampleQueue(50 * time.Millisecond)
	echo := lab.Start(net.Client(), peers.EchoClient{Connect: net.Server().Addr(port + 1), Requests: 60, Interval: 200 * time.Millisecond, Size: 100}).Wait().Echo
	waits := backlog.Stop().List()
	bulk.Wait()

	lab.Measure("median of requests", echo.Median, w.expected.Plus(oracle.Between(slow.RTT, slow.RTT+harness.HostDelay)), "and the RTT")
	lab.Note("99 % of requests", echo.P99)
	lab.Note("round trips per minute", time.Minute.Seconds()/echo.Median.Seconds())
	// The queue itself, by the kernel's count: of all flows, where each has a queue of its own.
	lab.Note("queue, median", bounds.In(medianBacklog(waits), "packets"))
	lab.Note("carried by the link", bounds.Percent(float64(last(waits).Bytes-waits[0].Bytes)*8/(last(waits).At-waits[0].At).Seconds()/float64(slow.Rate)))
},
	Entry("drop-tail of 2 BDP: they wait behind it", Label("linux"), waiting{queue.DropTail{Packets: 66}, slow.DropTailWait(66, oracle.CubicBeta), "cubic"}),
	Entry("CoDel: about its target", Label("rfc8289"), waiting{queue.CoDel{}, slow.CoDelWait(), "cubic"}),
	Entry("PIE: about its target", Label("rfc8033"), waiting{queue.PIE{}, oracle.Between(0, 2*oracle.PIETarget).From("RFC 8033: 15 ms"), "cubic"}),
	Entry("fq_codel: they wait for no queue", Label("rfc8290"), waiting{queue.FQCoDel{}, slow.SparseWait(), "cubic"}),
	Entry("CAKE: they wait for no queue", Label("linux"), waiting{queue.Cake{}, slow.SparseWait(), "cubic"}),
	Entry("drop-tail of 2 BDP behind BBR: it keeps the queue short by itself", Label("linux"),
		waiting{queue.DropTail{Packets: 66}, slow.BBRWait(), "bbr"}),
)

// medianBacklog is the median of what waited, in packets.
func medianBacklog(samples []kernel.QdiscSample) uint64 {
	var lengths []uint64
	for _, s := range samples {
		lengths = append(lengths, s.Length)
	}
	slices.Sort(lengths)
	return lengths[len(lengths)/2]
}

var _ = DescribeTable("CAKE gives", Label("long", "netem", "linux"), func(ctx SpecContext, flows string, one float64) {
	const many, duration = 4, 20 * time.Second
	lab := harness.NewLab(ctx)
	net := lab.Dumbbell(2, largeBuffers)
	net.ToServer.SetQueue(queue.Queue{Discipline: queue.Cake{BitsPerSecond: slow.Rate, Flows: flows}})
	net.ToClient.Impair(impair.Netem{Delay: slow.RTT / 2, Limit: queueLimit})
	var clients []*harness.Peer
	for host, n := range []int{1, many} { // the first host has one flow, the second many
		for i := range n {
			address := net.Servers[host].Addr(uint16(port + i))
			lab.Start(net.Servers[host], peers.BulkServer{Listen: address})
			clients = append(clients, lab.Start(net.Clients[host], peers.BulkClient{Connect: address, Duration: duration, Socket: peers.Socket{Congestion: "cubic"}}))
		}
	}
	time.Sleep(duration / 4)
	before := acked(net)
	time.Sleep(duration / 2)
	after := acked(net)
	for _, c := range clients {
		c.Wait()
	}
	first, second := float64(after[0]-before[0]), float64(after[1]-before[1])
	const quantum = 0.03 // of a share: a window of each flow, at both ends of the time
	// CAKE keeps no queue, so that a flow alone has what its window has on average, between beta W and W. What it leaves others take.
	least := one * (1 + oracle.CubicBeta) / 2
	lab.Measure("share of the host with one flow", bounds.Percent(first/(first+second)), bounds.Between(100*(least-quantum), 100*(one+quantum)).In("%"),
		"tc-cake(8): deficit round robin, and CUBIC's window")
},
	Entry("each host the same, however many flows it has (dual-srchost)", "dual-srchost", 1./2),
	Entry("each flow the same, whoever has it (flows)", "flows", 1./5),
)

// acked is what the clients' sockets have had acknowledged so far, in bytes.
func acked(net *harness.Network) (all []uint64) {
	GinkgoHelper()
	for _, client := range net.Clients {
		var sum uint64
		for _, s := range client.Sockets(kernel.SocketFilter{States: []kernel.State{kernel.Established}}).List() {
			sum += s.TCPInfo.Bytes_acked
		}
		all = append(all, sum)
	}
	return all
}

var _ = It("ECN: fq_codel marks in place of drops, and nothing is retransmitted", Label("long", "netem", "rfc8290", "rfc3168"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Routed(netns.Config{Sysctls: append(slices.Clone(largeBuffers.Sysctls), netns.IPv4("tcp_ecn", 1))})
	net.ToServer.SetQueue(queued(slow, queue.FQCoDel{}))
	net.ToClient.Impair(impair.Netem{Delay: slow.RTT, Limit: queueLimit})
	lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port)})
	lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(port), Duration: 20 * time.Second, Socket: peers.Socket{Congestion: "cubic"}}).Wait()
	marks := last(net.ToServer.QueueStats()).Marks()
	Expect(marks).To(BeNumerically(">", 0))
	Expect(net.ToServer.Queue().Drops).To(BeZero())
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	lab.Measure("marks that the server got", net.Server().Counters()[harness.ByFamily("IpExtInCEPkts", "Ip6InCEPkts")], bounds.Exactly(int64(marks)), "RFC 3168: each mark arrives")
})

var _ = It("DCTCP keeps the queue at the threshold at which it is marked", Label("long", "netem", "rfc8257"), func(ctx SpecContext) {
	const threshold, duration = 20, 30 * time.Second // packets: more than a seventh of the BDP
	lab := harness.NewLab(ctx)
	net := lab.Routed(netns.Config{Sysctls: append(slices.Clone(largeBuffers.Sysctls), netns.IPv4("tcp_ecn", 1))})
	net.ToServer.SetQueue(queued(slow, queue.RED{Instant: true, ECN: true, Min: threshold * 1514, Max: threshold*1514 + 1514, Limit: 400 * 1514}))
	net.ToClient.Impair(impair.Netem{Delay: slow.RTT, Limit: queueLimit})
	lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port), Socket: peers.Socket{Congestion: "dctcp"}})
	client := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(port), Duration: duration, Socket: peers.Socket{Congestion: "dctcp"}})
	time.Sleep(duration / 3)
	backlog := net.ToServer.SampleQueue(20 * time.Millisecond)
	time.Sleep(duration / 3)
	seen := backlog.Stop().List()
	client.Wait()
	expected := slow.DCTCPQueue(threshold, 1)
	shortest := slices.MinFunc(seen, func(a, b kernel.QdiscSample) int { return int(a.Length) - int(b.Length) }).Length
	lab.Measure("longest queue", bounds.In(longestQueue(seen), "packets"), expected)
	lab.Measure("shortest queue", bounds.In(shortest, "packets"), expected)
	lab.Note("queue of a CUBIC flow after a mark", bounds.In(oracle.CubicBeta*(slow.BDP()+threshold)-slow.BDP(), "packets"))
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
})
