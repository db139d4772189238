package analysis

import "time"

// sideTracker makes a Side, and has what is remembered of it while its segments are
// read. It does not grow with the connection.
type sideTracker struct {
	*Side
	name  string // "the client" or "the server"
	other *sideTracker

	syns   int // SYNs or SYN-ACKs, repetitions too
	synAt  time.Duration
	spoken bool // the client acknowledged the SYN-ACK
	// synStalled is the sum of all waits for SYNs that were retransmitted.
	synStalled time.Duration
	ttl        uint8
	away       time.Duration // from the capture point to this host and back; 0: not known

	passed  sent   // this capture point
	flight  flight // to measure round trips
	highest uint32 // after all that was sent
	spoke   bool   // highest and silentSince are valid
	// silentSince is when anything with a sequence number was sent last, and
	// firstData and lastData when data was sent or acknowledged.
	silentSince, firstData, lastData time.Duration
	dataEnd                          uint32 // after the data that was sent last

	// What the other side has said about what this side sent.
	acked    uint32
	ackedAny bool
	sacked   bool // the last ACK had SACK blocks after acked, up to sackedTo
	sackedTo uint32
	askedAt  time.Duration // of the last ACK
	rtt      time.Duration // smoothed, RFC 6298
	// ackedLength is the size of the largest segment with data that was
	// acknowledged as a whole, as far as the last ones that were sent tell.
	ackedLength int
	lengths     [8]sentLength
	lengthsAt   int

	recovery // from losses

	feedback // of accurate ECN

	limitedFirst Frames // of Limited

	// What this side's last segment offered.
	edge      uint32 // the first sequence number that the other may not send
	edgeKnown bool
	closed    bool // the window is
	closedAt  time.Duration
	previous  Segment // the last one of this side
	// bothOpen: its first SYN had no ACK, so that a SYN-ACK of this side says that the
	// other opens as well (RFC 9293, figure 7), and answered: there was one.
	bothOpen, answered bool

	// finNext acknowledges this side's FIN. finSawOther: the FIN acknowledges the other's.
	finNext     uint32
	finSawOther bool

	keepAlives Frames // that the other side has not answered so far

	// The last ACK was delayed, by lateBy, and nothing else is in flight. awaited are
	// the other side's segments that seem to have waited for such, awaiting in all.
	lateACK        bool
	lateAt, lateBy time.Duration
	awaited        Frames
	awaiting       time.Duration

	kernel   []kernelRetransmission
	kernelAt int
}

type sentLength struct {
	next   uint32
	length int
}

func (c *Classified) size() uint32 { return uint32(c.SequenceLength()) }

func (d *sideTracker) count(s *Classified) {
	if d.Segments == 0 {
		d.ttl = s.TTL
	}
	d.Segments++
	d.Bytes += int64(s.Length)
	if s.Length > 0 {
		if d.DataSegments == 0 {
			d.firstData = s.At
		}
		d.DataSegments++
		if s.Marks&(MarkKeepAlive|MarkZeroWindowProbe) == 0 {
			d.lastData = max(d.lastData, s.At)
			d.dataEnd = s.Seq + uint32(s.Length)
		}
	}
	for i := range d.Marks {
		if s.Marks&(1<<i) != 0 {
			d.Marks[i].add(s.Frame)
		}
	}
	if s.ECN == 3 {
		d.CE.add(s.Frame)
	}
	if s.Flags&(FlagECE|FlagSYN) == FlagECE { // in a SYN it asks for ECN; of accurate ECN it is a bit of a counter: finishECN
		d.ECE.add(s.Frame)
	}
	d.MaxInFlight = max(d.MaxInFlight, s.BytesInFlight)
	d.offer(s)
}

// offer notes the receive window.
func (d *sideTracker) offer(s *Classified) {
	if s.Flags&(FlagSYN|FlagRST|FlagACK) == FlagACK {
		if d.Window == nil {
			d.Window = &Window{Min: s.WindowSize, Max: s.WindowSize, ScaleKnown: s.ScaleKnown}
		}
		d.Window.Min = min(d.Window.Min, s.WindowSize)
		d.Window.Max = max(d.Window.Max, s.WindowSize)
	}
	if s.Flags&FlagACK != 0 {
		d.edge, d.edgeKnown = s.Ack+uint32(s.WindowSize), s.ScaleKnown
	}
	switch zero := s.Marks.Has(MarkZeroWindow); {
	case zero && !d.closed:
		d.closed, d.closedAt = true, s.At
	case !zero && d.closed && s.Window != 0:
		d.WindowClosed += max(0, s.At-d.closedAt)
		d.closed = false
	}
}

// limit counts the segments after which no whole segment fits into the window of the
// other side. A sender fills it with whole segments (RFC 9293, section 3.8.6.2.1), so
// that its last byte is seldom reached.
func (d *sideTracker) limit(s *Classified, other *sideTracker) {
	if s.Length == 0 || !other.edgeKnown || s.Flags&(FlagSYN|FlagRST) != 0 {
		return
	}
	room := int32(other.edge - (s.Seq + uint32(s.Length)))
	if room >= 0 && int(room) < d.segmentSize(other) {
		d.Limited++
		d.limitedFirst.add(s.Frame)
	}
}

// segmentSize is the largest segment that this side may send, of data without
// options.
func (d *sideTracker) segmentSize(other *sideTracker) int {
	const fallback = 536 // RFC 9293, section 3.7.1
	if other.SYN == nil || other.SYN.Options.MSS == 0 {
		return fallback
	}
	size := int(other.SYN.Options.MSS)
	if d.SYN != nil && d.SYN.Options.MSS != 0 {
		size = min(size, int(d.SYN.Options.MSS))
	}
	return size
}

