package rules

import (
	"unsafe"

	"github.com/cilium/ebpf/asm"
	"golang.org/x/sys/unix"
)

// loadHeader copies bytes at R8 in the frame to packet.Header, and goes to "parsed" if the frame is shorter.
func (p *program) loadHeader(size int32) {
	// if (bpf_skb_load_bytes(skb, at, p->Header, size)) goto parsed;
	p.add(
		asm.Mov.Reg(asm.R1, asm.R6),
		asm.Mov.Reg(asm.R2, asm.R8),
		asm.Mov.Reg(asm.R3, asm.R7),
		asm.Add.Imm(asm.R3, int32(header)),
		asm.Mov.Imm(asm.R4, size),
	)
	p.call(asm.FnSkbLoadBytes)
	p.add(asm.JNE.Imm(asm.R0, 0, "parsed"))
}

const header = unsafe.Offsetof(packet{}.Header)

// parse sorts the packet. What it does not know stays a packet of unknown kind between two addresses, or between none.
func (p *program) parse() {
	// switch (ntohs(skb->protocol)) {
	// case ETH_P_IP:   goto ipv4;
	// case ETH_P_IPV6: goto ipv6;
	// default:         goto parsed;
	// }
	p.load(asm.R1, asm.R6, skbProtocol)
	p.add(
		asm.HostTo(asm.BE, asm.R1, asm.Half),
		asm.JEq.Imm(asm.R1, unix.ETH_P_IP, "ipv4"),
		asm.JEq.Imm(asm.R1, unix.ETH_P_IPV6, "ipv6"),
	)
	p.goTo("parsed")
	p.parseIPv4()
	p.parseIPv6()
	p.parseICMP()
	p.parseTCP()
	p.mark("parsed")
}

const (
	source      = unsafe.Offsetof(packet{}.Key) + unsafe.Offsetof(conversationKey{}.Source)
	destination = unsafe.Offsetof(packet{}.Key) + unsafe.Offsetof(conversationKey{}.Destination)
	protocol    = unsafe.Offsetof(packet{}.Key) + unsafe.Offsetof(conversationKey{}.Protocol)
)

// parseIPv4 reads the header of RFC 791.
func (p *program) parseIPv4() {
	// ipv4: at = ETH_HLEN; load struct iphdr
	p.mark("ipv4")
	p.add(asm.Mov.Imm(asm.R8, ethernetHeader))
	p.loadHeader(20)
	// p->Key.Source = ::ffff:iph->saddr; p->Key.Destination = ::ffff:iph->daddr;
	for _, address := range []struct{ to, from uintptr }{{source, header + 12}, {destination, header + 16}} {
		p.add(asm.StoreImm(asm.R7, int16(address.to+10), -1, asm.Half))
		p.load(asm.R1, asm.R7, address.from)
		p.store(asm.R7, address.to+12, asm.R1)
	}
	// p->ECN = iph->tos & 3;
	p.add(
		asm.LoadMem(asm.R1, asm.R7, int16(header+1), asm.Byte),
		asm.And.Imm(asm.R1, 3),
	)
	p.storeECN()
	// A fragment has no TCP header, or not the length of the segment.
	const moreFragmentsAndOffset = 0x3fff
	// if (ntohs(iph->frag_off) & (IP_MF | IP_OFFSET)) goto parsed;
	p.loadBig(asm.R1, header+6, asm.Half)
	p.add(
		asm.And.Imm(asm.R1, moreFragmentsAndOffset),
		asm.JNE.Imm(asm.R1, 0, "parsed"),
	)
	// hlen = iph->ihl * 4; left = ntohs(iph->tot_len);
	// if (left < hlen) goto parsed;
	// left -= hlen; at += hlen;
	p.add(
		asm.LoadMem(asm.R2, asm.R7, int16(header), asm.Byte), // version and header length in words
		asm.And.Imm(asm.R2, 0xf),
		asm.LSh.Imm(asm.R2, 2),
	)
	p.loadBig(asm.R9, header+2, asm.Half)
	p.add(
		asm.JLT.Reg(asm.R9, asm.R2, "parsed"),
		asm.Sub.Reg(asm.R9, asm.R2),
		asm.Add.Reg(asm.R8, asm.R2),
		asm.LoadMem(asm.R1, asm.R7, int16(header+9), asm.Byte),
	)
	// p->Key.Protocol = iph->protocol;
	// if (iph->protocol == IPPROTO_TCP) goto tcp;
	// if (iph->protocol != IPPROTO_ICMP) goto parsed;
	p.store(asm.R7, protocol, asm.R1)
	p.add(
		asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, "tcp"),
		asm.JNE.Imm(asm.R1, unix.IPPROTO_ICMP, "parsed"),
	)
	p.loadICMP(kindICMPv4, 3<<8|4) // RFC 1191: destination unreachable, fragmentation needed
}

