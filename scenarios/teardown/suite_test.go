// Package teardown shows how TCP connections end: in order, half-closed, simultaneously, never, and
// with RST.
//
//	make lab SUITES=./scenarios/teardown
package teardown

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestTeardown(t *testing.T) { harness.RunSpecs(t, "teardown") }

// roundTrip is the RTT of the path in all scenarios.
const roundTrip = 50 * time.Millisecond

// settle is longer than anything in flight needs: an RTT, and a delayed ACK (TCP_DELACK_MAX, 200 ms).
const settle = 500 * time.Millisecond

// connect connects a client to a server; each runs its steps.
func connect(lab *harness.Lab, net *netns.Topology, client, server []peers.Step) harness.Pair {
	GinkgoHelper()
	return lab.Connect(net.Client(), net.Server(), peers.Script{Steps: client}, peers.Script{Steps: server})
}
