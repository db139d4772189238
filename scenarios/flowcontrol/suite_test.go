// Package flowcontrol shows how the receiver's window rules the sender: closed, open again, too small for the path,
// growing by itself, and with memory that runs out.
//
//	make lab SUITES=./scenarios/flowcontrol
package flowcontrol

import (
	"testing"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestFlowControl(t *testing.T) { harness.RunSpecs(t, "flowcontrol") }
