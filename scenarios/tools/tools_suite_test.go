// Package tools shows that tcplab's tools for one's own machine say what is true: each runs as a peer, on a path whose faults are known.
// docs/tools.md has a page on each.
//
//	make lab SUITES=./scenarios/tools
package tools

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestTools(t *testing.T) { harness.RunSpecs(t, "tools") }

const (
	rtt  = 40 * time.Millisecond // of the path in all scenarios
	port = 8080

	// programDelay is what two Go programs and two hosts may add to a round trip, as in the suite programs.
	programDelay = 5 * time.Millisecond
)
