// Package flowcontrol shows how the receive window limits the sender: a zero window, its end, a window too small for
// the path, autotuning, and a receive buffer that runs out of memory.
//
//	make lab SUITES=./scenarios/flowcontrol
package flowcontrol

import (
	"testing"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestFlowControl(t *testing.T) { harness.RunSpecs(t, "flowcontrol") }
