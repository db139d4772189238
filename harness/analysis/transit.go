package analysis

import (
	"iter"
	"time"
)

// A Transit is a segment at one place, and what became of it at another.
type Transit struct {
	Sent    Segment   // at the one place
	Arrived []Segment // at the other place, in order: none if it was lost, two if the network duplicated it
}

// Lost reports whether the segment did not arrive while the capture ran.
func (t Transit) Lost() bool { return len(t.Arrived) == 0 }

// Delay is the time from Sent to the first arrival, which needs one clock for both places; 0 if the segment was lost.
func (t Transit) Delay() time.Duration {
	if t.Lost() {
		return 0
	}
	return t.Arrived[0].At - t.Sent.At
}

// Transits returns, for each segment that from chooses, its arrivals among those that to chooses, in the order of
// sending:
//
//	transits := analysis.Transits(slices.Values(segments),
//		analysis.All(analysis.On("client/eth0"), analysis.Going(analysis.Outbound)),
//		analysis.All(analysis.On("server/eth0"), analysis.Going(analysis.Inbound)))
//
// A segment is recognized by all that a network does not change: addresses, ports, sequence numbers, flags, window,
// length and options. One that is retransmitted within a tick of TCP's time stamp can be equal in all of them. Then each
// of the equal ones gets one arrival, in their order, and the last gets what is left. A segment that arrives without
// having been sent is left out.
func Transits(segments iter.Seq[Segment], from, to Filter) []Transit {
	var transits []Transit
	arrived := make(map[Segment][]Segment)
	last := make(map[Segment]int) // the last transit of equal segments
	for s := range segments {
		if from(s) {
			last[identity(s)] = len(transits)
			transits = append(transits, Transit{Sent: s})
		}
		if to(s) {
			arrived[identity(s)] = append(arrived[identity(s)], s)
		}
	}
	for i := range transits {
		id := identity(transits[i].Sent)
		n := len(arrived[id])
		if i != last[id] {
			n = min(n, 1)
		}
		transits[i].Arrived, arrived[id] = arrived[id][:n:n], arrived[id][n:]
	}
	return transits
}

// identity is a segment without what differs from place to place: when and where it was seen, and what routers change
// (TTL, and ECN's codepoint).
func identity(s Segment) Segment {
	s.Frame, s.Time, s.At, s.Interface, s.Direction = 0, time.Time{}, 0, "", Unknown
	s.TTL, s.ECN = 0, 0
	return s
}
