// Package handshake shows how TCP connections open, and what happens when they cannot.
//
//	make lab SUITES=./scenarios/handshake
package handshake

import (
	"testing"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestHandshake(t *testing.T) { harness.RunSpecs(t, "handshake") }
