package analysis

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket/layers"

	"github.com/tcplab/tcplab/internal/ethernet"
)

// verdict says what a packet turned out to be.
type verdict int

const (
	segment     verdict = iota // or a datagram, where these are asked for
	other                      // another protocol, or a fragment
	undecodable                // IP or what is in it, whose headers are cut off or contradict themselves
)

// Headers are read by hand: gopacket's DecodingLayerParser takes five times as long, and
// refuses packets that are cut off in their options.
//
// decode fills in s from a packet of the given length of which data was captured.
func decode(link layers.LinkType, data []byte, length int, s *Segment) verdict {
	b, length, v := decodeIP(link, data, length, protocolTCP, s)
	if v != segment {
		return v
	}
	return decodeTCP(b, length, s)
}

// decodeIP fills in what s has of IP, and returns what IP carries, if it is of that protocol: its length, and what was captured of it.
func decodeIP(link layers.LinkType, data []byte, length int, protocol byte, s *Segment) ([]byte, int, verdict) {
	var etherType uint16
	var header int // of the link layer
	switch link {
	case layers.LinkTypeEthernet:
		header = ethernet.HeaderLength
		if len(data) >= header {
			etherType = binary.BigEndian.Uint16(data[header-2:])
		}
	case layers.LinkTypeLinuxSLL: // tcpdump -i any
		header = 16
		if len(data) >= header {
			etherType = binary.BigEndian.Uint16(data[header-2:])
			s.cooked(data[1])
		}
	case layers.LinkTypeLinuxSLL2: // tcpdump -i any, since libpcap 1.10
		header = cooked2Header
		if len(data) >= header {
			etherType = binary.BigEndian.Uint16(data)
			s.cooked(data[10])
		}
	case layers.LinkTypeNull, layers.LinkTypeLoop: // loopback of macOS and the BSDs
		header = 4
		if len(data) > header {
			etherType = versionType(data[header])
		}
	case layers.LinkTypeRaw, layers.LinkTypeIPv4, layers.LinkTypeIPv6:
		if len(data) == 0 {
			return nil, 0, undecodable
		}
		etherType = versionType(data[0])
	default:
		return nil, 0, other
	}
	if len(data) < header {
		return nil, 0, undecodable
	}
	for etherType == 0x8100 || etherType == 0x88a8 || etherType == 0x9100 { // VLAN tags
		header += 4
		if len(data) < header {
			return nil, 0, undecodable
		}
		etherType = binary.BigEndian.Uint16(data[header-2:])
	}
	switch etherType {
	case etherTypeIPv4:
		return decodeIPv4(data[header:], length-header, protocol, s)
	case etherTypeIPv6:
		return decodeIPv6(data[header:], length-header, protocol, s)
	}
	return nil, 0, other
}

// versionType is the EtherType that the first byte of an IP header stands for.
func versionType(b byte) uint16 {
	switch b >> 4 {
	case 4:
		return etherTypeIPv4
	case 6:
		return etherTypeIPv6
	}
	return 0
}

// cooked takes the direction from a Linux cooked header, where the file does not say it.
func (s *Segment) cooked(packetType byte) {
	const outgoing = 4 // PACKET_OUTGOING, include/uapi/linux/if_packet.h
	switch {
	case s.Direction != Unknown:
	case packetType == outgoing:
		s.Direction = Outbound
	default:
		s.Direction = Inbound
	}
}

// cooked2Header is the length of a Linux cooked header, version 2, with the index of the
// interface at cooked2Index (https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html).
const (
	cooked2Header = 20
	cooked2Index  = 4
)

const (
	etherTypeIPv4 = 0x0800
	etherTypeIPv6 = 0x86dd

	protocolTCP = 6
	protocolUDP = 17
)

func decodeIPv4(b []byte, length int, protocol byte, s *Segment) ([]byte, int, verdict) {
	if len(b) < 20 || b[0]>>4 != 4 {
		return nil, 0, undecodable
	}
	header := int(b[0]&0xf) * 4
	total := int(binary.BigEndian.Uint16(b[2:]))
	if total == 0 {
		total = length // a super-packet of more than 65535 bytes (BIG TCP)
	}
	if header < 20 || total < header || total > length {
		return nil, 0, undecodable
	}
	if fragment := binary.BigEndian.Uint16(b[6:]); fragment&0x3fff != 0 || b[9] != protocol {
		return nil, 0, other
	}
	s.Src = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[12:])), 0)
	s.Dst = netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[16:])), 0)
	s.TTL, s.ECN, s.ID = b[8], b[1]&3, binary.BigEndian.Uint16(b[4:])
	if len(b) < header {
		return nil, 0, undecodable
	}
	return b[header:], total - header, segment
}