// storeECN keeps the codepoint in R1.
func (p *program) storeECN() {
	// p->Codepoint = 1 << p->ECN;
	p.store(asm.R7, unsafe.Offsetof(packet{}.ECN), asm.R1)
	p.add(asm.Mov.Imm(asm.R2, 1), asm.LSh.Reg(asm.R2, asm.R1))
	p.store(asm.R7, unsafe.Offsetof(packet{}.Codepoint), asm.R2)
}

// parseIPv6 reads the header of RFC 8200.
func (p *program) parseIPv6() {
	// ipv6: at = ETH_HLEN; load struct ipv6hdr
	p.mark("ipv6")
	p.add(asm.Mov.Imm(asm.R8, ethernetHeader))
	p.loadHeader(ipv6Header)
	// p->Key.Source = ip6h->saddr; p->Key.Destination = ip6h->daddr;
	for i := uintptr(0); i < 16; i += 8 {
		p.add(
			asm.LoadMem(asm.R1, asm.R7, int16(header+8+i), asm.DWord),
			asm.StoreMem(asm.R7, int16(source+i), asm.R1, asm.DWord),
			asm.LoadMem(asm.R1, asm.R7, int16(header+24+i), asm.DWord),
			asm.StoreMem(asm.R7, int16(destination+i), asm.R1, asm.DWord),
		)
	}
	// p->ECN = ip6h->flow_lbl[0] >> 4 & 3;
	p.add(
		asm.LoadMem(asm.R1, asm.R7, int16(header+1), asm.Byte), // half of the traffic class, half of the flow label
		asm.RSh.Imm(asm.R1, 4),
		asm.And.Imm(asm.R1, 3),
	)
	p.storeECN()
	// left = ntohs(ip6h->payload_len); at += sizeof(*ip6h);
	p.loadBig(asm.R9, header+4, asm.Half)
	p.add(
		asm.Add.Imm(asm.R8, ipv6Header),
		asm.LoadMem(asm.R1, asm.R7, int16(header+6), asm.Byte),
	)
	// p->Key.Protocol = ip6h->nexthdr;
	// if (ip6h->nexthdr == IPPROTO_TCP) goto tcp;
	// if (ip6h->nexthdr != IPPROTO_ICMPV6) goto parsed;
	p.store(asm.R7, protocol, asm.R1)
	p.add(
		asm.JEq.Imm(asm.R1, unix.IPPROTO_TCP, "tcp"),
		asm.JNE.Imm(asm.R1, unix.IPPROTO_ICMPV6, "parsed"),
	)
	p.loadICMP(kindICMPv6, 2<<8) // RFC 4443: packet too big
}

// loadICMP goes to "icmp" with the kinds in R9, and in R8 the type and code that mean "too big".
func (p *program) loadICMP(k kind, tooBig int32) {
	// load type and code of struct icmphdr
	// kinds = KIND_PACKET | k; tooBig = ...;
	// goto icmp;
	p.loadHeader(2)
	p.add(
		asm.Mov.Imm(asm.R9, int32(kindPacket|k)),
		asm.Mov.Imm(asm.R8, tooBig),
	)
	p.goTo("icmp")
}

// parseICMP reads type and code (RFC 792, RFC 4443).
func (p *program) parseICMP() {
	// icmp: p->ICMP = icmph->type << 8 | icmph->code;
	p.mark("icmp")
	p.loadBig(asm.R1, header, asm.Half)
	p.store(asm.R7, unsafe.Offsetof(packet{}.ICMP), asm.R1)
	// if (p->ICMP == tooBig) kinds |= KIND_TOO_BIG;
	other := p.label("other")
	p.add(
		asm.JNE.Reg(asm.R1, asm.R8, other),
		asm.Or.Imm(asm.R9, int32(kindTooBig)),
	)
	// p->Kinds = kinds;
	// goto parsed;
	p.mark(other)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Kinds), asm.R9)
	p.goTo("parsed")
}

