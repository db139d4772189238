package programs

import (
	"net"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/peers/course/numbered"
)

// A flow is what sender and receiver of numbered messages have to know.
type flow struct {
	Network  string // "udp" or "tcp"
	Address  string
	Messages int
	Gap      time.Duration
}

// quiet is how long a receiver of datagrams waits for the next: much longer than any is on its way.
const quiet = time.Second

var receiveNumbered = peers.Func("numbered-receiver", func(t *peers.Task, f flow) (*numbered.Tally, error) {
	if f.Network == "udp" {
		conn, err := net.ListenPacket("udp", f.Address)
		if err != nil {
			return nil, err
		}
		defer conn.Close()
		if err := t.Ready(conn.LocalAddr()); err != nil {
			return nil, err
		}
		return numbered.ReceiveDatagrams(t.Context(), conn, f.Messages, quiet)
	}
	listener, err := listening(t, f.Address)
	if err != nil {
		return nil, err
	}
	defer listener.Close()
	conn, err := listener.Accept()
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	return numbered.ReceiveStream(t.Context(), conn, f.Messages, patience)
})

var sendNumbered = peers.Func("numbered-sender", func(t *peers.Task, f flow) (none struct{}, err error) {
	conn, err := net.Dial(f.Network, f.Address)
	if err != nil {
		return none, err
	}
	defer conn.Close()
	if err := t.Ready(nil); err != nil {
		return none, err
	}
	return none, numbered.Send(t.Context(), conn, f.Messages, f.Gap, patience)
})

// tallied sends messages one way and returns what arrived.
func tallied(lab *harness.Lab, path *harness.Network, network string, messages int, gap time.Duration) *numbered.Tally {
	GinkgoHelper()
	f := flow{Network: network, Address: path.Server().Addr(port).String(), Messages: messages, Gap: gap}
	receiver := lab.Start(path.Server(), receiveNumbered.With(f))
	lab.Start(path.Client(), sendNumbered.With(f)).Wait()
	tally, err := receiveNumbered.Value(receiver.Wait())
	Expect(err).NotTo(HaveOccurred())
	return tally
}

// readAt is when a message was read, since the first was sent.
func readAt(tally *numbered.Tally, n int, gap time.Duration) time.Duration {
	return time.Duration(n)*gap + tally.Took[n]
}

