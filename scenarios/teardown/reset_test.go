package teardown

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("sends RST if a socket is closed with unread data", Label("quick", "netem", "rfc2525"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := lab.Capture(net.Client())

	c := connect(lab, net,
		peers.Steps(peers.Write(1000), peers.Try(peers.ReadAll())),
		peers.Steps(peers.Sleep(harness.Settle), peers.Close())) // by then the data has arrived
	client := c.Client.Wait().Connections[0]

	// RFC 2525, section 2.17: the other side must learn that its data was lost.
	Expect(client.Steps[1].Err).To(MatchError(unix.ECONNRESET))
	Expect(wire.Stop()).To(BeExchange("> S", "< S.", "> .", "> P. 1:1001(1000)", "< . ack 1001", "< R. 1:1(0) ack 1001"))
	Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPAbortOnClose": 1, "TcpOutRsts": 1})
})

var _ = It("still reads an early answer (HTTP 413) after the RST behind it, as its sender had unread data",
	Label("quick", "netem", "rfc2525", "linux"),
	func(ctx SpecContext) {
		const (
			head   = "POST /upload HTTP/1.1\r\nHost: server\r\nContent-Length: 2000\r\n\r\n"
			answer = "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n"
		)
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())

		c := connect(lab, net,
			peers.Steps(peers.WriteBytes([]byte(head)), peers.Write(2000), peers.Await(),
				peers.ReadBytes([]byte(answer)), peers.Try(peers.ReadSome()), peers.Try(peers.Write(1))),
			peers.Steps(peers.ReadBytes([]byte(head)), peers.Sleep(harness.Settle), peers.WriteBytes([]byte(answer)), peers.Close()))
		c.Client.Waiting()
		c.Server.Wait()
		time.Sleep(harness.Settle) // the reset has come, and what the last ACK leads to
		c.Client.Continue()
		steps := c.Client.Wait().Connections[0].Steps

		// RFC 9112, section 9.6: a client may lose the answer to this reset. RFC 9293, section 3.10.7.4, would have it flush its
		// queues. Linux keeps what had arrived (tcp_reset), and reads it before the error (tcp_recvmsg_locked).
		Expect(steps[3].Bytes).To(BeEquivalentTo(len(answer)))
		Expect(steps[4].Err).To(MatchError(unix.ECONNRESET))
		Expect(steps[5].Err).To(MatchError(unix.EPIPE))
		Expect(wire.Stop().From(net.Server(), analysis.WithData)).To(HaveExactElements(HaveField("Length", len(answer))))
		// The client acknowledges the answer if the reset has not come yet: that is for a closed port (RFC 9293, 3.5.2).
		late := wire.From(net.Client(), func(s analysis.Segment) bool {
			return s.Ack == 1+uint32(len(answer))+wire.Segments(analysis.SYNACKs)[0].Seq
		})
		Expect(wire.From(net.Server(), analysis.RSTs)).To(HaveLen(1 + len(late)))
		Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPAbortOnClose": 1, "TcpOutRsts": 1 + len(late)})
	})

var _ = It("sends RST instead of FIN with SO_LINGER 0, and skips TIME-WAIT", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := lab.Capture(net.Client())

	c := connect(lab, net, peers.Steps(peers.Abort()), peers.Steps(peers.Try(peers.ReadAll())))
	server := c.Server.Wait().Connections[0]

	// RFC 9293, section 3.10.5: ABORT sends RST, and drops the connection at once.
	Expect(server.Steps[0].Err).To(MatchError(unix.ECONNRESET))
	Expect(wire.Stop()).To(BeExchange("> S", "< S.", "> .", "> R. 1:1(0) ack 1"))
	Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPAbortOnData": 1, "TcpOutRsts": 1})
	Expect(net.Client().Sockets(kernel.SocketFilter{Port: 80}).List()).To(BeEmpty())
})

var _ = It("writes once after the peer has closed, then fails with EPIPE", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := lab.Capture(net.Client())

	c := connect(lab, net, peers.Steps(
		peers.ReadAll(), // the server has closed; its FIN does not tell that it will not read
		peers.Try(peers.Write(1)), peers.Sleep(harness.Settle),
		peers.Try(peers.Write(1)), peers.Try(peers.Write(1)),
	), peers.Steps(peers.Close()))
	steps := c.Client.Wait().Connections[0].Steps

	// RFC 9293, section 3.6.1 (SHLD-3): data for a closed socket is answered with RST, which in CLOSE-WAIT means
	// EPIPE (tcp_reset).
	Expect(steps[1].Err).To(BeNil())
	Expect(steps[3].Err).To(MatchError(unix.EPIPE))
	Expect(steps[4].Err).To(MatchError(unix.EPIPE))
	Expect(wire.Stop()).To(Contain(Reset(), 1))
	Expect(net.Server().Counters()).To(HaveGrown("TcpOutRsts", 1))
})
