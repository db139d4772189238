// Package services shows programs that are not ours on good and bad links: servers and clients as a distribution has them, each with
// what its users report of it. They run as they are, by peers.Command; what is asserted is what they say and what was on the wire.
// docs/programs.md has a page on each.
//
//	make lab SUITES=./scenarios/services
//
// A spec names its programs by harness.Programs: they are packed into its guest, and where one is not installed the spec is skipped. Debian
// has them all: apt-get install --no-install-recommends nginx-light curl socat haproxy redis-server postgresql iperf3 openssh-server
package services

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestServices(t *testing.T) { harness.RunSpecs(t, "services") }

const (
	rtt = 40 * time.Millisecond // of the path in all scenarios

	// programDelay is what two programs and two hosts may add to a round trip: parsing, TLS, files. It stays far below what a
	// retransmission costs.
	programDelay = 10 * time.Millisecond
)

// pathRTT is the RTT that a sender measures.
var pathRTT = oracle.Between(rtt, rtt+harness.HostDelay)

// rtts is the time of n round trips of programs.
func rtts(n time.Duration) oracle.Span {
	return oracle.Between(n*rtt, n*(rtt+programDelay)).From(fmt.Sprintf("%d RTT", n))
}

// losing is a path that loses some of the packets in either direction.
func losing(lab *harness.Lab, percent impair.Percent) *harness.Network {
	GinkgoHelper()
	net := lab.Routed()
	net.Impair(impair.Netem{Delay: rtt / 2, Loss: impair.RandomLoss{Percent: percent}})
	return net
}

// folder is a new one with these files. Other users can read it.
func folder(files map[string]string) string {
	GinkgoHelper()
	dir := GinkgoT().TempDir()
	Expect(os.Chmod(dir, 0o755)).To(Succeed())
	for name, content := range files {
		path := filepath.Join(dir, name)
		Expect(os.MkdirAll(filepath.Dir(path), 0o755)).To(Succeed())
		Expect(os.WriteFile(path, []byte(content), 0o644)).To(Succeed())
	}
	return dir
}

// said is how a program has ended, and what it has printed.
func said(p *harness.Peer) peers.CommandResult {
	GinkgoHelper()
	return *p.Wait().Command
}
