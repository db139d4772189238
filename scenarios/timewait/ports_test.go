package timewait

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/netns"
)

// tenPorts limits connect(2) on a client to ten ports.
var tenPorts = netns.IPv4("ip_local_port_range", "40000 40009")

var _ = It("exhausts the ephemeral ports to one server, and fails with EADDRNOTAVAIL", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.ClientSysctls(tenPorts))
		wire := lab.Capture(net.Client())
		serve(lab, net)
		ports := net.Client().Oracle().EphemeralPorts()
		Expect(ports).To(Equal(10))
		connections := dial(lab, net, ports+1)

		// connect(2): all ports of ip_local_port_range are taken (__inet_hash_connect). No SYN is sent.
		Expect(connections[:ports]).To(HaveEach(HaveField("Err", BeNil())))
		Expect(connections[ports].Err).To(MatchError(unix.EADDRNOTAVAIL))
		lab.Measure("connections", len(wire.Stop().Segments(analysis.SYNs)), bounds.Exactly(ports), "ip_local_port_range")
		// All ports stay taken when the connections are closed, for they are in TIME-WAIT.
		Expect(net.Client().Sockets()).To(HaveState(kernel.TimeWait, ports))
		Expect(dial(lab, net, 1)[0].Err).To(MatchError(unix.EADDRNOTAVAIL))
	})

// monotonic is the clock that the kernel uses (ktime_get_seconds).
func monotonic() time.Duration {
	GinkgoHelper()
	var now unix.Timespec
	Expect(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)).To(Succeed())
	return time.Duration(now.Nano())
}

var _ = DescribeTable("reuses a port in TIME-WAIT if its last timestamp is older than a second,", Label("quick", "netem", "linux"),
	func(ctx SpecContext, reuse string, takes bool) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.ClientSysctls(tenPorts, netns.IPv4("tcp_tw_reuse", reuse)))
		wire := lab.Capture(net.Client())
		serve(lab, net)
		ports := net.Client().Oracle().EphemeralPorts()
		age, ok := net.Client().Oracle().TimeWaitReuse(false)
		Expect(ok).To(Equal(takes))

		// Linux before 6.14 compares whole seconds: within one second nothing is older (tcp_twsk_unique).
		const first = 50 * time.Millisecond // of a second: the rest of it is left for the test
		time.Sleep(first + time.Second - monotonic()%time.Second)
		second := monotonic().Truncate(time.Second)
		Expect(dial(lab, net, ports)).To(HaveEach(HaveField("Err", BeNil())))
		Expect(dial(lab, net, 1)[0].Err).To(MatchError(unix.EADDRNOTAVAIL))
		// If it took longer, the test would show nothing.
		lab.Check("made within a second", monotonic()-second, bounds.AtMost(time.Second), "tcp_twsk_unique: whole seconds")
		Expect(net.Client().Sockets()).To(HaveState(kernel.TimeWait, ports))

		outcome, recycled := HaveField("Err", MatchError(unix.EADDRNOTAVAIL)), 0
		if takes {
			outcome, recycled = HaveField("Err", BeNil()), ports
		}
		time.Sleep(max(age.Latest, time.Second))
		Expect(dial(lab, net, ports)).To(HaveEach(outcome))
		counters := net.Client().Counters()
		lab.Measure("recycled", bounds.In(counters["TcpExtTWRecycled"], "ports"), bounds.Exactly(recycled),
			"tcp_tw_reuse "+reuse)
		Expect(counters).To(HaveGrown("TcpExtTW", ports+recycled))
		Expect(wire.Stop().Segments(analysis.SYNs)).To(HaveLen(ports + recycled))
	},
	Entry("with tcp_tw_reuse 1", "1", true),
	Entry("not with tcp_tw_reuse 0", "0", false),
	Entry("not beyond loopback with tcp_tw_reuse 2", "2", false),
)
