package analysis

import (
	"fmt"
	"slices"
	"time"
)

// Cause is why a segment was retransmitted, as far as the capture tells, or, if there
// are any, the kernel's events (see [KernelEvent]).
type Cause uint8

// The causes.
const (
	// CauseSYN: a SYN or SYN-ACK that was not answered.
	CauseSYN Cause = iota
	// CauseFast: duplicate ACKs or SACK blocks asked for it, or, after such, a
	// partial ACK (RFC 5681, RFC 6675, RFC 6582).
	CauseFast
	// CauseTLP: the last segment again, after a round trip but sooner than a
	// timeout can be, or before the timeouts of that segment: a tail loss
	// probe (RFC 8985, section 7).
	CauseTLP
	// CauseRTO: nobody asked, and a timeout's time had passed (RFC 6298). A tail
	// loss probe for a single segment in flight waits as long. If no timeout
	// follows, they look the same in a capture.
	CauseRTO
	// CauseRecovery: after a timeout, what was sent after the lost segment.
	CauseRecovery
	// CauseSpurious: all of it had been acknowledged; the ACK was still on its way.
	CauseSpurious
	// CauseFastOpen: data of a SYN (TCP Fast Open) that the other side did not take
	// (RFC 7413, section 4.2.2).
	CauseFastOpen
	// CausePathMTU: an ICMP message had said that it is too large for the path (RFC 1191, RFC 8201).
	CausePathMTU
	// CauseUnknown: none of these fits; the capture lacks what asked for it.
	CauseUnknown
	causes
)

// Names for reading, and those of the JSON.
var causeNames = [causes]struct{ plain, key string }{
	{"SYN", "syn"}, {"fast", "fast"}, {"tail loss probe", "tlp"}, {"timeout", "rto"},
	{"recovery", "recovery"}, {"spurious", "spurious"}, {"fast open", "fast_open"}, {"path MTU", "path_mtu"}, {"unexplained", "unknown"},
}

func (c Cause) String() string {
	if c >= causes {
		return fmt.Sprintf("Cause(%d)", uint8(c))
	}
	return causeNames[c].plain
}

// Resent is a segment that was retransmitted, and why.
type Resent struct {
	Frame int
	Cause Cause
}

// recovery is what is remembered of a side's retransmissions.
type recovery struct {
	recovering bool
	recoverTo  uint32 // after what had been sent at the last timeout or request
	byTimeout  bool
	// The row of timeouts of one segment.
	timeoutSeq    uint32
	timeoutLength int
	row           []time.Duration
	rowFrames     []int
	lastTimeout   time.Duration
	rowSure       bool // the kernel said that its first is a timeout
	// tries is how often the segment at triesSeq was sent, in a row.
	triesSeq uint32
	tries    int
}

// minRTO is the least that Linux adds to the round-trip time (TCP_RTO_MIN).
const minRTO = 200 * time.Millisecond

// cause judges a retransmission: sure, if the kernel said so.
func (d *sideTracker) cause(s *Classified) (cause Cause, sure bool) {
	told, known := d.kernelCause(s)
	cause, sure = d.judge(s, told.cause, known)
	if known && told.noTimeout && cause == CauseRTO {
		return CauseTLP, true
	}
	return cause, sure
}

func (d *sideTracker) judge(s *Classified, told Cause, known bool) (cause Cause, sure bool) {
	if s.Flags&FlagSYN != 0 {
		return CauseSYN, known
	}
	if d.fastOpenAgain(s) {
		return CauseFastOpen, known
	}
	if known && told != CauseUnknown {
		return told, true
	}
	waited := s.At - d.silentSince
	tail := s.Seq+s.size() == d.highest
	lost := d.recovering && before(s.Seq, d.recoverTo)
	asked := s.Marks.Has(MarkFastRetransmission) || d.sacked && before(s.Seq, d.sackedTo)
	// What is asked for is sent within a round trip.
	timeout := waited >= d.rtt+minRTO && (!asked || s.At-d.askedAt >= d.away+minRTO)
	switch {
	case s.Marks.Has(MarkSpuriousRetransmission):
		return CauseSpurious, false
	case d.pathMTU.again(s):
		return CausePathMTU, false
	case timeout:
		// A timeout repeats the first segment without an ACK, a probe the last.
		if tail && !lost && d.ackedAny && before(d.acked, s.Seq) {
			return CauseTLP, false
		}
		return CauseRTO, false
	case lost && d.byTimeout:
		return CauseRecovery, false
	case asked, lost:
		return CauseFast, false
	case tail && d.rtt > 0 && waited >= d.rtt:
		return CauseTLP, false
	default:
		return CauseUnknown, false
	}
}

// maxRanges limits what is remembered of what passed: ranges with gaps between them.
const maxRanges = 1000

// repeat tells retransmissions from reordering.
func (c *conversationTracker) repeat(s *Classified, d *sideTracker) {
	n := s.SequenceLength()
	if n == 0 || s.Flags&FlagRST != 0 || d.probing {
		return
	}
	again := d.passed.add(s.Segment, int64(n))
	if len(d.passed.ranges) > maxRanges {
		d.passed.ranges = slices.Delete(d.passed.ranges, 0, maxRanges/2)
	}
	passed := again > 0
	d.BytesAgain += int64(min(again, s.Length))
	if d.bothOpen && SYNACKs(s.Segment) && !d.answered {
		d.answered = true // after its SYN: no SYN-ACK that was retransmitted
		return
	}
	switch behind := d.spoke && before(s.Seq, d.highest); {
	case passed:
	case !behind && !s.Marks.Has(MarkRetransmission):
		return
	case behind && c.overtaken(s, d):
		d.Reordered.add(s.Frame)
		return
	}
	switch {
	case SYNACKs(s.Segment) && d.other.spoken:
		d.ignoredACK.add(s.Frame)
	case s.Flags&FlagSYN != 0:
	case s.Marks.Has(MarkSpuriousRetransmission):
		// Nothing was lost, or it cannot be known where.
		if passed {
			d.late.add(s.Frame)
		}
	case d.fastOpenAgain(s):
	case passed:
		d.Repeated.add(s.Frame)
	default:
		d.Filled.add(s.Frame)
	}
	d.retransmit(s, passed)
}

