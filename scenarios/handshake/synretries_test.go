package handshake

import (
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// connectInBlackhole connects through a blackhole, and checks the retransmissions of the SYN by the sysctls of the
// client. It returns their number.
func connectInBlackhole(lab *harness.Lab, net *harness.Network) (retransmissions int) {
	GinkgoHelper()
	net.ToServer.Impair(impair.Netem{Loss: impair.RandomLoss{Percent: 100}})
	wire := lab.Capture(net.Client())

	client := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80)})
	connection := client.Wait().Connections[0]

	// RFC 6298, 5.5 and 5.7: an RTO of one second that doubles with each retransmission. With tcp_syn_linear_timeouts
	// (Linux 6.5) it doubles only after that many. The end comes after both numbers of retransmissions.
	k := net.Client().Oracle()
	syns := k.Connect(oracle.ConnectOptions{})
	Expect(connection.Err).To(MatchError(unix.ETIMEDOUT))
	sent := wire.Stop().Segments(analysis.SYNs)
	harness.CheckEach(lab, "gaps between SYNs", analysis.Gaps(slices.Values(sent)), syns.Gaps[:syns.Most])
	lab.Measure("SYNs", len(sent), bounds.Exactly(1+syns.Most), "tcp_syn_retries and tcp_syn_linear_timeouts")
	lab.Measure("gave up after", connection.ConnectTime, syns.End, "timer wheel")

	// The drops by the link, and the counters: the last RTO sends nothing.
	Expect(net.ToServer.Queue().Drops).To(BeEquivalentTo(1 + syns.Most))
	Expect(net.Client().Counters()).To(HaveCounters{
		"TcpExtTCPSynRetrans": syns.Most, "TcpExtTCPTimeouts": syns.Most + 1, "TcpAttemptFails": 1,
	})
	return syns.Most
}

var _ = It("retransmits the SYN with exponential back-off and fails with ETIMEDOUT", Label("long", "netem", "rfc6298"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	connectInBlackhole(lab, lab.Routed())
})

var _ = It("backs off exponentially from the first SYN with tcp_syn_linear_timeouts 0", Label("long", "netem", "rfc6298"),
	ComponentSemVerConstraint("kernel", ">= 6.5.0"), func(ctx SpecContext) { // since when there is the sysctl
		lab := harness.NewLab(ctx)
		net := lab.Routed(harness.ClientSysctls(netns.IPv4("tcp_syn_linear_timeouts", 0)))
		Expect(connectInBlackhole(lab, net)).To(Equal(net.Client().Sysctl("net.ipv4.tcp_syn_retries")))
	})
