package middlebox

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// A chain is one of the box's table, with its rules.
type chain struct {
	name, kind string // nft's type: filter or nat
	hook       uint32
	priority   int32
	rules      []rule
}

// A rule is what nft writes as its text. Each one counts.
type rule struct {
	text        string
	expressions []expression
}

// An expression is one of nf_tables' instructions with its attributes, in the order in which they are sent.
type expression struct {
	name       string
	attributes []netlink.Attribute
}

const (
	priorityMangle    = -150 // include/uapi/linux/netfilter_ipv4.h: NF_IP_PRI_MANGLE, after conntrack, before NAT
	priorityFilter    = 0
	prioritySourceNAT = 100

	register = 1 // NFT_REG_1: all rules work in it

	ipv4, ipv6 = unix.NFPROTO_IPV4, unix.NFPROTO_IPV6
)

// States of conntrack in a rule (NF_CT_STATE_BIT).
const (
	stateEstablished = 1 << 1
	stateRelated     = 1 << 2
	stateNew         = 1 << 3
)

// chains are what a box is made of.
func (b Box) chains() []chain {
	var all []chain
	if mangle := b.mangle(); len(mangle) > 0 {
		all = append(all, chain{"mangle", "filter", unix.NF_INET_FORWARD, priorityMangle, mangle})
	}
	if !b.stateful() {
		return all
	}
	known := join("ct state established,related", state(stateEstablished|stateRelated), count(), accept())
	inside := fmt.Sprintf("iifname != %q", b.Outside)
	fromInside := append(meta(unix.NFT_META_IIFNAME), compare(unix.NFT_CMP_NEQ, device(b.Outside))...)
	forward := []rule{known, join(inside+" ct state new", fromInside, state(stateNew), count(), accept())}
	// The answer to a connection that is forgotten comes to the NAT itself.
	input := []rule{known, join(inside, fromInside, count(), accept())}
	forward, input = append(forward, b.unknown()...), append(input, b.unknown()...)
	all = append(all,
		chain{"forward", "filter", unix.NF_INET_FORWARD, priorityFilter, forward},
		chain{"input", "filter", unix.NF_INET_LOCAL_IN, priorityFilter, input})
	if b.NAT {
		toOutside := append(meta(unix.NFT_META_OIFNAME), compare(unix.NFT_CMP_EQ, device(b.Outside))...)
		all = append(all, chain{"outside", "nat", unix.NF_INET_POST_ROUTING, prioritySourceNAT, []rule{
			join(fmt.Sprintf("oifname %q", b.Outside), toOutside, count(), masquerade()),
		}})
	}
	return all
}

// mangle are the rules that change packets.
func (b Box) mangle() []rule {
	var rules []rule
	if b.ClearECN {
		rules = append(rules,
			clear("ip ecn", protocol(ipv4), unix.NFT_PAYLOAD_NETWORK_HEADER, 0, []byte{0, 0x03}, ipv4Checksum),
			clear("ip6 ecn", protocol(ipv6), unix.NFT_PAYLOAD_NETWORK_HEADER, 0, []byte{0, 0x30}, noChecksum),
			clear("tcp flags ece, cwr, ae", tcp(), unix.NFT_PAYLOAD_TRANSPORT_HEADER, 12, []byte{0x01, 0xc0}, tcpChecksum),
			// Linux 7.3 passes over a write to the byte that has the length of the header, as it came. Alone the byte of the other
			// flags has no checksum that nf_tables could correct; packets of a local TCP on a veth have none yet.
			clear("tcp flags ece, cwr", tcp(), unix.NFT_PAYLOAD_TRANSPORT_HEADER, 13, []byte{0xc0}, noChecksum))
	}
	for _, option := range b.StripOptions {
		text := fmt.Sprintf("reset tcp option %v", option)
		rules = append(rules, join(text, tcp(), has(option), count(), strip(option)))
	}
	if b.ClampMSS != 0 {
		rules = append(rules, join(fmt.Sprintf("tcp option maxseg size set %d", b.ClampMSS),
			tcp(), has(MSS), count(), setMSS(b.ClampMSS)))
	}
	return rules
}

// unknown are the rules for what no other rule let through.
func (b Box) unknown() []rule {
	prohibited := join("reject with icmpx admin-prohibited", count(), prohibit())
	switch b.Unknown {
	case Reset:
		return []rule{join("reject with tcp reset", tcp(), count(), reset()), prohibited}
	case Prohibited:
		return []rule{prohibited}
	default:
		return []rule{join("drop", count(), verdict(0))}
	}
}

// join makes a rule of steps of one or more expressions.
func join(text string, steps ...[]expression) rule {
	r := rule{text: text}
	for _, step := range steps {
		r.expressions = append(r.expressions, step...)
	}
	return r
}

// one is a step of one expression.
func one(name string, attributes ...netlink.Attribute) []expression {
	return []expression{{name, attributes}}
}

func number(kind uint16, value uint32) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: binary.BigEndian.AppendUint32(nil, value)}
}

// value is a constant of an expression (NFTA_DATA_VALUE).
func value(kind uint16, bytes []byte) netlink.Attribute {
	return nested(kind, unix.NFTA_DATA_VALUE, bytes)
}

// nested is an attribute with one attribute in it.
func nested(kind, inner uint16, bytes []byte) netlink.Attribute {
	return netlink.Attribute{Type: kind, Data: attributes(netlink.Attribute{Type: inner, Data: bytes})}
}

func meta(key uint32) []expression {
	return one("meta", number(unix.NFTA_META_DREG, register), number(unix.NFTA_META_KEY, key))
}