// fastOpenAgain reports whether it is the data of a SYN, of which the SYN only was
// acknowledged.
func (d *sideTracker) fastOpenAgain(s *Classified) bool {
	return d.SYN != nil && d.SYN.Length > 0 && s.Flags&FlagSYN == 0 && d.ackedAny && d.acked == d.SYN.ISN+1 && s.Seq == d.acked
}

func (d *sideTracker) retransmit(s *Classified, passed bool) {
	cause, sure := d.cause(s)
	if !d.repeats {
		d.repeats, d.repeatedAt = true, s.At
	}
	d.Causes[cause].add(s.Frame)
	if d.keepResent {
		d.Resent = append(d.Resent, Resent{s.Frame, cause})
	}
	d.transmissions(s)
	if len(d.sentAgain) >= maxResent {
		d.sentAgain = slices.Delete(d.sentAgain, 0, maxResent/2)
	}
	d.sentAgain = append(d.sentAgain, sentTwice{Block{s.Seq, s.NextSeq()}, cause == CauseTLP && s.At-d.silentSince < d.rtt+minRTO})
	switch cause {
	case CauseSYN, CauseFastOpen, CauseSpurious, CausePathMTU:
	default:
		d.losses.add(s, passed)
	}
	if sure {
		d.KernelKnows++
	}
	switch cause {
	case CauseRTO, CauseSYN:
		d.recovering, d.byTimeout, d.recoverTo = true, true, d.highest
		if wait := max(0, s.At-d.silentSince); cause == CauseSYN {
			d.synStalled += wait
		} else {
			d.Stalled += wait
		}
		d.backOff(s, cause, sure)
	case CauseFast:
		if !d.recovering || !before(s.Seq, d.recoverTo) {
			d.recovering, d.byTimeout, d.recoverTo = true, false, d.highest
		}
	}
}

// backOff makes rows of the timeouts of one segment.
func (d *sideTracker) backOff(s *Classified, cause Cause, sure bool) {
	since := d.lastTimeout
	if len(d.row) == 0 || s.Seq != d.timeoutSeq {
		d.timeoutSeq, d.row, d.rowFrames = s.Seq, nil, nil
		since = d.silentSince
		d.rowSure = sure
	}
	wait := max(0, s.At-since)
	// The timeout after a timeout takes twice as long, but that after a tail loss
	// probe just as long (RFC 8985, section 7.3).
	if len(d.row) == 1 && cause == CauseRTO && !d.rowSure && wait < d.row[0]*3/2 && d.row[0] <= d.probeTimeout() {
		d.Causes[CauseRTO].move(d.rowFrames[0], &d.Causes[CauseTLP])
		d.judgeAgain(d.rowFrames[0], CauseTLP)
		d.row, d.rowFrames = nil, nil
		d.BackOff, d.BackOffFrames = dropFirst(d.BackOff, d.BackOffFrames)
	}
	d.timeoutLength = s.Length
	d.lastTimeout = s.At
	if len(d.row) < maxFrames {
		d.row, d.rowFrames = append(d.row, wait), append(d.rowFrames, s.Frame)
	}
	if len(d.row) > len(d.BackOff) {
		d.BackOff, d.BackOffFrames = d.row, d.rowFrames
	}
}

// probeTimeout is the longest that a tail loss probe waits (RFC 8985, section 7.2: two round trips, and the longest time that an
// ACK is delayed; in Linux TCP_RTO_MIN), with a round trip and the kernel's clock for what the capture point does not see.
func (d *sideTracker) probeTimeout() time.Duration {
	if d.rtt == 0 {
		return time.Second // without a measurement (RFC 8985, section 7.2)
	}
	const clock = 50 * time.Millisecond
	return 3*max(d.rtt, d.RTT.Max) + minRTO + clock
}

// transmissions counts how often the segment that waits for its ACK was sent.
func (d *sideTracker) transmissions(s *Classified) {
	if d.tries == 0 || s.Seq != d.triesSeq {
		d.triesSeq, d.tries = s.Seq, 1 // the first time
	}
	d.tries++
}

// dropFirst undoes a row of one. A longer one that was kept is of another segment.
func dropFirst(waits []time.Duration, frames []int) ([]time.Duration, []int) {
	if len(waits) == 1 {
		return nil, nil
	}
	return waits, frames
}

// move takes back a frame that was counted last but a few.
func (f *Frames) move(frame int, to *Frames) {
	f.remove(frame)
	to.add(frame)
}

// judgeAgain gives a retransmission among the last ones another cause.
func (d *Side) judgeAgain(frame int, cause Cause) {
	for i := len(d.Resent) - 1; i >= 0 && d.Resent[i].Frame >= frame; i-- {
		if d.Resent[i].Frame == frame {
			d.Resent[i].Cause = cause
		}
	}
}
