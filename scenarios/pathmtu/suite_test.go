// Package pathmtu shows how a sender finds the MTU of a path that is narrower than its own link, by ICMP or by
// probing; and what happens if it does neither.
//
//	make lab SUITES=./scenarios/pathmtu
package pathmtu

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestPathMTU(t *testing.T) { harness.RunSpecs(t, "pathmtu") }

const (
	rtt = 20 * time.Millisecond // of the path in all scenarios

	wide   = netns.DefaultMTU // of the hosts' links
	narrow = 1400             // of the bottleneck between the routers
)

// network is a client and a server, and between them two routers with a link of a smaller MTU, which the hosts do not
// know.
func network(lab *harness.Lab, client ...netns.Setting) *harness.Network {
	GinkgoHelper()
	net := lab.Dumbbell(1, netns.Config{BottleneckMTU: narrow, ClientSysctls: client})
	net.Impair(impair.Netem{Delay: rtt / 2})
	return net
}

// tooBig is the counter of the ICMP messages that report a path MTU (RFC 1191, RFC 8201).
func tooBig() string { return harness.ByFamily("IcmpInDestUnreachs", "Icmp6InPktTooBigs") }
