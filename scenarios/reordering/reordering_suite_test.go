// Package reordering shows how TCP handles segments that arrive out of order or twice, though none is lost.
//
//	make lab SUITES=./scenarios/reordering
package reordering

import (
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/netns"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestReordering(t *testing.T) { harness.RunSpecs(t, "reordering") }

const (
	// roundTrip is the RTT of the path in all scenarios. RACK's initial reordering window is a quarter of it.
	roundTrip = 100 * time.Millisecond

	// settle is longer than anything in flight needs: an RTT, a delayed ACK (200 ms at most), and an RTO of such a
	// path (RTT + 200 ms).
	settle = 500 * time.Millisecond
)

// mss is the payload of a full segment with timestamps.
func mss() int64 { return int64(harness.Payload(netns.DefaultMTU)) }

// network is client, router and server, with a round trip of [roundTrip], and with these sysctls in all hosts.
func network(lab *harness.Lab, sysctls ...netns.Setting) *netns.Topology {
	GinkgoHelper()
	return lab.Path(roundTrip, netns.Config{Sysctls: sysctls})
}
