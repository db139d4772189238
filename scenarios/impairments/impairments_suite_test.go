// Package impairments shows that netem does what it is asked to do: what the packets show before
// and behind an impaired link is what its options say, and where they say otherwise than one
// would think, that.
//
//	make lab SUITES=./scenarios/impairments
//
// Most specs send probes, numbered UDP datagrams, over a router, and compare a capture on both
// sides of the impairment with the qdisc's own account and with what the receiver counted.
// Thresholds of what is random come from package statistics.
package impairments

import (
	"testing"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestImpairments(t *testing.T) { harness.RunSpecs(t, "impairments") }
