package congestion

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = DescribeTable("an idle connection", Label("quick", "netem", "rfc2861", "rfc5681"),
	func(ctx SpecContext, slowStartAfterIdle int, idle time.Duration, timeouts bounds.Range) {
		const rtt = longRTT
		lab := harness.NewLab(ctx)
		config := netns.Config{Sysctls: largeBuffers.Sysctls, ClientSysctls: []netns.Setting{
			netns.IPv4("tcp_slow_start_after_idle", slowStartAfterIdle),
		}}
		net := lab.Path(rtt, config)
		wire := lab.Capture(net.Client())

		server := net.Server().Addr(port)
		lab.Start(net.Server(), peers.BulkServer{Listen: server})
		client := lab.Start(net.Client(), peers.Script{
			Connect: server, Socket: peers.Socket{Congestion: "reno"},
			Steps: peers.Steps(
				peers.Write((10+20+40)*harness.MSS()), peers.Sleep(2*rtt+idle), peers.Inspect(), // the third round is sent after two round trips
				peers.Write(100*harness.MSS()), peers.Sleep(rtt/2), peers.Inspect(),
			),
		})
		steps := client.Wait().Connections[0].Steps
		before, after := steps[2].TCPInfo, steps[5].TCPInfo

		data := wire.Stop().Segments(analysis.WithData)
		rounds := perRound(data, rtt)
		Expect(begin(rounds, 3)).To(Equal([]int{10, 20, 40})) // RFC 6928, RFC 5681
		Expect(len(rounds)).To(BeNumerically(">", 3), "rounds")
		Expect(before.Snd_cwnd).To(BeEquivalentTo(80))
		pause := data[10+20+40].At - data[10+20+40-1].At
		rto := time.Duration(before.Rto) * time.Microsecond
		lab.Measure("idle time, in RTOs", pause.Seconds()/rto.Seconds(), timeouts)
		lab.Measure("first burst after it", bounds.In(rounds[3], "segments"),
			net.Client().Oracle().WindowAfterPause(80, pause, rto))
		Expect(after.Snd_cwnd).To(BeEquivalentTo(rounds[3]))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	},
	// RFC 2861, 3: cwnd is halved per RTO, down to the initial window. RFC 5681, 4.1 asks for the initial window
	// after one RTO.
	Entry("halves cwnd after one RTO", 1, 1400*time.Millisecond, bounds.Between(1., 2.).From("RFC 2861, 3: half of 80")),
	Entry("restarts with the initial window after many", 1, 6*time.Second, bounds.AtLeast(3.).From("RFC 2861, 3: 80, 40, 20, 10")),
	Entry("keeps cwnd with tcp_slow_start_after_idle 0", 0, 6*time.Second, bounds.AtLeast(3.).From("as before")),
)
