// Package packet takes captured packets apart, down to what IP carries: through link layers, tunnels and fragments.
//
// A [Decoder] is given a packet and its link type, and finds the innermost IP packet: behind VLAN tags, MPLS labels, PPPoE and PPP,
// LLC, 802.11 with radiotap; in GRE, IP-in-IP, 6in4, VXLAN, GENEVE, GTP-U, L2TP and others; put together from fragments, behind IPv6's
// extension headers. What it does not know it counts, by link type, encapsulation and name ([Decoder.PassedOver]), so that
// nobody takes silence for absence.
//
// Lengths come from the headers of IP, so it does not matter where a snap length cut a packet off, as long as the headers are there.
// Headers are read by hand: gopacket's DecodingLayerParser takes five times as long, and refuses packets that are cut off.
// Nothing is trusted: the depth, the fragments that are kept and the names that are counted are bounded.
//
// It needs nothing. Its tests compare with tshark, through package analysis.
//
//	go test ./harness/analysis/internal/packet
//	go test -run xxx -fuzz FuzzDecode ./harness/analysis/internal/packet
package packet

import (
	"net/netip"
	"time"
)

// Direction is which way a packet went, where the link layer says so.
type Direction uint8

// The directions.
const (
	Unknown  Direction = iota
	Received           // by the host that captured it
	Sent               // by that host
)

// IP is the innermost IP packet that was found.
type IP struct {
	Src, Dst netip.Addr // an IPv4 address in IPv6 stays as it is
	// TTL is IPv4's time to live or IPv6's hop limit, ECN the codepoint (RFC 3168), ID IPv4's identification.
	TTL, ECN uint8
	ID       uint16
	Protocol uint8 // of what it carries (IANA): behind extension headers; set for what was asked for, and for ICMP
	// Length is how many bytes it carries, Payload what was captured of them.
	Length  int
	Payload []byte
	// LengthLost: the packet is as long as what was captured of it, and IP says that it was longer. The program that wrote the file
	// has not kept the original length.
	LengthLost bool
	Direction  Direction
}

// Verdict says what became of a packet.
type Verdict uint8

// The verdicts.
const (
	Carried    Verdict = iota // IP was found, and carries a protocol that was asked for
	PassedOver                // something else: see [Decoder.PassedOver]
	CutOff                    // of the headers not all was captured
	Damaged                   // headers contradict each other
)

// The protocols that IP carries (IANA, Protocol Numbers).
const (
	ICMP   = 1
	ipip   = 4
	TCP    = 6
	UDP    = 17
	ipv6   = 41
	gre    = 47
	auth   = 51
	ICMPv6 = 58
	mpls   = 137
)

// Decoder decodes the packets of one capture. Its zero value finds TCP.
type Decoder struct {
	// Want are the protocols to find, besides TCP if it is empty. UDP is not searched for tunnels where it is wanted.
	Want []uint8

	passed    map[Passed]int
	fragments fragments
	longest   int // of the packets that were captured, in bytes
	cuts      int // how many of them have that length
}

// Decode finds the IP packet in a packet of the given length, of which data was captured at a time. The link type is that of the file
// (https://www.tcpdump.org/linktypes.html).
func (d *Decoder) Decode(link int, data []byte, length int, at time.Duration) (IP, Verdict) {
	w := walk{d: d, at: at, link: link}
	d.learn(len(data))
	v := w.linkLayer(link, data, max(length, len(data)))
	if v == PassedOver {
		d.count(&w)
	}
	return w.ip, v
}

// learn takes note of how long what is captured is at most: that may be a snap length.
func (d *Decoder) learn(captured int) {
	switch {
	case captured > d.longest:
		d.longest, d.cuts = captured, 1
	case captured == d.longest:
		d.cuts++
	}
}

// wants reports whether a protocol is looked for.
func (d *Decoder) wants(protocol uint8) bool {
	if len(d.Want) == 0 {
		return protocol == TCP
	}
	for _, p := range d.Want {
		if p == protocol {
			return true
		}
	}
	return false
}

// maxDepth is how many layers may lie in each other. Real ones have less than ten.
const maxDepth = 24

// walk is the way into one packet.
type walk struct {
	d     *Decoder
	ip    IP
	at    time.Duration
	link  int
	depth int
	layers
	what what
}

// deeper takes note of an encapsulation, and reports whether there may be more.
func (w *walk) deeper(e encapsulation) bool {
	w.push(e)
	w.depth++
	return w.depth <= maxDepth
}

// passOver names what is not decoded.
func (w *walk) passOver(kind whatKind, number int) Verdict {
	w.what = what{kind, uint16(number)}
	return PassedOver
}

func u16(b []byte) int { return int(b[0])<<8 | int(b[1]) }

func u16le(b []byte) int { return int(b[1])<<8 | int(b[0]) }

func u32le(b []byte) int { return u16le(b[2:])<<16 | u16le(b) }
