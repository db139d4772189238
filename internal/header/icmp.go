package header

import "fmt"

// The messages that quote what they are about (RFC 792, RFC 4443), which people meet with TCP.
var icmpTypes = map[uint64]string{0: "Echo Reply", 3: "Destination Unreachable", 4: "Source Quench (deprecated, RFC 6633)", 5: "Redirect", 8: "Echo Request",
	11: "Time Exceeded", 12: "Parameter Problem"}

var icmpUnreachable = []string{"network unreachable", "host unreachable", "protocol unreachable", "port unreachable", "fragmentation needed and DF set",
	"source route failed", "network unknown", "host unknown", "source host isolated", "network prohibited", "host prohibited", "network unreachable for this TOS",
	"host unreachable for this TOS", "communication administratively prohibited", "host precedence violation", "precedence cutoff in effect"}

var icmpv6Types = map[uint64]string{1: "Destination Unreachable", 2: "Packet Too Big", 3: "Time Exceeded", 4: "Parameter Problem", 128: "Echo Request", 129: "Echo Reply",
	133: "Router Solicitation", 134: "Router Advertisement", 135: "Neighbor Solicitation", 136: "Neighbor Advertisement"}

var icmpv6Unreachable = []string{"no route to destination", "administratively prohibited", "beyond scope of source address", "address unreachable", "port unreachable",
	"source address failed policy", "reject route"}

func (d *decoder) icmp() step {
	h, ok := d.begin("ICMP", "RFC 792", 8)
	if !ok {
		return nil
	}
	kind, code := h.typeAndCode(icmpTypes, icmpUnreachable, 3)
	switch {
	case d.quoted || h.Offset+d.ipPayload > len(d.data):
	case checksum(d.data[h.Offset:h.Offset+max(d.ipPayload, 8)]) == 0:
		h.mean("right")
	default:
		h.mean("wrong")
	}
	switch {
	case kind == 3 && code == 4:
		h.field("Unused", 32, 16, "")
		h.field("Next-Hop MTU", 48, 16, "bytes: what fits through (RFC 1191)")
	case kind == 0 || kind == 8:
		h.hex("Identifier", 32, 16, "")
		h.field("Sequence Number", 48, 16, "")
		return nil
	default:
		h.hex("Rest of Header", 32, 32, "")
	}
	return d.quote(kind == 3 || kind == 4 || kind == 5 || kind == 11 || kind == 12)
}

func (d *decoder) icmpv6() step {
	h, ok := d.begin("ICMPv6", "RFC 4443", 8)
	if !ok {
		return nil
	}
	kind, _ := h.typeAndCode(icmpv6Types, icmpv6Unreachable, 1)
	h.mean("%s", d.payloadSum(h, protoICMPv6))
	if kind == 2 {
		h.field("MTU", 32, 32, "bytes: what fits through")
	} else {
		h.hex("Rest of Header", 32, 32, "")
	}
	return d.quote(kind < 128)
}

// typeAndCode adds the first three fields of both.
func (h builder) typeAndCode(types map[uint64]string, codes []string, unreachable uint64) (kind, code uint64) {
	kind = h.field("Type", 0, 8, "")
	h.mean("%s", types[kind])
	code = h.field("Code", 8, 8, "")
	if kind == unreachable && code < uint64(len(codes)) {
		h.mean("%s", codes[code])
	}
	h.hex("Checksum", 16, 16, "")
	return kind, code
}

// quote goes on with the packet that an error is about.
func (d *decoder) quote(yes bool) step {
	if !yes {
		return nil
	}
	return func() step {
		before := len(d.headers)
		d.quoted = true
		next := d.byVersion()
		if next == nil {
			return nil
		}
		// The name of the first one says whose packet it is.
		after := next()
		if len(d.headers) > before {
			d.headers[before].Name = fmt.Sprintf("%s, quoted", d.headers[before].Name)
		}
		return after
	}
}
