package analysis

import (
	"time"
)

// sideTracker makes a Side, and has what is remembered of it while its segments are
// read. It does not grow with the connection.
type sideTracker struct {
	*Side
	name  string // "the client" or "the server"
	other *sideTracker

	keepResent bool // see Side.Resent

	syns   int // SYNs or SYN-ACKs, repetitions too
	synAt  time.Duration
	spoken bool // the client acknowledged the SYN-ACK
	// synStalled is the sum of all waits for SYNs that were retransmitted.
	synStalled    time.Duration
	ttl, resetTTL uint8
	synsAtReset   int           // how many SYNs the other side had sent when this side's reset came
	away          time.Duration // from the capture point to this host and back; 0: not known

	passed  sent   // this capture point
	flight  flight // to measure round trips
	highest uint32 // after all that was sent
	spoke   bool   // highest and silentSince are valid
	// farewell: the last data was TLS's word that no more comes.
	farewell bool
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
	holes    holes
	// repeats: since highest passed something was retransmitted, first at repeatedAt.
	repeats    bool
	repeatedAt time.Duration
	losses     losses
	// late are the segments that were sent again after their ACK, and ignoredACK the SYN-ACKs after the client's.
	late, ignoredACK Frames
	sentAgain        []sentTwice // the last maxResent
	needlessProbes   int         // of Unneeded those about tail loss probes only
	sightings        sightings
	pathMTU          pathMTU
	quotedSeq        uint32 // by the last ICMP error
	hasQuoted        bool
	request          request // of the other side
	thinking         thinking
	// probing: the segment at hand is a keep-alive or a probe of a closed window, and probed the number that the last had.
	probing, hasProbed bool
	probed             uint32

	feedback      // of accurate ECN
	capable  bool // it sent packets that said they may be marked (ECT)

	limitedFirst Frames // of Limited

	// What this side's last segment offered.
	edge      uint32 // the first sequence number that the other may not send
	edgeKnown bool
	closed    bool // the window is
	closedAt  time.Duration
	longest   time.Duration // that it was closed at a time
	zeroes    Frames        // that closed it while the other side had something to send
	// largest is the longest segment with data, fresh how many there are with new data.
	largest, fresh int
	// full: the other side's window is, for what was sent last. Of advances, the ACKs that made room, fullAdvances came then.
	full                   bool
	advances, fullAdvances int
	// shrinks are this side's ACKs that took something without offering room for more: its program has not read it.
	shrinks  int
	previous Segment // the last one of this side
	// bothOpen: its first SYN had no ACK, so that a SYN-ACK of this side says that the
	// other opens as well (RFC 9293, figure 7), and answered: there was one.
	bothOpen, answered bool

	// finNext acknowledges this side's FIN. finSawOther: the FIN acknowledges the other's.
	finNext     uint32
	finSawOther bool
	// dataAfterFIN: the other side sent data after this side's FIN. ackedOnce is its first ACK number, for what is seen of one
	// side only.
	dataAfterFIN bool
	ackedOnce    bool
	firstAck     uint32
	lastAck      uint32

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
	if s.Length > 0 && !d.probing { // the byte of a probe has been sent, or will be
		d.Bytes += int64(s.Length)
		if d.DataSegments == 0 {
			d.firstData = s.At
		}
		d.DataSegments++
		d.largest = max(d.largest, s.Length)
		d.lastData = max(d.lastData, s.At)
		d.dataEnd = s.Seq + uint32(s.Length)
	}
	for i := range d.Marks {
		if s.Marks&(1<<i) != 0 {
			d.Marks[i].add(s.Frame)
		}
	}
	switch s.ECN {
	case 1, 2:
		d.capable = true
	case 3:
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
		edge := s.Ack + uint32(s.WindowSize)
		if d.edgeKnown && d.ackedOnce && before(d.lastAck, s.Ack) && !before(d.edge, edge) {
			d.shrinks++
		}
		d.edge, d.edgeKnown = edge, s.ScaleKnown
	}
	// After the other side's FIN nobody waits for a window: Linux has none in TIME-WAIT, and says 0.
	zero := s.Marks.Has(MarkZeroWindow) && d.other.FIN == nil && d.other.Reset == nil && d.Reset == nil
	if zero {
		d.zeroes.add(s.Frame)
	}
	switch {
	case zero && !d.closed:
		d.closed, d.closedAt = true, s.At
	case !zero && d.closed && s.Window != 0:
		d.opens(s.At)
		d.closed = false
	}
}

// opens notes how long the window was closed.
func (d *sideTracker) opens(at time.Duration) {
	took := max(0, at-d.closedAt)
	d.WindowClosed += took
	d.longest = max(d.longest, took)
}

// limit counts the segments after which the window of the other side is full.
func (d *sideTracker) limit(s *Classified, other *sideTracker) {
	end := s.Seq + uint32(s.Length)
	if s.Length == 0 || d.probing || s.Flags&(FlagSYN|FlagRST) != 0 || d.spoke && !before(d.highest, end) {
		return
	}
	d.fresh++
	if d.full = d.fills(end, other); d.full {
		d.Limited++
		d.limitedFirst.add(s.Frame)
	}
}

