// Package retransmission shows that what the network loses, and only that, is sent again.
//
//	make lab SUITES=./scenarios/retransmission
package retransmission

import (
	"testing"

	"github.com/tcplab/tcplab/harness"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestRetransmission(t *testing.T) { harness.RunSpecs(t, "retransmission") }
