// Package congestion shows what a loss does to the rate of a flow, by congestion control.
//
//	make lab SUITES=./scenarios/congestion
package congestion

import (
	"testing"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestCongestion(t *testing.T) { harness.RunSpecs(t, "congestion") }
