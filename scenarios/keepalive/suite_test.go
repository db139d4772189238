// Package keepalive shows how TCP detects, on an idle connection, whether the peer is still alive.
//
//	make lab SUITES=./scenarios/keepalive
package keepalive

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestKeepalive(t *testing.T) { harness.RunSpecs(t, "keepalive") }

const (
	rtt = 10 * time.Millisecond // of the path in all scenarios

	idle     = 2 * time.Second // TCP_KEEPIDLE
	interval = time.Second     // TCP_KEEPINTVL
	probes   = 3               // TCP_KEEPCNT
)

// keeping is a socket with keepalive.
var keeping = peers.Socket{KeepAlive: true, KeepIdle: idle, KeepInterval: interval, KeepProbes: probes}

// probing returns a filter for keepalive probes: no data, and the last acknowledged sequence number (RFC 9293,
// section 3.8.4). next is the next number to be sent.
func probing(next uint32) analysis.Filter {
	return func(s analysis.Segment) bool { return s.Length == 0 && s.Seq == next-1 && s.Flags == analysis.FlagACK }
}
