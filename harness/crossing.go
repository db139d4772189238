package harness

import (
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/harness/analysis"
)

// A Crossing is a segment that left one end of a path, and what became of it at another.
type Crossing struct {
	Sent analysis.Segment
	// Arrived is the same segment at the other end; not valid if Lost.
	Arrived analysis.Segment
	Lost    bool
}

// Delay is the time on the way; both ends have the same clock.
func (c Crossing) Delay() time.Duration { return c.Arrived.At - c.Sent.At }

// Crossings compares two of the capture's ends: each segment that left from and
// passes the filters, in order, with its arrival at to.
//
// Segments are known by all that a network leaves as it is: addresses, ports, numbers, flags,
// window, length and options. A segment that is sent again within one tick of TCP's time stamp
// can be the same in all of them: then the arrivals are given to the first that were sent. What a
// network duplicates arrives twice, of which the first counts. What was still on its way when the
// capture ended is lost to it.
func (c *Capture) Crossings(from, to *End, filters ...analysis.Filter) []Crossing {
	ginkgo.GinkgoHelper()
	segments := c.Segments()
	arrived := map[analysis.Segment][]analysis.Segment{}
	for _, s := range segments {
		if s.Interface == to.String() && s.Direction == analysis.Inbound {
			arrived[identity(s)] = append(arrived[identity(s)], s)
		}
	}
	passes := analysis.All(analysis.On(from.String()), analysis.Going(analysis.Outbound), analysis.All(filters...))
	var crossings []Crossing
	for _, s := range segments {
		if !passes(s) {
			continue
		}
		crossing := Crossing{Sent: s, Lost: true}
		if same := arrived[identity(s)]; len(same) > 0 {
			crossing = Crossing{Sent: s, Arrived: same[0]}
			arrived[identity(s)] = same[1:]
		}
		crossings = append(crossings, crossing)
	}
	return crossings
}

// identity is a segment without what differs from place to place: when and where it was seen, and
// what routers change (TTL, and ECN's codepoint).
func identity(s analysis.Segment) analysis.Segment {
	s.Frame, s.Time, s.At, s.Interface, s.Direction = 0, time.Time{}, 0, "", analysis.Unknown
	s.TTL, s.ECN = 0, 0
	return s
}
