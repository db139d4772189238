package analysis

import "time"

// connection is what is remembered of a connection.
type connection struct {
	endpoints
	stream       int
	half         string  // another interface, that one of the directions passes; see halves.go
	sides        [2]side // what a and b sent
	completeness Completeness
	lastSYN      time.Duration
	lastAt       time.Duration // its last segment
	sawSYN       bool
	initialRTT   time.Duration
}

// side is what is remembered of one direction.
type side struct {
	// base is the initial sequence number, or one less than the first number.
	base      uint32
	baseKnown bool

	on    string // the interface of its last segment
	count int    // of its segments
	// started: next and contiguous are valid; heard: window, ack and last are.
	started, heard bool
	// next is after the highest number sent, by nextFrame at nextAt.
	next      uint32
	nextFrame int
	nextAt    time.Duration
	// contiguous is after the highest number without a gap before it.
	contiguous uint32
	unacked    unacked

	// ack is the acknowledgement number of the last segment, at ackAt. acked: it
	// is one, and not just an empty field.
	ack   uint32
	acked bool
	ackAt time.Duration
	// duplicates is the number of duplicate ACKs since ackFrame, the first with
	// this number. It is silenced for an ACK of what was not captured.
	duplicates int
	ackFrame   int

	window uint32 // of the last segment, as in the header
	scale  int8   // a shift count, or one of the below
	// unscaled: the last window was a SYN's, which is never scaled.
	unscaled bool

	closed bool // it has sent a FIN

	last  Mark // of the last segment
	sack  [3]Block
	sacks int

	inFlightUnknown bool // a segment is missing, and no ACK seen since
	pushBytes       int
	pushed          bool // the last segment with data had PSH
}

const (
	scaleUnknown = -1 // no SYN was captured
	scaleUnused  = -2 // a SYN had no window scale

	silenced = -1
)

func newConnection(key endpoints, stream int) *connection {
	c := &connection{endpoints: key, stream: stream}
	for i := range c.sides {
		c.sides[i].scale = scaleUnknown
	}
	return c
}

// reused reports whether the segment opens another connection than conn, and marks
// SYNs that look like that.
func reused(conn *connection, out *Classified) bool {
	if out.Flags&FlagSYN == 0 {
		return false
	}
	fwd, _ := conn.sidesOf(&out.Segment)
	if !fwd.baseKnown {
		return false
	}
	again := out.Seq == fwd.base
	if SYNACKs(out.Segment) {
		if !again {
			// The answer to a SYN that was captured, from a host whose earlier
			// segments belong to another connection.
			fwd.base = out.Seq
			out.Marks |= MarkReusedPorts
		}
		return false
	}
	if again {
		// A reset may have moved next on (Wireshark's issue 17616).
		fwd.next = fwd.contiguous
		return false
	}
	out.Marks |= MarkReusedPorts
	return true
}

func (c *connection) sidesOf(s *Segment) (fwd, rev *side) {
	if s.Src == c.a {
		return &c.sides[0], &c.sides[1]
	}
	return &c.sides[1], &c.sides[0]
}

// complete notes which part of the connection the segment is. A SYN counts only
// as the first segment, which in turn counts only as a SYN.
func (c *connection) complete(s *Segment, fresh bool) Completeness {
	has := func(f Flags) bool { return s.Flags&f == f }
	if fresh {
		if SYNs(*s) {
			c.completeness |= SawSYN
			if s.Length > 0 { // TCP Fast Open
				c.completeness |= SawData
			}
		}
		return c.completeness
	}
	if has(FlagSYN | FlagACK) {
		c.completeness |= SawSYNACK
	}
	if has(FlagACK) && !has(FlagSYN) {
		if s.Length > 0 {
			c.completeness |= SawData
		} else {
			c.completeness |= SawACK
		}
	}
	if has(FlagFIN | FlagACK) {
		c.completeness |= SawFIN
		own, _ := c.sidesOf(s)
		own.closed = true
	}
	if has(FlagRST) {
		c.completeness |= SawRST
	}
	return c.completeness
}

