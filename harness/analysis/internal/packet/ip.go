package packet

import "net/netip"

func (w *walk) ipv4(b []byte, n int) Verdict {
	const fixed = 20
	if len(b) < fixed {
		return CutOff
	}
	if b[0]>>4 != 4 {
		return Damaged
	}
	header, total := int(b[0]&0xf)*4, u16(b[2:])
	if total == 0 {
		total = n // a super-packet of more than 65,535 bytes (BIG TCP), or one whose card writes the length
	}
	if header < fixed || total < header {
		return Damaged
	}
	if total > n {
		if len(b) < n || !checksumHolds(b, header) {
			return Damaged
		}
		w.ip.LengthLost = true
	}
	if len(b) < header {
		return CutOff
	}
	ip := &w.ip
	ip.Src, ip.Dst = netip.AddrFrom4([4]byte(b[12:])), netip.AddrFrom4([4]byte(b[16:]))
	ip.TTL, ip.ECN, ip.ID = b[8], b[1]&3, uint16(u16(b[4:]))
	protocol := b[9]
	end := min(len(b), total)
	const moreFragments, offset = 0x2000, 0x1fff
	if field := u16(b[6:]); field&(moreFragments|offset) != 0 {
		return w.fragment(fragment{
			id: fragmentID{ip.Src, ip.Dst, uint32(ip.ID), protocol}, at: field & offset * 8, more: field&moreFragments != 0,
			data: b[header:end], length: total - header,
		})
	}
	return w.protocol(protocol, b[header:end], total-header, inIPv4)
}

// checksumHolds reports whether IPv4's header is as it was sent; false if not all of it was captured.
func checksumHolds(b []byte, header int) bool {
	if len(b) < header {
		return false
	}
	sum := 0
	for i := 0; i < header; i += 2 {
		sum += u16(b[i:])
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return sum == 0xffff
}

// The headers that may lie between IPv6's and what it carries (IANA, IPv6 Extension Header Types).
const (
	headerHopByHop    = 0
	headerRouting     = 43
	headerFragment    = 44
	headerDestination = 60
	headerMobility    = 135
	headerHIP         = 139
	headerShim6       = 140
)

func (w *walk) ipv6(b []byte, n int) Verdict {
	const fixed = 40
	if len(b) < fixed {
		return CutOff
	}
	if b[0]>>4 != 6 {
		return Damaged
	}
	total := fixed + u16(b[4:])
	if total == fixed {
		total = n // a jumbogram (BIG TCP)
	}
	if total > n {
		if !w.snapped(b, n) {
			return Damaged
		}
		w.ip.LengthLost = true
	}
	ip := &w.ip
	ip.Src, ip.Dst = netip.AddrFrom16([16]byte(b[8:])), netip.AddrFrom16([16]byte(b[24:]))
	ip.TTL, ip.ECN, ip.ID = b[7], b[1]>>4&3, 0
	return w.extensions(b[6], b[:min(len(b), total)], fixed, total)
}

// snapped reports whether a packet that is shorter than IPv6 says was cut by a snap length, rather than damaged: what is
// captured is never longer, and is as long more than once. IPv6 has no checksum that tells.
func (w *walk) snapped(b []byte, n int) bool {
	const shortest, enough = 256, 2
	return len(b) >= n && w.d.longest <= shortest && w.d.cuts >= enough
}

// extensions passes over extension headers, the first of which begins at a place, and comes to what IPv6 carries.
func (w *walk) extensions(next byte, b []byte, at, total int) Verdict {
	for {
		switch next {
		case headerHopByHop, headerRouting, headerFragment, auth, headerDestination, headerMobility, headerHIP, headerShim6:
		default:
			switch {
			case total < at:
				return Damaged
			case len(b) < at:
				return CutOff
			}
			return w.protocol(next, b[at:], total-at, inIPv6)
		}
		if total < at+8 {
			return Damaged
		}
		if len(b) < at+8 {
			return CutOff
		}
		size := (int(b[at+1]) + 1) * 8
		switch next {
		case headerFragment: // RFC 6946: one that is the whole packet is none
			size = 8
			const offset, more = 0xfff8, 1
			if field := u16(b[at+2:]); field&(offset|more) != 0 {
				id := uint32(u16(b[at+4:]))<<16 | uint32(u16(b[at+6:]))
				return w.fragment(fragment{
					id: fragmentID{w.ip.Src, w.ip.Dst, id, 0}, at: field & offset, more: field&more != 0,
					data: b[at+size:], length: total - at - size, next: b[at], v6: true,
				})
			}
		case auth: // RFC 4302
			size = (int(b[at+1]) + 2) * 4
		}
		next = b[at]
		at += size
	}
}

// protocol comes to what IP carries.
func (w *walk) protocol(protocol byte, b []byte, n int, in encapsulation) Verdict {
	if w.d.wants(protocol) {
		w.ip.Protocol, w.ip.Payload, w.ip.Length = protocol, b, n
		return Carried
	}
	switch protocol {
	case ipip, ipv6, gre, mpls, auth, UDP:
	case ICMP, ICMPv6: // they may have something to say about TCP
		w.ip.Protocol, w.ip.Payload, w.ip.Length = protocol, b, n
		return w.passOver(whatProtocol, int(protocol))
	default:
		return w.passOver(whatProtocol, int(protocol))
	}
	if protocol != UDP && !w.deeper(in) {
		return Damaged
	}
	switch protocol {
	case ipip, ipv6:
		return w.version(b, n)
	case gre:
		return w.gre(b, n)
	case mpls:
		return w.mpls(b, n)
	case auth:
		const fixed = 8
		if len(b) < fixed {
			return CutOff
		}
		next := b[0]
		return w.skip(b, n, (int(b[1])+2)*4, func(b []byte, n int) Verdict { return w.protocol(next, b, n, in) })
	}
	return w.udp(b, n)
}
