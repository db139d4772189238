package smallpackets

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

const (
	pause     = 50 * time.Millisecond // from the last write until TCP_CORK is cleared
	wakeDelay = 5 * time.Millisecond  // bounds two late wake-ups of a program: from a read, and from the pause
)

var _ = DescribeTable("coalesces small writes into one segment with TCP_CORK, sent", Label("quick", "netem", "linux"),
	func(ctx SpecContext, pull bool, expected func(oracle.Kernel) oracle.Span) {
		const writes, bytes = 3, 100
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())

		// The client makes the small writes as soon as it has the answer to a request.
		steps := peers.Steps(peers.Write(1), peers.Read(1), peers.Set("TCP_CORK", 1),
			peers.Repeat(writes, peers.Write(bytes)), peers.Sleep(pause))
		if pull {
			steps = append(steps, peers.Set("TCP_CORK", 0))
		}
		pair := lab.Connect(net.Client(), net.Server(),
			peers.Script{Steps: append(steps, peers.Sleep(time.Second))},
			peers.Script{Steps: peers.Steps(peers.Read(1), peers.Write(1), peers.ReadSome(), peers.ReadAll())})

		held := expected(net.Client().Oracle()).LateBy(wakeDelay)
		Expect(pair.Server.Wait().Connections[0].Steps[2].Bytes).To(BeEquivalentTo(writes * bytes))
		data := wire.Stop().Segments(analysis.WithData)
		Expect(data).To(HaveLen(3)) // request, answer, and the rest
		lab.Measure("held back", data[2].At-data[1].At, held)
	},
	Entry("when uncorked", true, func(oracle.Kernel) oracle.Span { return oracle.Exactly(pause).From("tcp(7): TCP_CORK") }),
	// tcp(7) says 200 ms. In fact it is the timer of zero window probes, an RTO (tcp_check_probe_timer,
	// tcp_probe0_base).
	Entry("after an RTO at the latest", false, func(k oracle.Kernel) oracle.Span {
		return k.ZeroWindowProbes(oracle.ProbeOptions{RTT: rtts(1)}, 1)[0]
	}),
)
