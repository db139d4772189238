package middlebox

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

const (
	forgets = 20 * time.Second        // what a NAT does with an idle connection
	idle    = forgets + 2*time.Second // a connection that is forgotten
	bytes   = 1000                    // of a message
)

// nat is a path whose router is a NAT towards the server.
func nat(lab *harness.Lab, unknown middlebox.Answer, config ...netns.Config) (*harness.Network, *harness.Middlebox) {
	GinkgoHelper()
	net := lab.Path(rtt, config...)
	return net, net.Routers[0].Middlebox(middlebox.Box{
		NAT: true, Outside: net.ToServer.Name(), IdleTimeout: forgets, Unknown: unknown,
	})
}

// writes is a script that writes when it may continue, and then reads.
func writes(socket peers.Socket) peers.Script {
	return peers.Script{Socket: socket, Steps: peers.Steps(peers.Await(), peers.Write(bytes), peers.Try(peers.ReadAll()))}
}

// listens is a script that reads for ever.
func listens() peers.Script { return peers.Script{Steps: peers.Steps(peers.Try(peers.ReadAll()))} }

var _ = DescribeTable("an idle connection that a NAT has forgotten silently ends with ETIMEDOUT", Label("long", "netem", "linux"),
	func(ctx SpecContext, retries2 int, userTimeout time.Duration) {
		lab := harness.NewLab(ctx)
		net, box := nat(lab, middlebox.Silence, harness.ClientSysctls(netns.IPv4("tcp_retries2", retries2)))
		wire := lab.Capture(net.Client(), net.Server())
		pair := lab.Connect(net.Client(), net.Server(), writes(peers.Socket{UserTimeout: userTimeout}), listens())
		pair.Client.Waiting()
		time.Sleep(idle)
		pair.Client.Continue()
		steps := pair.Client.Wait().Connections[0].Steps

		// The server has seen the NAT's address (RFC 3022), and nothing after the handshake.
		Expect(wire.Stop().Segments(analysis.On("server/eth0"))).To(HaveLen(3))
		syn := harness.First(wire.Segments(analysis.On("server/eth0"), analysis.SYNs), "SYNs at the server")
		Expect(syn.Src.Addr()).To(Equal(harness.ByFamily(net.ToServer.IPv4(), net.ToServer.IPv6()).Addr()))
		// To the client it is a blackhole.
		expected := net.Client().Oracle().Blackhole(oracle.Flow{RTT: pathRTT, UserTimeout: userTimeout})
		data := wire.DataFrom(net.Client())
		retransmits := len(data) - 1
		Expect(steps[2].Err).To(MatchError(unix.ETIMEDOUT))
		lab.Measure("retransmits", retransmits, expected.Count())
		harness.CheckEach(lab, "gaps between transmissions", analysis.Gaps(slices.Values(data)), expected.Gaps[:retransmits])
		lab.Measure("gave up after", steps[2].End()-steps[1].Start, expected.End.LateBy(harness.HostDelay))
		Expect(box.Packets("drop")).To(Equal(1 + retransmits))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": retransmits, "TcpExtTCPAbortOnTimeout": 1})
		Expect(net.Server().Sockets(kernel.SocketFilter{Port: syn.Src.Port()})).To(HaveState(kernel.Established, 1))
	},
	Entry("after tcp_retries2", 5, time.Duration(0)),
	Entry("after a TCP_USER_TIMEOUT", 15, 5*time.Second),
)

var _ = DescribeTable("an idle connection that a NAT has forgotten ends with ECONNRESET if it rejects what it does not know, when",
	Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, fromServer bool) {
		lab := harness.NewLab(ctx)
		net, box := nat(lab, middlebox.Reset)
		wire := lab.Capture(net.Client(), net.Server())
		client, server := writes(peers.Socket{}), listens()
		if fromServer {
			client, server = server, client
		}
		pair := lab.Connect(net.Client(), net.Server(), client, server)
		writer, other, end := pair.Client, net.Server(), "client/eth0"
		if fromServer {
			writer, other, end = pair.Server, net.Client(), "server/eth0"
		}
		writer.Waiting()
		time.Sleep(idle)
		writer.Continue()
		steps := writer.Wait().Connections[0].Steps

		// RFC 9293, section 3.10.7.1: a reset for what belongs to no connection, with the number that the segment acknowledged.
		Expect(steps[2].Err).To(MatchError(unix.ECONNRESET))
		lab.Measure("reset after", steps[2].End()-steps[1].Start, half, "RFC 9293, 3.10.7.1; half a round trip")
		resets := wire.Stop().Segments(analysis.RSTs)
		Expect(resets).To(HaveExactElements(HaveField("Interface", end)))
		written := harness.First(wire.Segments(analysis.On(end), analysis.WithData), "data")
		Expect(resets[0].Seq).To(Equal(written.Ack))
		Expect(box.Packets("reject with tcp reset")).To(Equal(1))
		// The other side hears nothing of it.
		Expect(other.Sockets()).To(HaveState(kernel.Established, 1))
	},
	Entry("the client writes", false),
	Entry("the server writes", true),
)

var _ = It("keepalive more often than the NAT's time-out keeps the connection", Label("long", "netem", "rfc5382"), func(ctx SpecContext) {
	const often, waited = 8 * time.Second, 3 * forgets
	lab := harness.NewLab(ctx)
	net, box := nat(lab, middlebox.Silence)
	wire := lab.Capture(net.Client())
	socket := peers.Socket{KeepAlive: true, KeepIdle: often, KeepInterval: often, KeepProbes: 2}
	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Socket: socket, Steps: peers.Steps(peers.Sleep(waited), peers.Write(bytes))}, listens())
	pair.Client.Wait()
	Expect(pair.Server.Wait().Connections[0].Received).To(BeEquivalentTo(bytes))

	// RFC 5382, REQ-5: a NAT must keep an idle connection for 2 h 4 min, for keepalives every 2 h; many do not.
	handshake := wire.Stop().Segments()[:3]
	probing := func(s analysis.Segment) bool {
		return s.Length == 0 && s.Seq == handshake[2].Seq-1 && s.Flags == analysis.FlagACK
	}
	probes := wire.From(net.Client(), probing)
	gap := net.Client().Oracle().Keepalive(oracle.KeepaliveOptions{Time: often, Interval: often}).Gaps[0]
	least := waited / (gap.Latest + rtt + harness.HostDelay)
	lab.Measure("probes", len(probes), bounds.Between(int(least), int(waited/gap.Earliest)), "TCP_KEEPIDLE")
	Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPKeepAlive": len(probes), "TcpRetransSegs": 0})
	Expect(box.Packets("drop")).To(BeZero())
})
