// Package teardown shows how TCP connections end: in order, half, at the same time, not at all, and
// with a reset.
//
//	make lab SUITES=./scenarios/teardown
package teardown

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestTeardown(t *testing.T) { harness.RunSpecs(t, "teardown") }

// roundTrip of the path in all scenarios.
const roundTrip = 50 * time.Millisecond

// settle is longer than anything takes that is on its way: a round trip, and a delayed ACK
// (TCP_DELACK_MAX, 200 ms).
const settle = 500 * time.Millisecond

// network is client, router and server, with a round trip of [roundTrip].
func network(lab *harness.Lab, config ...netns.Config) *netns.Topology {
	GinkgoHelper()
	net := lab.Routed(config...)
	lab.ImpairBoth(impair.Netem{Delay: roundTrip / 2})
	return net
}

// A pair is a connection and the programs at its ends. Its addresses are the client's view.
type pair struct {
	client, server *harness.Peer
	peers.Started
}

// connect connects a client to a server; both do steps.
func connect(lab *harness.Lab, net *netns.Topology, client, server []peers.Step) pair {
	GinkgoHelper()
	p := pair{}
	p.server = lab.Start(net.Server(), peers.Script{Listen: harness.Addr(net.Server(), 80), Steps: server})
	p.client = lab.Start(net.Client(), peers.Script{Connect: harness.Addr(net.Server(), 80), Steps: client})
	p.Started = lab.Started(p.client)
	lab.Started(p.server)
	return p
}