// step is one segment on its way through the rules. fwd is its own direction, and
// rev the one it answers.
type step struct {
	*Classified
	conn     *connection
	fwd, rev *side
	size     uint32 // sequence numbers taken
	end      uint32 // Seq after the payload
}

func (c *connection) step(out *Classified) step {
	st := step{Classified: out, conn: c}
	st.fwd, st.rev = c.sidesOf(&out.Segment)
	st.end = out.Seq + uint32(out.Length)
	st.size = uint32(out.Length)
	if st.is(FlagSYN | FlagFIN) {
		st.size++
	}
	return st
}

// is reports whether one of the flags is set.
func (p *step) is(flags Flags) bool { return p.Flags&flags != 0 }

func (p *step) control() bool { return p.is(FlagSYN | FlagFIN | FlagRST) }

// expected reports whether the segment begins where the one before it ended.
func (p *step) expected() bool { return p.fwd.started && p.Seq == p.fwd.next }

// repeatsACK: without data, in place, and with the acknowledgement number as before.
func (p *step) repeatsACK() bool {
	return p.Length == 0 && p.expected() && p.Ack == p.fwd.ack && !p.control()
}

func (p *step) sameWindow() bool { return uint32(p.Window) == p.fwd.window }

// classify applies the rules in the order that gives them their precedence.
func (p *step) classify() {
	p.learnBase()
	p.fwd.sacks = 0 // blocks hold until the next segment
	p.judgeForward()
	p.countACK()
	p.ackLostSegment()
	if p.size > 0 {
		p.judgeRepetition()
	}
	p.send()
	p.acknowledge()
	p.inFlight()
	p.measure()
	p.options()
}

// learnBase: the relative numbers begin at a SYN, or else at 1 for the first
// number seen, also if it is seen in an ACK only.
func (p *step) learnBase() {
	if !p.fwd.baseKnown {
		p.fwd.base, p.fwd.baseKnown = p.Seq-1, true
		if p.is(FlagSYN) {
			p.fwd.base = p.Seq
		}
	}
	if p.is(FlagACK) {
		if !p.rev.baseKnown {
			p.rev.base, p.rev.baseKnown = p.Ack-1, true
		}
		p.rev.inFlightUnknown = false
		p.RelativeAck = p.Ack - p.rev.base
	}
	p.RelativeSeq = p.Seq - p.fwd.base
}

// judgeForward applies the rules that compare with the segment's own direction and
// the other's window. A probe and the answers are nothing else besides.
func (p *step) judgeForward() {
	if p.zeroWindowProbe() {
		p.Marks |= MarkZeroWindowProbe
		return
	}
	if p.Window == 0 && !p.control() {
		p.Marks |= MarkZeroWindow
	}
	if p.lostSegment() {
		p.Marks |= MarkLostSegment
		p.fwd.inFlightUnknown = true
	}
	if p.keepAlive() {
		p.Marks |= MarkKeepAlive
	}
	if p.repeatsACK() && p.Window != 0 && !p.sameWindow() {
		p.Marks |= MarkWindowUpdate
	}
	if p.windowFull() {
		p.Marks |= MarkWindowFull
	}
	if !p.repeatsACK() || !p.sameWindow() {
		return
	}
	switch {
	case p.Window != 0 && p.rev.last.Has(MarkKeepAlive):
		p.Marks |= MarkKeepAliveACK
	case p.Window == 0 && p.rev.last.Has(MarkZeroWindowProbe):
		p.Marks |= MarkZeroWindowProbeACK
	case p.Window != 0:
		p.duplicateACK()
	}
}

func (p *step) zeroWindowProbe() bool {
	return p.Length == 1 && p.expected() && p.rev.heard && p.rev.window == 0
}

// lostSegment: a reset may have any number, so it proves nothing.
func (p *step) lostSegment() bool {
	return p.fwd.started && before(p.fwd.next, p.Seq) && !p.is(FlagRST)
}

func (p *step) keepAlive() bool {
	return p.Length <= 1 && p.fwd.started && p.Seq == p.fwd.next-1 && !p.control()
}

