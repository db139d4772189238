// Package programs shows the programs of a course on TCP (peers/course): each right on a good and on a bad link, and each with its
// classic bug beside it, which a bad link brings out. The programs are ordinary Go on package net; here their functions are peers.
// docs/programs.md has a page on each.
//
//	make lab SUITES=./scenarios/programs
package programs

import (
	"fmt"
	"net"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestPrograms(t *testing.T) { harness.RunSpecs(t, "programs") }

const (
	rtt  = 40 * time.Millisecond // of the path in all scenarios
	port = 7007

	// programDelay is what two Go programs and two hosts may add to a round trip: it is more than what raw system calls take
	// (harness.HostDelay), as Go's scheduler and poller come in, and stays far below what a retransmission costs.
	programDelay = 5 * time.Millisecond

	// patience is the time-out of programs that are not to run into one: longer than what a lossy link may cost, which is a few
	// RTOs in a row.
	patience = time.Minute
)

// rtts is the time of n round trips of programs.
func rtts(n time.Duration) oracle.Span {
	return oracle.Between(n*rtt, n*(rtt+programDelay)).From(fmt.Sprintf("%d RTT", n))
}

// listening listens, and says that the peer is ready.
func listening(t *peers.Task, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, err
	}
	return listener, t.Ready(listener.Addr())
}

// errorText is an error for JSON.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// upTo returns n numbers from 0.
func upTo[N int | uint64](n N) []N {
	var list []N
	for i := N(0); i < n; i++ {
		list = append(list, i)
	}
	return list
}

// losing is a path that loses 5 % in either direction.
func losing(lab *harness.Lab) *harness.Network {
	ginkgo.GinkgoHelper()
	path := lab.Routed()
	path.Impair(impair.Netem{Delay: rtt / 2, Loss: impair.RandomLoss{Percent: 5}})
	return path
}

// A tuning is what a client does to its socket.
type tuning struct {
	MSS   int  // TCP_MAXSEG: the segments that it sends and gets are no larger; 0: as the link allows
	Nagle bool // package net sets TCP_NODELAY; this takes it back
}

// dial connects with a tuning. TCP_MAXSEG acts if it is set before connect(2).
func (o tuning) dial(address string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: patience, Control: func(_, _ string, raw syscall.RawConn) error {
		if o.MSS == 0 {
			return nil
		}
		var err error
		if controlErr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, o.MSS) }); controlErr != nil {
			return controlErr
		}
		if err != nil {
			return fmt.Errorf("setsockopt TCP_MAXSEG %d: %w", o.MSS, err)
		}
		return nil
	}}
	conn, err := dialer.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	return conn, conn.(*net.TCPConn).SetNoDelay(!o.Nagle)
}

// ends are the offsets in a stream at which its segments end, as a host sent them, each once.
func ends(segments []analysis.Segment) []int {
	if len(segments) == 0 {
		return nil
	}
	first := segments[0].Seq
	var list []int
	for _, s := range segments {
		list = append(list, int(s.Seq-first)+s.Length) // without a FIN
	}
	slices.Sort(list)
	return slices.Compact(list)
}
