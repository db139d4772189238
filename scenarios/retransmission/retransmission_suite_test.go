// Package retransmission shows that TCP retransmits what the network loses, and only that: how it detects a loss, how
// long that takes, and how it undoes a spurious retransmission.
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
	delay = 10 * time.Millisecond // one way
	rtt   = 2 * delay
)

// pathRTT is the RTT that a sender measures.
var pathRTT = oracle.Between(rtt, rtt+harness.HostDelay)

// send lets a client send bytes in one write, waits until the server has read them and all is settled, and returns
// the connection as the client sees it then.
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

// A view has the data segments that a capture at the client shows.
type view struct {
	first       []analysis.Segment // first transmission of each data segment: number 5 is first[4]
	retransmits []analysis.Segment
	acks        []analysis.Segment // what the server sent, without its SYN-ACK
}

func viewOf(wire *harness.Capture, net *harness.Network) view {
	GinkgoHelper()
	var v view
	data := wire.Stop().DataFrom(net.Client())
	isRetransmit := map[int]bool{}
	for r := range analysis.Retransmissions(slices.Values(data)) {
		isRetransmit[r.Frame] = true
	}
	for _, s := range data {
		if isRetransmit[s.Frame] {
			v.retransmits = append(v.retransmits, s)
		} else {
			v.first = append(v.first, s)
		}
	}
	v.acks = wire.From(net.Server(), analysis.Not(analysis.SYNACKs))
	return v
}

// retransmitted returns the numbers of the retransmitted data segments, in the order of retransmission.
func (v view) retransmitted() []int {
	numbers := make([]int, len(v.retransmits))
	for i, r := range v.retransmits {
		numbers[i] = 1 + slices.IndexFunc(v.first, func(s analysis.Segment) bool { return s.Seq == r.Seq })
	}
	return numbers
}

// acksBefore returns the segments of the server that arrived before a segment was sent.
func (v view) acksBefore(s analysis.Segment) []analysis.Segment {
	i := slices.IndexFunc(v.acks, func(ack analysis.Segment) bool { return ack.Frame > s.Frame })
	if i < 0 {
		return v.acks
	}
	return v.acks[:i]
}

// acksOf returns those of them that acknowledge up to a sequence number: the first, and its duplicates.
func (v view) acksOf(next uint32, before analysis.Segment) []analysis.Segment {
	return slices.DeleteFunc(slices.Clone(v.acksBefore(before)), func(ack analysis.Segment) bool { return ack.Ack != next })
}

// sackOf is the first segment of the server whose SACK covers all up to a sequence number.
func (v view) sackOf(next uint32) analysis.Segment {
	GinkgoHelper()
	i := slices.IndexFunc(v.acks, func(ack analysis.Segment) bool {
		return slices.ContainsFunc(ack.Options.SACK(), func(b analysis.Block) bool { return int32(b.Right-next) >= 0 })
	})
	Expect(i).To(BeNumerically(">=", 0), "a SACK of %d", next)
	return v.acks[i]
}

// coalesced is the number of segments that the server merged with another, because they arrived while the program
// held the socket. One ACK answers both (tcp_add_backlog).
func coalesced(net *harness.Network) int {
	GinkgoHelper()
	return int(net.Server().Counters()["TcpExtTCPBacklogCoalesce"])
}

// lastACKBefore is the last segment of the server that arrived before a segment was sent.
func (v view) lastACKBefore(s analysis.Segment) analysis.Segment {
	GinkgoHelper()
	acks := v.acksBefore(s)
	Expect(acks).NotTo(BeEmpty())
	return acks[len(acks)-1]
}