// windowFull is unknown where the window scale is.
func (p *step) windowFull() bool {
	if p.Length == 0 || p.control() || !p.rev.heard || p.rev.scale == scaleUnknown {
		return false
	}
	edge := p.rev.ack + p.rev.window<<p.rev.shift()
	return p.end == edge
}

// shift is by how much the last window is scaled.
func (d *side) shift() uint8 {
	if d.unscaled || d.scale < 0 {
		return 0
	}
	return uint8(d.scale)
}

func (p *step) duplicateACK() {
	p.fwd.duplicates = max(p.fwd.duplicates, 0) + 1
	p.Marks |= MarkDuplicateACK
	p.DuplicateNumber, p.DuplicateOf = p.fwd.duplicates, p.fwd.ackFrame
}

// countACK: another number ends a row of duplicates.
func (p *step) countACK() {
	if p.Ack != p.fwd.ack || !p.fwd.heard {
		p.fwd.ackFrame, p.fwd.duplicates = p.Frame, 0
	}
}

// ackLostSegment: a segment may be acknowledged that was not captured. Marked once per gap, and
// on every ACK beyond the highest captured byte.
func (p *step) ackLostSegment() {
	if !p.is(FlagACK) || !p.rev.started || !before(p.rev.contiguous, p.Ack) {
		return
	}
	if before(p.rev.contiguous, p.rev.next) {
		p.rev.contiguous = p.rev.next
		p.Marks |= MarkACKLostSegment
		return
	}
	if p.rev.duplicates == 0 {
		p.Marks |= MarkACKLostSegment
	}
	p.rev.duplicates = silenced
}

const (
	// A sender that was waiting for the third duplicate ACK answers at once.
	fastLimit = 20 * time.Millisecond
	// Without a round-trip time, what comes later than this is no reordering.
	reorderLimit = 3 * time.Millisecond
)

// judgeRepetition: data, SYN or FIN before what was expected was retransmitted or
// overtaken.
func (p *step) judgeRepetition() {
	if p.Marks.Has(MarkKeepAlive) {
		return
	}
	behind := p.fwd.started && before(p.Seq, p.fwd.next)
	if p.Length > 1 && p.fwd.started && p.Seq == p.fwd.next-1 {
		behind = false // new data after the byte of a zero-window probe
	}
	switch {
	case p.spurious():
		p.Marks |= MarkSpuriousRetransmission | MarkRetransmission
	case !behind:
	case p.fast():
		p.Marks |= MarkFastRetransmission | MarkRetransmission
	case p.outOfOrder():
		p.Marks |= MarkOutOfOrder
	default:
		p.Marks |= MarkRetransmission
		p.timeout()
	}
}

func (p *step) spurious() bool {
	return p.Length > 0 && p.rev.acked && !before(p.rev.ack, p.end)
}

// fast: one duplicate ACK of three may be missing. A silenced row counts as a long
// one: not all ACKs were captured there.
func (p *step) fast() bool {
	many := p.rev.duplicates >= 2 || p.rev.duplicates == silenced
	return many && p.rev.ack == p.Seq && within(p.At-p.rev.ackAt, fastLimit)
}

func (p *step) outOfOrder() bool {
	limit := p.conn.initialRTT
	if limit == 0 {
		limit = reorderLimit
	}
	return within(p.At-p.fwd.nextAt, limit) && p.fwd.next != p.Seq+p.size
}

// within compares as Wireshark does, without a sign: a time that went back is no
// short time.
func within(d, limit time.Duration) bool { return uint64(d) < uint64(limit) }

// timeout takes the oldest segment without an ACK for the one that is repeated.
func (p *step) timeout() {
	p.RTO, p.RTOFrame = p.At-p.fwd.nextAt, p.fwd.nextFrame
	if e, ok := p.fwd.unacked.oldest(); ok {
		p.RTO, p.RTOFrame = p.At-e.at, e.frame
	}
}

