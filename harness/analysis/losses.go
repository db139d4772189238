package analysis

import "slices"

// losses are the segments with data whose retransmission is evidence that packets are lost: that was needed, and arrived.
type losses struct {
	// repeated had passed here before, so the loss was behind here; filled had not.
	repeated, filled Frames
	recent           []resent
}

// resent is one of them.
type resent struct {
	seq, end uint32
	frame    int
	passed   bool
}

// maxResent is of how many retransmissions it may still turn out that they were not needed.
const maxResent = 256

func (l *losses) add(s *Classified, passed bool) {
	if s.Length == 0 {
		return // a FIN: as often as not the host that is to acknowledge it is gone
	}
	l.count(passed).add(s.Frame)
	if len(l.recent) >= maxResent {
		l.recent = slices.Delete(l.recent, 0, maxResent/2)
	}
	l.recent = append(l.recent, resent{s.Seq, s.Seq + uint32(s.Length), s.Frame, passed})
}

func (l *losses) count(passed bool) *Frames {
	if passed {
		return &l.repeated
	}
	return &l.filled
}

// needless takes out what the receiver says it had got already (D-SACK).
func (l *losses) needless(b Block) {
	l.remove(func(r resent) bool { return before(r.seq, b.Right) && before(b.Left, r.end) })
}

// unanswered takes out what was never acknowledged: that is a path, or a host, that is gone, and no loss that was repaired.
func (l *losses) unanswered(acked uint32) {
	l.remove(func(r resent) bool { return before(acked, r.end) })
}

func (l *losses) remove(which func(resent) bool) {
	l.recent = slices.DeleteFunc(l.recent, func(r resent) bool {
		if which(r) {
			l.count(r.passed).remove(r.frame)
			return true
		}
		return false
	})
}

func (l *losses) all() Frames { return found(l.repeated, l.filled) }

// remove takes back a frame that was counted.
func (f *Frames) remove(frame int) {
	f.Count--
	if i := slices.Index(f.First, frame); i >= 0 {
		f.First = slices.Delete(f.First, i, i+1)
	}
	if len(f.First) == 0 {
		f.First = nil
	}
}