// fills reports whether the window is full with what was sent up to a number: no whole segment of those that are really sent fits
// into the rest, for a sender fills it with whole segments (RFC 9293, section 3.8.6.2.1), and at least half of it is in flight.
func (d *sideTracker) fills(end uint32, other *sideTracker) bool {
	if !other.edgeKnown || !d.ackedAny || d.largest == 0 {
		return false
	}
	room, flying := int32(other.edge-end), int32(end-d.acked)
	return room >= 0 && int(room) < min(d.largest, d.segmentSize(other)) && flying >= room
}

// window takes note of an ACK that makes room in this side's window.
func (d *sideTracker) window(s *Classified, other *sideTracker) {
	if s.Flags&FlagACK == 0 || !other.ackedAny || !before(other.acked, s.Ack) || other.DataSegments == 0 {
		return
	}
	other.advances++
	if other.full {
		other.fullAdvances++
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

// probes reports whether a segment asks whether the other side is alive, or has room, and carries nothing that is new. The byte of a
// keep-alive had been sent before, with others or acknowledged; one that was sent alone, and not acknowledged, is
// sent again.
func (d *sideTracker) probes(s *Classified) bool {
	if s.Marks.Has(MarkZeroWindowProbe) {
		return true
	}
	if !s.Marks.Has(MarkKeepAlive) {
		return false
	}
	alone := false
	if d.lengthsAt > 0 {
		last := d.lengths[(d.lengthsAt-1)%len(d.lengths)]
		alone = last.length == 1 && last.next == s.Seq+1
	}
	return s.Length == 0 || !alone || d.ackedAny && !before(d.acked, s.Seq+1)
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
		o.full = o.spoke && o.fills(o.highest, d)
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
			if !other.hasProbed || b != (Block{other.probed, other.probed + 1}) { // which is how a keep-alive is answered
				other.gotTwice(s, b)
			}
			continue
		}
		if before(s.Ack, b.Left) && (!o.sacked || before(o.sackedTo, b.Right)) {
			o.sacked, o.sackedTo = true, b.Right
		}
	}
	o.askedAt = s.At
	o.lostAgain(s.Ack)
}

// gotTwice takes note of a D-SACK about what this side has sent: it was sent again without need, or, if it was sent once, the network
// has made two of it. What had not passed here says nothing.
func (d *sideTracker) gotTwice(s *Classified, b Block) {
	again, probesOnly := d.resent(b)
	switch {
	case d.SYN != nil && b.Left == d.SYN.ISN:
		// In a simultaneous open the SYN comes once more, with the SYN-ACK.
	case again:
		d.Unneeded.add(s.Frame)
		if probesOnly {
			d.needlessProbes++
		}
		d.losses.needless(b)
	case d.passed.has(b):
		d.Duplicated.add(s.Frame)
	}
}

// A sentTwice is what was sent again.
type sentTwice struct {
	Block
	probe bool // a tail loss probe, sooner than any timeout
}

// resent reports whether something of a block was sent again, and if so, whether by tail loss probes only.
func (d *sideTracker) resent(b Block) (again, probesOnly bool) {
	probesOnly = true
	for _, r := range d.sentAgain {
		if before(r.Left, b.Right) && before(b.Left, r.Right) {
			again, probesOnly = true, probesOnly && r.probe
		}
	}
	return again, again && probesOnly
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
	if n == 0 || s.Flags&FlagRST != 0 || d.probing {
		return
	}
	d.silentSince = s.At
	end := s.Seq + n
	d.holes.fill(s.Seq, end)
	if d.spoke && before(d.highest, s.Seq) {
		d.holes.open(d, s)
	}
	if d.spoke && !before(d.highest, end) {
		d.flight.repeat(s.Seq, end)
		return
	}
	if d.spoke && before(s.Seq, d.highest) {
		d.flight.repeat(s.Seq, d.highest)
	}
	d.spoke, d.highest, d.repeats = true, end, false
	if s.Length > 0 {
		d.farewell = s.farewell
	}
	d.flight.add(end, s.At)
	d.lengths[d.lengthsAt%len(d.lengths)] = sentLength{end, s.Length}
	d.lengthsAt++
}

// listen takes note that this side is alive, and of questions whether the other is.
func (d *sideTracker) listen(s *Classified, other *sideTracker) {
	d.previous = s.Segment
	other.keepAlives = Frames{}
	// Linux probes a closed window by what looks like a keep-alive.
	if d.probing {
		d.probed, d.hasProbed = s.Seq, true
	}
	if d.probing && s.Marks.Has(MarkKeepAlive) && !other.closed {
		d.keepAlives.add(s.Frame)
	}
	if s.Flags&(FlagACK|FlagRST) == FlagACK {
		if !d.ackedOnce {
			d.ackedOnce, d.firstAck = true, s.Ack
		}
		d.lastAck = s.Ack
	}
	if s.Length > 0 && other.lateACK {
		other.lateACK = false
		// Nagle's algorithm holds back a segment that is not full (RFC 9293,
		// section 3.7.4), until the ACK arrives.
		if s.Length < d.segmentSize(other)-s.Options.length() && s.At-other.lateAt <= d.away+reaction {
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
	if d.ackedAny {
		d.losses.unanswered(d.acked)
	}
	if d.closed {
		d.opens(end)
	}
	d.RTT.finish()
	d.ACKDelays.finish()
	d.Answers.finish()
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
