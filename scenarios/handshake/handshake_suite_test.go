// Package handshake shows how TCP connections open, and what happens when they cannot.
//
//	make lab SUITES=./scenarios/handshake
package handshake

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestHandshake(t *testing.T) { harness.RunSpecs(t, "handshake") }

const (
	// shortTrip is the round trip of a path whose time matters little beside the time-outs of a second.
	shortTrip = 20 * time.Millisecond
)
