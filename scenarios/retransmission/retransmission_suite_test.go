// Package retransmission shows that what the network loses, and only that, is sent again: how TCP finds out, how long
// that takes it, and what it does when it was wrong.
//
//	make lab SUITES=./scenarios/retransmission
package retransmission

import (
	"slices"
	"testing"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/peers"
)

func TestMain(m *testing.M) { harness.Main(m) }

func TestRetransmission(t *testing.T) { harness.RunSpecs(t, "retransmission") }

const (
	delay     = 10 * time.Millisecond // one way
	roundTrip = 2 * delay
)

// pathRTT is what a sender measures on the path.
var pathRTT = oracle.Between(roundTrip, roundTrip+harness.HostDelay)

// send lets a client send so many bytes in one write, waits until the server has read them and all is settled, and
// returns what the client knows of the connection then.
func send(lab *harness.Lab, net *harness.Network, bytes int64, socket ...peers.Socket) peers.Connection {
	GinkgoHelper()
	client := peers.Script{Connect: net.Server().Addr(80), Steps: peers.Steps(peers.Write(bytes), peers.ReadAll())}
	for _, s := range socket {
		client.Socket = s
	}
	receiver := lab.Start(net.Server(), peers.Script{
		Listen: net.Server().Addr(80), Steps: peers.Steps(peers.Read(bytes), peers.Sleep(harness.Settle)),
	})
	sender := lab.Start(net.Client(), client)
	sent, received := sender.Wait(), receiver.Wait()
	Expect(received.Connections[0].Received).To(Equal(bytes))
	return sent.Connections[0]
}

// A view is what a capture at the client shows of the data that it sends.
type view struct {
	first []analysis.Segment // each data segment's first transmission: number 5 is first[4]
	again []analysis.Segment // the retransmissions
	acks  []analysis.Segment // what the server sent, without its SYN-ACK
}

func viewOf(wire *harness.Capture, net *harness.Network) view {
	GinkgoHelper()
	var v view
	data := wire.Stop().DataFrom(net.Client())
	repeated := map[int]bool{}
	for r := range analysis.Retransmissions(slices.Values(data)) {
		repeated[r.Frame] = true
	}
	for _, s := range data {
		if repeated[s.Frame] {
			v.again = append(v.again, s)
		} else {
			v.first = append(v.first, s)
		}
	}
	v.acks = wire.From(net.Server(), analysis.Not(analysis.SYNACKs))
	return v
}

// repeated are the numbers of the data segments that were sent again, in that order.
func (v view) repeated() []int {
	numbers := make([]int, len(v.again))
	for i, again := range v.again {
		numbers[i] = 1 + slices.IndexFunc(v.first, func(s analysis.Segment) bool { return s.Seq == again.Seq })
	}
	return numbers
}

// acksBefore are the segments that came back before a segment left.
func (v view) acksBefore(s analysis.Segment) []analysis.Segment {
	i := slices.IndexFunc(v.acks, func(ack analysis.Segment) bool { return ack.Frame > s.Frame })
	if i < 0 {
		return v.acks
	}
	return v.acks[:i]
}

// acksOf are those of them that ask for a sequence number: the ACK of all before it, and duplicates.
func (v view) acksOf(next uint32, before analysis.Segment) []analysis.Segment {
	return slices.DeleteFunc(slices.Clone(v.acksBefore(before)), func(ack analysis.Segment) bool { return ack.Ack != next })
}

// sackOf is the first segment that came back with a SACK of all up to a sequence number.
func (v view) sackOf(next uint32) analysis.Segment {
	GinkgoHelper()
	i := slices.IndexFunc(v.acks, func(ack analysis.Segment) bool {
		return slices.ContainsFunc(ack.Options.SACK(), func(b analysis.Block) bool { return int32(b.Right-next) >= 0 })
	})
	Expect(i).To(BeNumerically(">=", 0), "a SACK of %d", next)
	return v.acks[i]
}

// coalesced is how many segments the server has made one with another, as they came while the program had the socket: both
// are answered by one ACK (tcp_add_backlog).
func coalesced(net *harness.Network) int {
	GinkgoHelper()
	return int(net.Server().Counters()["TcpExtTCPBacklogCoalesce"])
}

// lastACKBefore is the last of them.
func (v view) lastACKBefore(s analysis.Segment) analysis.Segment {
	GinkgoHelper()
	acks := v.acksBefore(s)
	Expect(acks).NotTo(BeEmpty())
	return acks[len(acks)-1]
}
