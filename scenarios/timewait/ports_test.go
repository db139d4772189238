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

// tenPorts are all that a client has for connect(2) to choose from.
var tenPorts = netns.IPv4("ip_local_port_range", "40000 40009")

var _ = It("has a port for each connection to the same server, and EADDRNOTAVAIL for one more", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(roundTrip, harness.ClientSysctls(tenPorts))
		wire := lab.Capture(net.Client())
		serve(lab, net)
		ports := net.Client().Oracle().EphemeralPorts()
		Expect(ports).To(Equal(10))
		connections := dial(lab, net, ports+1)

		// connect(2): all ports of ip_local_port_range are taken (__inet_hash_connect). No SYN is sent.
		Expect(connections[:ports]).To(HaveEach(HaveField("Err", BeNil())))
		Expect(connections[ports].Err).To(MatchError(unix.EADDRNOTAVAIL))
		lab.Measure("connections", len(wire.Stop().Segments(analysis.SYNs)), bounds.Exactly(ports), "ip_local_port_range")
		// It stays so when all are closed, for they are in TIME-WAIT.
		Expect(net.Client().Sockets()).To(HaveState(kernel.TimeWait, ports))
		Expect(dial(lab, net, 1)[0].Err).To(MatchError(unix.EADDRNOTAVAIL))
	})

// monotonic is the clock that the kernel looks at (ktime_get_seconds).
func monotonic() time.Duration {
	GinkgoHelper()
	var now unix.Timespec
	Expect(unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)).To(Succeed())
	return time.Duration(now.Nano())
}

var _ = DescribeTable("takes a port from TIME-WAIT for the same server, if its last time stamp is older than a second,", Label("quick", "netem", "linux"),
	func(ctx SpecContext, reuse string, takes bool) {
		lab := harness.NewLab(ctx)
		net := lab.Path(roundTrip, harness.ClientSysctls(tenPorts, netns.IPv4("tcp_tw_reuse", reuse)))
		wire := lab.Capture(net.Client())
		serve(lab, net)
		ports := net.Client().Oracle().EphemeralPorts()
		age, ok := net.Client().Oracle().TimeWaitReuse(false)
		Expect(ok).To(Equal(takes))

		// Before Linux 6.14 whole seconds are compared: within one of them nothing is older (tcp_twsk_unique).
		const first = 50 * time.Millisecond // of a second: leaves the rest of it to act in
		time.Sleep(first + time.Second - monotonic()%time.Second)
		second := monotonic().Truncate(time.Second)
		Expect(dial(lab, net, ports)).To(HaveEach(HaveField("Err", BeNil())))
		Expect(dial(lab, net, 1)[0].Err).To(MatchError(unix.EADDRNOTAVAIL))
		// That it took no longer, or else there is nothing to tell.
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
