// Package impairments shows that netem does what its options say, by the packets before and after
// an impaired link; and where netem does something else than one would expect.
//
//	make lab SUITES=./scenarios/impairments
//
// Most specs send probes, which are numbered UDP datagrams, over a router. They compare a capture
// on both sides of the impairment with the statistics of the qdisc and with the receiver's count.
// Bounds of random figures are from package statistics.
package impairments

import (
	"testing"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestImpairments(t *testing.T) { harness.RunSpecs(t, "impairments") }
