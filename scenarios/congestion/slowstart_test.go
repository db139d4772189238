package congestion

import (
	"slices"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/peers"
)

// initialWindow is RFC 6928's, in segments (TCP_INIT_CWND in include/net/tcp.h).
const initialWindow = 10

// acksOfOther is how many ACKs a receiver sends for 100 segments in four rounds, at most, if it acknowledges every other
// (RFC 5681, 4.2): and a delayed one in each round, after the first 16, which Linux acknowledges one by one (TCP_MAX_QUICKACKS).
const acksOfOther = 16 + (100-16)/2 + 4

var _ = DescribeTable("slow start sends ten segments, and twice as many in each further round trip",
	Label("quick", "netem", "rfc6928", "rfc5681"),
	func(ctx SpecContext, congestion string, server peers.Socket, everyOther bool) {
		const roundTrip = longRoundTrip
		lab := harness.NewLab(ctx)
		net := lab.Path(roundTrip)

		f := transfer(lab, net, roundTrip/20, peers.BulkClient{
			Connect: harness.Addr(net.Server(), port), Bytes: 100 * segment(), Socket: peers.Socket{Congestion: congestion},
		}, server)

		// RFC 5681, 3.1, with RFC 3465 and no bound to it: the window grows by each segment that is acknowledged, so
		// that it doubles in a round trip, however many of them an ACK tells of. The fourth round is the rest.
		rounds := perRound(f.data, roundTrip)
		Expect(rounds).To(Equal([]int{initialWindow, 2 * initialWindow, 4 * initialWindow, 30}))
		Expect(plateaus(f.socket, roundTrip/2, window)).To(Equal([]int{initialWindow, 2 * initialWindow, 4 * initialWindow, 8 * initialWindow}))
		Expect(lab.Counters(net.Client())).To(HaveGrown("TcpRetransSegs", 0))
		mere := slices.Collect(analysis.Where(slices.Values(f.segments), analysis.From(f.Remote.Addr()), analysis.With(analysis.FlagACK),
			analysis.Not(analysis.WithData), analysis.Not(analysis.SYNACKs), analysis.Not(analysis.FINs)))
		if everyOther {
			Expect(len(mere)).To(BeNumerically("<=", acksOfOther))
		} else { // but for segments that came while the program had the socket, and became one (tcp_add_backlog)
			coalesced := lab.Counters(net.Server())["TcpExtTCPBacklogCoalesce"]
			Expect(len(mere) + int(coalesced)).To(BeNumerically(">", acksOfOther))
		}
		lab.Figure("first window", float64(rounds[0]), "segments", "10: RFC 6928")
		lab.Figure("growth in a round", float64(rounds[2])/float64(rounds[1]), "", "2: RFC 5681, 3.1")
	},
	Entry("with CUBIC", "cubic", peers.Socket{}, false),
	Entry("with Reno", "reno", peers.Socket{}, false),
	// A window that does not grow, 64 KiB here, is what it takes: as long as it grows, Linux acknowledges each
	// segment (tcp_grow_window in net/ipv4/tcp_input.c).
	Entry("also if only every other segment is acknowledged", "cubic", peers.Socket{ReceiveBuffer: 64 << 10}, true),
)
