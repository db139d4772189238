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
	"github.com/tcplab/tcplab/harness/analysis"
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

	// programEnd is what a program may take to end once it knows that it has to, and the one that waits for it to say so.
	programEnd = 100 * time.Millisecond
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

// busiest are the segments with data that the client has sent on the connection with the most of them, in their order: some programs
// make another one first, for settings.
func busiest(wire *harness.Capture, net *harness.Network) (sent []analysis.Segment) {
	GinkgoHelper()
	byPort := map[uint16][]analysis.Segment{}
	for _, s := range wire.DataFrom(net.Client()) {
		port := s.Src.Port()
		byPort[port] = append(byPort[port], s)
		if len(byPort[port]) > len(sent) {
			sent = byPort[port]
		}
	}
	return sent
}

// transmissions are how often each distinct segment was sent, and how many of them more than once.
func transmissions(sent []analysis.Segment) (distinct, repeated int) {
	times := map[uint32]int{}
	for _, s := range sent {
		times[s.Seq]++
		if times[s.Seq] == 2 {
			repeated++
		}
	}
	return len(times), repeated
}

// oneByOne is the least that requests take of which each waits for the answer to the one before: a round trip; or, where the request or its
// answer was lost, the time until the request is sent again. Nothing follows it by which its loss could be seen sooner.
func oneByOne(k oracle.Kernel, requests, repeated int) time.Duration {
	return time.Duration(requests-repeated)*rtt + time.Duration(repeated)*k.TailLossProbe(pathRTT, 1).Earliest
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
