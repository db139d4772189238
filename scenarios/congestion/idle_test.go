package congestion

import (
	"fmt"
	"strconv"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// restartWindow is the window after a pause: half for each time-out in it, but not below the initial one (RFC 2861, 3;
// tcp_cwnd_restart in net/ipv4/tcp_output.c). RFC 5681, 4.1 asks for the initial one after one time-out.
func restartWindow(window int, pause, timeout time.Duration) int {
	for ; pause > timeout && window > initialWindow; pause -= timeout {
		window /= 2
	}
	return max(window, initialWindow)
}

// keptWindow is for those who do not want that.
func keptWindow(window int, _, _ time.Duration) int { return window }

var _ = DescribeTable("a connection that was idle", Label("quick", "netem", "rfc2861", "rfc5681"),
	func(ctx SpecContext, slowStartAfterIdle int, idle time.Duration, expected func(int, time.Duration, time.Duration) int) {
		const roundTrip = longRoundTrip
		lab := harness.NewLab(ctx)
		config := netns.Config{Sysctls: largeBuffers.Sysctls, ClientSysctls: []netns.Setting{
			{Key: "net.ipv4.tcp_slow_start_after_idle", Value: strconv.Itoa(slowStartAfterIdle)},
		}}
		net := lab.Path(roundTrip, config)
		wire := lab.Capture(net.Client())

		server := harness.Addr(net.Server(), port)
		lab.Start(net.Server(), peers.BulkServer{Listen: server})
		client := lab.Start(net.Client(), peers.Script{
			Connect: server, Socket: peers.Socket{Congestion: "reno"},
			Steps: peers.Steps(
				peers.Write((10+20+40)*segment()), peers.Sleep(2*roundTrip+idle), peers.Inspect(), // the third round is sent after two round trips
				peers.Write(100*segment()), peers.Sleep(roundTrip/2), peers.Inspect(),
			),
		})
		steps := lab.Wait(client).Connections[0].Steps
		before, after := steps[2].TCPInfo, steps[5].TCPInfo

		data := wire.Segments(analysis.WithData)
		rounds := perRound(data, roundTrip)
		Expect(begin(rounds, 3)).To(Equal([]int{10, 20, 40})) // RFC 6928, RFC 5681
		Expect(len(rounds)).To(BeNumerically(">", 3), "rounds")
		Expect(before.Snd_cwnd).To(BeEquivalentTo(80))
		pause := data[10+20+40].At - data[10+20+40-1].At
		burst := expected(80, pause, time.Duration(before.Rto)*time.Microsecond)
		Expect(rounds[3]).To(Equal(burst))
		Expect(after.Snd_cwnd).To(BeEquivalentTo(burst))
		Expect(lab.Counters(net.Client())).To(HaveGrown("TcpRetransSegs", 0))
		lab.Figure("time-outs in the pause", pause.Seconds()*1e6/float64(before.Rto), "", "")
		lab.Figure("first burst", float64(rounds[3]), "segments", fmt.Sprintf("%d of 80", burst))
	},
	Entry("has half of its window after one time-out", 1, 1400*time.Millisecond, restartWindow),
	Entry("begins with the initial window after many", 1, 6*time.Second, restartWindow),
	Entry("keeps its window where tcp_slow_start_after_idle is 0", 0, 6*time.Second, keptWindow),
)
