package smallpackets

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("delays the ACK of a lone segment on an interactive connection", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := lab.Capture(net.Server())

	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Steps: peers.Steps(peers.Write(1), peers.Read(1), peers.Write(1), peers.Sleep(time.Second))},
		peers.Script{Steps: peers.Steps(peers.Read(1), peers.Write(1), peers.ReadAll())})
	pair.Client.Wait()

	// RFC 9293, section 3.8.6.3: up to 0.5 s; Linux waits for TCP_DELACK_MIN.
	expected := net.Server().Oracle().DelayedACK(rtt + harness.HostDelay)
	data := wire.Stop().DataFrom(net.Client())
	Expect(data).To(HaveLen(2))
	lone := data[1]
	ack := harness.First(wire.From(net.Server(), acknowledging(lone)), "ACKs of the lone segment")
	Expect(ack.Length).To(BeZero())
	lab.Measure("delay of the ACK", ack.At-lone.At, expected)
	Expect(net.Server().Counters()).To(HaveGrown("TcpExtDelayedACKs", 1))
})

var _ = It("sends immediate ACKs (quickack) on a new one-way connection", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const writes = 5
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := lab.Capture(net.Server())

	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Steps: peers.Steps(peers.Repeat(writes, peers.Write(1), peers.Sleep(2*rtt)))},
		peers.Script{Steps: peers.Steps(peers.ReadAll())})
	pair.Client.Wait()

	// tcp_event_data_recv, TCP_MAX_QUICKACKS: the sender is probably in slow start, and needs ACKs.
	data := wire.Stop().DataFrom(net.Client())
	Expect(data).To(HaveLen(writes))
	for _, segment := range data {
		ack := harness.First(wire.From(net.Server(), acknowledging(segment)), "ACKs of it")
		lab.Measure("delay of the ACK", ack.At-segment.At, oracle.Exactly(0).LateBy(harness.HostDelay).From("TCP_MAX_QUICKACKS"))
	}
	Expect(net.Server().Counters()).To(HaveCounters{"TcpExtDelayedACKs": 0})
})

// acknowledging returns a filter for ACKs of exactly the end of a segment.
func acknowledging(s analysis.Segment) analysis.Filter {
	return func(ack analysis.Segment) bool { return ack.Ack == s.NextSeq() }
}
