// Package middlebox shows what becomes of connections that a box between the hosts forgets, refuses or changes: NATs, firewalls,
// and routers that clamp the MSS, take out options or clear ECN.
//
//	make lab SUITES=./scenarios/middlebox
package middlebox

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/oracle"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestMiddlebox(t *testing.T) { harness.RunSpecs(t, "middlebox") }

const rtt = 20 * time.Millisecond // of the path in all scenarios

// pathRTT is the RTT that a sender measures: the path, and what the hosts take.
var pathRTT = oracle.Between(rtt, rtt+harness.HostDelay)

// half is how long a packet of the router takes to either host.
var half = oracle.Exactly(rtt / 2).LateBy(harness.HostDelay)
