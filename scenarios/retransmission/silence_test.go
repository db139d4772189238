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

// expectSilence lets an established connection send a segment into silence, and expects all that the oracle says of
// it: when it is sent again, how often, and when the program is told. It returns how long that took.
func expectSilence(lab *harness.Lab, net *harness.Network, socket peers.Socket) time.Duration {
	GinkgoHelper()
	wire := lab.Capture(net.Client())
	lab.Start(net.Server(), peers.Script{Listen: net.Server().Addr(80), Steps: peers.Steps(peers.Sleep(peers.UntilStopped))})
	client := lab.Start(net.Client(), peers.Script{
		Connect: net.Server().Addr(80), Socket: socket,
		Steps: peers.Steps(peers.Await(), peers.Write(1), peers.Try(peers.ReadAll())),
	})
	client.Waiting()
	silence := net.ToServer.Blackhole()
	client.Continue()
	steps := client.Wait().Connections[0].Steps

	k := net.Client().Oracle().WithRTOMax(socket.RTOMax)
	expected := k.Silence(oracle.Flow{RTT: pathRTT, UserTimeout: socket.UserTimeout})
	data := wire.Stop().DataFrom(net.Client())
	repeated := len(data) - 1
	lab.Measure("retransmits", repeated, expected.Count())
	harness.CheckEach(lab, "gaps between transmissions", analysis.Gaps(slices.Values(data)), expected.Gaps[:repeated])
	Expect(steps[2].Err).To(MatchError(unix.ETIMEDOUT))
	waited := steps[2].End() - steps[1].Start
	lab.Measure("gave up after", waited, expected.End.LateBy(harness.HostDelay))

	// The link's own account, and the kernel's: the last time-out sends nothing any more.
	Expect(silence.Hits()).To(HaveLen(1 + repeated))
	Expect(net.Client().Counters()).To(HaveCounters{
		"TcpRetransSegs":          repeated,
		"TcpExtTCPLossProbes":     expected.Probes,
		"TcpExtTCPTimeouts":       repeated - expected.Probes + 1,
		"TcpExtTCPAbortOnTimeout": 1,
	})
	return waited
}

var _ = DescribeTable("repeats itself in silence, ever more slowly, and gives up after the time of tcp_retries2",
	Label("long", "netem", "rfc6298"),
	func(ctx SpecContext, retries2 int, hypothetical time.Duration) {
		lab := harness.NewLab(ctx)
		waited := expectSilence(lab, lab.Path(roundTrip, harness.Sysctls(netns.IPv4("tcp_retries2", retries2))), peers.Socket{})

		// ip-sysctl.rst, tcp_retries2: the number stands for a time, that of so many retransmissions from an RTO of
		// 200 ms; RFC 6298, 5.5: each time-out is twice the one before, up to 120 s (TCP_RTO_MAX). It ends
		// with the first time-out that comes later, so in less than twice that time and the first RTO.
		lab.Check("beside tcp_retries2", waited, oracle.Between(hypothetical, 2*hypothetical+time.Second), "ip-sysctl.rst")
	},
	Entry("of 3", 3, 3*time.Second),
	Entry("of 5", 5, 12600*time.Millisecond),
	Entry("of 8, the least that RFC 1122 allows", 8, 102200*time.Millisecond),
	Entry("of 15, the default", 15, 924600*time.Millisecond),
)

var _ = DescribeTable("gives up in silence when TCP_USER_TIMEOUT has passed since the first retransmission",
	Label("long", "netem", "rfc5482"),
	func(ctx SpecContext, userTimeout time.Duration) {
		lab := harness.NewLab(ctx)
		// tcp_timer.c, tcp_clamp_rto_to_user_timeout: the last timer is cut to what is left of it.
		expectSilence(lab, lab.Path(roundTrip), peers.Socket{UserTimeout: userTimeout})
	},
	Entry("of 1 s", time.Second),
	Entry("of 5 s", 5*time.Second),
)
