package findings

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("closed-window: the program on the server does not read for two seconds", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	const bytes, buffer, pause = 200_000, 16 << 10, 2 * time.Second
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := everywhere(lab, net)
	run(lab, net,
		peers.Script{Steps: peers.Steps(peers.Write(bytes), peers.CloseWrite(), peers.ReadAll())},
		peers.Script{Socket: peers.Socket{ReceiveBuffer: buffer}, Steps: peers.Steps(peers.Sleep(pause), peers.ReadAll())})

	expectAt(wire.Stop().Report(), all(net), of(net.Server(), analysis.ClosedWindow))
	Expect(net.Server().Counters()).To(HaveGrown("TcpExtTCPToZeroWindowAdv", BeNumerically(">=", 1)))
	Expect(net.Client().Counters()).To(HaveGrown("TcpExtTCPWinProbe", BeNumerically(">=", 1)))
})

var _ = It("window-limited: the receive buffer is too small for the path", Label("quick", "netem", "rfc7323"), func(ctx SpecContext) {
	const bytes, buffer = 400_000, 32 << 10
	lab := harness.NewLab(ctx)
	net := lab.Path(2 * rtt)
	wire := everywhere(lab, net)
	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port), Socket: peers.Socket{ReceiveBuffer: buffer}})
	info := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(port), Bytes: bytes}).Wait().Connections[0].TCPInfo
	server.Wait()

	// From far away of the sender it cannot be told which window that knew. At the router already some ACKs pass before what the ones before
	// them let go: of half of them it is seen there or not.
	report := wire.Stop().Report()
	expectAt(report, before(net)[:1], of(net.Client(), analysis.WindowLimited))
	expectAt(report, behind(net))
	share := float64(info.Rwnd_limited) / float64(info.Busy_time)
	lab.Measure("limited by the window", bounds.Percent(share), bounds.AtLeast(50.), "tcpi_rwnd_limited: most of the time")
})

var _ = It("delayed-ack: the client writes each request in two pieces", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	const exchanges = 6
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := everywhere(lab, net)
	run(lab, net,
		peers.Script{Steps: peers.Steps(peers.Repeat(exchanges, peers.Write(bytesEach), peers.Write(bytesEach), peers.Read(1)))},
		peers.Script{Steps: peers.Steps(peers.Repeat(exchanges, peers.Read(2*bytesEach), peers.Write(1)), peers.ReadAll())})

	// All but the first: a new connection does not delay its ACKs (TCP_MAX_QUICKACKS).
	report := wire.Stop().Report()
	expectAt(report, all(net), of(net.Server(), analysis.DelayedACK))
	seen := expectFindings(report, "client/eth0", of(net.Server(), analysis.DelayedACK))[0]
	lab.Measure("segments held back", seen.Count, bounds.Exactly(exchanges-1), "RFC 9293, 3.7.4 and 3.8.6.3")
	Expect(net.Server().Counters()).To(HaveGrown("TcpExtDelayedACKs", exchanges-1))
})

var _ = It("slow-answer: the program on the server thinks for 1.5 s each time", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	const exchanges, thinks = 3, 1500 * time.Millisecond
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire := everywhere(lab, net)
	sent, _ := run(lab, net,
		peers.Script{Steps: peers.Steps(peers.Repeat(exchanges, peers.Write(bytesEach), peers.Read(bytesEach)))},
		peers.Script{Steps: peers.Steps(peers.Repeat(exchanges, peers.Read(bytesEach), peers.Sleep(thinks), peers.Write(bytesEach)), peers.ReadAll())})

	report := wire.Stop().Report()
	expectAt(report, all(net), of(net.Server(), analysis.SlowAnswer))
	seen := expectFindings(report, "client/eth0", of(net.Server(), analysis.SlowAnswer))[0]
	lab.Measure("slow answers", seen.Count, bounds.Exactly(exchanges), "one for each request")
	for _, step := range sent.Steps {
		if step.Step == peers.Read(bytesEach).String() {
			lab.Check("the client waited", step.Elapsed, bounds.AtLeast(thinks), "its own clock")
		}
	}
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
})
