package analysis

import (
	"iter"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// maxFrames limits the frame numbers that are kept with anything that is counted.
const maxFrames = 20

// Frames counts frames and keeps the numbers of the first twenty.
type Frames struct {
	Count int   `json:"count"`           // of all
	First []int `json:"first,omitempty"` // in order
}

func (f *Frames) add(frame int) {
	f.Count++
	if len(f.First) < maxFrames {
		f.First = append(f.First, frame)
	}
}

// Offer is what a host's SYN said.
type Offer struct {
	Frame int    `json:"frame"` // of the first transmission
	ISN   uint32 `json:"isn"`   // the initial sequence number
	// Length is how much data it has (TCP Fast Open, RFC 7413).
	Length int `json:"length,omitempty"`
	// Window is in bytes; that of a SYN is never scaled (RFC 7323, section 2.2).
	Window  int     `json:"window"`
	Options Options `json:"options"` // of the SYN
}

// Window is the range of receive windows that a host offered after its SYN, in
// bytes.
type Window struct {
	Min int `json:"min"`
	Max int `json:"max"`
	// ScaleKnown is false if no SYN was captured: then the windows are those in
	// the header, and in truth may be larger by a factor of up to 2¹⁴.
	ScaleKnown bool `json:"scale_known"`
}

// Side is one host of a conversation: what it sent, and what follows from that.
type Side struct {
	Addr netip.AddrPort `json:"addr"` // of this host
	// SYN is nil if none was captured.
	SYN *Offer `json:"syn,omitempty"`
	// Segments and Bytes count all that was sent, repetitions too; DataSegments
	// those with data. BytesAgain had passed the capture point before.
	Segments     int   `json:"segments"`
	DataSegments int   `json:"data_segments"`
	Bytes        int64 `json:"bytes"`
	BytesAgain   int64 `json:"bytes_again,omitempty"`
	// Goodput is in bit/s: bytes without retransmissions, over the time from
	// the first segment with data to the last ACK of data, or the last data.
	Goodput int64 `json:"goodput_bps,omitempty"`

	// Marks counts frames by mark: index i belongs to Mark 1<<i.
	Marks MarkFrames `json:"marks,omitzero"`
	// Repeated are the segments that passed this capture point before, as
	// [Retransmissions] tells: what was lost was lost after it. Filled are those
	// that Wireshark takes for retransmissions, and that had not: what was lost
	// was lost in front. Neither SYNs nor spurious retransmissions are among them.
	// Reordered came late without having passed before.
	//
	// Wireshark takes a retransmission within the initial round-trip time for
	// out of order, even if it has seen the segment before. It is Repeated here.
	Repeated  Frames `json:"repeated,omitzero"`
	Filled    Frames `json:"filled,omitzero"`
	Reordered Frames `json:"reordered,omitzero"`
	// Copies are packets that are in the capture more than once: they passed two of its points, or the network duplicated
	// them. IPv4's identification and the TTL tell, and where they do not, that less than 1 ms is between them. They
	// are not counted as retransmitted, but for Wireshark's marks.
	Copies Frames `json:"copies,omitzero"`
	// Unneeded counts the D-SACK blocks of the other side about what was sent again: it had got
	// that already (RFC 2883). The frames are the other side's.
	Unneeded Frames `json:"unneeded,omitzero"`
	// Duplicated counts those about what this side has sent once, as far as it passed here.
	Duplicated Frames `json:"duplicated,omitzero"`
	// Causes counts all retransmissions by [Cause]. KernelKnows is for how many
	// of them the kernel's own events gave the cause.
	Causes      CauseFrames `json:"causes,omitzero"`
	KernelKnows int         `json:"kernel_knows,omitempty"`
	// Resent are all retransmissions, in order, with their causes; only [AnalyzeEach] and [Choice.Frames] have them.
	Resent []Resent `json:"-"`
	// BackOff are the times between successive timeouts of one segment, the
	// longest such row: they double (RFC 6298, section 5.5). The first is the
	// time since anything was sent. BackOffFrames are the retransmissions.
	BackOff       []time.Duration `json:"back_off_ns,omitempty"`
	BackOffFrames []int           `json:"back_off_frames,omitempty"`
	// Stalled is the sum of all waits for a timeout of data or FIN.
	Stalled time.Duration `json:"stalled_ns,omitempty"`

	// RTT is measured for each segment from its only transmission to the first
	// ACK or SACK block that covers it. As Karn's algorithm wants it (RFC 6298,
	// section 3), an ACK that covers anything that was retransmitted does not
	// count, nor what waited after a hole. It is the time from the point of
	// capture to the other host and back: at the sender, all of the round trip.
	RTT Times `json:"rtt,omitzero"`
	// ACKDelays is measured for each ACK without data of this side that
	// acknowledges something, from the oldest segment that it covers. Captured
	// at this host it is how long ACKs are delayed (at most 500 ms, RFC 9293,
	// section 3.8.6.3); elsewhere, the way there and back comes on top.
	ACKDelays Times `json:"ack_delays,omitzero"`
	// MaxInFlight is the highest number of bytes in flight.
	MaxInFlight int `json:"max_in_flight,omitempty"`
	// Answers is the time from the last byte of what the other side had sent to the first byte that this side sent then, as
	// it passed the capture point: the way there and back, and what the program took.
	Answers Times   `json:"answers,omitzero"`
	Window  *Window `json:"window,omitempty"` // nil if none was offered
	// WindowClosed is for how long the window was closed in all.
	WindowClosed time.Duration `json:"window_closed_ns,omitempty"`
	// Limited counts segments after which less than one segment of the other
	// side's window was left, and at least half of it was in flight.
	Limited int `json:"window_limited_segments,omitempty"`
	// CE are packets that a queue had marked (congestion experienced), and ECE
	// the segments that say that such were received (RFC 3168).
	CE  Frames `json:"ce,omitzero"`
	ECE Frames `json:"ece,omitzero"`
	// With accurate ECN (RFC 9768) ACE are the segments whose counter has grown,
	// CEReported by how much in all, at least (it counts modulo 8), and
	// CEBytesReported how many bytes of payload its option says came with CE.
	ACE             Frames `json:"ace,omitzero"`
	CEReported      int    `json:"ce_reported,omitempty"`
	CEBytesReported int64  `json:"ce_bytes_reported,omitempty"`
	// ICMP are the errors that quote segments of this side, at most eight kinds of them.
	ICMP []ICMPError `json:"icmp,omitempty"`
	// FIN and Reset are nil if there was none.
	FIN   *FIN   `json:"fin,omitempty"`
	Reset *Reset `json:"reset,omitempty"`
}

// Conversation is one connection, as far as it was captured.
type Conversation struct {
	Stream    int    `json:"stream"`              // see [Classified]
	Interface string `json:"interface,omitempty"` // where it was captured; empty in a pcap file
	// Client sent the SYN, or, if that was not captured, has the higher port, or sent the first segment.
	Client Side `json:"client"`
	Server Side `json:"server"`

	FirstFrame int `json:"first_frame"` // its first frame
	LastFrame  int `json:"last_frame"`  // and its last
	// Time is that of the first frame, unless it is nonsense; Start and End are
	// since the first packet of the capture.
	Time  time.Time     `json:"time,omitzero"`
	Start time.Duration `json:"start_ns"`
	End   time.Duration `json:"end_ns"`

	Completeness Completeness `json:"completeness"` // which parts of it were captured
	// InitialRTT is the time of the handshake (see [Classified]); 0 if it was not
	// captured as a whole. ServerRTT and
	// ClientRTT are its parts: from the capture point to the server and back,
	// and to the client and back. They show where the capture was taken; they
	// are 0 if a SYN or SYN-ACK was transmitted more than once.
	InitialRTT time.Duration `json:"handshake_rtt_ns,omitempty"`
	ServerRTT  time.Duration `json:"server_rtt_ns,omitempty"`
	ClientRTT  time.Duration `json:"client_rtt_ns,omitempty"`

	// SimultaneousOpen: both sent SYNs of their own accord (RFC 9293, figure 7).
	SimultaneousOpen bool `json:"simultaneous_open,omitempty"`

	// ECN is what the handshake has agreed on.
	ECN ECNMode `json:"ecn,omitzero"`

	Close    Close     `json:"close"`              // how it ended
	Findings []Finding `json:"findings,omitempty"` // what a person should look at

	Frames []Passage `json:"frames,omitempty"` // each of them, if they were asked for, see [Choice]
}

// Conversations sums up each connection of a capture, in the order of their first
// segments. The memory for each does not grow with its length.
//
// The kernel's events, if there are any, say why segments were retransmitted; see
// [KernelEvent].
func Conversations(segments iter.Seq[Classified], events ...KernelEvent) []Conversation {
	var all []Conversation
	b := newBuilder(events, func(c *Conversation) { all = append(all, *c) })
	for s := range segments {
		b.add(&s)
	}
	all = slices.Grow(all, len(b.open))
	b.finish()
	return all
}

// name is how a side is called in sentences.
func (c *Conversation) name(d *Side) string {
	if d == &c.Client {
		return "the client"
	}
	return "the server"
}

func (c *Conversation) sides() [2]*Side { return [2]*Side{&c.Client, &c.Server} }

func (c *Conversation) other(d *Side) *Side {
	if d == &c.Client {
		return &c.Server
	}
	return &c.Client
}

// conversationTracker makes a Conversation; client and server make its sides.
type conversationTracker struct {
	Conversation
	client, server sideTracker
	ecn            ecnState

	timeline
	keepFrames    bool
	first, second string        // the interfaces
	captureEnd    time.Duration // of the whole capture
	oneWayCapture bool          // no conversation on its interface has both directions
}

// builder follows the conversations of a capture, and hands on each when it is over.
type builder struct {
	open   map[int]*follower // by stream
	done   func(*Conversation)
	both   map[string]bool // the interfaces of what was handed on and had both directions
	end    time.Duration   // the latest time so far
	kernel map[Flow][]kernelRetransmission

	frames bool // are kept
	resent bool // are kept, see Side.Resent
	spare  conversationTracker
}

func newBuilder(events []KernelEvent, done func(*Conversation)) *builder {
	return &builder{open: make(map[int]*follower), done: done, both: make(map[string]bool), kernel: kernelRetransmissions(events)}
}

func (b *builder) add(s *Classified) {
	b.end = max(b.end, s.At)
	f := b.open[s.Stream]
	if f == nil {
		f = &follower{}
		b.open[s.Stream] = f
	}
	if f.tracker == nil && len(f.waiting) < maxWaiting {
		f.waiting = append(f.waiting, *s)
		return
	}
	b.follow(f).add(s)
}

// follower follows a conversation. Of a scan or a flood there are many, of a segment or two each: a tracker, which is large, is
// made when there are more.
type follower struct {
	tracker *conversationTracker
	waiting []Classified
}

// maxWaiting is how many segments wait for a tracker.
const maxWaiting = 2

// follow is the tracker, with all segments so far.
func (b *builder) follow(f *follower) *conversationTracker {
	if f.tracker == nil {
		f.tracker = new(conversationTracker)
		b.track(f.tracker, f.waiting)
		f.waiting = nil
	}
	return f.tracker
}

// track has a tracker begin with some segments.
func (b *builder) track(c *conversationTracker, segments []Classified) {
	s := &segments[0]
	*c = conversationTracker{Conversation: Conversation{
		Stream: s.Stream, Interface: s.Interface, FirstFrame: s.Frame, Time: writable(s.Time), Start: s.At, End: s.At,
	}}
	client := clientOf(s)
	c.first, c.keepFrames = s.Interface, b.frames
	c.Client.Addr, c.Server.Addr = client.Src, client.Dst
	resent := b.resent || b.frames // of which the frames take their causes
	c.client = sideTracker{keepResent: resent, Side: &c.Client, name: c.name(&c.Client), other: &c.server, kernel: b.kernel[client]}
	c.server = sideTracker{keepResent: resent, Side: &c.Server, name: c.name(&c.Server), other: &c.client, kernel: b.kernel[client.Reverse()]}
	for i := range segments {
		c.add(&segments[i])
	}
}

// passes names the interfaces, where each has one direction.
func (c *conversationTracker) passes(name string) {
	if name == c.first || name == c.second {
		return
	}
	c.second = name
	c.Interface = c.first + " + " + name
}

// quoted takes note of an ICMP error about a segment of a conversation.
func (b *builder) quoted(stream int, q *quotation) {
	b.end = max(b.end, q.At)
	if f := b.open[stream]; f != nil {
		c := b.follow(f)
		if q.Src == c.Client.Addr {
			c.client.quoted(q)
		} else {
			c.server.quoted(q)
		}
	}
}

// clientOf is the direction of the client's segments: who sent the SYN, and where that was not captured, who has the higher port.
// Servers have well-known ports, and clients the ephemeral ones above (RFC 6335).
func clientOf(s *Classified) Flow {
	flow := s.Flow()
	switch {
	case SYNs(s.Segment):
		return flow
	case SYNACKs(s.Segment), s.Src.Port() < s.Dst.Port():
		return flow.Reverse()
	}
	return flow
}

// over hands on conversations that both sides have closed, or one has reset, or of which there is nothing but SYNs.
func (b *builder) over(streams []int) {
	streams = slices.DeleteFunc(streams, func(stream int) bool { return b.open[stream] == nil })
	for _, stream := range streams {
		if f := b.open[stream]; f.seesBoth() {
			b.both[f.name()] = true
		}
	}
	b.handOn(streams)
}

// finish hands on the others.
func (b *builder) finish() { b.handOn(slices.Collect(maps.Keys(b.open))) }

func (b *builder) handOn(streams []int) {
	oneWay := b.oneWay()
	slices.Sort(streams)
	for _, stream := range streams {
		f := b.open[stream]
		delete(b.open, stream)
		c := f.tracker
		if c == nil {
			c = &b.spare
			b.track(c, f.waiting)
		}
		c.captureEnd = b.end
		c.oneWayCapture = oneWay[c.Interface]
		b.done(c.finish())
	}
}

func (c *conversationTracker) add(s *Classified) {
	own := &c.client
	if s.Src != own.Addr {
		own = &c.server
	}
	copied := c.see(s, own)
	if c.keepFrames {
		c.keep(s, own, copied)
	}
}

// see learns from a segment, unless it is the copy of another.
func (c *conversationTracker) see(s *Classified, own *sideTracker) (copied bool) {
	other := own.other
	c.LastFrame = s.Frame
	c.Completeness = s.Completeness
	if s.Completeness&SawSYNACK != 0 {
		c.InitialRTT = s.InitialRTT
	}
	c.clock(s)
	c.passes(s.Interface)
	own.probing = own.probes(s)
	copied = own.copied(s)
	own.count(s)
	if copied && c.back.Count == 0 {
		own.Copies.add(s.Frame)
		own.BytesAgain += int64(s.Length)
		return true // what it says was said
	}
	c.handshake(s, own)
	c.exchange(s, own)
	own.limit(s, other)
	c.close(s, own, other)
	own.learn(s)
	c.ecn.see(&s.Segment)
	own.report(s, other, c.ecn.hasSYN || c.ecn.hasSYNACK)
	own.window(s, other)
	if s.Flags&FlagACK != 0 {
		own.acknowledge(s, other)
	}
	c.repeat(s, own)
	own.send(s)
	own.listen(s, other)
	return copied
}

// finish returns what was tracked. It is called once. The tracker may be used again after that.
func (c *conversationTracker) finish() *Conversation {
	for _, d := range c.trackers() {
		d.finish(c.End)
		c.giveCauses(d.Resent)
	}
	c.finishECN()
	c.SimultaneousOpen = c.client.bothOpen && c.server.bothOpen
	c.Close.finish(c)
	c.find()
	return &c.Conversation
}

func (c *conversationTracker) trackers() [2]*sideTracker {
	return [2]*sideTracker{&c.client, &c.server}
}

// handshake takes the time on either side of the capture point.
func (c *conversationTracker) handshake(s *Classified, own *sideTracker) {
	client, server := &c.client, &c.server
	switch {
	case own == client && SYNs(s.Segment):
		client.syns++
		client.synAt = s.At
	case own == server && SYNACKs(s.Segment):
		server.syns++
		server.synAt = s.At
		if client.syns == 1 && server.syns == 1 {
			c.ServerRTT = max(0, s.At-client.synAt)
		} else {
			c.ServerRTT = 0 // Karn: which of them it answers cannot be known
		}
		server.away = c.ServerRTT
	case own == client && server.syns > 0 && !client.spoken && s.Flags&(FlagACK|FlagSYN|FlagRST) == FlagACK:
		client.spoken = true
		if server.syns == 1 {
			c.ClientRTT = max(0, s.At-server.synAt)
			client.away = c.ClientRTT
		}
	}
	if server.syns > 1 {
		c.ClientRTT = 0
	}
}
