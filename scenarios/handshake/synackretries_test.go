package handshake

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("retransmits the SYN-ACK with exponential back-off, then drops the request", Label("long", "netem", "rfc6298"),
	func(ctx SpecContext) {
		expectSYNACKs(harness.NewLab(ctx), peers.Socket{}, "tcp_synack_retries")
	})

var _ = It("retransmits the SYN-ACK as often as the listener's TCP_SYNCNT", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		expectSYNACKs(harness.NewLab(ctx), peers.Socket{SYNRetries: 2}, "TCP_SYNCNT: reqsk_timer_handler")
	})

// expectSYNACKs checks the SYN-ACKs of a listener whose client does not answer. source explains their number.
func expectSYNACKs(lab *harness.Lab, listener peers.Socket, source string) {
	GinkgoHelper()
	net := lab.Path(shortRTT)
	wire := lab.Capture(net.Server())

	lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Socket: listener})
	lab.Start(net.Client(), peers.SYNFlood{Connect: net.Server().Addr(80), From: net.Client().UnusedAddresses()}).Wait()
	net.Server().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.SynRecv}})
	began := time.Now() // at most harness.Settle after the first SYN-ACK

	// RFC 6298, 5.5: an RTO of one second that doubles, tcp_synack_retries or TCP_SYNCNT times (reqsk_timer_handler).
	k := net.Server().Oracle().WithSYNCount(listener.SYNRetries)
	expected := k.SYNACKs()
	time.Sleep(expected.End.Earliest - harness.Settle - time.Since(began))
	Expect(net.Server().Sockets()).To(HaveState(kernel.SynRecv, 1))
	time.Sleep(expected.End.Latest - time.Since(began))
	Expect(net.Server().Sockets()).To(HaveState(kernel.SynRecv, 0))

	answers := wire.Stop().Segments(analysis.SYNACKs)
	harness.CheckEach(lab, "gaps between SYN-ACKs", analysis.Gaps(slices.Values(answers)), expected.Gaps[:expected.Most])
	lab.Measure("SYN-ACKs", len(answers), bounds.Exactly(1+expected.Most), source)
	lab.Measure("last SYN-ACK after", answers[len(answers)-1].At-answers[0].At, expected.Sent[expected.Most-1], "timer wheel")
	Expect(wire.Segments(analysis.RSTs)).To(BeEmpty()) // the request ends without a packet
	Expect(net.Server().Counters()).To(HaveCounters{
		"TcpExtTCPSynRetrans": expected.Most, "TcpExtTCPTimeouts": expected.Most + 1,
	})
}