func compare(operation uint32, bytes []byte) []expression {
	return one("cmp", number(unix.NFTA_CMP_SREG, register), number(unix.NFTA_CMP_OP, operation), value(unix.NFTA_CMP_DATA, bytes))
}

func equals(bytes ...byte) []expression { return compare(unix.NFT_CMP_EQ, bytes) }

// device is a name as meta loads it.
func device(name string) []byte {
	return append([]byte(name), make([]byte, unix.IFNAMSIZ-len(name))...)
}

// tcp matches TCP, over whichever IP.
func tcp() []expression { return append(meta(unix.NFT_META_L4PROTO), equals(unix.IPPROTO_TCP)...) }

func protocol(family byte) []expression {
	return append(meta(unix.NFT_META_NFPROTO), equals(family)...)
}

// mask keeps some bits of the register, which has so many bytes.
func mask(bits []byte) []expression {
	return one("bitwise", number(unix.NFTA_BITWISE_SREG, register), number(unix.NFTA_BITWISE_DREG, register),
		number(unix.NFTA_BITWISE_LEN, uint32(len(bits))), value(unix.NFTA_BITWISE_MASK, bits), value(unix.NFTA_BITWISE_XOR, make([]byte, len(bits))))
}

// state matches packets whose connection is in one of these states. The register has them in the machine's own byte order.
func state(bits uint32) []expression {
	native := func(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
	load := one("ct", number(unix.NFTA_CT_DREG, register), number(unix.NFTA_CT_KEY, unix.NFT_CT_STATE))
	return append(append(load, mask(native(bits))...), compare(unix.NFT_CMP_NEQ, native(0))...)
}

// count counts the packets that come so far in their rule.
func count() []expression { return one("counter") }

func accept() []expression { return verdict(1) }

func verdict(code uint32) []expression {
	of := attributes(number(unix.NFTA_VERDICT_CODE, code))
	return one("immediate", number(unix.NFTA_IMMEDIATE_DREG, unix.NFT_REG_VERDICT), nested(unix.NFTA_IMMEDIATE_DATA, unix.NFTA_DATA_VERDICT, of))
}

func reset() []expression {
	return one("reject", number(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_TCP_RST))
}

// prohibit answers with ICMP or ICMPv6, whichever the packet has.
func prohibit() []expression {
	return one("reject", number(unix.NFTA_REJECT_TYPE, unix.NFT_REJECT_ICMPX_UNREACH),
		netlink.Attribute{Type: unix.NFTA_REJECT_ICMP_CODE, Data: []byte{unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}})
}

func masquerade() []expression { return one("masq") }

// exthdr is an expression of a TCP option.
func exthdr(option Option, more ...netlink.Attribute) []expression {
	return one("exthdr", append([]netlink.Attribute{
		{Type: unix.NFTA_EXTHDR_TYPE, Data: []byte{byte(option)}}, number(unix.NFTA_EXTHDR_OP, unix.NFT_EXTHDR_OP_TCPOPT),
	}, more...)...)
}

// has matches segments that have an option.
func has(option Option) []expression {
	const present = 1 // NFT_EXTHDR_F_PRESENT: load whether it is there
	load := exthdr(option, number(unix.NFTA_EXTHDR_DREG, register), number(unix.NFTA_EXTHDR_OFFSET, 0), number(unix.NFTA_EXTHDR_LEN, 1),
		number(unix.NFTA_EXTHDR_FLAGS, present))
	return append(load, equals(1)...)
}

// strip takes an option out of a segment: with neither register it is that (nft_exthdr_tcp_strip_ops).
func strip(option Option) []expression { return exthdr(option) }

// setMSS lowers the MSS. nft_exthdr_tcp_set_eval never raises it.
func setMSS(mss uint16) []expression {
	load := one("immediate", number(unix.NFTA_IMMEDIATE_DREG, register), value(unix.NFTA_IMMEDIATE_DATA, binary.BigEndian.AppendUint16(nil, mss)))
	return append(load, exthdr(MSS, number(unix.NFTA_EXTHDR_SREG, register), number(unix.NFTA_EXTHDR_OFFSET, 2), number(unix.NFTA_EXTHDR_LEN, 2))...)
}

// A checksum is where a header has the one to be corrected.
type checksum struct {
	kind   uint32
	offset uint32
}

var (
	noChecksum   = checksum{unix.NFT_PAYLOAD_CSUM_NONE, 0}
	ipv4Checksum = checksum{unix.NFT_PAYLOAD_CSUM_INET, 10}
	tcpChecksum  = checksum{unix.NFT_PAYLOAD_CSUM_INET, 16}
)

// clear clears bits of a header, where they are not zero. Checksums are of two bytes, and so is what is written, if it is in one.
func clear(what string, packets []expression, base, offset uint32, bits []byte, sum checksum) rule {
	place := []netlink.Attribute{
		number(unix.NFTA_PAYLOAD_BASE, base), number(unix.NFTA_PAYLOAD_OFFSET, offset), number(unix.NFTA_PAYLOAD_LEN, uint32(len(bits))),
	}
	load := one("payload", append([]netlink.Attribute{number(unix.NFTA_PAYLOAD_DREG, register)}, place...)...)
	store := one("payload", append(append([]netlink.Attribute{number(unix.NFTA_PAYLOAD_SREG, register)}, place...),
		number(unix.NFTA_PAYLOAD_CSUM_TYPE, sum.kind), number(unix.NFTA_PAYLOAD_CSUM_OFFSET, sum.offset))...)
	others := make([]byte, len(bits))
	for i, b := range bits {
		others[i] = ^b
	}
	set := compare(unix.NFT_CMP_NEQ, make([]byte, len(bits)))
	return join("clear "+what, packets, load, mask(bits), set, count(), load, mask(others), store)
}
