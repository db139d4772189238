package analysis

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"time"

	"github.com/tcplab/tcplab/harness/analysis/internal/packet"
)

// ICMPError is what a router or a host said by ICMP about segments of a side: all messages that are the same.
type ICMPError struct {
	From netip.Addr `json:"from"` // who sent them
	// Type and Code are ICMP's, or ICMPv6's if From is an IPv6 address; Says is what they mean.
	Type uint8  `json:"type"`
	Code uint8  `json:"code"`
	Says string `json:"says"`
	// MTU is the next hop's, in bytes, of a message that a packet is too large for it (RFC 1191, RFC 8201); 0 if it names none.
	MTU    int    `json:"mtu,omitempty"`
	Frames Frames `json:"frames"`
}

// tooBig reports whether the message belongs to path MTU discovery.
func (e *ICMPError) tooBig() bool {
	if e.From.Is4() {
		return e.Type == icmpUnreachable && e.Code == icmpFragmentationNeeded
	}
	return e.Type == icmp6TooBig
}

// prohibits reports whether the message says that somebody does not want the packet, rather than that there is no way.
func (e *ICMPError) prohibits() bool {
	if e.From.Is4() {
		return e.Type == icmpUnreachable && (e.Code == 3 || e.Code == 9 || e.Code == 10 || e.Code == 13)
	}
	return e.Type == icmp6Unreachable && (e.Code == 1 || e.Code == 4 || e.Code == 5 || e.Code == 6)
}

// The types of errors (RFC 792, RFC 4443).
const (
	icmpUnreachable         = 3
	icmpFragmentationNeeded = 4 // a code
	icmpTimeExceeded        = 11
	icmpParameter           = 12
	icmp6Unreachable        = 1
	icmp6TooBig             = 2
	icmp6TimeExceeded       = 3
	icmp6Parameter          = 4
)

// What the codes mean: IANA, ICMP Parameters and ICMPv6 Parameters.
var (
	unreachable4 = [...]string{
		"network unreachable", "host unreachable", "protocol unreachable", "port unreachable", "fragmentation needed", "source route failed",
		"network unknown", "host unknown", "source host isolated", "network administratively prohibited", "host administratively prohibited",
		"network unreachable for this type of service", "host unreachable for this type of service", "administratively prohibited",
		"host precedence violation", "precedence cutoff in effect",
	}
	unreachable6 = [...]string{
		"no route to the destination", "administratively prohibited", "beyond the scope of the source address", "address unreachable",
		"port unreachable", "source address failed the policy", "route rejected", "error in source routing header",
	}
)

func icmpText(v6 bool, kind, code uint8) string {
	names, unreachable, big, exceeded := unreachable4[:], uint8(icmpUnreachable), uint8(0xff), uint8(icmpTimeExceeded)
	if v6 {
		names, unreachable, big, exceeded = unreachable6[:], icmp6Unreachable, icmp6TooBig, icmp6TimeExceeded
	}
	switch {
	case kind == unreachable && int(code) < len(names):
		return names[code]
	case kind == big:
		return "packet too big"
	case kind == exceeded && code == 0:
		return "time to live exceeded"
	case kind == exceeded && code == 1:
		return "fragments were not reassembled in time"
	}
	return fmt.Sprintf("type %d, code %d", kind, code)
}

// quotation is an ICMP error as it passed, and the segment that it quotes.
type quotation struct {
	Segment    // when and where; Src and Dst are those of the quoted segment, and Seq its number
	from       netip.Addr
	kind, code uint8
	mtu        int
}

// quotationIn reads an IP packet that is an ICMP error about a TCP segment.
func quotationIn(ip *packet.IP, s Segment) (quotation, bool) {
	if ip.Protocol != packet.ICMP && ip.Protocol != packet.ICMPv6 {
		return quotation{}, false
	}
	return decodeQuotation(ip.Protocol, ip.Src, ip.Payload, &s)
}

