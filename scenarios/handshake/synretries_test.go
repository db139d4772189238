package handshake

import (
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// initialRTO is the time-out before there is a measurement (RFC 6298, 2.1; TCP_TIMEOUT_INIT).
const initialRTO = time.Second

// synGaps are the times between the SYNs of a connection that nobody answers, and, last, the
// time after the last SYN until connect(2) gives up: as many time-outs of one second as
// tcp_syn_linear_timeouts says (Linux 6.5 and later), then tcp_syn_retries that double.
func synGaps(retries, linear int) []time.Duration {
	gaps := slices.Repeat([]time.Duration{initialRTO}, linear)
	for i := range retries + 1 {
		gaps = append(gaps, initialRTO<<i)
	}
	return gaps
}

func linearTimeouts(lab *harness.Lab, host *netns.Host) int {
	const key = "net.ipv4.tcp_syn_linear_timeouts"
	if !lab.HasSysctl(host, key) {
		return 0
	}
	return lab.Sysctl(host, key)
}

var _ = It("repeats its SYN in silence, ever more slowly, and gives up", Label("long", "netem", "rfc6298"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Routed()
	lab.Impair(net.ToServer, impair.Netem{Loss: impair.RandomLoss{Percent: 100}})
	wire := lab.Capture(net.Client())
	gaps := synGaps(lab.Sysctl(net.Client(), "net.ipv4.tcp_syn_retries"), linearTimeouts(lab, net.Client()))
	retries := len(gaps) - 1

	client := lab.Start(net.Client(), peers.Dial{Connect: harness.Addr(net.Server(), 80)})
	connection := lab.Wait(client).Connections[0]

	Expect(connection.Err).To(MatchError(unix.ETIMEDOUT))
	Expect(wire.Segments(analysis.SYNs)).To(HaveGaps(TimerWheel, gaps[:retries]...))
	var earliest, latest time.Duration
	for _, gap := range gaps {
		earliest, latest = earliest+gap, latest+gap+TimerWheel(gap)
	}
	Expect(connection.ConnectTime).To(And(BeNumerically(">=", earliest), BeNumerically("<=", latest)))

	// The link's own account, and the kernel's: the last time-out sends nothing any more.
	Expect(lab.Queue(net.ToServer).Drops).To(BeEquivalentTo(1 + retries))
	Expect(lab.Counters(net.Client())).To(And(
		HaveGrown("TcpExtTCPSynRetrans", retries), HaveGrown("TcpExtTCPTimeouts", retries+1), HaveGrown("TcpAttemptFails", 1)))
	lab.Figure("SYNs", float64(1+retries), "", fmt.Sprintf("%d: tcp_syn_retries and tcp_syn_linear_timeouts", 1+retries))
	lab.Figure("gave up after", connection.ConnectTime.Seconds(), "s", fmt.Sprintf("%.0f to %.1f: RFC 6298, timer wheel", earliest.Seconds(), latest.Seconds()))
})
