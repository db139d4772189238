// Package congestion shows how much TCP has in flight, and why: slow start and its end, pauses, pacing, what a loss and a
// congestion mark change (CUBIC), what BBR does instead, and what a deep queue makes of all that.
//
//	make lab SUITES=./scenarios/congestion
package congestion

import (
	"testing"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestCongestion(t *testing.T) { harness.RunSpecs(t, "congestion") }
