package timewait

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/netns"
)

var _ = DescribeTable("stays in TIME-WAIT for 60 s,", Label("long", "netem", "linux"),
	func(ctx SpecContext, finTimeout string) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.ClientSysctls(netns.IPv4("tcp_fin_timeout", finTimeout),
			netns.IPv4("ip_local_port_range", "40000 40000")))
		serve(lab, net)
		Expect(dial(lab, net, 1)[0].Err).To(BeNil())
		net.Client().AwaitSockets(1, timeWait)
		began := time.Now()

		// TCP_TIMEWAIT_LEN (include/net/tcp.h) is a constant; tcp_fin_timeout is for FIN-WAIT-2. Until the end
		// connect(2) does not choose the port for the same peer again (__inet_check_established), and the socket is
		// listed.
		expected := net.Client().Oracle().TimeWait()
		time.Sleep(expected.Earliest - margin - time.Since(began))
		Expect(net.Client().Sockets()).To(HaveState(kernel.TimeWait, 1))
		Expect(dial(lab, net, 1)[0].Err).To(MatchError(unix.EADDRNOTAVAIL))
		net.Client().AwaitSockets(0, timeWait)
		lasted := time.Since(began)
		// The state began up to this time before it was noticed: AwaitSockets polls each 5 ms at first, and polling
		// takes time.
		const looking = 20 * time.Millisecond
		expected.Earliest -= looking
		lab.Measure("TIME-WAIT", lasted, expected.LateBy(margin))
		Expect(dial(lab, net, 1)[0].Err).To(BeNil())
		Expect(net.Client().Counters()).To(HaveGrown("TcpExtTW", 2))
	},
	Entry("with tcp_fin_timeout 60", "60"),
	Entry("with tcp_fin_timeout 5", "5"),
	Entry("with tcp_fin_timeout 120", "120"),
)
