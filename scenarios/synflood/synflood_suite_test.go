// Package synflood shows how a listener handles SYNs from spoofed addresses (RFC 4987), with SYN
// cookies and without, and what happens to a client meanwhile.
//
//	make lab SUITES=./scenarios/synflood
package synflood

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestSYNFlood(t *testing.T) { harness.RunSpecs(t, "synflood") }

const (
	rtt     = 20 * time.Millisecond
	syns    = 200 // of a flood; more than any backlog here
	backlog = 8
)

// flooded is a network whose server listens, with this value of tcp_syncookies, and has just been flooded.
func flooded(lab *harness.Lab, cookies string) (net *harness.Network, wire *harness.Capture) {
	GinkgoHelper()
	net = lab.Path(rtt, harness.ServerSysctls(netns.IPv4("tcp_syncookies", cookies)))
	wire = lab.Capture(net.Server())
	lab.Start(net.Server(), peers.Accept{Listen: net.Server().Addr(80), Backlog: backlog})
	lab.Start(net.Client(), peers.SYNFlood{
		Connect: net.Server().Addr(80), From: net.Client().UnusedAddresses(), Count: syns,
	}).Wait()
	time.Sleep(rtt) // until all have arrived and are answered; the first RTO is after a second
	return net, wire
}
