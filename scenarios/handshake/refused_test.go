package handshake

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

var _ = It("is refused with RST by a closed port", Label("quick", "netem", "tracefs", "rfc9293"), func(ctx SpecContext) {
	const rtt = 50 * time.Millisecond
	lab := harness.NewLab(ctx)
	net := lab.Path(rtt)
	wire, events := lab.Capture(net.Client()), lab.Events(net.Client())

	client := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80)})
	connection := client.Wait().Connections[0]

	Expect(connection.Err).To(MatchError(unix.ECONNREFUSED))
	lab.Measure("refused after", connection.ConnectTime, oracle.Exactly(rtt).LateBy(harness.HostDelay), "one round trip")

	// RFC 9293, section 3.5.2: a closed port answers a SYN with a reset, and with nothing else.
	Expect(net.Server().Counters()).To(HaveGrown("TcpOutRsts", 1))
	Expect(net.Client().Counters()).To(HaveGrown("TcpAttemptFails", 1))
	segments := wire.Stop().Segments()
	Expect(segments).To(BeExchange("> S", "< R. 0:0(0) ack 1"))
	local, remote := segments[0].Src, segments[0].Dst
	Expect(events.Stop().States(local, remote)).To(Follow(kernel.SynSent, kernel.Close))
})
