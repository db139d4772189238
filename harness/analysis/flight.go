package analysis

import (
	"slices"
	"time"
)

// flight is what a side has sent in order and the other has not acknowledged, to
// measure how long each segment takes to be acknowledged. It holds no more segments
// than Wireshark remembers; further ones are not measured.
type flight struct {
	list []flying
	head int // those before it are gone
}

// flying is a segment that begins where the one before it ends.
type flying struct {
	end uint32
	at  time.Duration
	// again: it was transmitted more than once, or follows a hole. sacked: it was
	// measured, by a SACK block.
	again, sacked bool
}

func (f *flight) live() []flying { return f.list[f.head:] }

func (f *flight) add(end uint32, at time.Duration) {
	if len(f.live()) >= maxUnacked {
		return
	}
	if len(f.list) == cap(f.list) && f.head > len(f.list)/2 {
		f.list = f.list[:copy(f.list, f.live())]
		f.head = 0
	}
	f.list = append(f.list, flying{end: end, at: at})
}

// behind is the index of the first segment that ends after seq.
func (f *flight) behind(seq uint32) int {
	live := f.live()
	i, _ := slices.BinarySearchFunc(live, seq, func(e flying, seq uint32) int {
		if before(seq, e.end) {
			return 1
		}
		return -1
	})
	return i
}

// repeat marks what is retransmitted. If it is what was missing here, that is the
// segment after the hole, whose ACK waited as well.
func (f *flight) repeat(seq, end uint32) {
	live := f.live()
	for i := f.behind(seq); i < len(live); i++ {
		live[i].again = true
		if !before(live[i].end, end) {
			return
		}
	}
}

// acknowledge takes a measurement for each segment that is acknowledged for the first
// time. It returns how long the oldest of them has waited.
func (f *flight) acknowledge(ack uint32, blocks []Block, at time.Duration, rtt *Times) (oldest time.Duration, sampled bool) {
	if len(f.live()) == 0 {
		return 0, false
	}
	n := 0
	ambiguous := false
	for _, e := range f.live() {
		if before(ack, e.end) {
			break
		}
		ambiguous = ambiguous || e.again
		n++
	}
	for _, e := range f.live()[:n] {
		if ambiguous || e.sacked {
			continue
		}
		if !sampled {
			oldest, sampled = at-e.at, true
		}
		rtt.add(at - e.at)
	}
	f.head += n
	if f.head == len(f.list) {
		f.list, f.head = f.list[:0], 0
	}
	for _, b := range blocks {
		f.sack(b, at, rtt)
	}
	return oldest, sampled
}

// sack measures what a block covers and earlier ones did not. A block grows at its
// end, so what is known lies at its beginning.
func (f *flight) sack(b Block, at time.Duration, rtt *Times) {
	live := f.live()
	if len(live) == 0 || before(live[len(live)-1].end, b.Right) {
		return // not a block of this connection, or of what was not captured
	}
	for i := f.behind(b.Right) - 1; i >= 0; i-- {
		e := &live[i]
		if e.sacked || !before(b.Left, e.end) {
			return
		}
		// Its beginning is not remembered: that of the first one lies where the ACK
		// points, which no block touches.
		if i > 0 && before(live[i-1].end, b.Left) {
			return
		}
		e.sacked = true
		if !e.again {
			rtt.add(at - e.at)
		}
	}
}
