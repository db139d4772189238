package harness_test

import (
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

// A scenario: topology, start, action, assertion. In a suite it is the value of a package variable, as in var _ = It(...), beside
// a TestMain that calls Main and a test that calls RunSpecs.
func Example() {
	It("is refused with RST by a closed port", func(ctx SpecContext) {
		const rtt = 50 * time.Millisecond
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		wire := lab.Capture(net.Client())

		client := lab.Start(net.Client(), peers.Dial{Connect: net.Server().Addr(80)})
		connection := client.Wait().Connections[0]

		Expect(connection.Err).To(MatchError(unix.ECONNREFUSED))
		lab.Measure("refused after", connection.ConnectTime, oracle.Exactly(rtt).LateBy(2*time.Millisecond), "one round trip")
		Expect(wire.Stop()).To(Contain(Reset(), 1))
	})
}
