package header

import (
	"fmt"
	"net/netip"
)

// The protocols that IP carries (IANA).
const (
	protoICMP   = 1
	protoIPIP   = 4
	protoTCP    = 6
	protoUDP    = 17
	protoIPv6   = 41
	protoICMPv6 = 58
)

var protocols = map[uint64]string{0: "Hop-by-Hop Options", protoICMP: "ICMP", protoIPIP: "IPv4", protoTCP: "TCP", protoUDP: "UDP", protoIPv6: "IPv6", 43: "Routing",
	44: "Fragment", 47: "GRE", 50: "ESP", 51: "Authentication Header", protoICMPv6: "ICMPv6", 59: "nothing", 60: "Destination Options", 132: "SCTP"}

var codepoints = []string{"Not-ECT: the sender has no ECN", "ECT(1): ECN, as L4S uses it", "ECT(0): ECN", "CE: congestion experienced"}

func (d *decoder) byProtocol(protocol uint64) step {
	switch protocol {
	case protoTCP:
		return d.tcp
	case protoUDP:
		return d.udp
	case protoICMP:
		return d.icmp
	case protoICMPv6:
		return d.icmpv6
	case protoIPIP:
		return d.ipv4
	case protoIPv6:
		return d.ipv6
	case 0, 43, 60:
		return d.extension(protocol)
	case 44:
		return d.fragment
	}
	return nil
}

func (h builder) trafficClass(bit int) {
	h.field("DSCP", bit, 6, "")
	ecn := h.field("ECN", bit+6, 2, "")
	h.mean("%s", codepoints[ecn])
}

func (h builder) address(name string, bit, bits int) {
	a, _ := netip.AddrFromSlice(h.b[bit/8 : (bit+bits)/8])
	meaning := ""
	switch {
	case a.IsLoopback():
		meaning = "loopback"
	case a.IsMulticast():
		meaning = "multicast"
	case a.IsLinkLocalUnicast():
		meaning = "link-local"
	case a.IsPrivate():
		meaning = "private"
	}
	h.text(name, bit, bits, a.String(), meaning)
}

func (d *decoder) ipv4() step {
	h, ok := d.begin("IPv4", "RFC 791", 20)
	if !ok {
		return nil
	}
	version := h.field("Version", 0, 4, "")
	words := int(h.field("IHL", 4, 4, "")) //nolint:gosec // four bits
	h.mean("%d bytes", 4*words)
	h.trafficClass(8)
	total := int(h.field("Total Length", 16, 16, "bytes, with this header")) //nolint:gosec // 16 bits
	h.hex("Identification", 32, 16, "")
	d.fragmentFlags(h)
	offset := h.field("Fragment Offset", 51, 13, "")
	if offset > 0 {
		h.mean("byte %d", 8*offset)
	}
	h.field("Time to Live", 64, 8, "routers that it may still pass")
	protocol := h.field("Protocol", 72, 8, "")
	h.mean("%s", protocols[protocol])
	h.hex("Header Checksum", 80, 16, "")
	h.address("Source Address", 96, 32)
	h.address("Destination Address", 128, 32)
	if version != 4 || words < 5 || total < 4*words {
		h.wrong("version %d, a header of %d bytes in a packet of %d: this cannot be", version, 4*words, total)
		return nil
	}
	whole := d.grow(&h, 4*words)
	if whole {
		if checksum(h.b) == 0 {
			h.explain("Header Checksum", "right")
		} else {
			h.explain("Header Checksum", "wrong; or the network card was to compute it")
		}
	}
	d.setIP(h.Offset+total, h.b[12:20])
	if h.Length > 20 {
		h.hexString("Options", 160, h.b[20:])
	}
	more := h.bits(50, 1)
	if !whole || offset > 0 || more == 1 {
		return nil // what a fragment carries begins elsewhere, or ends there
	}
	return d.byProtocol(protocol)
}

func (d *decoder) fragmentFlags(h builder) {
	h.field("Reserved", 48, 1, "")
	df := h.field("Don't Fragment", 49, 1, "")
	if df == 1 {
		h.mean("path MTU discovery: a router that cannot pass it on says so by ICMP")
	}
	h.field("More Fragments", 50, 1, "")
}

// setIP notes where the packet ends, and the addresses for the checksum.
func (d *decoder) setIP(end int, addresses []byte) {
	d.ipEnd = end
	d.ipPayload = end - d.at
	d.pseudo = addresses
}

func (d *decoder) ipv6() step {
	h, ok := d.begin("IPv6", "RFC 8200", 40)
	if !ok {
		return nil
	}
	version := h.field("Version", 0, 4, "")
	h.trafficClass(4)
	h.hex("Flow Label", 12, 20, "")
	length := int(h.field("Payload Length", 32, 16, "bytes, without this header")) //nolint:gosec // 16 bits
	next := h.field("Next Header", 48, 8, "")
	h.mean("%s", protocols[next])
	h.field("Hop Limit", 56, 8, "routers that it may still pass")
	h.address("Source Address", 64, 128)
	h.address("Destination Address", 192, 128)
	if version != 6 {
		h.wrong("version %d: this cannot be", version)
		return nil
	}
	d.setIP(d.at+length, h.b[8:40])
	return d.byProtocol(next)
}

// extension is an extension header of IPv6 whose length is in it, in units of eight bytes.
func (d *decoder) extension(kind uint64) step {
	return func() step {
		h, ok := d.begin(protocols[kind], "RFC 8200, 4", 8)
		if !ok {
			return nil
		}
		next := h.field("Next Header", 0, 8, "")
		h.mean("%s", protocols[next])
		bytes := 8 + 8*int(h.field("Hdr Ext Len", 8, 8, "")) //nolint:gosec // 8 bits
		h.mean("%d bytes", bytes)
		whole := d.grow(&h, bytes)
		h.hexString("Content", 16, h.b[2:])
		d.ipPayload -= bytes
		if !whole {
			return nil
		}
		return d.byProtocol(next)
	}
}

func (d *decoder) fragment() step {
	h, ok := d.begin("Fragment", "RFC 8200, 4.5", 8)
	if !ok {
		return nil
	}
	next := h.field("Next Header", 0, 8, "")
	h.mean("%s", protocols[next])
	h.field("Reserved", 8, 8, "")
	offset := h.field("Fragment Offset", 16, 13, "")
	h.mean("byte %d", 8*offset)
	h.field("Reserved", 29, 2, "")
	more := h.field("More Fragments", 31, 1, "")
	h.hex("Identification", 32, 32, "")
	d.ipPayload -= 8
	if offset > 0 || more == 1 {
		return nil
	}
	return d.byProtocol(next)
}

// explain gives a field its meaning afterwards.
func (h builder) explain(name, meaning string) {
	for i := range h.Fields {
		if h.Fields[i].Name == name {
			h.Fields[i].Meaning = meaning
		}
	}
}

// hexString adds a field of any length.
func (h builder) hexString(name string, bit int, content []byte) {
	if len(content) > 0 {
		h.text(name, bit, 8*len(content), fmt.Sprintf("%x", content), "")
	}
}

func (d *decoder) udp() step {
	h, ok := d.begin("UDP", "RFC 768", 8)
	if !ok {
		return nil
	}
	h.field("Source Port", 0, 16, "")
	h.field("Destination Port", 16, 16, "")
	h.field("Length", 32, 16, "bytes, with this header")
	if sum := h.hex("Checksum", 48, 16, ""); sum == 0 {
		h.mean("none: allowed in IPv4")
	} else {
		h.mean("%s", d.payloadSum(h, protoUDP))
	}
	return nil
}
