package analysis

import (
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Cause is why a segment was sent again, as far as the capture tells.
type Cause uint8

const (
	// CauseSYN: a SYN or SYN-ACK that was not answered.
	CauseSYN Cause = iota
	// CauseFast: duplicate ACKs or SACK blocks asked for it (RFC 5681, RFC 6675).
	CauseFast
	// CauseTLP: the last segment again, sooner than a timeout can be: a tail loss
	// probe (RFC 8985, section 7).
	CauseTLP
	// CauseRTO: nobody asked, and a timeout's time had passed (RFC 6298). A tail
	// loss probe for a single segment in flight waits as long, and looks the
	// same.
	CauseRTO
	// CauseRecovery: behind a timeout, what was sent after the lost segment.
	CauseRecovery
	// CauseSpurious: all of it had been acknowledged; the ACK was still on its way.
	CauseSpurious
	causes
)

var causeNames = [causes]string{"SYN", "fast", "tail loss probe", "timeout", "recovery", "spurious"}

func (c Cause) String() string { return causeNames[c] }

// maxFrames limits the frame numbers that are kept with anything that is counted.
const maxFrames = 20

// Frames counts frames and keeps the numbers of the first twenty.
type Frames struct {
	Count int
	First []int
}

func (f *Frames) add(frame int) {
	f.Count++
	if len(f.First) < maxFrames {
		f.First = append(f.First, frame)
	}
}

// Times is a range of measured times.
type Times struct {
	Count         int
	Min, Max, Sum time.Duration
}

// Mean is 0 if there was no measurement.
func (t Times) Mean() time.Duration {
	if t.Count == 0 {
		return 0
	}
	return t.Sum / time.Duration(t.Count)
}

func (t *Times) add(d time.Duration) {
	if t.Count == 0 || d < t.Min {
		t.Min = d
	}
	t.Max = max(t.Max, d)
	t.Sum += d
	t.Count++
}

// Side is what one host of a conversation sent.
type Side struct {
	Addr netip.AddrPort
	// ISN is the initial sequence number and Offered are the options of the
	// SYN; valid if SYN.
	SYN     bool
	ISN     uint32
	Offered Options
	// Segments and Bytes count all that was sent, repetitions too; DataSegments
	// those with data.
	Segments, DataSegments int
	Bytes                  int64
	// Marks counts frames by mark: index i belongs to Mark 1<<i.
	Marks [len(markNames)]Frames
	// Repeated are the segments that passed this point of capture before, as
	// [Retransmissions] tells: what was lost was lost behind it. Filled are those
	// that Wireshark takes for retransmissions, and that had not: what was lost
	// was lost in front. Neither SYNs nor spurious retransmissions are among them.
	// Reordered came late without having passed before.
	//
	// Wireshark takes a retransmission within the initial round-trip time for
	// out of order, even if it has seen the segment before. It is Repeated here.
	Repeated, Filled, Reordered Frames
	// Causes counts all retransmissions by [Cause].
	Causes [causes]Frames
	// BackOff are the times between successive timeouts of one segment, the
	// longest such row: they double (RFC 6298, section 5.5). The first is the
	// time since anything was sent. BackOffFrames are the retransmissions.
	BackOff       []time.Duration
	BackOffFrames []int
	// ACKTimes is the time from a segment of the other side to the ACK without
	// data that this side answered with. Captured at this side's host it is the
	// delay of its ACKs, and at the other's the round-trip time with it.
	ACKTimes Times
	// MaxInFlight is the highest number of bytes in flight, and MaxWindow the
	// largest window that this side offered, in bytes.
	MaxInFlight, MaxWindow int
	// Closed is for how long the window was closed in all.
	Closed time.Duration
	// FIN and RST are the frames of the first of each, or 0.
	FIN, RST int
	// ResetReason says what the reset was for, if there was one.
	ResetReason string

	passed        sent          // this point of capture
	silentSince   time.Duration // when data was sent last
	highest       uint32        // behind all data sent
	spoke         bool          // highest and silentSince are valid
	sacked        bool          // the last ACK for this side had SACK blocks behind
	sackedTo      uint32
	timeoutSeq    uint32 // what is repeated by timeouts
	timeoutLength int
	row           []time.Duration
	rowFrames     []int
	lastTimeout   time.Duration
	recoverTo     uint32 // behind what had been sent at the last timeout
	recovering    bool
	acked         uint32 // by the other side
	ackedAny      bool
	ackedLength   int // of the largest segment with data that was acknowledged as a whole
	closedSince   time.Duration
	closed        bool
	rtt           time.Duration // smoothed
	lengths       [8]sentLength // of the segments in flight that were sent last
	lengthsAt     int
	last          Mark // of the last segment
}

type sentLength struct {
	next   uint32
	length int
}

// Conversation is what a capture tells about one connection.
type Conversation struct {
	Stream    int
	Interface string
	// Client sent the SYN, or, if that was not captured, the first segment.
	Client, Server        Side
	FirstFrame, LastFrame int
	Start, End            time.Duration
	Completeness          Completeness
	InitialRTT            time.Duration
	// ClosedFirst is the address of the side whose FIN or RST was the first;
	// not valid if there was none.
	ClosedFirst netip.AddrPort
	Findings    []Finding
}

// Conversations sums up each connection of a capture, in the order of their first
// segments. The memory for each does not grow with its length.
func Conversations(segments iter.Seq[Classified]) []Conversation {
	var all []*Conversation
	byStream := make(map[int]*Conversation)
	for s := range segments {
		c := byStream[s.Stream]
		if c == nil {
			c = &Conversation{Stream: s.Stream, Interface: s.Interface, FirstFrame: s.Frame, Start: s.At}
			c.Client.Addr, c.Server.Addr = s.Src, s.Dst
			if SYNACKs(s.Segment) {
				c.Client.Addr, c.Server.Addr = s.Dst, s.Src
			}
			byStream[s.Stream] = c
			all = append(all, c)
		}
		c.add(&s)
	}
	done := make([]Conversation, len(all))
	for i, c := range all {
		c.finish()
		done[i] = *c
	}
	return done
}

func (c *Conversation) add(s *Classified) {
	own, other := &c.Client, &c.Server
	if s.Src != own.Addr {
		own, other = other, own
	}
	c.LastFrame, c.End = s.Frame, s.At
	c.Completeness, c.InitialRTT = s.Completeness, s.InitialRTT
	own.count(s)
	own.close(s, c, other)
	own.learn(s)
	if s.Flags&FlagACK != 0 {
		other.acknowledge(s)
	}
	own.repeat(s)
	own.send(s)
	own.last = s.Marks
}

func (d *Side) count(s *Classified) {
	d.Segments++
	d.Bytes += int64(s.Length)
	if s.Length > 0 {
		d.DataSegments++
	}
	for i := range d.Marks {
		if s.Marks&(1<<i) != 0 {
			d.Marks[i].add(s.Frame)
		}
	}
	d.MaxInFlight = max(d.MaxInFlight, s.BytesInFlight)
	d.MaxWindow = max(d.MaxWindow, s.WindowSize)
	if s.Length == 0 && s.AcksFrame != 0 && s.Flags&(FlagSYN|FlagFIN|FlagRST) == 0 {
		d.ACKTimes.add(s.RTT)
	}
	switch zero := s.Marks.Has(MarkZeroWindow); {
	case zero && !d.closed:
		d.closed, d.closedSince = true, s.At
	case !zero && d.closed && s.Window != 0:
		d.Closed += s.At - d.closedSince
		d.closed = false
	}
}

// close notes the ends of the connection and what a reset was for.
func (d *Side) close(s *Classified, c *Conversation, other *Side) {
	first := false
	if s.Flags&FlagFIN != 0 && d.FIN == 0 {
		d.FIN, first = s.Frame, true
	}
	if s.Flags&FlagRST != 0 && d.RST == 0 {
		d.RST, first = s.Frame, true
		d.ResetReason = d.resetReason(s, other)
	}
	if first && !c.ClosedFirst.IsValid() {
		c.ClosedFirst = d.Addr
	}
}

const refuses = "refuses the connection"

// resetReason goes by the rules for resets (RFC 9293, section 3.5.2): one that
// answers a segment with ACK takes its number from there and has no ACK.
func (d *Side) resetReason(s *Classified, other *Side) string {
	switch {
	case other.SYN && !d.SYN && s.Flags&FlagACK != 0:
		return refuses
	case s.Flags&FlagACK == 0:
		return "answers a segment for which there was no connection any more"
	case other.FIN != 0:
		return "gives up a connection that the other side had closed"
	case d.last.Has(MarkKeepAlive):
		return "gives up the connection: its keep-alives were not answered"
	default:
		return "gives up the connection: closed with data unread, or with SO_LINGER 0"
	}
}

func (d *Side) learn(s *Classified) {
	if s.Flags&FlagSYN == 0 {
		return
	}
	if !d.SYN {
		d.SYN, d.ISN, d.Offered = true, s.Seq, s.Options
	}
}

// acknowledge takes note of an ACK of the other side.
func (d *Side) acknowledge(s *Classified) {
	if !d.ackedAny || before(d.acked, s.Ack) {
		d.acked, d.ackedAny = s.Ack, true
		for _, l := range d.lengths {
			if l.length > 0 && !before(s.Ack, l.next) {
				d.ackedLength = max(d.ackedLength, l.length)
			}
		}
	}
	if s.AcksFrame != 0 {
		if d.rtt == 0 {
			d.rtt = s.RTT
		}
		d.rtt += (s.RTT - d.rtt) / 8 // RFC 6298, section 2
	}
	blocks := s.Options.SACK()
	d.sacked = false
	for _, b := range blocks {
		if before(s.Ack, b.Left) && (!d.sacked || before(d.sackedTo, b.Right)) {
			d.sacked, d.sackedTo = true, b.Right
		}
	}
}

// minRTO is the least that Linux adds to the round-trip time (TCP_RTO_MIN).
const minRTO = 200 * time.Millisecond

// cause judges a retransmission by what its sender had heard.
func (d *Side) cause(s *Classified) Cause {
	waited := s.At - d.silentSince
	switch {
	case s.Flags&FlagSYN != 0:
		return CauseSYN
	case s.Marks.Has(MarkSpuriousRetransmission):
		return CauseSpurious
	case s.Marks.Has(MarkFastRetransmission), d.sacked && before(s.Seq, d.sackedTo):
		return CauseFast
	case waited >= d.rtt+minRTO:
		return CauseRTO
	case d.recovering && before(s.Seq, d.recoverTo):
		return CauseRecovery
	case s.Seq+s.size() == d.highest:
		return CauseTLP
	default:
		return CauseRecovery
	}
}

func (c *Classified) size() uint32 { return uint32(c.SequenceLength()) }

// maxRanges limits what is remembered of what passed: ranges with gaps between them.
const maxRanges = 1000

// repeat tells retransmissions from reordering.
func (d *Side) repeat(s *Classified) {
	n := s.SequenceLength()
	if n == 0 || s.Flags&FlagRST != 0 || s.Marks&(MarkKeepAlive|MarkZeroWindowProbe) != 0 {
		return
	}
	passed := d.passed.add(s.Segment, int64(n)) > 0
	if len(d.passed.ranges) > maxRanges {
		d.passed.ranges = slices.Delete(d.passed.ranges, 0, maxRanges/2)
	}
	filled := s.Marks.Has(MarkRetransmission) && !passed
	switch {
	case !passed && !filled:
		if s.Marks.Has(MarkOutOfOrder) {
			d.Reordered.add(s.Frame)
		}
		return
	case s.Flags&FlagSYN != 0 || s.Marks.Has(MarkSpuriousRetransmission):
		// Nothing was lost, or it cannot be known where.
	case passed:
		d.Repeated.add(s.Frame)
	default:
		d.Filled.add(s.Frame)
	}
	d.retransmit(s)
}

func (d *Side) retransmit(s *Classified) {
	cause := d.cause(s)
	d.Causes[cause].add(s.Frame)
	if cause != CauseRTO && cause != CauseSYN {
		return
	}
	d.recovering, d.recoverTo = true, d.highest
	since := d.lastTimeout
	if len(d.row) == 0 || s.Seq != d.timeoutSeq {
		d.timeoutSeq, d.row, d.rowFrames = s.Seq, nil, nil
		since = d.silentSince
	}
	d.timeoutLength = s.Length
	d.lastTimeout = s.At
	if len(d.row) < maxFrames {
		d.row, d.rowFrames = append(d.row, s.At-since), append(d.rowFrames, s.Frame)
	}
	if len(d.row) > len(d.BackOff) {
		d.BackOff, d.BackOffFrames = d.row, d.rowFrames
	}
}

func (d *Side) send(s *Classified) {
	n := s.size()
	if n == 0 || s.Flags&FlagRST != 0 || s.Marks&(MarkKeepAlive|MarkZeroWindowProbe) != 0 {
		return
	}
	d.silentSince = s.At
	if end := s.Seq + n; !d.spoke || before(d.highest, end) {
		d.spoke, d.highest = true, end
		d.lengths[d.lengthsAt%len(d.lengths)] = sentLength{end, s.Length}
		d.lengthsAt++
	}
}

// Finding is something about a conversation that a person wants to know.
type Finding struct {
	// Kind is a fixed word, such as "lossy-link".
	Kind string
	// Text says what was seen and what it likely means.
	Text string
	// Frames are the first frames where it was seen.
	Frames []int
}

func (c *Conversation) find(kind string, frames []int, format string, args ...any) {
	c.Findings = append(c.Findings, Finding{kind, fmt.Sprintf(format, args...), frames})
}

func (c *Conversation) finish() {
	for _, d := range []*Side{&c.Client, &c.Server} {
		if d.closed {
			d.Closed += c.End - d.closedSince
		}
	}
	c.findOpening()
	for _, pair := range [][2]*Side{{&c.Client, &c.Server}, {&c.Server, &c.Client}} {
		c.findLoss(pair[0])
		c.findBlackHole(pair[0])
		c.findWindow(pair[0], pair[1])
	}
	c.findReset()
	c.findGaps()
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func (c *Conversation) findOpening() {
	if !c.Client.SYN || c.Server.SYN {
		return
	}
	syns := c.Client.Causes[CauseSYN]
	frames := append([]int{c.FirstFrame}, syns.First...)
	switch {
	case c.Server.Segments == 0:
		c.find("unanswered-syn", frames, "%v sent its SYN %s and %v never answered: the host is down, the way to it or back is broken, or a firewall drops the packets",
			c.Client.Addr, plural(syns.Count+1, "time"), c.Server.Addr)
	case c.Server.RST != 0:
		c.find("refused", []int{c.FirstFrame, c.Server.RST}, "%v answered the SYN with a reset: nobody listens on port %d there, or a firewall rejects it",
			c.Server.Addr, c.Server.Addr.Port())
	}
}

func (d *Side) marked(m Mark) Frames {
	for i := range d.Marks {
		if m == 1<<i {
			return d.Marks[i]
		}
	}
	return Frames{}
}

func (c *Conversation) findLoss(d *Side) {
	spurious := d.Causes[CauseSpurious]
	if n := d.Repeated.Count + d.Filled.Count; n > 0 && d.DataSegments > 0 {
		frames := slices.Concat(d.Repeated.First, d.Filled.First)
		slices.Sort(frames)
		c.find("lossy-link", frames[:min(len(frames), maxFrames)], "%v sent %s again, %.1f %% of those with data (%s): %s",
			d.Addr, plural(n, "segment"), 100*float64(n)/float64(d.DataSegments), d.causesText(), d.whereLost(c.other(d)))
	}
	if spurious.Count > 0 {
		c.find("spurious-retransmission", spurious.First, "%v sent %s again that had been acknowledged: ACKs were lost or late, or its timeout is too short",
			d.Addr, plural(spurious.Count, "segment"))
	}
	if f := d.Reordered; f.Count > 0 {
		c.find("reordering", f.First, "%s of %v came out of order: the path from there to the point of capture reorders", plural(f.Count, "segment"), d.Addr)
	}
}

func (d *Side) causesText() string {
	var parts []string
	for _, cause := range []Cause{CauseFast, CauseRTO, CauseTLP, CauseRecovery} {
		if n := d.Causes[cause].Count; n > 0 {
			parts = append(parts, fmt.Sprintf("%v %d", cause, n))
		}
	}
	return strings.Join(parts, ", ")
}

func (d *Side) whereLost(receiver *Side) string {
	switch {
	case d.Filled.Count == 0:
		return fmt.Sprintf("the link loses packets between the point of capture and %v, or its ACKs on the way back", receiver.Addr)
	case d.Repeated.Count == 0:
		return "the link loses packets in front of the point of capture"
	default:
		return fmt.Sprintf("the link loses packets, %d in front of the point of capture and %d behind it", d.Filled.Count, d.Repeated.Count)
	}
}

// findBlackHole: what is repeated without end is larger than all that ever arrived,
// and smaller segments do arrive (RFC 2923, section 2.1).
func (c *Conversation) findBlackHole(d *Side) {
	const few, smallest = 2, 536
	if len(d.BackOff) < few || d.timeoutLength < smallest || d.timeoutLength <= d.ackedLength || !c.other(d).heard() {
		return
	}
	if d.ackedAny && before(d.timeoutSeq, d.acked) {
		return // it arrived in the end
	}
	c.find("mtu-black-hole", d.BackOffFrames, "%v sent %d bytes %s, never acknowledged, while smaller segments arrived (up to %d bytes of data): a link on the path has a smaller MTU, and the ICMP message that would say so does not come through",
		d.Addr, d.timeoutLength, plural(len(d.BackOff)+1, "time"), d.ackedLength)
}

func (d *Side) heard() bool { return d.Segments > 0 && d.RST == 0 }

func (c *Conversation) findWindow(d, sender *Side) {
	if f := d.marked(MarkZeroWindow); f.Count > 0 {
		c.find("closed-window", f.First, "%v closed its receive window for %v in all: the program there reads more slowly than %v sends", d.Addr, d.Closed, sender.Addr)
	}
	if f := sender.marked(MarkWindowFull); f.Count > 0 {
		c.find("full-window", f.First, "%v filled the window of %v %s: the receive buffer limits the throughput", sender.Addr, d.Addr, plural(f.Count, "time"))
	}
}

func (c *Conversation) findReset() {
	for _, d := range []*Side{&c.Client, &c.Server} {
		if d.RST != 0 && d.ResetReason != refuses {
			c.find("reset", []int{d.RST}, "%v sent a reset: it %s", d.Addr, d.ResetReason)
		}
	}
}

func (c *Conversation) findGaps() {
	for _, d := range []*Side{&c.Client, &c.Server} {
		if f := d.marked(MarkACKLostSegment); f.Count > 0 {
			c.find("incomplete-capture", f.First, "%v acknowledged what was not captured: the capture is missing packets", d.Addr)
		}
	}
}

func (c *Conversation) other(d *Side) *Side {
	if d == &c.Client {
		return &c.Server
	}
	return &c.Client
}
