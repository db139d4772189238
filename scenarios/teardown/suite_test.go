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
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestTeardown(t *testing.T) { harness.RunSpecs(t, "teardown") }

// rtt is the RTT of the path in all scenarios.
const rtt = 50 * time.Millisecond

// connect connects a client to a server; each runs its steps.
func connect(lab *harness.Lab, net *harness.Network, client, server []peers.Step) harness.Pair {
	GinkgoHelper()
	return lab.Connect(net.Client(), net.Server(), peers.Script{Steps: client}, peers.Script{Steps: server})
}
