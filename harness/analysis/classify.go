package analysis

import (
	"iter"
	"net/netip"
	"strings"
	"time"
)

// Mark is what a segment was found to be: a set of Wireshark's tcp.analysis flags.
type Mark uint16

// The marks, each with Wireshark's name and rule. "Expected" is the sequence number
// after the highest that was seen in the segment's direction.
const (
	// MarkRetransmission: it has data, SYN or FIN before what was expected, and
	// is neither a keep-alive nor out of order. As with Wireshark's filter, fast
	// and spurious retransmissions have this mark too.
	MarkRetransmission Mark = 1 << iota
	// MarkFastRetransmission: it begins where two or more duplicate ACKs point, and
	// follows the last of them within 20 ms.
	MarkFastRetransmission
	// MarkSpuriousRetransmission: all its data had been acknowledged before.
	MarkSpuriousRetransmission
	// MarkOutOfOrder: it came later than its successors, but by less than the
	// initial round-trip time (3 ms if that is not known).
	MarkOutOfOrder
	// MarkDuplicateACK: no data, and sequence number, acknowledgement and window as
	// in the segment before.
	MarkDuplicateACK
	// MarkLostSegment: it begins after what was expected; something in between was
	// not captured.
	MarkLostSegment
	// MarkACKLostSegment: it acknowledges what was not captured.
	MarkACKLostSegment
	// MarkZeroWindow: its sender takes no more data.
	MarkZeroWindow
	// MarkWindowFull: it fills the receiver's window to the last byte.
	MarkWindowFull
	// MarkWindowUpdate: no data, and only the window is new.
	MarkWindowUpdate
	// MarkZeroWindowProbe: one new byte into a window that is closed.
	MarkZeroWindowProbe
	// MarkZeroWindowProbeACK: the answer to that, the window still being closed.
	MarkZeroWindowProbeACK
	// MarkKeepAlive: no or one byte, one before what was expected.
	MarkKeepAlive
	// MarkKeepAliveACK: the answer to that.
	MarkKeepAliveACK
	// MarkReusedPorts: a SYN on addresses and ports that were seen before. Wireshark
	// marks the repetition of a SYN as well.
	MarkReusedPorts
)

var markNames = [...]string{
	"retransmission", "fast_retransmission", "spurious_retransmission", "out_of_order",
	"duplicate_ack", "lost_segment", "ack_lost_segment",
	"zero_window", "window_full", "window_update", "zero_window_probe", "zero_window_probe_ack",
	"keep_alive", "keep_alive_ack", "reused_ports",
}

// Has reports whether all of the marks are set.
func (m Mark) Has(marks Mark) bool { return m&marks == marks }