// decodeQuotation reads an ICMP error that quotes a TCP segment.
func decodeQuotation(protocol byte, from netip.Addr, b []byte, s *Segment) (quotation, bool) {
	const header = 8
	if len(b) < header {
		return quotation{}, false
	}
	q := quotation{Segment: *s, from: from, kind: b[0], code: b[1]}
	v6 := protocol == packet.ICMPv6
	switch {
	case !v6 && (q.kind == icmpUnreachable || q.kind == icmpTimeExceeded || q.kind == icmpParameter):
		if q.kind == icmpUnreachable && q.code == icmpFragmentationNeeded {
			q.mtu = int(binary.BigEndian.Uint16(b[6:]))
		}
	case v6 && q.kind >= icmp6Unreachable && q.kind <= icmp6Parameter:
		if q.kind == icmp6TooBig {
			q.mtu = int(min(binary.BigEndian.Uint32(b[4:]), 1<<16))
		}
	default:
		return quotation{}, false
	}
	tcp, ok := quotedTCP(v6, b[header:], &q.Segment)
	if !ok {
		return quotation{}, false
	}
	q.Src = netip.AddrPortFrom(q.Src.Addr(), binary.BigEndian.Uint16(tcp))
	q.Dst = netip.AddrPortFrom(q.Dst.Addr(), binary.BigEndian.Uint16(tcp[2:]))
	q.Seq = binary.BigEndian.Uint32(tcp[4:])
	return q, true
}

// quotedTCP is the beginning of the TCP header in a quoted packet, of which no more is there than its first 8 bytes (RFC 792).
func quotedTCP(v6 bool, b []byte, s *Segment) ([]byte, bool) {
	const quoted, fixed4, fixed6 = 8, 20, 40
	if v6 {
		if len(b) < fixed6+quoted || b[0]>>4 != 6 || b[6] != packet.TCP {
			return nil, false
		}
		s.Src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])), 0)
		s.Dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[24:])), 0)
		return b[fixed6:], true
	}
	if len(b) < fixed4 || b[0]>>4 != 4 || b[9] != packet.TCP {
		return nil, false
	}
	header := int(b[0]&0xf) * 4
	if header < fixed4 || len(b) < header+quoted {
		return nil, false
	}
	s.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), 0)
	s.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:])), 0)
	return b[header:], true
}

// maxICMP is how many different errors are kept of a side.
const maxICMP = 8

// quoted takes note of an error about what this side has sent.
func (d *sideTracker) quoted(q *quotation) {
	e := ICMPError{From: q.from, Type: q.kind, Code: q.code, MTU: q.mtu, Says: icmpText(!q.from.Is4(), q.kind, q.code)}
	known := -1
	for i, x := range d.ICMP {
		if x.From == e.From && x.Type == e.Type && x.Code == e.Code && x.MTU == e.MTU {
			known = i
		}
	}
	switch {
	case known >= 0:
	case len(d.ICMP) >= maxICMP:
		return
	default:
		d.ICMP = append(d.ICMP, e)
		known = len(d.ICMP) - 1
	}
	d.ICMP[known].Frames.add(q.Frame)
	d.quotedSeq, d.hasQuoted = q.Seq, true
	if e.tooBig() && d.spoke && !before(d.highest, q.Seq) {
		d.pathMTU.told(q, d)
	}
}

// pathMTU is what path MTU discovery has said of a side's segments.
type pathMTU struct {
	known     bool
	mtu       int // 0: it was not said
	headers   int // the least that IP and TCP take of it
	at        time.Duration
	seq, from uint32 // seq was quoted; what is to be sent again begins at from
	to        uint32 // and ends here
	// ignored are the segments that were sent as before.
	ignored Frames
}

// told takes note of a message. Each of the segments that were under way may have been answered by one: the first counts, until it
// is acknowledged.
func (m *pathMTU) told(q *quotation, d *sideTracker) {
	m.headers = 60
	if q.from.Is4() {
		m.headers = 40
	}
	if pending := m.known && d.ackedAny && !before(m.seq, d.acked); !pending || before(q.Seq, m.seq) {
		m.seq, m.from = q.Seq, q.Seq
	}
	m.known, m.mtu, m.at, m.to = true, q.mtu, q.At, d.highest
}

// again reports whether a retransmission is what path MTU discovery makes of a segment that was too large: what fits, or, where the
// network card cuts it, what follows at once.
func (m *pathMTU) again(s *Classified) bool {
	if !m.known || before(s.Seq, m.from) || !before(s.Seq, m.to) {
		return false
	}
	if s.Length+m.headers > m.mtu && s.At-m.at > 2*reaction {
		if s.Seq == m.seq {
			m.ignored.add(s.Frame)
		}
		return false
	}
	m.from = s.NextSeq()
	return true
}