var _ = Describe("UDP beside TCP:", func() {
	const oneWay = rtt / 2
	late := oneWay + programDelay // what is no later than this has waited for nothing

	DescribeTable("each message arrives once, in order, in half an RTT, on a clean link,", Label("quick", "netem", "rfc768", "rfc9293"),
		func(ctx SpecContext, network string) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			const messages = 100
			tally := tallied(lab, path, network, messages, 10*time.Millisecond)
			Expect(tally.Lost()).To(BeEmpty())
			Expect(tally.Duplicated).To(BeZero())
			Expect(tally.Swapped).To(BeZero())
			lab.Measure("messages in order", tally.InOrder, bounds.Exactly(messages), "nothing is lost")
			lab.Measure("messages that waited", tally.LaterThan(late), bounds.Exactly(0), "half an RTT, and what hosts add")
		},
		Entry("by UDP", "udp"), Entry("by TCP", "tcp"))

	// One message of 100 is lost; there is one each 10 ms.
	const messages, lost, gap = 100, 50, 10 * time.Millisecond

	It("wrong: one lost datagram is missing, and a program that counts takes all after it for others", Label("quick", "netem", "rfc768"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			drop := path.ToServer.Rule(rules.Drop(rules.AnyPacket.Number(lost + 1)))
			tally := tallied(lab, path, "udp", messages, gap)
			Expect(drop.Hits()).To(HaveLen(1))
			Expect(tally.Lost()).To(Equal([]int{lost}))
			lab.Measure("messages that waited", tally.LaterThan(late), bounds.Exactly(0), "UDP holds up nothing")
			lab.Measure("messages in order", tally.InOrder, bounds.Exactly(lost), "those before the loss")
			Expect(path.Server().Counters()).To(HaveGrown("UdpInDatagrams", messages-1))
		})

	It("one lost segment arrives later, and so do the messages behind it: head-of-line blocking", Label("quick", "netem", "rfc9293", "rfc8985"),
		func(ctx SpecContext) {
			lab := harness.NewLab(ctx)
			path := lab.Path(rtt)
			wire := lab.Capture(path.Client(), path.Server())
			drop := path.ToServer.Rule(rules.Drop(rules.Data.Number(lost + 1)))
			tally := tallied(lab, path, "tcp", messages, gap)
			Expect(drop.Hits()).To(HaveLen(1))
			Expect(tally.Lost()).To(BeEmpty())
			lab.Measure("messages in order", tally.InOrder, bounds.Exactly(messages), "the contract of TCP")

			// The loss is noticed by SACKs of what was sent later: by the first that says that more than an RTT and a quarter
			// of it have passed (RFC 8985, 6.2), and by the third at the latest (RFC 6675, DupThresh). Then it takes an RTT.
			repaired := oracle.Between(gap+rtt, 3*gap+rtt+rtt/4).LateBy(2 * programDelay)
			lab.Measure("the lost message took longer by", tally.Took[lost]-oneWay, repaired, "RFC 8985, 6.2; RFC 6675: DupThresh")
			// Those that are read together with it. Others may be late for another reason: while the loss is repaired the window is smaller, and
			// they wait in the sender's kernel (RFC 6937).
			held := 0
			for n := lost + 1; n < messages; n++ {
				if readAt(tally, n, gap)-readAt(tally, lost, gap) < programDelay/2 {
					held++
				}
			}
			lab.Measure("messages that waited behind it", held,
				bounds.Between(int((gap+rtt-programDelay)/gap), int((3*gap+rtt+rtt/4+2*programDelay)/gap)), "those of that time, one each 10 ms")

			// The other witness: on the wire they were there in time.
			transits := wire.Stop().Transits(path.Client().End("eth0"), path.Server().End("eth0"), analysis.WithData)
			waited := 0
			for _, transit := range transits {
				if transit.Delay() > late { // 0 of the one that was lost
					waited++
				}
			}
			lab.Check("segments that took longer than half an RTT", waited, bounds.Exactly(0), "they waited in the receiver's kernel, not on the way")
			Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 1})
			// One more, or one less, that came in that very moment.
			Expect(path.Server().Counters()).To(HaveGrown("TcpExtTCPOFOQueue", And(BeNumerically(">=", held-1), BeNumerically("<=", held+1))))
		})

	DescribeTable("a link that loses, reorders and duplicates 5 % each,", Label("quick", "netem", "rfc768", "rfc9293"),
		func(ctx SpecContext, network string) {
			lab := harness.NewLab(ctx)
			path := lab.Routed()
			bad := impair.Netem{Delay: oneWay, Loss: impair.RandomLoss{Percent: 5}, Duplicate: impair.Duplicate{Percent: 5}, Reorder: impair.Reorder{Percent: 5}}
			path.ToServer.Impair(bad)
			path.ToClient.Impair(impair.Netem{Delay: oneWay})
			wire := lab.Capture(path.Client(), path.Server())
			const messages = 1000
			tally := tallied(lab, path, network, messages, 4*time.Millisecond)
			if network == "tcp" {
				Expect(tally.Lost()).To(BeEmpty())
				Expect(tally.Duplicated).To(BeZero())
				lab.Measure("messages in order", tally.InOrder, bounds.Exactly(messages), "the contract of TCP")
				lab.Measure("messages that waited", tally.LaterThan(late), bounds.AtLeast(1), "a loss costs time, also of those behind it")
				return
			}
			// The other witness is what a capture at both hosts shows.
			var lost, doubled, swapped int
			for _, transit := range wire.Stop().DatagramTransits(path.Client().End("eth0"), path.Server().End("eth0")) {
				lost += ones(transit.Lost())
				doubled += len(transit.Arrived) - ones(!transit.Lost())
				swapped += ones(transit.Reordered())
			}
			lab.Measure("lost datagrams", len(tally.Lost()), bounds.Exactly(lost), "those that did not come in on the wire")
			lab.Measure("copies of datagrams", tally.Duplicated, bounds.Exactly(doubled), "those that came in once more")
			lab.Measure("swapped datagrams", tally.Swapped, bounds.Exactly(swapped), "RFC 4737, 3.3: came in after a later one")
			lab.Measure("messages that waited", tally.LaterThan(late), bounds.Exactly(0), "UDP holds up nothing")
			Expect(tally.Lost()).NotTo(BeEmpty())
			Expect(tally.Duplicated).NotTo(BeZero())
			Expect(tally.Swapped).NotTo(BeZero())
		},
		Entry("loses, doubles and swaps datagrams", "udp"), Entry("delays messages of TCP, and no more", "tcp"))
})

func ones(is bool) int {
	if is {
		return 1
	}
	return 0
}
