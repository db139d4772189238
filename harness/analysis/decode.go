package analysis

import (
	"encoding/binary"
	"net/netip"

	"github.com/gopacket/gopacket/layers"

	"github.com/tcplab/tcplab/harness/analysis/internal/packet"
)

// decode looks for what a reader is asked for in a packet, and fills in what s has of IP. It returns what IP carries.
func (r *Reader) decode(link layers.LinkType, data []byte, length int, s *Segment) (packet.IP, packet.Verdict) {
	ip, v := r.decoder.Decode(int(link), data, length, s.At)
	if v != packet.Carried {
		return ip, v
	}
	s.of(&ip)
	if s.Direction == Unknown { // the file does not say it
		s.Direction = directions[ip.Direction]
	}
	if ip.LengthLost {
		r.lengthsLost++
	}
	return ip, v
}

var directions = [...]Direction{packet.Unknown: Unknown, packet.Received: Inbound, packet.Sent: Outbound}

// of takes over what an IP header says.
func (s *Segment) of(ip *packet.IP) {
	s.Src, s.Dst = netip.AddrPortFrom(ip.Src, 0), netip.AddrPortFrom(ip.Dst, 0)
	s.TTL, s.ECN, s.ID = ip.TTL, ip.ECN, ip.ID
}

// decodeSegment fills in s from a packet, if it is a TCP segment.
func (r *Reader) decodeSegment(link layers.LinkType, data []byte, length int, s *Segment) (packet.IP, packet.Verdict) {
	ip, v := r.decode(link, data, length, s)
	if v == packet.Carried {
		v = decodeTCP(ip.Payload, ip.Length, s)
	}
	return ip, v
}

// cooked2Header is the length of a Linux cooked header, version 2, with the index of the
// interface at cooked2Index (https://www.tcpdump.org/linktypes/LINKTYPE_LINUX_SLL2.html).
const (
	cooked2Header = 20
	cooked2Index  = 4
)

// decodeTCP is given what was captured of a segment of the given length.
func decodeTCP(b []byte, length int, s *Segment) packet.Verdict {
	const fixed = 20
	switch {
	case length < fixed:
		return packet.Damaged
	case len(b) < fixed:
		return packet.CutOff
	}
	header := int(b[12]>>4) * 4
	if header < fixed || length < header {
		return packet.Damaged
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
	s.farewell = false
	if len(b) < header {
		s.Options.Incomplete = true
	} else if s.Length > 0 {
		s.farewell = saysFarewell(b[header:], s.Length)
	}
	return packet.Carried
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
