package analysis

import (
	"iter"
	"time"
)

// A Transit is a packet at one place, and what became of it at another: of a [Segment] or a [Datagram].
type Transit[P recognizable[P]] struct {
	Sent    P   // at the one place
	Arrived []P // at the other place, in order: none if it was lost, two if the network duplicated it

	late bool
}

// recognizable are the packets that are recognized at another place.
type recognizable[P any] interface {
	comparable
	at() time.Duration
	// identity is the packet without what differs from place to place: when and where it was seen, and what routers change
	// (TTL, ECN's codepoint), nor IPv4's identification, which a middlebox may rewrite.
	identity() P
}

// Lost reports whether the packet did not arrive while the capture ran.
func (t Transit[P]) Lost() bool { return len(t.Arrived) == 0 }

// Duplicated reports whether it arrived more than once.
func (t Transit[P]) Duplicated() bool { return len(t.Arrived) > 1 }

// Reordered reports whether it arrived, for the first time, after one that was sent later (RFC 4737, section 3.3).
func (t Transit[P]) Reordered() bool { return t.late }

// Delay is the time from Sent to the first arrival, which needs one clock for both places; 0 if the packet was lost.
func (t Transit[P]) Delay() time.Duration {
	if t.Lost() {
		return 0
	}
	return t.Arrived[0].at() - t.Sent.at()
}

// Transits returns, for each packet that from chooses, its arrivals among those that to chooses, in the order of
// sending:
//
//	transits := analysis.Transits(slices.Values(segments),
//		analysis.All(analysis.On("client/eth0"), analysis.Going(analysis.Outbound)),
//		analysis.All(analysis.On("server/eth0"), analysis.Going(analysis.Inbound)))
//
// A packet is recognized by all that a network does not change: a segment by addresses, ports, sequence numbers, flags, window,
// length and options; a datagram by addresses, ports, length, and its payload as far as it was captured. A segment that is
// retransmitted within a tick of TCP's time stamp can be equal to the first in all of them, and so can datagrams be that are
// not numbered. Then each of the equal ones gets one arrival, in their order, and the last gets what is left. A packet that
// arrives without having been sent is left out.
func Transits[P recognizable[P]](packets iter.Seq[P], from, to func(P) bool) []Transit[P] {
	type arrival struct {
		packet P
		number int
	}
	var transits []Transit[P]
	arrived, arrivals := make(map[P][]arrival), 0
	last := make(map[P]int) // the last transit of equal packets
	for p := range packets {
		if from(p) {
			last[p.identity()] = len(transits)
			transits = append(transits, Transit[P]{Sent: p})
		}
		if to(p) {
			arrived[p.identity()] = append(arrived[p.identity()], arrival{p, arrivals})
			arrivals++
		}
	}
	first := make([]int, len(transits)) // the number of the first arrival
	for i := range transits {
		id := transits[i].Sent.identity()
		n := len(arrived[id])
		if i != last[id] {
			n = min(n, 1)
		}
		first[i] = arrivals // of what is lost
		for k, a := range arrived[id][:n] {
			transits[i].Arrived = append(transits[i].Arrived, a.packet)
			if k == 0 {
				first[i] = a.number
			}
		}
		arrived[id] = arrived[id][n:]
	}
	for i, soonest := len(transits)-1, arrivals; i >= 0; i-- {
		transits[i].late = !transits[i].Lost() && first[i] > soonest // of what was sent later
		soonest = min(soonest, first[i])
	}
	return transits
}

func (s Segment) at() time.Duration { return s.At }

func (s Segment) identity() Segment {
	s.Frame, s.Time, s.At, s.Interface, s.Direction = 0, time.Time{}, 0, "", Unknown
	s.TTL, s.ECN, s.ID = 0, 0, 0
	return s
}

func (d Datagram) at() time.Duration { return d.At }

func (d Datagram) identity() Datagram {
	d.Frame, d.Time, d.At, d.Interface, d.Direction = 0, time.Time{}, 0, "", Unknown
	d.TTL, d.ECN = 0, 0
	return d
}
