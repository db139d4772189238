package keepalive

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

var _ = DescribeTable("sends keepalive probes, then RST, and fails with ETIMEDOUT",
	Label("netem", "rfc9293"),
	func(ctx SpecContext, count int, userTimeout time.Duration, source string) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		socket := keeping
		socket.KeepProbes, socket.UserTimeout = count, userTimeout

		pair := lab.Connect(net.Client(), net.Server(),
			peers.Script{Socket: socket, Steps: peers.Steps(peers.Try(peers.ReadAll()))},
			peers.Script{Steps: peers.Steps(peers.Sleep(peers.UntilStopped))})
		net.ToServer.Blackhole()
		end := pair.Client.Wait().Connections[0].Steps[0].Err

		// When nothing has been received for TCP_KEEPIDLE, a probe is sent each TCP_KEEPINTVL; and at the end RST
		// (tcp_keepalive_timer).
		expected := net.Client().Oracle().Keepalive(oracle.KeepaliveOptions{
			Time: idle, Interval: interval, Probes: count, UserTimeout: userTimeout,
		})
		synACKs := wire.Stop().Segments(analysis.SYNACKs)
		Expect(synACKs).To(HaveLen(1))
		synACK := synACKs[0]
		sent := wire.From(net.Client(), probing(synACK.Ack))
		reset := wire.Segments(analysis.RSTs)
		Expect(end).To(MatchError(unix.ETIMEDOUT))
		lab.Measure("probes", len(sent), expected.Count(), source)
		Expect(reset).To(HaveLen(1))
		gaps := analysis.Gaps(slices.Values(slices.Concat([]analysis.Segment{synACK}, sent)))
		harness.CheckEach(lab, "gaps before probes", gaps, expected.Gaps[:len(sent)])
		lab.Measure("reset after", reset[0].At-synACK.At, expected.End)
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPKeepAlive": len(sent), "TcpExtTCPAbortOnTimeout": 1, "TcpRetransSegs": 0,
		})
		// The RST is lost as well, so the server stays in ESTABLISHED.
		Expect(net.Server().Sockets()).To(HaveState(kernel.Established, 1))
	},
	Entry("after TCP_KEEPCNT probes", Label("quick"), probes, time.Duration(0), "TCP_KEEPCNT"),
	// tcp(7): TCP_USER_TIMEOUT takes the place of TCP_KEEPCNT.
	Entry("after TCP_USER_TIMEOUT, which overrides TCP_KEEPCNT", Label("long"),
		9, 5500*time.Millisecond, "TCP_USER_TIMEOUT"),
)