// Names returns Wireshark's names of the marks that are set, without
// "tcp.analysis.".
func (m Mark) Names() []string {
	var names []string
	for i, name := range markNames {
		if m&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// String returns the names, such as "retransmission fast_retransmission".
func (m Mark) String() string { return strings.Join(m.Names(), " ") }

// Completeness says which parts of a connection were captured, as Wireshark's
// tcp.completeness does.
type Completeness uint8

const (
	SawSYN    Completeness = 1 << iota // as the very first segment of the connection
	SawSYNACK                          // SYN with ACK
	SawACK                             // a segment with ACK but neither SYN nor data
	SawData                            // a segment with data
	SawFIN                             // FIN with ACK
	SawRST                             // a reset
)

var completenessNames = [...]string{"SYN", "SYN-ACK", "ACK", "DATA", "FIN", "RST"}

// String returns what was captured, such as "SYN SYN-ACK ACK".
func (c Completeness) String() string { return strings.Join(c.names(), " ") }

func (c Completeness) names() []string {
	var names []string
	for i, name := range completenessNames {
		if c&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Classified is a segment with what follows from it and the segments before it.
type Classified struct {
	Segment
	Marks Mark
	// Stream is the number of the connection, from 0, in the order of their
	// first segments (tcp.stream).
	Stream int
	// RelativeSeq and RelativeAck are counted from the initial sequence number,
	// or from one before the first number seen (tcp.seq, tcp.ack).
	// RelativeAck is 0 without ACK.
	RelativeSeq, RelativeAck uint32
	// WindowSize is the window in bytes (tcp.window_size). WindowScale is the
	// shift count that was applied to the window, 0 in a SYN; ScaleKnown is
	// false if the handshake was not captured, so that it may be larger.
	WindowSize  int
	WindowScale uint8
	ScaleKnown  bool

	// DuplicateNumber counts a row of duplicate ACKs, from 1, and DuplicateOf is
	// the frame that they repeat (tcp.analysis.duplicate_ack_num and _frame).
	DuplicateNumber, DuplicateOf int
	// AcksFrame is the frame whose last byte the segment acknowledges, and RTT
	// the time since then (tcp.analysis.acks_frame and ack_rtt). AcksFrame is 0
	// if there is none: a repeated ACK, one of a part of a segment, or of a
	// segment that was not captured.
	AcksFrame int
	RTT       time.Duration
	// InitialRTT is the time from the last SYN to the first ACK of the
	// connection without SYN; 0 if it was not captured so far
	// (tcp.analysis.initial_rtt). Out of order is measured against it.
	InitialRTT time.Duration
	// RTO is the time since the oldest unacknowledged segment of a
	// retransmission's direction was sent, which is RTOFrame (tcp.analysis.rto
	// and rto_frame). Not for fast and spurious retransmissions.
	RTO      time.Duration
	RTOFrame int
	// BytesInFlight are the bytes sent and neither acknowledged nor in a SACK
	// block, this segment's among them; 0 if it has no data, or after a lost
	// segment until the other side acknowledges again
	// (tcp.analysis.bytes_in_flight).
	BytesInFlight int
	// PushBytesSent are the bytes sent since the last PSH
	// (tcp.analysis.push_bytes_sent); 0 if BytesInFlight is.
	PushBytesSent int
	// Completeness is what was captured of the connection up to and including
	// this segment. Wireshark's tcp.completeness is the last one.
	Completeness Completeness
}

// Classify follows the connections in segments and marks each segment. See [Classifier]
// for the rules.
func Classify(segments iter.Seq[Segment]) iter.Seq[Classified] {
	return func(yield func(Classified) bool) {
		var c Classifier
		for s := range segments {
			if !yield(c.Add(s)) {
				return
			}
		}
	}
}

// Classifier follows connections and marks their segments, by the rules and with
// the precedence of Wireshark 4.0 (epan/dissectors/packet-tcp.c), with its default
// preferences. Its zero value is ready. Segments are given in the order of the
// capture, and each is judged by those before it alone.
//
// The memory does not grow with a connection: per direction, the state and at most
// 10,000 segments that were not acknowledged, as in Wireshark, of 24 bytes each.
//
// Marks and figures are Wireshark's, frame by frame, as the tests make sure with tshark,
// but for some differences that are meant: docs/analysis.md lists them, with the reasons.
type Classifier struct {
	// MergeInterfaces makes one connection of what several interfaces saw of
	// it, as Wireshark does.
	MergeInterfaces bool

	connections map[endpoints]*connection
	byAddress   map[endpoints][]*connection // those on interfaces with a name, whatever that is
	streams     int
	last        *connection // most segments follow their like

	// over, if not nil, is told which connections are forgotten, see forget.go.
	over func(streams []int)
}

// endpoints names a connection. The smaller address and port is the first.
type endpoints struct {
	name string // of the interface
	a, b netip.AddrPort
}

// Add classifies the next segment of the capture.
func (c *Classifier) Add(s Segment) Classified {
	out := Classified{Segment: s}
	conn, fresh := c.connectionOf(&out.Segment)
	if reused(conn, &out) {
		half := conn.half
		conn = c.open(conn.endpoints)
		conn.completeness = SawSYN
		c.join(conn, half)
	}
	conn.lastAt = out.At
	st := conn.step(&out)
	out.Stream = conn.stream
	st.classify()
	out.Completeness = conn.complete(&out.Segment, fresh)
	return out
}

func (c *Classifier) connectionOf(s *Segment) (conn *connection, fresh bool) {
	name := s.Interface
	if c.MergeInterfaces {
		name = ""
	}
	if l := c.last; l != nil && l.half == "" && l.name == name && (l.a == s.Src && l.b == s.Dst || l.b == s.Src && l.a == s.Dst) {
		return l, false
	}
	key := c.keyOf(s)
	conn = c.connections[key]
	if conn != nil && conn.half != "" && !conn.oneWayEach(s) {
		c.part(conn)
		conn = c.connections[key]
	}
	if conn == nil {
		conn = c.otherHalf(s, key)
	}
	if conn == nil {
		conn, fresh = c.open(key), true
	}
	c.last = conn
	return conn, fresh
}

func (c *Classifier) keyOf(s *Segment) endpoints {
	name := s.Interface
	if c.MergeInterfaces {
		name = ""
	}
	if s.Src.Compare(s.Dst) > 0 {
		return endpoints{name, s.Dst, s.Src}
	}
	return endpoints{name, s.Src, s.Dst}
}

// streamOf is the number of the connection that a segment would belong to, if there is one.
func (c *Classifier) streamOf(s *Segment) (stream int, known bool) {
	conn := c.connections[c.keyOf(s)]
	if conn == nil {
		return 0, false
	}
	return conn.stream, true
}

// open begins a connection; one that had the same addresses and ports is over.
func (c *Classifier) open(key endpoints) *connection {
	if c.connections == nil {
		c.connections = make(map[endpoints]*connection)
	}
	conn := newConnection(key, c.streams)
	c.streams++
	if c.over != nil && c.streams%sweepEvery == 0 && c.last != nil {
		c.forget(c.last.lastAt)
	}
	c.connections[key] = conn
	c.last = conn
	c.remember(conn)
	return conn
}
