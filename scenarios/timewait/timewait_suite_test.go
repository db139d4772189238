// Package timewait shows what the side that closes a connection first is left with: TIME-WAIT, how long
// and how many of them, and what happens when they have taken all ports.
//
//	make lab SUITES=./scenarios/timewait
package timewait

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestTimeWait(t *testing.T) { harness.RunSpecs(t, "timewait") }

const (
	roundTrip = 20 * time.Millisecond

	// margin is more than a process takes to start, or to arrive what is on its way.
	margin = 500 * time.Millisecond
)

var timeWait = kernel.SocketFilter{States: []kernel.State{kernel.TimeWait}}

// What the two sides of a connection do so that one of them closes first.
var (
	closeFirst  = peers.Steps(peers.CloseWrite(), peers.ReadAll())
	closeSecond = peers.Steps(peers.ReadAll())
)

// serve accepts connections on port 80, and closes each when the client has.
func serve(lab *harness.Lab, net *harness.Network) *harness.Peer {
	GinkgoHelper()
	return lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80)})
}

// dial makes connections that the client closes first, all at the same time.
func dial(lab *harness.Lab, net *harness.Network, connections int) []peers.Connection {
	GinkgoHelper()
	client := lab.Start(net.Client(), peers.Script{
		Connect: net.Server().Addr(80), Connections: connections, Together: true, TryConnect: true, Steps: closeFirst,
	})
	return client.Wait().Connections
}
