package analysis

import (
	"iter"
	"time"
)

// Handshake is a three-way handshake (RFC 9293, section 3.5) that passed an
// interface as a whole.
type Handshake struct {
	// SYN is the first transmission of the client's SYN, SYNACK the first of
	// the server's answer, and ACK the first segment of the client that
	// acknowledges that; with data, if the mere ACK was lost before.
	SYN, SYNACK, ACK Segment
	// SYNs and SYNACKs are how often each was transmitted until ACK.
	SYNs, SYNACKs int

	lastSYN time.Duration // when the SYN was transmitted last before SYNACK
}

// RTT is the time from the SYN to the ACK: the round-trip time between the hosts,
// measured anywhere between them (Wireshark's tcp.analysis.initial_rtt). It
// includes the time that each host takes to answer.
//
// If the SYN was transmitted more than once, the time is from the last one in
// front of the SYN-ACK. Which of them was answered cannot be known, so RTT is
// only a lower limit if SYNs is not 1 (Karn's algorithm, RFC 6298). If SYNACKs
// is not 1 it is only an upper limit: it may include the wait for a SYN-ACK or
// an ACK that was lost.
func (h Handshake) RTT() time.Duration { return h.ACK.At - h.lastSYN }

// passing is one direction of a connection on one interface.
type passing struct {
	name string
	flow Flow
}

func passingOf(s Segment) passing { return passing{s.Interface, s.Flow()} }

// Handshakes returns the handshakes in the order in which they were completed.
// One that passed several interfaces is there for each. Simultaneous opens
// (RFC 9293, figure 7) are not recognized.
func Handshakes(segments iter.Seq[Segment]) []Handshake {
	var done []Handshake
	open := make(map[passing]*Handshake) // by the client's direction
	for s := range segments {
		key := passingOf(s)
		switch {
		case s.Flags&FlagRST != 0:
			delete(open, key)
			delete(open, passing{s.Interface, s.Flow().Reverse()})
		case SYNs(s):
			h := open[key]
			if h == nil || h.SYN.Seq != s.Seq {
				h = &Handshake{SYN: s}
				open[key] = h
			}
			h.SYNs++
			if h.SYNACKs == 0 {
				h.lastSYN = s.At
			}
		case SYNACKs(s):
			h := open[passing{s.Interface, s.Flow().Reverse()}]
			// With TCP Fast Open the answer may acknowledge data (RFC 7413).
			if h == nil || s.Ack-(h.SYN.Seq+1) > uint32(h.SYN.Length) {
				continue
			}
			if h.SYNACKs == 0 || h.SYNACK.Seq != s.Seq {
				h.SYNACK, h.SYNACKs = s, 0
			}
			h.SYNACKs++
		case s.Flags&FlagACK != 0:
			h := open[key]
			if h == nil || h.SYNACKs == 0 || before(s.Ack, h.SYNACK.Seq+1) || before(s.Seq, h.SYNACK.Ack) {
				continue
			}
			h.ACK = s
			done = append(done, *h)
			delete(open, key)
		}
	}
	return done
}

// before compares sequence numbers (RFC 9293, section 3.4).
func before(a, b uint32) bool { return int32(a-b) < 0 }
