// Package flowcontrol shows how the receiver's window rules the sender: closed, open again, too small for the path,
// growing by itself, and with memory that runs out.
//
//	make lab SUITES=./scenarios/flowcontrol
package flowcontrol

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestFlowControl(t *testing.T) { harness.RunSpecs(t, "flowcontrol") }

// hostDelay bounds what the hosts add to a round trip: interrupts, and programs that have to wake up.
const hostDelay = 2 * time.Millisecond

// network is client, router and server, with a round trip.
func network(lab *harness.Lab, roundTrip time.Duration, config ...netns.Config) *netns.Topology {
	GinkgoHelper()
	net := lab.Routed(config...)
	lab.ImpairBoth(impair.Netem{Delay: roundTrip / 2})
	return net
}
