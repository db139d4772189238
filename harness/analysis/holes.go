package analysis

import (
	"slices"
	"time"
)

// hole is what had not passed here when what comes after it did.
type hole struct {
	from, to uint32
	at       time.Duration // when what comes after it passed
	stamped  bool
	stamp    uint32 // that segment's timestamp
	frame    int    // and its number
}

// holes are the ones of a side that are open, in order of the times.
type holes []hole

func (h *holes) open(from uint32, s *Classified) {
	if len(*h) >= maxRanges {
		*h = slices.Delete(*h, 0, maxRanges/2)
	}
	*h = append(*h, hole{from, s.Seq, s.At, s.Options.HasTimestamps, s.Options.TSVal, s.Frame})
}

// at returns the hole that a number lies in.
func (h holes) at(seq uint32) (hole, bool) {
	for _, x := range slices.Backward(h) {
		if !before(seq, x.from) && before(seq, x.to) {
			return x, true
		}
	}
	return hole{}, false
}

// fill takes what has passed out of the holes.
func (h *holes) fill(from, to uint32) {
	for i := len(*h) - 1; i >= 0; i-- {
		x := &(*h)[i]
		if !before(from, x.to) || !before(x.from, to) {
			continue
		}
		switch begins, ends := !before(x.from, from), !before(to, x.to); {
		case begins && ends:
			*h = slices.Delete(*h, i, i+1)
		case begins:
			x.from = to
		case ends:
			x.to = from
		default:
			rest := *x
			rest.from = to
			x.to = from
			*h = slices.Insert(*h, i+1, rest)
		}
	}
}

// overtaken reports whether a segment that is late, and has not passed before, was overtaken on its way, rather than lost
// and sent again. What was sent again has a timestamp (RFC 7323) after that of what it comes behind. Where both are of one
// tick, or there are none, it comes a round trip after what told of the loss, and not sooner.
func (c *conversationTracker) overtaken(s *Classified, d *sideTracker) bool {
	h, known := d.holes.at(s.Seq)
	if !known {
		return s.Marks.Has(MarkOutOfOrder) // before what was captured first
	}
	if h.stamped && s.Options.HasTimestamps && s.Options.TSVal != h.stamp {
		return before(s.Options.TSVal, h.stamp)
	}
	if c.InitialRTT == 0 {
		return s.Marks.Has(MarkOutOfOrder)
	}
	return s.At-h.at < c.InitialRTT
}
