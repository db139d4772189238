// Package handshake shows how TCP connections open, and what happens when they cannot.
//
//	make lab SUITES=./scenarios/handshake
package handshake

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) {
	if address := os.Getenv(slowVariable); address != "" {
		if err := serveSlowly(address); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(served)
	}
	harness.Main(m)
}

func TestHandshake(t *testing.T) { harness.RunSpecs(t, "handshake") }

const (
	// shortRTT is an RTT that is small against the initial RTO of one second.
	shortRTT = 20 * time.Millisecond
)
