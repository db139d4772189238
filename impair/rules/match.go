package rules

import (
	"fmt"
	"math"
	"net/netip"
	"strings"

	"github.com/tcplab/tcplab/harness/invalid"
)

// kind is a set of kinds of packets, as the BPF program sorts them.
type kind uint32

const (
	kindPacket kind = 1 << iota // any frame
	kindSegment
	kindSYN
	kindSYNACK
	kindHandshakeACK
	kindData
	kindRetransmission
	kindPureACK
	kindFIN
	kindRST
	kindICMPv4
	kindICMPv6
	kindTooBig
)

var kindNames = map[kind]string{
	kindPacket: "packet", kindSegment: "segment", kindSYN: "SYN", kindSYNACK: "SYN-ACK", kindHandshakeACK: "handshake ACK",
	kindData: "data", kindRetransmission: "retransmission", kindPureACK: "pure ACK", kindFIN: "FIN", kindRST: "RST",
	kindICMPv4: "ICMP", kindICMPv6: "ICMPv6", kindTooBig: "packet too big",
}

func (k kind) String() string {
	if name, ok := kindNames[k]; ok {
		return name
	}
	return fmt.Sprintf("kind %#x", uint32(k))
}

// A Match selects packets. It starts as one of this package's variables, and its methods return narrower ones:
//
//	rules.Data                                   // all segments with data, each time that they are sent
//	rules.Data.Number(5)                         // the fifth, once
//	rules.Data.Between(10, 19).Times(2)          // ten of them, and the first retransmission of each
//	rules.PureACK.Every(2).DestinationPort(80)   // the second, the fourth, ...
//	rules.Data.PayloadAtLeast(1400).Number(3)    // the third large one
//	rules.SYN.With(rules.ECE | rules.CWR)        // those that ask for ECN
//	rules.AnyPacket.ECN(rules.ECT0, rules.CE)    // and what they lead to
//
// A wrong one is refused when a rule with it is added.
type Match struct {
	kind                        kind
	source, destination         netip.Addr
	sourcePort, destinationPort uint16
	icmpType, icmpCode          int16 // -1: any
	hasPayload                  bool  // payloadMin and payloadMax are given
	payloadMin, payloadMax      uint16
	option                      uint8 // of the TCP header: 0 is not given
	ecn                         uint8 // a bit for each codepoint; 0 is not given
	with, without               Flags

	first, last uint32 // numbers; 0, 0: not numbered
	step        uint32 // 0 is 1
	times       uint32 // of Data: 0 is not given
	numbered    int    // how often a number was asked for: once makes sense
	bad         []*invalid.FieldError
}

// All kinds of packets. The flags of RFC 3168 (ECE, CWR), PSH and URG make no difference.
var (
	// AnyPacket is every frame that leaves, whatever its protocol.
	AnyPacket = match(kindPacket)
	// AnySegment is every segment of TCP.
	AnySegment = match(kindSegment)
	// SYN has SYN and no ACK. It may carry data (TCP Fast Open), which is not counted as Data.
	SYN = match(kindSYN)
	// SYNACK has SYN and ACK.
	SYNACK = match(kindSYNACK)
	// HandshakeACK is the final ACK of a handshake, if it is a pure ACK; and each later one with the same sequence
	// and acknowledgement number, which would complete the handshake as well.
	HandshakeACK = match(kindHandshakeACK)
	// Data is a segment with payload and without SYN.
	Data = match(kindData)
	// Retransmission is a segment whose whole payload was sent before. Its numbers count packets.
	Retransmission = match(kindRetransmission)
	// PureACK has no payload and no SYN, FIN or RST, and is no HandshakeACK. Keepalives and zero window probes of
	// Linux are pure ACKs, too.
	PureACK = match(kindPureACK)
	// FIN has FIN, with or without payload.
	FIN = match(kindFIN)
	// RST has RST.
	RST = match(kindRST)
	// PacketTooBig is the message of path MTU discovery: ICMP "fragmentation needed" (RFC 1191; type 3, code 4) and
	// ICMPv6 "packet too big" (RFC 4443; type 2). Dropping it makes a PMTU blackhole.
	PacketTooBig = match(kindTooBig)
)

func match(k kind) Match { return Match{kind: k, icmpType: -1, icmpCode: -1} }

// ICMP is an ICMP message of IPv4: type 0 to 255, and either all codes or one of 0 to 255.
func ICMP(messageType int, code ...int) Match { return icmp(kindICMPv4, messageType, code) }

// ICMPv6 is like [ICMP], of IPv6.
func ICMPv6(messageType int, code ...int) Match { return icmp(kindICMPv6, messageType, code) }

func icmp(k kind, messageType int, code []int) Match {
	m := match(k)
	if messageType < 0 || messageType > math.MaxUint8 {
		m = m.refuse("type", messageType, "0 to 255")
		return m
	}
	m.icmpType = int16(messageType)
	switch {
	case len(code) > 1:
		m = m.refuse("code", code, "one code, or none for all of them")
	case len(code) == 1 && (code[0] < 0 || code[0] > math.MaxUint8):
		m = m.refuse("code", code[0], "0 to 255")
	case len(code) == 1:
		m.icmpCode = int16(code[0])
	}
	return m
}

