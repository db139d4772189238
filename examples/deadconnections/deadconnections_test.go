// Package deadconnections shows how long clients of gRPC, Redis and PostgreSQL in Go use a connection that is dead, and which setting of
// each library makes that short: the recipes of docs/programs.md.
//
//	tcplab run ./deadconnections
//
// A connection is dead when a balancer has forgotten it, or its server was replaced: nothing comes back, and nobody says so. New
// connections are fine. redis-server and PostgreSQL are packed into the guests, where they are installed.
package deadconnections

import (
	"context"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M)            { harness.Main(m) }
func TestDeadConnections(t *testing.T) { harness.RunSpecs(t, "deadconnections") }

const (
	rtt    = 40 * time.Millisecond
	period = 10 * time.Second // from one request to the next
	limit  = 5 * time.Second  // of a request, where it has a limit

	// setUp is what a library may take to connect again: handshakes of its protocol, back-off, processes that start.
	setUp = 2 * time.Second
)

// An outcome is what a client saw of its dead connection.
type outcome struct {
	Failed int           // requests, one after the other
	After  time.Duration // when there was an answer again, since the first of them was sent
}

// ask makes a request, and waits to be told that the connection is dead. Then it makes requests until one has an answer.
func ask(t *peers.Task, request func(context.Context) error, limit time.Duration) (o outcome, err error) {
	limited := func() error {
		ctx := t.Context()
		if limit > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, limit)
			defer cancel()
		}
		return request(ctx)
	}
	if err := limited(); err != nil {
		return o, err
	}
	if err := t.Await(); err != nil {
		return o, err
	}
	for began := time.Now(); ; time.Sleep(time.Until(began.Add(time.Duration(o.Failed) * period))) {
		if limited() == nil {
			o.After = time.Since(began)
			return o, nil
		}
		o.Failed++
	}
}

// kill makes the connection of a client dead that stands at its Await, and returns what comes of it.
func kill(lab *harness.Lab, net *harness.Network, port uint16, client *harness.Peer) peers.Result {
	GinkgoHelper()
	client.Waiting()
	var local uint16
	for _, socket := range net.Client().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.Established}, Port: port}).List() {
		Expect(local).To(BeZero(), "one connection")
		local = socket.Local.Port()
	}
	Expect(local).NotTo(BeZero())
	lost := net.ToServer.Rule(rules.Drop(rules.AnySegment.SourcePort(local)))
	net.ToClient.Rule(rules.Drop(rules.AnySegment.DestinationPort(local)))
	client.Continue()
	result := client.Wait()
	Expect(lost.Hits()).NotTo(BeEmpty())
	return result
}

// expectWait asserts that a request waited until the end of the connection, and that this many failed by that.
func expectWait(lab *harness.Lab, got outcome, end oracle.Span, failed int) {
	GinkgoHelper()
	lab.Measure("requests that failed", got.Failed, bounds.Exactly(failed), "a library that tries again, or does not")
	lab.Measure("answered after", got.After, end.LateBy(setUp))
}

// expectFailures asserts that requests were given up until the end of the connection.
func expectFailures(lab *harness.Lab, got outcome, end oracle.Span) {
	GinkgoHelper()
	lab.Measure("requests that failed", got.Failed, bounds.Between(max(1, int(end.Earliest/period)), int(end.Latest/period)+1), end.Source)
	lab.Note("answered after", got.After)
	Expect(got.After).To(BeNumerically("<", time.Duration(got.Failed)*period+setUp))
}

// byProgram is the end of a connection that its program gives up after a time.
func byProgram(d time.Duration, source string) func(oracle.Kernel) oracle.Span {
	return func(oracle.Kernel) oracle.Span { return oracle.Between(d, d).From(source) }
}

// byKernel is the end of one that gets no ACK (tcp_retries2, or TCP_USER_TIMEOUT).
func byKernel(userTimeout time.Duration) func(oracle.Kernel) oracle.Span {
	return func(k oracle.Kernel) oracle.Span {
		return k.Blackhole(oracle.Flow{RTT: oracle.Exactly(rtt).LateBy(5 * time.Millisecond), UserTimeout: userTimeout}).End
	}
}
