package timewait

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

var _ = DescribeTable("leaves one TIME-WAIT per connection on the active closer:", Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, client, server []peers.Step, onClient, onServer int) {
		const connections = 20
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())
		serve := lab.Start(net.Server(), peers.Script{
			Listen: net.Server().Addr(80), Connections: connections, Together: true, Steps: server,
		})
		lab.Start(net.Client(), peers.Script{
			Connect: net.Server().Addr(80), Connections: connections, Together: true, Steps: client,
		}).Wait()
		serve.Wait()
		time.Sleep(margin)

		// RFC 9293, section 3.6.1: the sender of the first FIN waits, so that it can retransmit the ACK of the other
		// FIN.
		Expect(wire.Stop()).To(Contain(FourWayClose(), connections))
		Expect(net.Client().Sockets()).To(HaveState(kernel.TimeWait, onClient*connections))
		Expect(net.Server().Sockets()).To(HaveState(kernel.TimeWait, onServer*connections))
		Expect(net.Client().Counters()).To(HaveGrown("TcpExtTW", onClient*connections))
		Expect(net.Server().Counters()).To(HaveGrown("TcpExtTW", onServer*connections))
	},
	Entry("the client", closeFirst, closeSecond, 1, 0),
	Entry("the server", closeSecond, closeFirst, 0, 1),
)

var _ = It("limits sockets in TIME-WAIT to tcp_max_tw_buckets, and counts the overflow", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		const closes, buckets = 80, 50
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt, harness.ClientSysctls(netns.IPv4("tcp_max_tw_buckets", buckets)))
		wire := lab.Capture(net.Client())
		serve(lab, net)
		Expect(dial(lab, net, closes)).To(HaveEach(HaveField("Err", BeNil())))
		time.Sleep(margin)

		// inet_twsk_alloc, tcp_time_wait: the others are closed at once, which the peer does not notice.
		held, overflow := net.Client().Oracle().TimeWaits(closes)
		Expect(held).To(Equal(buckets))
		waiting := net.Client().Sockets(timeWait).List()
		lab.Measure("in TIME-WAIT", len(waiting), bounds.Exactly(held), "tcp_max_tw_buckets")
		Expect(net.Client().Counters()).To(HaveCounters{
			"TcpExtTCPTimeWaitOverflow": overflow, "TcpExtTW": held,
		})
		Expect(wire.Stop()).To(Contain(FourWayClose(), closes))
		Expect(wire.Segments(analysis.RSTs)).To(BeEmpty())
	})
