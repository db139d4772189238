// Package packettest puts IP packets into link layers, tunnels and fragments, as the tests of decoders need them.
//
// Lengths are right and checksums are, where somebody looks at them: IPv4's header. Ports and addresses of tunnels are those of
// documentation.
package packettest

import (
	"encoding/binary"
	"slices"
)

// Wrapping is one way to capture an IP packet.
type Wrapping struct {
	Name string
	Link int // the link type of the file
	// Wrap makes captured packets of an IP packet: one, or its fragments.
	Wrap func(ip []byte) [][]byte
}

// Wrappings are all of them.
func Wrappings() []Wrapping {
	var all []Wrapping
	one := func(name string, link int, wrap func(ip []byte) []byte) {
		all = append(all, Wrapping{name, link, func(ip []byte) [][]byte { return [][]byte{wrap(ip)} }})
	}
	const ethernetLink = 1
	inEthernet := func(name string, wrap func(ip []byte) []byte) {
		one(name, ethernetLink, func(ip []byte) []byte { return ethernet(wrap(ip)) })
	}
	udp := func(port uint16, header func(ip []byte) []byte) func(ip []byte) []byte {
		return func(ip []byte) []byte { return ip4(17, datagram(port, header(ip))) }
	}

	one("LLC and SNAP", ethernetLink, func(ip []byte) []byte {
		inner := slices.Concat([]byte{0xaa, 0xaa, 3, 0, 0, 0}, etherType(ip), ip)
		return slices.Concat(make([]byte, 12), be16(len(inner)), inner)
	})
	one("MPLS", ethernetLink, func(ip []byte) []byte {
		return slices.Concat(make([]byte, 12), be16(0x8847), []byte{0, 1, 0, 64, 0, 2, 1, 64}, ip)
	})
	one("Ethernet over MPLS", ethernetLink, func(ip []byte) []byte {
		return slices.Concat(make([]byte, 12), be16(0x8847), []byte{0, 1, 1, 64, 0, 0, 0, 0}, ethernet(ip))
	})
	one("PPPoE", ethernetLink, func(ip []byte) []byte {
		return slices.Concat(make([]byte, 12), be16(0x8864), []byte{0x11, 0, 0, 1}, be16(2+len(ip)), pppType(ip), ip)
	})
	one("QinQ", ethernetLink, func(ip []byte) []byte {
		return slices.Concat(make([]byte, 12), be16(0x88a8), []byte{0, 7}, be16(0x8100), []byte{0, 42}, etherType(ip), ip)
	})
	one("backbone bridge", ethernetLink, func(ip []byte) []byte {
		return slices.Concat(make([]byte, 12), be16(0x88e7), []byte{0, 0, 0, 1}, ethernet(ip))
	})

	inEthernet("GRE", func(ip []byte) []byte { return ip4(47, slices.Concat([]byte{0, 0}, etherType(ip), ip)) })
	inEthernet("GRE with key and sequence", func(ip []byte) []byte {
		return ip4(47, slices.Concat([]byte{0x30, 0}, etherType(ip), []byte{0, 0, 0, 9, 0, 0, 0, 1}, ip))
	})
	inEthernet("GRE with a checksum", func(ip []byte) []byte {
		body := slices.Concat([]byte{0x80, 0}, etherType(ip), []byte{0, 0, 0, 0}, ip)
		binary.BigEndian.PutUint16(body[4:], ^sum(body))
		return ip4(47, body)
	})
	inEthernet("GRE over IPv6", func(ip []byte) []byte { return ip6(47, slices.Concat([]byte{0, 0}, etherType(ip), ip)) })
	inEthernet("Ethernet over GRE", func(ip []byte) []byte { return ip4(47, slices.Concat([]byte{0, 0, 0x65, 0x58}, ethernet(ip))) })
	inEthernet("ERSPAN", func(ip []byte) []byte {
		return ip4(47, slices.Concat([]byte{0x10, 0, 0x88, 0xbe, 0, 0, 0, 1}, []byte{0x10, 1, 0, 1, 0, 0, 0, 0}, ethernet(ip)))
	})
	inEthernet("PPTP", func(ip []byte) []byte {
		inner := slices.Concat([]byte{0xff, 3}, pppType(ip), ip)
		return ip4(47, slices.Concat([]byte{0x30, 1, 0x88, 0x0b}, be16(len(inner)), []byte{0, 7, 0, 0, 0, 1}, inner))
	})
	inEthernet("IP in IPv4", func(ip []byte) []byte { return ip4(inIP(ip), ip) })
	inEthernet("IP in IPv6", func(ip []byte) []byte { return ip6(inIP(ip), ip) })
	inEthernet("IP in IP in IP", func(ip []byte) []byte { return ip4(4, ip4(inIP(ip), ip)) })
	inEthernet("MPLS in IP", func(ip []byte) []byte { return ip4(137, slices.Concat([]byte{0, 1, 1, 64}, ip)) })

	inEthernet("VXLAN", udp(4789, func(ip []byte) []byte { return slices.Concat([]byte{8, 0, 0, 0, 0, 0, 9, 0}, ethernet(ip)) }))
	inEthernet("VXLAN over IPv6", func(ip []byte) []byte {
		return ip6(17, datagram6(4789, slices.Concat([]byte{8, 0, 0, 0, 0, 0, 9, 0}, ethernet(ip))))
	})
	inEthernet("GENEVE", udp(6081, func(ip []byte) []byte {
		return slices.Concat([]byte{2, 0, 0x65, 0x58, 0, 0, 9, 0}, []byte{1, 2, 3, 1, 0, 0, 0, 0}, ethernet(ip))
	}))
	inEthernet("GTP-U", udp(2152, func(ip []byte) []byte {
		return slices.Concat([]byte{0x30, 0xff}, be16(len(ip)), []byte{0, 0, 0, 7}, ip)
	}))
	inEthernet("GTP-U with an extension", udp(2152, func(ip []byte) []byte {
		return slices.Concat([]byte{0x34, 0xff}, be16(8+len(ip)), []byte{0, 0, 0, 7}, []byte{0, 0, 0, 0x85}, []byte{1, 0, 9, 0}, ip)
	}))
	inEthernet("L2TP", udp(1701, func(ip []byte) []byte {
		return slices.Concat([]byte{0, 2, 0, 1, 0, 2}, []byte{0xff, 3}, pppType(ip), ip)
	}))
	inEthernet("TZSP", udp(37008, func(ip []byte) []byte { return slices.Concat([]byte{1, 0, 0, 1, 1}, ethernet(ip)) }))

	one("PPP", 9, func(ip []byte) []byte { return slices.Concat([]byte{0xff, 3}, pppType(ip), ip) })
	one("PPP, short", 9, func(ip []byte) []byte { return slices.Concat(pppType(ip)[1:], ip) })
	one("PPP in HDLC framing", 50, func(ip []byte) []byte { return slices.Concat([]byte{0xff, 3}, pppType(ip), ip) })
	one("Cisco HDLC", 104, func(ip []byte) []byte { return slices.Concat([]byte{0x0f, 0}, etherType(ip), ip) })
	one("PPPoE link", 51, func(ip []byte) []byte { return slices.Concat([]byte{0x11, 0, 0, 1}, be16(2+len(ip)), pppType(ip), ip) })
	one("Frame Relay", 107, func(ip []byte) []byte { return slices.Concat([]byte{0x18, 0x41, 3}, nlpid(ip), ip) })
	one("LLC on ATM", 100, func(ip []byte) []byte { return slices.Concat([]byte{0xaa, 0xaa, 3, 0, 0, 0}, etherType(ip), ip) })
	one("NFLOG", 239, nflog(binary.LittleEndian))
	one("802.11", 105, func(ip []byte) []byte { return wireless(ip, false, false) })
	one("802.11, between access points", 105, func(ip []byte) []byte { return wireless(ip, false, true) })
	one("802.11 with radiotap", 127, func(ip []byte) []byte {
		// Timestamp, flags (a checksum at the end) and rate.
		return slices.Concat([]byte{0, 0, 18, 0, 7, 0, 0, 0}, make([]byte, 8), []byte{0x10, 12}, wireless(ip, true, false), []byte{1, 2, 3, 4})
	})
	one("802.11 with radiotap, padded", 127, func(ip []byte) []byte {
		b := wireless(ip, true, false)
		return slices.Concat([]byte{0, 0, 9, 0, 2, 0, 0, 0}, []byte{0x20}, b[:26], []byte{0, 0}, b[26:])
	})
	one("PPI", 192, func(ip []byte) []byte {
		return slices.Concat([]byte{0, 0, 8, 0, 105, 0, 0, 0}, wireless(ip, false, false))
	})
	one("MPLS link", 219, func(ip []byte) []byte { return slices.Concat([]byte{0, 1, 1, 64}, ip) })

	all = append(all,
		Wrapping{"fragments", ethernetLink, func(ip []byte) [][]byte { return frames(fragments(ip)) }},
		Wrapping{"fragments, the last first", ethernetLink, func(ip []byte) [][]byte {
			parts := frames(fragments(ip))
			slices.Reverse(parts)
			return parts
		}},
		Wrapping{"fragments, one twice", ethernetLink, func(ip []byte) [][]byte {
			parts := frames(fragments(ip))
			return slices.Concat(parts[:len(parts)-1], parts)
		}},
		Wrapping{"fragments in GRE", ethernetLink, func(ip []byte) [][]byte {
			var all [][]byte
			for _, f := range fragments(ip) {
				all = append(all, ethernet(ip4(47, slices.Concat([]byte{0, 0}, etherType(f), f))))
			}
			return all
		}},
		Wrapping{"GRE in fragments", ethernetLink, func(ip []byte) [][]byte {
			return frames(fragments(ip4(47, slices.Concat([]byte{0, 0}, etherType(ip), ip))))
		}})
	return all
}