func (d *sideTracker) learn(s *Classified) {
	if s.Flags&FlagSYN != 0 && d.SYN == nil {
		d.bothOpen = s.Flags&FlagACK == 0
		d.SYN = &Offer{Frame: s.Frame, ISN: s.Seq, Length: s.Length, Window: int(s.Window), Options: s.Options}
	}
}

// acknowledge takes note of an ACK, which d sent, of what the other side sent.
func (d *sideTracker) acknowledge(s *Classified, other *sideTracker) {
	o := other
	was := o.acked
	advances := o.ackedAny && before(o.acked, s.Ack)
	if !o.ackedAny || advances {
		o.acked, o.ackedAny = s.Ack, true
		for _, l := range o.lengths {
			if l.length > 0 && !before(s.Ack, l.next) {
				o.ackedLength = max(o.ackedLength, l.length)
			}
		}
	}
	if advances && other.DataSegments > 0 && before(was, o.dataEnd) {
		o.lastData = max(o.lastData, s.At)
	}
	blocks := s.Options.SACK()
	measured := other.RTT.Count
	oldest, sampled := o.flight.acknowledge(s.Ack, blocks, s.At, &other.RTT)
	if other.RTT.Count > measured {
		if o.rtt == 0 {
			o.rtt = other.RTT.last
		}
		o.rtt += (other.RTT.last - o.rtt) / 8 // RFC 6298, section 2
	}
	if sampled && s.Length == 0 && s.Flags&(FlagSYN|FlagFIN|FlagRST) == 0 {
		d.ACKDelays.add(oldest)
		d.delayed(s, oldest, other)
	}
	o.sacked = false
	for i, b := range blocks {
		if i == 0 && duplicateBlock(s.Ack, blocks) {
			other.Unneeded.add(s.Frame)
			continue
		}
		if before(s.Ack, b.Left) && (!o.sacked || before(o.sackedTo, b.Right)) {
			o.sacked, o.sackedTo = true, b.Right
		}
	}
	o.askedAt = s.At
	o.lostAgain(s.Ack)
}

// lostAgain: the other side has got what was sent after a timeout's retransmission, but
// not that. It was lost as well, and from here on it is the SACK blocks that ask
// (RFC 8985, section 6.2; in Linux FLAG_LOST_RETRANS).
func (d *sideTracker) lostAgain(ack uint32) {
	if d.recovering && d.byTimeout && d.sacked && before(d.recoverTo, d.sackedTo) && !before(d.timeoutSeq, ack) {
		d.byTimeout = false
	}
}

// duplicateBlock reports whether the first block is a D-SACK: below the acknowledgement
// number, or within the second block (RFC 2883, section 4).
func duplicateBlock(ack uint32, blocks []Block) bool {
	first := blocks[0]
	if before(first.Left, ack) && !before(ack, first.Right) {
		return true
	}
	return len(blocks) > 1 && !before(first.Left, blocks[1].Left) && !before(blocks[1].Right, first.Right) && first != blocks[1]
}

// send takes note of what takes sequence numbers.
func (d *sideTracker) send(s *Classified) {
	n := s.size()
	if n == 0 || s.Flags&FlagRST != 0 || s.Marks&(MarkKeepAlive|MarkZeroWindowProbe) != 0 {
		return
	}
	d.silentSince = s.At
	end := s.Seq + n
	if d.spoke && !before(d.highest, end) {
		d.flight.repeat(s.Seq, end)
		return
	}
	if d.spoke && before(s.Seq, d.highest) {
		d.flight.repeat(s.Seq, d.highest)
	}
	d.spoke, d.highest = true, end
	d.flight.add(end, s.At)
	d.lengths[d.lengthsAt%len(d.lengths)] = sentLength{end, s.Length}
	d.lengthsAt++
}

// listen takes note that this side is alive, and of questions whether the other is.
func (d *sideTracker) listen(s *Classified, other *sideTracker) {
	d.previous = s.Segment
	other.keepAlives = Frames{}
	// Linux probes a closed window by what looks like a keep-alive.
	if s.Marks.Has(MarkKeepAlive) && !other.closed {
		d.keepAlives.add(s.Frame)
	}
	if s.Length > 0 && other.lateACK {
		other.lateACK = false
		// Nagle's algorithm holds back a segment that is not full (RFC 9293,
		// section 3.7.4), until the ACK arrives.
		if s.Length < d.segmentSize(other) && s.At-other.lateAt <= d.away+reaction {
			other.awaited.add(s.Frame)
			other.awaiting += other.lateBy
		}
	}
}

const (
	// Linux delays an ACK by 40 ms at least (TCP_DELACK_MIN), of a clock with ticks
	// of up to 4 ms.
	delayedACK = 35 * time.Millisecond
	// reaction is how soon a host sends what was waiting for an ACK.
	reaction = 5 * time.Millisecond
)

// delayed notes an ACK that came late although nothing else is in flight.
func (d *sideTracker) delayed(s *Classified, waited time.Duration, other *sideTracker) {
	base := d.away
	if base == 0 {
		base = other.RTT.Min
	}
	d.lateACK = waited-base >= delayedACK && other.spoke && s.Ack == other.highest
	d.lateAt, d.lateBy = s.At, waited-base
}

func (d *sideTracker) finish(end time.Duration) {
	if d.closed {
		d.WindowClosed += max(0, end-d.closedAt)
	}
	if took := d.lastData - d.firstData; d.DataSegments > 0 && took > 0 {
		d.Goodput = int64(float64(d.Bytes-d.BytesAgain) * 8 / took.Seconds())
	}
}

// marked returns the frames with one mark.
func (d *sideTracker) marked(m Mark) Frames {
	for i := range d.Marks {
		if m == 1<<i {
			return d.Marks[i]
		}
	}
	return Frames{}
}
