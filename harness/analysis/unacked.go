package analysis

import "time"

// maxUnacked is how many segments Wireshark remembers in a direction
// (TCP_MAX_UNACKED_SEGMENTS). More are in flight only where ACKs were not captured.
const maxUnacked = 10_000

// sentSegment is a segment that was not acknowledged yet; seq moves on when a part
// of it is.
type sentSegment struct {
	seq, next uint32
	frame     int
	at        time.Duration
}

// unacked is what one direction has sent and the other not acknowledged, in the
// order of the capture.
type unacked struct {
	list []sentSegment
	head int // those before it are gone
	// ordered: each begins at or after the end of the one before it, and
	// all are within maxSpan, so that only the ends need to be looked at.
	disordered bool
}

// maxSpan keeps comparisons of sequence numbers far from the ambiguous distance of
// 2³¹.
const maxSpan = 1 << 30

func (u *unacked) live() []sentSegment { return u.list[u.head:] }

func (u *unacked) full() bool { return len(u.live()) >= maxUnacked }

func (u *unacked) oldest() (sentSegment, bool) {
	if u.head == len(u.list) {
		return sentSegment{}, false
	}
	return u.list[u.head], true
}

func (u *unacked) add(e sentSegment) {
	// Reuse the room in front instead of growing.
	if len(u.list) == cap(u.list) && u.head > len(u.list)/2 {
		u.list = u.list[:copy(u.list, u.live())]
		u.head = 0
	}
	if live := u.live(); len(live) == 0 {
		u.disordered = !follows(e.seq, e.seq, e)
	} else if !follows(live[0].seq, live[len(live)-1].next, e) {
		u.disordered = true
	}
	u.list = append(u.list, e)
}

// follows reports whether e lies after end, and ends within maxSpan of start.
func follows(start, end uint32, e sentSegment) bool {
	return !before(e.seq, end) && e.next-start < maxSpan && e.next != e.seq
}

// acknowledge removes what ends at or before ack, and returns the oldest
// segment that ends just there.
func (u *unacked) acknowledge(ack uint32) (match sentSegment, found bool) {
	live := u.live()
	if len(live) == 0 {
		return match, false
	}
	if u.disordered || ack-live[0].seq+maxSpan >= 2*maxSpan {
		return u.acknowledgeAny(ack)
	}
	for i := range live {
		e := &live[i]
		if before(ack, e.next) {
			if before(e.seq, ack) {
				e.seq = ack
			}
			break
		}
		if e.next == ack {
			match, found = *e, true
		}
		u.head++
	}
	if u.head == len(u.list) {
		u.list, u.head = u.list[:0], 0
	}
	return match, found
}

// acknowledgeAny does so for segments in any order.
func (u *unacked) acknowledgeAny(ack uint32) (match sentSegment, found bool) {
	live := u.live()
	u.list, u.head = u.list[:0], 0
	u.disordered = false
	for _, e := range live {
		switch {
		case e.next == ack:
			if !found {
				match, found = e, true
			}
			continue
		case before(e.seq, ack) && before(ack, e.next):
			e.seq = ack
		case !before(ack, e.next):
			continue
		}
		disordered := u.disordered
		u.add(e)
		u.disordered = u.disordered || disordered
	}
	return match, found
}

// extent is the distance from the first to the last sequence number, counted from
// base.
func (u *unacked) extent(base uint32) uint32 {
	live := u.live()
	if len(live) == 0 {
		return 0
	}
	first, last := live[0].seq-base, live[len(live)-1].next-base
	if u.disordered || last < first {
		for _, e := range live {
			first = min(first, e.seq-base)
			last = max(last, e.next-base)
		}
	}
	return last - first
}