func be16(n int) []byte { return binary.BigEndian.AppendUint16(nil, uint16(n)) }

func six(ip []byte) bool { return ip[0]>>4 == 6 }

func etherType(ip []byte) []byte {
	if six(ip) {
		return []byte{0x86, 0xdd}
	}
	return []byte{8, 0}
}

func pppType(ip []byte) []byte {
	if six(ip) {
		return []byte{0, 0x57}
	}
	return []byte{0, 0x21}
}

func nlpid(ip []byte) []byte {
	if six(ip) {
		return []byte{0x8e}
	}
	return []byte{0xcc}
}

func inIP(ip []byte) byte {
	if six(ip) {
		return 41
	}
	return 4
}

func ethernet(ip []byte) []byte {
	return slices.Concat([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2}, etherType(ip), ip)
}

func frames(all [][]byte) [][]byte {
	for i := range all {
		all[i] = ethernet(all[i])
	}
	return all
}

// sum is that of the Internet checksum (RFC 1071).
func sum(b []byte) uint16 {
	total := 0
	for i := 0; i+1 < len(b); i += 2 {
		total += int(binary.BigEndian.Uint16(b[i:]))
	}
	if len(b)%2 == 1 {
		total += int(b[len(b)-1]) << 8
	}
	for total > 0xffff {
		total = total>>16 + total&0xffff
	}
	return uint16(total)
}

