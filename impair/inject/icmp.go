package inject

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

// A Reason is why an ICMP error says that a packet did not arrive. Each is a type and a code of ICMP (RFC 792, RFC 1812) and one
// of ICMPv6 (RFC 4443).
type Reason string

// The reasons, and what Linux gives to a connect(2) that hears of them: icmp_err_convert, icmpv6_err_convert.
const (
	NetUnreachable      Reason = "network unreachable"                  // 3/0; ICMPv6: no route, 1/0. ENETUNREACH
	HostUnreachable     Reason = "host unreachable"                     // 3/1; ICMPv6: address unreachable, 1/3. EHOSTUNREACH
	ProtocolUnreachable Reason = "protocol unreachable"                 // 3/2: ENOPROTOOPT; ICMPv6: unknown next header, 4/1: EPROTO
	PortUnreachable     Reason = "port unreachable"                     // 3/3; ICMPv6: 1/4. ECONNREFUSED
	TooBig              Reason = "packet too big"                       // 3/4, fragmentation needed; ICMPv6: 2/0. It has a next-hop MTU
	AdminProhibited     Reason = "communication prohibited by a filter" // 3/13: EHOSTUNREACH; ICMPv6: 1/1: EACCES
	TimeExceeded        Reason = "time to live exceeded"                // 11/0; ICMPv6: 3/0. EHOSTUNREACH
)

// typeCodes are those of ICMP and of ICMPv6.
var typeCodes = map[Reason][2][2]uint8{
	NetUnreachable:      {{3, 0}, {1, 0}},
	HostUnreachable:     {{3, 1}, {1, 3}},
	ProtocolUnreachable: {{3, 2}, {4, 1}},
	PortUnreachable:     {{3, 3}, {1, 4}},
	TooBig:              {{3, 4}, {2, 0}},
	AdminProhibited:     {{3, 13}, {1, 1}},
	TimeExceeded:        {{11, 0}, {3, 0}},
}

// ICMPError says to the sender of a segment that it did not arrive.
type ICMPError struct {
	Reason Reason `json:"reason"`
	// MTU is that of the next hop, in bytes, of TooBig only; 0 there is a router that does not know it (before RFC 1191).
	MTU uint32 `json:"mtu,omitempty"`

	Src netip.Addr `json:"src"`           // who says it: a router, or the host that the segment was sent to
	TTL uint8      `json:"ttl,omitempty"` // or hop limit; 0 means 64

	// Quote is the segment that it is about. The error goes to its Src. Its IP header, its TCP header, and of its payload what
	// fits into 576 bytes (RFC 1812, section 4.3.2.3) or 1280 (RFC 4443, section 3.1) are in the error.
	Quote Segment `json:"quote"`

	// BadChecksum writes an ICMP checksum that is wrong.
	BadChecksum bool `json:"bad_checksum,omitempty"`
}

const (
	icmpHeaderLength = 8
	icmpChecksum     = 2 // the offset of the field
	nextHeaderField  = 6 // what ICMPv6's parameter problem points at: the field of the IPv6 header (RFC 4443, section 3.4)
)

// Validate is that of [Packet].
func (e ICMPError) Validate() error {
	const of = "ICMP error"
	var bad refusals
	if _, known := typeCodes[e.Reason]; !known {
		bad.refuse(of, "Reason", fmt.Sprintf("%q", string(e.Reason)), "want one of this package's")
	}
	if e.MTU != 0 && e.Reason != TooBig {
		bad.refuse(of, "MTU", e.MTU, fmt.Sprintf("want it with %q only", TooBig))
	}
	if e.MTU > math.MaxUint16 && e.Src.Is4() {
		bad.refuse(of, "MTU", e.MTU, "want 65535 at most in ICMP")
	}
	if !plain(e.Src) || e.Src.Is4() != e.Quote.Src.Addr().Is4() {
		bad.refuse(of, "Src", e.Src, "want an address without a zone, of the family of Quote")
	}
	if err := e.Quote.Validate(); err != nil {
		bad = append(bad, fmt.Errorf("%s field Quote: %w", of, err))
	}
	return bad.error()
}

// IP is that of [Packet].
func (e ICMPError) IP() ([]byte, error) {
	if err := e.Validate(); err != nil {
		return nil, err
	}
	quoted, err := e.Quote.IP()
	if err != nil {
		return nil, fmt.Errorf("quote: %w", err)
	}
	n := network{src: e.Src, dst: e.Quote.Src.Addr(), ttl: e.TTL, protocol: layers.IPProtocolICMPv4}
	if n.ttl == 0 {
		n.ttl = defaultTTL
	}
	if !e.Src.Is4() {
		n.protocol = layers.IPProtocolICMPv6
	}
	header, checksummed := n.layer()
	most := 576
	if !e.Src.Is4() {
		most = 1280
	}
	quoted = quoted[:min(len(quoted), most-n.headerLength()-icmpHeaderLength)]
	if e.Src.Is4() {
		code := typeCodes[e.Reason][0]
		icmp := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(code[0], code[1]), Seq: uint16(e.MTU)}
		return n.serialize(e.BadChecksum, icmpChecksum, header, icmp, gopacket.Payload(quoted))
	}
	code := typeCodes[e.Reason][1]
	icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(code[0], code[1])}
	if err := icmp.SetNetworkLayerForChecksum(checksummed); err != nil {
		return nil, err
	}
	word := e.MTU
	if e.Reason == ProtocolUnreachable {
		word = nextHeaderField
	}
	body := append(binary.BigEndian.AppendUint32(nil, word), quoted...)
	return n.serialize(e.BadChecksum, icmpChecksum, header, icmp, gopacket.Payload(body))
}

// String is like "ICMP from 10.0.1.2: packet too big, MTU 1300, about SYN 10.0.1.1:4711 > 10.0.2.2:80 seq 7 ack 0 len 0 win 502".
func (e ICMPError) String() string {
	reason := string(e.Reason)
	if e.Reason == TooBig {
		reason += fmt.Sprintf(", MTU %d", e.MTU)
	}
	if e.BadChecksum {
		reason += ", bad checksum"
	}
	return fmt.Sprintf("ICMP from %v: %s, about %v", e.Src, reason, e.Quote)
}