// always is the times of Always: no end.
const always = math.MaxUint32

// Number selects the n-th, from 1. Of Data it is the n-th distinct segment, once: see [Match.Times].
func (m Match) Number(n int) Match { return m.between("Number", n, n) }

// First selects numbers 1 to n.
func (m Match) First(n int) Match { return m.between("First", 1, n) }

// Between selects numbers from a to b, both included.
func (m Match) Between(a, b int) Match { return m.between("Between", a, b) }

// From selects number n and all that follow.
func (m Match) From(n int) Match { return m.between("From", n, math.MaxUint32) }

func (m Match) between(method string, first, last int) Match {
	if first < 1 || last < first || last > math.MaxUint32 {
		return m.refuse(method, fmt.Sprintf("%d to %d", first, last), "numbers from 1, in rising order")
	}
	m.first, m.last = uint32(first), uint32(last)
	m.numbered++
	return m
}

// Every selects every k-th packet: the k-th, the 2k-th, and so on; after From or Between the first number there, and
// each k-th from it. Of Data it selects first transmissions only.
func (m Match) Every(k int) Match {
	if k < 1 || k > math.MaxInt32 {
		return m.refuse("Every", k, fmt.Sprintf("1 to %d", math.MaxInt32))
	}
	m.step = uint32(k)
	return m
}

// Times selects the first n transmissions of each numbered segment of Data, instead of only the first one. Split or
// merged retransmissions count together if they start with the same byte.
func (m Match) Times(n int) Match {
	if n < 1 || n >= always {
		return m.refuse("Times", n, "1 and more")
	}
	m.times = uint32(n)
	return m
}

// Always selects each numbered segment of Data every time that it is sent.
func (m Match) Always() Match {
	m.times = always
	return m
}

// SourcePort narrows to segments from a port: 1 to 65535.
func (m Match) SourcePort(port uint16) Match {
	if port == 0 {
		return m.refuse("SourcePort", port, "1 to 65535")
	}
	m.sourcePort = port
	return m
}

// DestinationPort narrows to segments to a port: 1 to 65535.
func (m Match) DestinationPort(port uint16) Match {
	if port == 0 {
		return m.refuse("DestinationPort", port, "1 to 65535")
	}
	m.destinationPort = port
	return m
}

// Source narrows to packets from an address.
func (m Match) Source(a netip.Addr) Match {
	if !a.IsValid() || a.Zone() != "" {
		return m.refuse("Source", a, "an IPv4 or IPv6 address without a zone")
	}
	m.source = a
	return m
}

// Destination narrows to packets to an address.
func (m Match) Destination(a netip.Addr) Match {
	if !a.IsValid() || a.Zone() != "" {
		return m.refuse("Destination", a, "an IPv4 or IPv6 address without a zone")
	}
	m.destination = a
	return m
}

// Payload narrows to segments with n bytes of payload, 0 to 65535.
func (m Match) Payload(n int) Match { return m.payload("Payload", n, n) }

// PayloadAtLeast narrows to segments with n bytes of payload or more.
func (m Match) PayloadAtLeast(n int) Match {
	return m.payload("PayloadAtLeast", n, math.MaxUint16)
}

// PayloadBetween narrows to segments with a to b bytes of payload, both included.
func (m Match) PayloadBetween(a, b int) Match { return m.payload("PayloadBetween", a, b) }

func (m Match) payload(method string, least, most int) Match {
	if least < 0 || most < least || most > math.MaxUint16 {
		return m.refuse(method, fmt.Sprintf("%d to %d", least, most), fmt.Sprintf("0 to %d bytes, in rising order", math.MaxUint16))
	}
	if m.hasPayload {
		return m.refuse(method, fmt.Sprintf("%d to %d", least, most), "one of Payload, PayloadAtLeast and PayloadBetween, once")
	}
	m.hasPayload, m.payloadMin, m.payloadMax = true, uint16(least), uint16(most)
	return m
}

// Option narrows to segments that have a TCP option of this kind (IANA, TCP Parameters), 1 to 255: 5 is SACK, 34 a Fast Open
// cookie. As in the kernel, an option of an impossible length, and all behind it, is not there.
func (m Match) Option(kind int) Match {
	switch {
	case kind < 1 || kind > math.MaxUint8:
		return m.refuse("Option", kind, "a kind from 1 to 255")
	case m.option != 0:
		return m.refuse("Option", kind, fmt.Sprintf("one option, and it has %d already", m.option))
	}
	m.option = uint8(kind)
	return m
}

// A Codepoint is what the ECN field of the IP header says (RFC 3168, section 5).
type Codepoint uint8

// The codepoints, by their bits in the header.
const (
	NotECT Codepoint = iota // not ECN-capable
	ECT1
	ECT0
	CE // congestion experienced
)

var codepointNames = [...]string{"Not-ECT", "ECT(1)", "ECT(0)", "CE"}