// counts reports whether the segment's numbers say what was sent. The byte of a probe
// will come again, and a reset in answer to a segment without ACK has number 0 (RFC
// 9293, section 3.5.2).
func (p *step) counts() bool {
	return !p.Marks.Has(MarkZeroWindowProbe) && !(p.is(FlagRST) && p.Seq == 0)
}

// send remembers the segment.
func (p *step) send() {
	d := p.fwd
	next := p.Seq + p.size
	if p.size > 0 && !d.unacked.full() {
		d.unacked.add(sentSegment{p.Seq, next, p.Frame, p.At})
	}
	if p.counts() {
		first := !d.started
		if first || before(d.next, next) {
			d.next, d.nextFrame, d.nextAt = next, p.Frame, p.At
		}
		if first || p.Seq == d.contiguous {
			d.contiguous = d.next
		}
		d.started = true
	}
	d.heard = true
	d.on = p.Interface
	d.count++
	d.window = uint32(p.Window)
	d.ack, d.ackAt = p.Ack, p.At
	d.acked = p.is(FlagACK) || p.Ack != 0
	d.last = p.Marks
}

// acknowledge takes what the segment acknowledges from what is in flight.
func (p *step) acknowledge() {
	if e, ok := p.rev.unacked.acknowledge(p.Ack); ok {
		p.AcksFrame, p.RTT = e.frame, p.At-e.at
	}
}

// inFlight counts from the first to the last byte without an ACK, less SACK blocks.
func (p *step) inFlight() {
	d := p.fwd
	if p.Length == 0 || d.inFlightUnknown || len(d.unacked.live()) == 0 {
		return
	}
	bytes := d.unacked.extent(d.base)
	for _, b := range p.rev.sack[:p.rev.sacks] {
		bytes -= b.Right - b.Left
	}
	push := p.is(FlagPSH)
	if d.pushed {
		d.pushBytes = 0
	}
	d.pushBytes += p.Length
	d.pushed = push
	const nonsense = 2_000_000_000 // SACK blocks of another connection, for example
	if bytes == 0 || bytes >= nonsense {
		return
	}
	if p.is(FlagSYN | FlagFIN) {
		bytes-- // they take a number, but no byte
	}
	if bytes > 0 {
		p.BytesInFlight, p.PushBytesSent = int(bytes), d.pushBytes
	}
}

// measure takes the time from the last SYN to the first ACK after it.
func (p *step) measure() {
	c := p.conn
	if SYNs(p.Segment) {
		c.lastSYN, c.sawSYN = p.At, true
	}
	if p.is(FlagACK) && !p.is(FlagSYN) && c.sawSYN && c.initialRTT == 0 {
		c.initialRTT = p.At - c.lastSYN
	}
	p.InitialRTT = c.initialRTT
}

// options takes effect with the next segment, except for the window's size.
func (p *step) options() {
	p.WindowSize = int(p.Window)
	p.ScaleKnown = p.is(FlagSYN) || p.fwd.scale != scaleUnknown
	if p.is(FlagSYN) {
		p.fwd.unscaled = true
	} else {
		if p.fwd.scale > 0 {
			p.WindowScale = uint8(p.fwd.scale)
			p.WindowSize <<= p.WindowScale
		}
		if p.is(FlagACK) {
			p.fwd.unscaled = false
		}
	}
	p.fwd.sacks = copy(p.fwd.sack[:], p.Options.SACK()) // Wireshark leaves out the fourth
	if p.Options.HasWindowScale {
		p.fwd.scale = int8(min(p.Options.WindowScale, 14)) // RFC 7323, section 2.3
	}
	if p.is(FlagSYN) && !p.Options.Incomplete {
		p.agreeOnScale()
	}
}

// agreeOnScale: both sides scale, or none does (RFC 7323, section 2.2).
func (p *step) agreeOnScale() {
	if p.fwd.scale == scaleUnknown {
		p.fwd.scale, p.rev.scale = scaleUnused, scaleUnused
	} else if p.is(FlagACK) && p.rev.scale == scaleUnused {
		p.fwd.scale = scaleUnused
	}
}
