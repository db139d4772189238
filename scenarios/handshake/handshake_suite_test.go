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
	// shortTrip is an RTT that is small against the initial RTO of one second.
	shortTrip = 20 * time.Millisecond

	// hostDelay bounds what two hosts may add to an RTT: interrupts, wake-ups and system calls, each well below a
	// millisecond.
	hostDelay = 2 * time.Millisecond

	// settle is longer than anything in flight needs: an RTT, and a delayed ACK (TCP_DELACK_MAX, 200 ms).
	settle = 500 * time.Millisecond
)
