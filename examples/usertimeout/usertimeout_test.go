// Package usertimeout shows how long a program waits for an answer out of a blackhole, and what TCP_USER_TIMEOUT makes of that.
//
//	tcplab run ./usertimeout
package usertimeout

import (
	"errors"
	"io"
	"net"
	"syscall"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M)        { harness.Main(m) }
func TestUserTimeout(t *testing.T) { harness.RunSpecs(t, "usertimeout") }

// A call is what the client does: it connects, waits to be told, sends a byte, and reads until there is an error.
type call struct {
	Address     string
	UserTimeout time.Duration // 0: the kernel's choice
}

type outcome struct {
	Errno syscall.Errno
	After time.Duration // since the byte was written
}

var wait = peers.Func("wait", func(t *peers.Task, c call) (outcome, error) {
	if err := t.Ready(nil); err != nil {
		return outcome{}, err
	}
	dialer := net.Dialer{KeepAlive: -1} // package net would probe an idle connection every 15 s
	dialer.Control = func(_, _ string, raw syscall.RawConn) error {
		var err error
		controlErr := raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(c.UserTimeout.Milliseconds()))
		})
		return errors.Join(controlErr, err)
	}
	connection, err := dialer.Dial("tcp", c.Address)
	if err != nil {
		return outcome{}, err
	}
	defer connection.Close()
	if err := t.Await(); err != nil { // now the scenario closes the path
		return outcome{}, err
	}
	began := time.Now()
	if _, err := connection.Write([]byte("?")); err != nil {
		return outcome{}, err
	}
	_, err = io.ReadAll(connection)
	got := outcome{After: time.Since(began)}
	if !errors.As(err, &got.Errno) {
		return got, err
	}
	return got, nil
})

const (
	rtt       = 40 * time.Millisecond
	hostDelay = 5 * time.Millisecond // what two hosts and the Go runtime may add
)

var _ = DescribeTable("a read from a blackhole ends with ETIMEDOUT",
	func(ctx SpecContext, userTimeout time.Duration) {
		lab := harness.NewLab(ctx)
		network := lab.Path(rtt) // client - router - server
		address := network.Server().Addr(80)
		lab.Capture(network.Client(), network.Server())
		lab.Start(network.Server(), peers.Script{Listen: address, Steps: peers.Steps(peers.Sleep(peers.UntilStopped))})
		client := lab.Start(network.Client(), wait.With(call{address.String(), userTimeout}))
		client.Waiting()
		blackhole := network.ToServer.Blackhole()
		client.Continue()
		got, err := wait.Value(client.Wait())
		Expect(err).NotTo(HaveOccurred())
		Expect(got.Errno).To(Equal(unix.ETIMEDOUT))

		// What the kernel of this guest does follows from RFC 6298, its sysctls (tcp_retries2) and TCP_USER_TIMEOUT (RFC 5482).
		flow := oracle.Flow{RTT: oracle.Exactly(rtt).LateBy(hostDelay), UserTimeout: userTimeout}
		expected := network.Client().Oracle().Blackhole(flow)
		lab.Measure("gave up after", got.After, expected.End.LateBy(hostDelay))
		lab.Measure("retransmits", len(blackhole.Hits())-1, expected.Count())
		Expect(network.Client().Counters()).To(HaveGrown("TcpExtTCPAbortOnTimeout", 1))
	},
	Entry("after a quarter of an hour by default", time.Duration(0)),
	Entry("after 5 s with a TCP_USER_TIMEOUT of 5 s", 5*time.Second),
)
