package analysis

import (
	"iter"
	"slices"
)

// Retransmission is a segment that has passed its interface before, as a whole
// or in part.
type Retransmission struct {
	Segment
	// Again is how much of its sequence space had passed before: payload bytes,
	// and one each for SYN and FIN.
	Again int
}

// Retransmissions returns the segments that take sequence numbers (data, SYN or
// FIN) which their sender had sent before, as seen on the segment's interface.
// Each direction of each connection on each interface stands for itself.
//
// Where it is measured matters. At the sender this is what its kernel counts as
// TcpRetransSegs, as long as a packet is a segment: the kernel counts segments,
// of which a super-packet holds several. Downstream of a lossy link, a retransmission
// that fills a gap has not passed before, so it is not one there; neither is a
// segment that was only reordered. But one that the network duplicated is.
//
// Keep-alives are not retransmissions: they have no data, or one byte in front
// of what is sent next (RFC 9293, section 3.8.4). Such a byte counts if just that
// byte, and no SYN, was what had been sent last. Zero-window probes of Linux look
// the same.
//
// A SYN with another sequence number begins a new connection.
func Retransmissions(segments iter.Seq[Segment]) iter.Seq[Retransmission] {
	return func(yield func(Retransmission) bool) {
		var t tracker
		for s := range segments {
			if again := t.add(s); again > 0 && !yield(Retransmission{s, again}) {
				return
			}
		}
	}
}

// tracker knows what was sent in every direction.
type tracker struct {
	directions map[passing]*sent
	last       *sent // the one that was used last: most segments follow their like
}

// sent is what was sent in one direction on one interface. Sequence numbers are
// extended to 64 bits, so that they do not wrap around.
type sent struct {
	passing

	started bool
	syn     bool
	isn     uint32
	next    int64  // after the highest number sent
	tail    int64  // the beginning of the segment that ends at next, without its SYN
	ranges  []span // sent before, in order, with gaps between them
}

type span struct{ from, to int64 }

// add returns how much of the segment's sequence space had been sent before.
func (t *tracker) add(s Segment) int {
	n := int64(s.SequenceLength())
	if n == 0 || s.Flags&FlagRST != 0 {
		return 0
	}
	key := passingOf(s)
	d := t.last
	if d == nil || d.passing != key {
		d = t.directions[key]
	}
	if d == nil {
		d = &sent{passing: key}
		if t.directions == nil {
			t.directions = make(map[passing]*sent)
		}
		t.directions[key] = d
	}
	t.last = d
	return d.add(s, n)
}

func (d *sent) add(s Segment, n int64) int {
	syn := s.Flags&FlagSYN != 0
	if !d.started || syn && !(d.syn && d.isn == s.Seq) {
		d.started, d.syn, d.isn = true, syn, s.Seq
		// Any number will do that leaves room for earlier ones below.
		d.next = 1<<32 + int64(s.Seq)
		d.tail = d.next
		d.ranges = d.ranges[:0]
	}
	from := d.next + int64(int32(s.Seq-uint32(d.next)))
	to := from + n
	keepAlive := s.Length == 1 && s.Flags&(FlagSYN|FlagFIN) == 0 && to == d.next && d.tail != from
	if keepAlive {
		return 0
	}
	if to > d.next {
		d.next, d.tail = to, from
		if syn {
			d.tail++
		}
	}
	return int(n - d.insert(from, to))
}

// has reports whether all of a block had been sent before.
func (d *sent) has(b Block) bool {
	from := d.next + int64(int32(b.Left-uint32(d.next)))
	to := from + int64(b.Right-b.Left)
	return slices.ContainsFunc(d.ranges, func(r span) bool { return r.from <= from && to <= r.to })
}

// insert adds a range and returns how much of it is new.
func (d *sent) insert(from, to int64) int64 {
	// Nearly always it begins where the last one ends.
	if n := len(d.ranges); n > 0 && d.ranges[n-1].to == from {
		d.ranges[n-1].to = to
		return to - from
	}
	// Those from i to j touch the new one, and become one with it.
	i, _ := slices.BinarySearchFunc(d.ranges, from, func(r span, at int64) int {
		if r.to < at {
			return -1
		}
		return 1
	})
	fresh, merged := to-from, span{from, to}
	j := i
	for ; j < len(d.ranges) && d.ranges[j].from <= to; j++ {
		r := d.ranges[j]
		fresh -= max(0, min(r.to, to)-max(r.from, from))
		merged = span{min(merged.from, r.from), max(merged.to, r.to)}
	}
	d.ranges = slices.Replace(d.ranges, i, j, merged)
	return fresh
}
