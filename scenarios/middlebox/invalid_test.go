package middlebox

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/inject"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/peers"
)

// outOfWindow has a client seem to send a segment that is far beyond all windows, but acknowledges what has come. Conntrack calls it
// invalid (tcp_in_window: "SEQ is over upper bound"), as it does a copy that comes much too late; it belongs to no connection then.
func outOfWindow(net *harness.Network, wire *harness.Capture) inject.Sent {
	GinkgoHelper()
	const beyond = 1 << 24
	sent := wire.SoFar(analysis.From(net.Client().IP()))
	Expect(sent).NotTo(BeEmpty())
	forged := inject.After(sent[len(sent)-1])
	forged.Seq += beyond
	return net.Client().Ends()[0].Inject(forged)
}

var _ = It("a connection that lives is reset for one segment out of the window, if a NAT rejects what conntrack calls invalid",
	Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, box := nat(lab, middlebox.Reset)
		wire := lab.Capture(net.Client())
		pair := lab.Connect(net.Client(), net.Server(), peers.Script{Steps: peers.Steps(peers.Try(peers.ReadAll()))}, listens())
		forged := outOfWindow(net, wire)
		client := pair.Client.Wait().Connections[0]
		noticed := time.Since(forged.At)

		// nf_reject_ip_tcphdr_put: the reset has the number that the segment acknowledges, which is what the client waits for.
		Expect(client.Steps[0].Err).To(MatchError(unix.ECONNRESET))
		lab.Measure("reset after", noticed, oracle.Between(rtt/2, rtt/2+harness.Settle), "RFC 9293, 3.10.7.1; half a round trip")
		Expect(wire.Stop().Segments(analysis.RSTs)).To(HaveLen(1))
		Expect(box.Packets("reject with tcp reset")).To(Equal(1))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpEstabResets": 1})
	})

var _ = It("a connection lives on after a segment out of the window, if a NAT drops what conntrack calls invalid", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, box := nat(lab, middlebox.Silence)
		wire := lab.Capture(net.Client())
		pair := lab.Connect(net.Client(), net.Server(),
			peers.Script{Steps: peers.Steps(peers.Await(), peers.Write(bytes), peers.CloseWrite(), peers.ReadAll())},
			peers.Script{Steps: peers.Steps(peers.ReadAll(), peers.Write(bytes))})
		pair.Client.Waiting()
		outOfWindow(net, wire)
		time.Sleep(harness.Settle)
		pair.Client.Continue()
		Expect(pair.Server.Wait().Connections[0].Received).To(BeEquivalentTo(bytes))
		Expect(pair.Client.Wait().Connections[0].Received).To(BeEquivalentTo(bytes))
		Expect(box.Packets("drop")).To(Equal(1))
		Expect(wire.Stop().Segments(analysis.RSTs)).To(BeEmpty())
	})