// Flags of the TCP header (RFC 9293, section 3.1).
const (
	flagFIN = 1 << iota
	flagSYN
	flagRST
	flagPSH
	flagACK

	allFlags = 1<<9 - 1 // with AE (RFC 9768)
)

// parseTCP reads the header of RFC 9293.
func (p *program) parseTCP() {
	// tcp: load struct tcphdr
	// p->Offset = at;
	p.mark("tcp")
	p.loadHeader(20)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Offset), asm.R8)
	// hlen = tcph->doff * 4;
	// if (left < hlen) goto parsed;
	// p->Payload = left -= hlen; p->Body = at + hlen;
	p.add(
		asm.LoadMem(asm.R1, asm.R7, int16(header+12), asm.Byte), // header length in words, in the upper half
		asm.RSh.Imm(asm.R1, 4),
		asm.LSh.Imm(asm.R1, 2),
		asm.JLT.Reg(asm.R9, asm.R1, "parsed"),
		asm.Sub.Reg(asm.R9, asm.R1),
	)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Payload), asm.R9)
	p.add(asm.Add.Reg(asm.R1, asm.R8))
	p.store(asm.R7, unsafe.Offsetof(packet{}.Body), asm.R1)
	// p->Key.SourcePort = ntohs(tcph->source); p->Key.DestinationPort = ntohs(tcph->dest);
	const key = unsafe.Offsetof(packet{}.Key)
	p.loadBig(asm.R1, header, asm.Half)
	p.store(asm.R7, key+unsafe.Offsetof(conversationKey{}.SourcePort), asm.R1)
	p.loadBig(asm.R1, header+2, asm.Half)
	p.store(asm.R7, key+unsafe.Offsetof(conversationKey{}.DestinationPort), asm.R1)
	// p->Seq = ntohl(tcph->seq); p->End = p->Seq + left; p->Ack = ntohl(tcph->ack_seq);
	p.loadBig(asm.R1, header+4, asm.Word)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Seq), asm.R1)
	p.add(asm.Add.Reg32(asm.R1, asm.R9))
	p.store(asm.R7, unsafe.Offsetof(packet{}.End), asm.R1)
	p.loadBig(asm.R1, header+8, asm.Word)
	p.store(asm.R7, unsafe.Offsetof(packet{}.Ack), asm.R1)
	// p->Flags = flags = ntohs(tcp_flag_word(tcph)) & 0x1ff;
	p.loadBig(asm.R2, header+12, asm.Half)
	p.add(asm.And.Imm(asm.R2, allFlags))
	p.store(asm.R7, unsafe.Offsetof(packet{}.Flags), asm.R2)
	p.sortTCP()
	p.parseOptions()
}

// sortTCP derives the kinds from the flags in R2, and collects them in R1.
func (p *program) sortTCP() {
	// kinds = KIND_PACKET | KIND_SEGMENT;
	p.add(asm.Mov.Imm(asm.R1, int32(kindPacket|kindSegment)))
	// if (flags & FIN) kinds |= KIND_FIN;
	// if (flags & RST) kinds |= KIND_RST;
	for _, flag := range []struct {
		bit  int32
		kind kind
	}{{flagFIN, kindFIN}, {flagRST, kindRST}} {
		without := p.label("without")
		p.add(
			asm.Mov.Reg(asm.R3, asm.R2),
			asm.And.Imm(asm.R3, flag.bit),
			asm.JEq.Imm(asm.R3, 0, without),
			asm.Or.Imm(asm.R1, int32(flag.kind)),
		)
		p.mark(without)
	}
	// switch (flags & (SYN | ACK)) {
	// case SYN:       kinds |= KIND_SYN; break;
	// case SYN | ACK: kinds |= KIND_SYNACK; break;
	// }
	noSYN, noACK, sorted := p.label("no_syn"), p.label("no_ack"), p.label("sorted")
	p.add(
		asm.And.Imm(asm.R2, flagSYN|flagACK),
		asm.JEq.Imm(asm.R2, flagSYN, noACK),
		asm.JNE.Imm(asm.R2, flagSYN|flagACK, noSYN),
		asm.Or.Imm(asm.R1, int32(kindSYNACK)),
		asm.Ja.Label(sorted),
	)
	p.mark(noACK)
	p.add(asm.Or.Imm(asm.R1, int32(kindSYN)))
	p.mark(sorted)
	p.mark(noSYN)
	// p->Kinds = kinds;
	p.store(asm.R7, unsafe.Offsetof(packet{}.Kinds), asm.R1)
}
