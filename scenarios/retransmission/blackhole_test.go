package retransmission

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// expectRetriesInBlackhole sends a segment of an established connection into a blackhole, and checks retransmissions,
// gaps and end by the oracle. It returns the time until the program got its error.
func expectRetriesInBlackhole(lab *harness.Lab, net *harness.Network, socket peers.Socket) time.Duration {
	GinkgoHelper()
	wire := lab.Capture(net.Client())
	lab.Start(net.Server(), peers.Script{Listen: net.Server().Addr(80), Steps: peers.Steps(peers.Sleep(peers.UntilStopped))})
	client := lab.Start(net.Client(), peers.Script{
		Connect: net.Server().Addr(80), Socket: socket,
		Steps: peers.Steps(peers.Await(), peers.Write(1), peers.Try(peers.ReadAll())),
	})
	client.Waiting()
	blackhole := net.ToServer.Blackhole()
	client.Continue()
	steps := client.Wait().Connections[0].Steps

	k := net.Client().Oracle().WithRTOMax(socket.RTOMax)
	expected := k.Blackhole(oracle.Flow{RTT: pathRTT, UserTimeout: socket.UserTimeout})
	data := wire.Stop().DataFrom(net.Client())
	retransmits := len(data) - 1
	lab.Measure("retransmits", retransmits, expected.Count())
	harness.CheckEach(lab, "gaps between transmissions", analysis.Gaps(slices.Values(data)), expected.Gaps[:retransmits])
	Expect(steps[2].Err).To(MatchError(unix.ETIMEDOUT))
	waited := steps[2].End() - steps[1].Start
	lab.Measure("gave up after", waited, expected.End.LateBy(harness.HostDelay))

	// The drops by the link, and the counters: the last RTO sends nothing.
	Expect(blackhole.Hits()).To(HaveLen(1 + retransmits))
	Expect(net.Client().Counters()).To(HaveCounters{
		"TcpRetransSegs":          retransmits,
		"TcpExtTCPLossProbes":     expected.Probes,
		"TcpExtTCPTimeouts":       retransmits - expected.Probes + 1,
		"TcpExtTCPAbortOnTimeout": 1,
	})
	return waited
}

var _ = DescribeTable("retransmits with exponential back-off and fails with ETIMEDOUT after tcp_retries2",
	Label("long", "netem", "rfc6298"),
	func(ctx SpecContext, retries2 int, hypothetical time.Duration) {
		lab := harness.NewLab(ctx)
		waited := expectRetriesInBlackhole(lab, lab.Path(rtt, harness.Sysctls(netns.IPv4("tcp_retries2", retries2))), peers.Socket{})

		// ip-sysctl.rst, tcp_retries2: the number stands for the time of that many retransmissions with an RTO of 200
		// ms at first. RFC 6298, 5.5: each RTO is twice the one before, up to 120 s (TCP_RTO_MAX). The first RTO
		// after that time ends the connection: in less than twice that time and the first RTO.
		lab.Check("time of tcp_retries2", waited, oracle.Between(hypothetical, 2*hypothetical+time.Second), "ip-sysctl.rst")
	},
	Entry("of 3", 3, 3*time.Second),
	Entry("of 5", 5, 12600*time.Millisecond),
	Entry("of 8, the least that RFC 1122 allows", 8, 102200*time.Millisecond),
	Entry("of 15, the default", 15, 924600*time.Millisecond),
)

var _ = DescribeTable("fails with ETIMEDOUT in a blackhole after a TCP_USER_TIMEOUT",
	Label("long", "netem", "rfc5482"),
	func(ctx SpecContext, userTimeout time.Duration) {
		lab := harness.NewLab(ctx)
		// tcp_timer.c, tcp_clamp_rto_to_user_timeout: the last RTO is clamped to the rest of TCP_USER_TIMEOUT.
		expectRetriesInBlackhole(lab, lab.Path(rtt), peers.Socket{UserTimeout: userTimeout})
	},
	Entry("of 1 s", time.Second),
	Entry("of 5 s", 5*time.Second),
)
