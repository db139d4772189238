package timewait

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/netns"
)

var _ = DescribeTable("reuses a port in TIME-WAIT after a tcp_tw_reuse_delay of", Label("quick", "netem", "linux"),
	ComponentSemVerConstraint("kernel", ">= 6.14.0"), // since when there is the sysctl
	func(ctx SpecContext, delay time.Duration) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.ClientSysctls(tenPorts, netns.IPv4("tcp_tw_reuse", 1),
			netns.IPv4("tcp_tw_reuse_delay", delay.Milliseconds())))
		serve(lab, net)
		ports := net.Client().Oracle().EphemeralPorts()
		age, ok := net.Client().Oracle().TimeWaitReuse(false)
		Expect(ok).To(BeTrue())

		// None is older than begun, and all are older than closed (tcp_twsk_unique).
		begun := monotonic()
		Expect(dial(lab, net, ports)).To(HaveEach(HaveField("Err", BeNil())))
		Expect(net.Client().Sockets()).To(HaveState(kernel.TimeWait, ports))
		closed := monotonic()
		Expect(dial(lab, net, 1)[0].Err).To(MatchError(unix.EADDRNOTAVAIL))
		// If it took longer, the test would show nothing.
		lab.Check("made within the delay", monotonic()-begun, bounds.AtMost(age.Earliest), age.Source)

		// The clock has milliseconds (tcp_clock_ms), and has to be past the delay.
		time.Sleep(closed + age.Latest - monotonic())
		Expect(dial(lab, net, ports)).To(HaveEach(HaveField("Err", BeNil())))
		counters := net.Client().Counters()
		lab.Measure("recycled", bounds.In(counters["TcpExtTWRecycled"], "ports"), bounds.Exactly(ports), age.Source)
		Expect(counters).To(HaveGrown("TcpExtTW", 2*ports))
	},
	Entry("500 ms", 500*time.Millisecond),
	Entry("5 s", 5*time.Second),
)
