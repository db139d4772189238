// Package reordering shows how TCP handles segments that arrive out of order or twice, though none is lost.
//
//	make lab SUITES=./scenarios/reordering
package reordering

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestReordering(t *testing.T) { harness.RunSpecs(t, "reordering") }

const (
	// rtt is the RTT of the path in all scenarios. RACK's initial reordering window is a quarter of it.
	rtt = 100 * time.Millisecond
)