func decodeIPv6(b []byte, length int, protocol byte, s *Segment) ([]byte, int, verdict) {
	const fixed = 40
	if len(b) < fixed || b[0]>>4 != 6 {
		return nil, 0, undecodable
	}
	total := fixed + int(binary.BigEndian.Uint16(b[4:]))
	if total == fixed {
		total = length // a jumbogram (BIG TCP)
	}
	if total > length {
		return nil, 0, undecodable
	}
	s.Src = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[8:])), 0)
	s.Dst = netip.AddrPortFrom(netip.AddrFrom16([16]byte(b[24:])), 0)
	s.TTL, s.ECN = b[7], b[1]>>4&3
	next, at := b[6], fixed
	for next != protocol {
		switch next {
		case 0, 43, 44, 51, 60:
		default:
			return nil, 0, other
		}
		if len(b) < at+8 {
			return nil, 0, undecodable
		}
		size := (int(b[at+1]) + 1) * 8
		switch next {
		case 44: // fragment; RFC 6946: one that is the whole packet is none
			if binary.BigEndian.Uint16(b[at+2:])&0xfff9 != 0 {
				return nil, 0, other
			}
			size = 8
		case 51: // authentication header, RFC 4302
			size = (int(b[at+1]) + 2) * 4
		}
		next = b[at]
		at += size
	}
	if len(b) < at || total < at {
		return nil, 0, undecodable
	}
	return b[at:], total - at, segment
}

// decodeTCP is given what was captured of a segment of the given length.
func decodeTCP(b []byte, length int, s *Segment) verdict {
	const fixed = 20
	if len(b) < fixed {
		return undecodable
	}
	header := int(b[12]>>4) * 4
	if header < fixed || length < header {
		return undecodable
	}
	s.Src = netip.AddrPortFrom(s.Src.Addr(), binary.BigEndian.Uint16(b))
	s.Dst = netip.AddrPortFrom(s.Dst.Addr(), binary.BigEndian.Uint16(b[2:]))
	s.Seq = binary.BigEndian.Uint32(b[4:])
	s.Ack = binary.BigEndian.Uint32(b[8:])
	s.Flags = Flags(binary.BigEndian.Uint16(b[12:])) & (FlagAE<<1 - 1)
	s.Window = binary.BigEndian.Uint16(b[14:])
	s.Length = length - header
	s.Options = Options{}
	s.Options.decode(b[fixed:min(header, len(b))])
	if len(b) < header {
		s.Options.Incomplete = true
	}
	return segment
}

// The kinds of options (IANA, TCP Parameters).
const (
	optionEnd           = 0
	optionNOP           = 1
	optionMSS           = 2
	optionWindowScale   = 3
	optionSACKPermitted = 4
	optionSACK          = 5
	optionTimestamps    = 8
)

func (o *Options) decode(b []byte) {
	// Nearly every segment of a connection has just this.
	if len(b) == 12 && binary.BigEndian.Uint32(b) == optionNOP<<24|optionNOP<<16|optionTimestamps<<8|10 {
		o.HasTimestamps = true
		o.TSVal, o.TSEcr = binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:])
		return
	}
	for len(b) > 0 && b[0] != optionEnd {
		if b[0] == optionNOP {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			o.Incomplete = true
			return
		}
		kind, value := b[0], b[2:b[1]]
		b = b[b[1]:]
		switch {
		case kind == optionMSS && len(value) == 2:
			o.MSS = binary.BigEndian.Uint16(value)
		case kind == optionWindowScale && len(value) == 1:
			o.HasWindowScale, o.WindowScale = true, value[0]
		case kind == optionSACKPermitted && len(value) == 0:
			o.SACKPermitted = true
		case kind == optionTimestamps && len(value) == 8:
			o.HasTimestamps = true
			o.TSVal, o.TSEcr = binary.BigEndian.Uint32(value), binary.BigEndian.Uint32(value[4:])
		case kind == optionSACK && len(value)%8 == 0 && len(value) <= 8*len(o.sack):
			o.sackCount = uint8(len(value) / 8)
			for i := range o.sackCount {
				o.sack[i] = Block{binary.BigEndian.Uint32(value[8*i:]), binary.BigEndian.Uint32(value[8*i+4:])}
			}
		case kind == optionAccECN0 || kind == optionAccECN1:
			if o.AccECN, o.HasAccECN = decodeAccECN(kind, value); !o.HasAccECN {
				o.Incomplete = true
			}
		case kind == optionMSS || kind == optionWindowScale || kind == optionSACKPermitted || kind == optionTimestamps || kind == optionSACK:
			o.Incomplete = true
		}
	}
}
