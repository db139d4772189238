// Package smallpackets shows what happens to small writes: Nagle's algorithm, delayed ACKs, how the two wait for each
// other, and the socket options that prevent it.
//
//	make lab SUITES=./scenarios/smallpackets
package smallpackets

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/oracle"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestSmallPackets(t *testing.T) { harness.RunSpecs(t, "smallpackets") }

const (
	rtt = 10 * time.Millisecond // of the path in all scenarios

)

// rtts is the time of n RTTs.
func rtts(n time.Duration) oracle.Span {
	return oracle.Between(n*rtt, n*(rtt+harness.HostDelay))
}
