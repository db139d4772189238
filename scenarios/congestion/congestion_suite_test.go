// Package congestion shows how much TCP has in flight, and why: slow start and its end, idle periods, pacing, the
// reaction to a loss and to a CE mark (CUBIC), BBR, and bufferbloat.
//
//	make lab SUITES=./scenarios/congestion
package congestion

import (
	"testing"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestCongestion(t *testing.T) { harness.RunSpecs(t, "congestion") }
