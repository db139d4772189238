// Package timewait shows what the active closer of a connection keeps: sockets in TIME-WAIT, for
// how long and how many, and what happens when they occupy all ports.
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
	rtt = 20 * time.Millisecond

	// margin is longer than a process needs to start, or a packet in flight to arrive.
	margin = 500 * time.Millisecond
)

var timeWait = kernel.SocketFilter{States: []kernel.State{kernel.TimeWait}}

// Steps of the active and of the passive closer.
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