// String is like "ECT(0)".
func (c Codepoint) String() string {
	if int(c) >= len(codepointNames) {
		return fmt.Sprintf("codepoint %d", uint8(c))
	}
	return codepointNames[c]
}

// ECN narrows to packets of IP with one of these codepoints.
func (m Match) ECN(codepoints ...Codepoint) Match {
	if len(codepoints) == 0 || m.ecn != 0 {
		return m.refuse("ECN", codepoints, "some codepoints, once")
	}
	for _, c := range codepoints {
		if c > CE {
			return m.refuse("ECN", c, "NotECT, ECT1, ECT0 and CE")
		}
		m.ecn |= 1 << c
	}
	return m
}

// With narrows to segments that have all of these flags, Without to those that have none of them. Together they choose a
// value of ACE: With(CWR).Without(AE | ECE) is 2.
func (m Match) With(f Flags) Match {
	m.with |= f
	return m.flags("With", f)
}

// Without is described at [Match.With].
func (m Match) Without(f Flags) Match {
	m.without |= f
	return m.flags("Without", f)
}

func (m Match) flags(method string, f Flags) Match {
	if f == 0 || f&^(AE|CWR|ECE) != 0 {
		m = m.refuse(method, fmt.Sprintf("%#x", uint16(f)), "some of AE, CWR and ECE, and no others")
	}
	if m.with&m.without != 0 {
		m = m.refuse(method, m.with&m.without, "other flags: no segment is both with and without the same")
	}
	return m
}

// looksInside reports whether it selects by what the transmissions of one segment can differ in.
func (m Match) looksInside() bool {
	return m.hasPayload || m.option != 0 || m.ecn != 0 || m.with|m.without != 0
}

// refuse keeps an error until the match is used, so that a match can be written in one expression.
func (m Match) refuse(field string, value any, allowed string) Match {
	// Copied, as two matches derived from one must not share their errors.
	m.bad = append(m.bad[:len(m.bad):len(m.bad)], refusal("Match."+field, value, allowed))
	return m
}

// isTCP reports whether all that is selected has ports.
func (m Match) isTCP() bool {
	const tcp = kindSegment | kindSYN | kindSYNACK | kindHandshakeACK | kindData | kindRetransmission | kindPureACK | kindFIN | kindRST
	return m.kind != 0 && m.kind&^tcp == 0
}

// String returns the match in words, such as "data 5 to 7, 2 times, to port 80".
func (m Match) String() string {
	if m.kind == 0 {
		return "nothing"
	}
	var s strings.Builder
	s.WriteString(m.kind.String())
	if m.icmpType >= 0 {
		fmt.Fprintf(&s, " type %d", m.icmpType)
	}
	if m.icmpCode >= 0 {
		fmt.Fprintf(&s, " code %d", m.icmpCode)
	}
	switch {
	case m.first == 0:
	case m.first == m.last:
		fmt.Fprintf(&s, " %d", m.first)
	case m.last == math.MaxUint32:
		fmt.Fprintf(&s, " %d and later", m.first)
	default:
		fmt.Fprintf(&s, " %d to %d", m.first, m.last)
	}
	if m.step > 1 {
		fmt.Fprintf(&s, ", one of %d", m.step)
	}
	switch {
	case m.times == always:
		s.WriteString(", always")
	case m.times > 1:
		fmt.Fprintf(&s, ", %d times", m.times)
	}
	if m.source.IsValid() {
		fmt.Fprintf(&s, ", from %v", m.source)
	}
	if m.sourcePort != 0 {
		fmt.Fprintf(&s, ", from port %d", m.sourcePort)
	}
	if m.destination.IsValid() {
		fmt.Fprintf(&s, ", to %v", m.destination)
	}
	if m.destinationPort != 0 {
		fmt.Fprintf(&s, ", to port %d", m.destinationPort)
	}
	s.WriteString(m.content())
	return s.String()
}

// content is what String says of payload, options and flags.
func (m Match) content() string {
	var s strings.Builder
	switch {
	case !m.hasPayload:
	case m.payloadMin == m.payloadMax:
		fmt.Fprintf(&s, ", payload of %d", m.payloadMin)
	case m.payloadMax == math.MaxUint16:
		fmt.Fprintf(&s, ", payload of %d or more", m.payloadMin)
	default:
		fmt.Fprintf(&s, ", payload of %d to %d", m.payloadMin, m.payloadMax)
	}
	if m.option != 0 {
		fmt.Fprintf(&s, ", with option %d", m.option)
	}
	if m.ecn != 0 {
		var names []string
		for c := NotECT; c <= CE; c++ {
			if m.ecn&(1<<c) != 0 {
				names = append(names, c.String())
			}
		}
		fmt.Fprintf(&s, ", ECN %s", strings.Join(names, " or "))
	}
	if m.with != 0 {
		fmt.Fprintf(&s, ", with %v", m.with)
	}
	if m.without != 0 {
		fmt.Fprintf(&s, ", without %v", m.without)
	}
	return s.String()
}

// MarshalText is String, for records.
func (m Match) MarshalText() ([]byte, error) { return []byte(m.String()), nil }
