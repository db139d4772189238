package congestion

import (
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/peers"
)

// fixedBuffer is a receive buffer that holds all that slow start sends here, and is not autotuned.
const fixedBuffer = 64 << 10

var _ = DescribeTable("slow start begins with IW10, and doubles cwnd each RTT",
	Label("quick", "netem", "rfc6928", "rfc5681"),
	func(ctx SpecContext, congestion string, server peers.Socket, everyOther bool) {
		const rtt, segments = longRTT, 100
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)

		f := transfer(lab, net, rtt/20, peers.BulkClient{
			Connect: net.Server().Addr(port), Bytes: segments * harness.MSS(), Socket: peers.Socket{Congestion: congestion},
		}, server)

		// RFC 5681, 3.1, with RFC 3465 without its limit: the window grows by one for each acknowledged segment, and
		// so doubles in an RTT, however many segments an ACK covers. The fourth round has the rest.
		k := net.Client().Oracle()
		rounds := perRound(f.data, rtt)
		Expect(rounds).To(Equal(k.SlowStart(segments)))
		first := k.InitialWindow(0)
		lab.Measure("first window", bounds.In(rounds[0], "segments"), bounds.Exactly(first), "RFC 6928: TCP_INIT_CWND")
		lab.Measure("window in the next RTT", bounds.In(rounds[1], "segments"), bounds.Exactly(2*rounds[0]), "RFC 5681, 3.1")
		Expect(plateaus(f.socket, rtt/2, window)).To(Equal([]int{first, 2 * first, 4 * first, 8 * first}))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})

		// If every other segment is acknowledged (RFC 5681, 4.2), there are at most this many ACKs: one for each
		// segment at first, and one delayed ACK per round.
		mere := slices.Collect(analysis.Where(slices.Values(f.segments), analysis.From(f.Remote.Addr()), analysis.With(analysis.FlagACK),
			analysis.Not(analysis.WithData), analysis.Not(analysis.SYNACKs), analysis.Not(analysis.FINs)))
		quick := net.Server().Oracle().QuickACKs(fixedBuffer, int(harness.MSS()))
		ofOther := quick + (segments-quick)/2 + len(rounds)
		if everyOther {
			lab.Check("ACKs", len(mere), bounds.AtMost(ofOther), "RFC 5681, 4.2")
		} else { // except those that were coalesced while the program held the socket (tcp_add_backlog)
			coalesced := net.Server().Counters()["TcpExtTCPBacklogCoalesce"]
			lab.Check("ACKs", len(mere)+int(coalesced), bounds.AtLeast(ofOther+1), "tcp_grow_window: each segment is acknowledged")
		}
	},
	Entry("with CUBIC", "cubic", peers.Socket{}, false),
	Entry("with Reno", "reno", peers.Socket{}, false),
	// This needs a window that does not grow: while it grows, Linux acknowledges each segment (tcp_grow_window in
	// net/ipv4/tcp_input.c).
	Entry("even if only every other segment is acknowledged", "cubic", peers.Socket{ReceiveBuffer: fixedBuffer}, true),
)
