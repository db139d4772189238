package analysis

import (
	"slices"
	"time"
)

// hole is what had not passed here when what comes after it did.
type hole struct {
	from, to uint32
	at       time.Duration // when what comes after it passed
	told     time.Duration // when the sender could first learn of it, as its ACK passed here
	stamped  bool
	stamp    uint32 // that segment's timestamp
	frame    int    // its number
	id       uint16 // its identification
	counted  bool   // and whether the sender counts those
}

// maxIDs is how far apart the identifications of neighbours may be where the sender counts its packets: one that was cut
// from up to 64 KB takes one for each of its segments, and some may have been lost. Where they are drawn, one of 500 is.
const maxIDs = 64

// sentAfter reports whether a packet was sent after another by their identifications, if they are near each other.
func sentAfter(id, other uint16) (after, near bool) {
	apart := int16(id - other)
	return apart > 0, apart != 0 && apart >= -maxIDs && apart <= maxIDs
}

// holes are the ones of a side that are open, in order of the times.
type holes []hole

// open has the hole that a segment leaves behind the highest number before it. What was retransmitted since that number passed
// may tell of the hole as well, and sooner: RACK takes for lost what was sent before it (RFC 8985, section 6.2).
func (h *holes) open(d *sideTracker, s *Classified) {
	if len(*h) >= maxRanges {
		*h = slices.Delete(*h, 0, maxRanges/2)
	}
	told := s.At
	if d.repeats {
		told = d.repeatedAt
	}
	after, near := sentAfter(s.ID, d.previous.ID)
	*h = append(*h, hole{
		from: d.highest, to: s.Seq, at: s.At, told: told, frame: s.Frame,
		stamped: s.Options.HasTimestamps, stamp: s.Options.TSVal, id: s.ID, counted: after && near,
	})
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
// tick, or there are none, identifications tell what was sent first, if the sender counts them. Without those as well, what
// was sent again comes a round trip after what told of the loss, and not sooner.
func (c *conversationTracker) overtaken(s *Classified, d *sideTracker) bool {
	h, known := d.holes.at(s.Seq)
	if !known {
		return s.Marks.Has(MarkOutOfOrder) // before what was captured first
	}
	if h.stamped && s.Options.HasTimestamps && s.Options.TSVal != h.stamp {
		return before(s.Options.TSVal, h.stamp)
	}
	if after, near := sentAfter(s.ID, h.id); near && h.counted {
		return !after
	}
	if c.InitialRTT == 0 {
		return s.Marks.Has(MarkOutOfOrder)
	}
	return s.At-h.told < c.InitialRTT
}
