package analysis

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Segment is a TCP segment as it passed an interface.
type Segment struct {
	// Frame is the packet's number in the file, from 1, as Wireshark counts.
	Frame int
	// Time is when the packet passed, in UTC, and At the same since the first
	// packet in the file, of whatever protocol (Wireshark's frame.time_relative).
	Time time.Time
	At   time.Duration
	// Interface is the name of the interface; empty in a pcap file, which has
	// no names. In a pcapng file it has the interface's number and section where
	// the name alone does not tell it from others: "eth0 (interface 1) (section 2)".
	Interface string
	// Direction is the packet's direction on the interface, if the file says so.
	Direction Direction

	Src, Dst netip.AddrPort // an IPv4 address in IPv6 stays as it is in the packet
	// TTL is IPv4's time to live or IPv6's hop limit, ECN the codepoint in the
	// IP header (RFC 3168): 0 not capable, 1 ECT(1), 2 ECT(0), 3 CE.
	TTL, ECN uint8
	// ID is IPv4's identification; 0 in IPv6. A packet that is captured twice has one, and a retransmission another, where
	// the sender counts them: Linux does, and sends 0 where it has no socket (RFC 6864 allows it any).
	ID uint16

	Seq, Ack uint32 // as in the header
	Flags    Flags  // the control bits
	// Window is the field in the header, not scaled.
	Window uint16
	// Length is the number of payload bytes, by the IP header (tcp.len).
	Length  int
	Options Options // of the TCP header

	farewell bool // it ends with what TLS says last, see saysFarewell
}

// Flow is one direction of a connection.
type Flow struct{ Src, Dst netip.AddrPort }

// Flow returns the direction that the segment belongs to.
func (s Segment) Flow() Flow { return Flow{s.Src, s.Dst} }

// Reverse returns the other direction of the same connection.
func (f Flow) Reverse() Flow { return Flow{f.Dst, f.Src} }

// String returns "192.0.2.1:4711 > 192.0.2.2:80".
func (f Flow) String() string { return f.Src.String() + " > " + f.Dst.String() }

// SequenceLength is how much of the sequence space the segment takes: its payload,
// and one each for SYN and FIN (RFC 9293, section 3.4).
func (s Segment) SequenceLength() int {
	n := s.Length
	if s.Flags&FlagSYN != 0 {
		n++
	}
	if s.Flags&FlagFIN != 0 {
		n++
	}
	return n
}

// NextSeq is the sequence number after the segment.
func (s Segment) NextSeq() uint32 { return s.Seq + uint32(s.SequenceLength()) }

// String returns a line such as
//
//	#4 0.020113s client/eth0 out 192.0.2.1:4711 > 192.0.2.2:80 [PSH ACK] seq 1 ack 1 len 1448 win 502
func (s Segment) String() string {
	var b strings.Builder
	b.WriteString(placed(s.Frame, s.At, s.Interface, s.Direction))
	fmt.Fprintf(&b, "%v [%v] seq %d", s.Flow(), s.Flags, s.Seq)
	if s.Flags&FlagACK != 0 {
		fmt.Fprintf(&b, " ack %d", s.Ack)
	}
	fmt.Fprintf(&b, " len %d win %d", s.Length, s.Window)
	return b.String()
}

// placed says when and where a packet passed, for what it is to follow.
func placed(frame int, at time.Duration, name string, direction Direction) string {
	s := fmt.Sprintf("#%d %.6fs ", frame, at.Seconds())
	if name != "" {
		s += name + " "
	}
	if direction != Unknown {
		s += direction.String() + " "
	}
	return s
}

// Direction says which way a packet passed an interface.
type Direction uint8

// The directions.
const (
	Unknown  Direction = iota // the file does not say
	Inbound                   // the interface received it
	Outbound                  // the interface sent it
)

func (d Direction) String() string {
	switch d {
	case Inbound:
		return "in"
	case Outbound:
		return "out"
	default:
		return "unknown"
	}
}

// Flags are the control bits of the TCP header.
type Flags uint16

// The control bits (RFC 9293, section 3.1).
const (
	FlagFIN Flags = 1 << iota // no more data from the sender
	FlagSYN                   // synchronize sequence numbers
	FlagRST                   // reset the connection
	FlagPSH                   // push function
	FlagACK                   // the acknowledgement number is valid
	FlagURG                   // the urgent pointer is valid
	FlagECE                   // RFC 3168
	FlagCWR                   // RFC 3168
	FlagAE                    // accurate ECN, RFC 9768; once NS
)

var flagNames = [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR", "AE"}

// String returns the names of the bits that are set, such as "SYN ACK".
func (f Flags) String() string {
	var names []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// Options are the options of the TCP header.
type Options struct {
	MSS            uint16 // maximum segment size in bytes; 0 if absent (RFC 9293)
	HasWindowScale bool   // WindowScale is valid
	WindowScale    uint8  // shift count (RFC 7323)
	SACKPermitted  bool   // RFC 2018
	HasTimestamps  bool   // RFC 7323
	TSVal, TSEcr   uint32 // valid with HasTimestamps
	HasAccECN      bool   // RFC 9768
	AccECN         AccECN // valid with HasAccECN
	// Incomplete: some options are missing, because the packet was cut off or
	// an option's length is not possible.
	Incomplete bool

	sack      [4]Block
	sackCount uint8
}

// Block is a range of sequence numbers in a SACK option: Right is the one after
// the last (RFC 2018).
type Block struct{ Left, Right uint32 }

// length is how many bytes of a segment the options take that Linux sends with data, with their padding.
func (o *Options) length() int {
	const timestamps, block = 12, 8
	n := 0
	if o.HasTimestamps {
		n += timestamps
	}
	if o.sackCount > 0 {
		n += 4 + block*int(o.sackCount)
	}
	return n
}

// SACK returns the blocks of the SACK option, in the order of the header: none
// to four.
func (o Options) SACK() []Block {
	if o.sackCount == 0 {
		return nil
	}
	return o.sack[:o.sackCount]
}
