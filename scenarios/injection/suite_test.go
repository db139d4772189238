// Package injection shows what TCP does with what nobody on the connection has sent: forged resets and SYNs, old duplicates,
// segments that are not legal, and ICMP errors.
//
//	make lab SUITES=./scenarios/injection
package injection

import (
	"net/netip"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/impair/inject"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestInjection(t *testing.T) { harness.RunSpecs(t, "injection") }

const (
	rtt   = 20 * time.Millisecond // of the path in all scenarios
	bytes = 1000                  // that are written to show that a connection lives
)

// last is the last segment so far that a host has sent.
func last(wire *harness.Capture, host *harness.Host, filters ...analysis.Filter) analysis.Segment {
	GinkgoHelper()
	sent := wire.SoFar(analysis.From(host.IP()), analysis.All(filters...))
	Expect(sent).NotTo(BeEmpty(), "segments of "+host.Name())
	return sent[len(sent)-1]
}

// address is that of an end, of the run's family.
func address(end *harness.End) netip.Addr { return harness.ByFamily(end.IPv4(), end.IPv6()).Addr() }

// told is an ICMP error of the router, to the client about what it has sent.
func told(net *harness.Network, reason inject.Reason, quote inject.Segment) inject.ICMPError {
	return inject.ICMPError{Reason: reason, Src: address(net.ToClient), Quote: quote}
}

// idle opens a connection that lives on: the client writes when it may continue, then the server.
func idle(lab *harness.Lab, net *harness.Network) harness.Pair {
	GinkgoHelper()
	return lab.Connect(net.Client(), net.Server(),
		peers.Script{Steps: peers.Steps(peers.Await(), peers.Write(bytes), peers.CloseWrite(), peers.ReadAll())},
		peers.Script{Steps: peers.Steps(peers.ReadAll(), peers.Write(bytes))})
}

// expectAlive has both sides of an idle connection write, and read what the other one has written.
func expectAlive(pair harness.Pair) {
	GinkgoHelper()
	pair.Client.Continue()
	Expect(pair.Server.Wait().Connections[0].Received).To(BeEquivalentTo(bytes))
	Expect(pair.Client.Wait().Connections[0].Received).To(BeEquivalentTo(bytes))
}