// tunnels is how many packets of tunnels there were: their identifications.
var tunnels uint16

func ip4(protocol byte, body []byte) []byte {
	tunnels++
	b := slices.Concat([]byte{0x45, 0}, be16(20+len(body)), be16(int(tunnels)), []byte{0, 0, 50, protocol, 0, 0, 203, 0, 113, 1, 203, 0, 113, 2}, body)
	binary.BigEndian.PutUint16(b[10:], ^sum(b[:20]))
	return b
}

func ip6(protocol byte, body []byte) []byte {
	ends := make([]byte, 32)
	ends[0], ends[1], ends[15], ends[16], ends[17], ends[31] = 0x20, 1, 1, 0x20, 1, 2
	return slices.Concat([]byte{0x60, 0, 0, 0}, be16(len(body)), []byte{protocol, 50}, ends, body)
}

func datagram(port uint16, body []byte) []byte {
	return slices.Concat(be16(50000), be16(int(port)), be16(8+len(body)), []byte{0, 0}, body)
}

// datagram6 has a checksum that is not right: nobody looks at it, and 0 is not allowed.
func datagram6(port uint16, body []byte) []byte {
	b := datagram(port, body)
	b[7] = 1
	return b
}

func wireless(ip []byte, qos, between bool) []byte {
	header := make([]byte, 24)
	header[0], header[1] = 0x08, 0x01
	if between {
		header[1] = 0x03
		header = append(header, make([]byte, 6)...)
	}
	if qos {
		header[0] = 0x88
		header = append(header, 0, 0)
	}
	return slices.Concat(header, []byte{0xaa, 0xaa, 3, 0, 0, 0}, etherType(ip), ip)
}

func nflog(order binary.AppendByteOrder) func(ip []byte) []byte {
	return func(ip []byte) []byte {
		family := byte(2)
		if six(ip) {
			family = 10
		}
		attribute := func(kind uint16, value []byte) []byte {
			b := order.AppendUint16(order.AppendUint16(nil, uint16(4+len(value))), kind)
			b = append(b, value...)
			return append(b, make([]byte, -len(b)&3)...)
		}
		return slices.Concat([]byte{family, 0, 0, 5}, attribute(1, []byte{8, 0, 1, 0}), attribute(10, []byte("in\x00")), attribute(9, ip))
	}
}

// size is how many bytes a fragment carries.
const size = 600

// fragments cuts a packet into parts.
func fragments(ip []byte) [][]byte {
	tunnels++
	if six(ip) {
		return fragments6(ip)
	}
	header, body := ip[:20], ip[20:]
	var all [][]byte
	for at := 0; at < len(body) || at == 0; at += size {
		part := body[at:min(at+size, len(body))]
		b := slices.Concat(header, part)
		binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
		binary.BigEndian.PutUint16(b[4:], tunnels)
		field := uint16(at / 8)
		if at+size < len(body) {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], field)
		b[10], b[11] = 0, 0
		binary.BigEndian.PutUint16(b[10:], ^sum(b[:20]))
		all = append(all, b)
	}
	return all
}

func fragments6(ip []byte) [][]byte {
	header, body := ip[:40], ip[40:]
	var all [][]byte
	for at := 0; at < len(body) || at == 0; at += size {
		part := body[at:min(at+size, len(body))]
		field := uint16(at)
		if at+size < len(body) {
			field |= 1
		}
		b := slices.Concat(header, []byte{header[6], 0}, be16(int(field)), []byte{0, 0}, be16(int(tunnels)), part)
		b[6] = 44
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-40))
		all = append(all, b)
	}
	return all
}
