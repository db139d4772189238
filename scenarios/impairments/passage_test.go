package impairments

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("follows each datagram over the path: which is lost, duplicated, reordered, and how long it takes",
	Label("quick", "netem", "rfc4737"),
	func(ctx SpecContext) {
		const (
			oneWay, interval = 20 * time.Millisecond, 10 * time.Millisecond
			held             = 5 * interval / 2 // two later ones overtake it
			probes           = 30
			lost, twice      = 4, 9 // numbers, from 0
			late             = 14
		)
		lab := harness.NewLab(ctx)
		net := lab.Path(2 * oneWay)
		wire := lab.Capture(net.Client(), net.Server())
		datagrams := rules.AnyPacket.Destination(net.Server().IP()) // which has no other packets
		net.ToServer.Rule(rules.Drop(datagrams.Number(lost + 1)))
		net.ToServer.Rule(rules.Duplicate(datagrams.Number(twice + 1)))
		net.ToServer.Rule(rules.Delay(held, datagrams.Number(late+1)))

		receiver := lab.Start(net.Server(), peers.ProbeReceiver{Listen: net.Server().Addr(5005)})
		lab.Start(net.Client(), peers.ProbeSender{Connect: net.Server().Addr(5005), Count: probes, Interval: interval}).Wait()
		time.Sleep(oneWay + harness.Settle)
		received := receiver.Stop().Probe

		transits := wire.Stop().DatagramTransits(net.Client().End("eth0"), net.Server().End("eth0"))
		Expect(transits).To(HaveLen(probes))
		for number, t := range transits {
			is, ok := peers.ProbeNumber([]byte(t.Sent.Payload))
			Expect(ok).To(BeTrue())
			Expect(is).To(Equal(number))
			Expect(t.Lost()).To(Equal(number == lost), "%d", number)
			Expect(t.Duplicated()).To(Equal(number == twice), "%d", number)
			Expect(t.Reordered()).To(Equal(number == late), "%d", number) // RFC 4737, 3.3: and not those that overtake it
			took := oracle.Exactly(oneWay).LateBy(hostDelay + net.Server().Oracle().Tick()).From("netem_dequeue: not before time_to_send")
			switch number {
			case lost:
			case late:
				lab.Measure("passage of the late one", t.Delay(), took.Plus(oracle.Exactly(held).LateBy(hostDelay)), "the link, and the rule")
			default:
				lab.Check("passage", t.Delay(), took)
			}
		}
		// The receiver knows nothing of the capture: it counts by the numbers in the datagrams.
		Expect(*received).To(Equal(peers.ProbeResult{Received: probes, Distinct: probes - 1, Reordered: 1}))
	})
