package packet

import "github.com/tcplab/tcplab/internal/ethernet"

// The link types (https://www.tcpdump.org/linktypes.html).
const (
	linkNull      = 0
	linkEthernet  = 1
	linkPPP       = 9
	linkRawBSD    = 12
	linkRawOther  = 14
	linkPPPHDLC   = 50
	linkPPPoE     = 51
	linkATM       = 100
	linkRaw       = 101
	linkCiscoHDLC = 104
	link80211     = 105
	linkFrame     = 107
	linkLoop      = 108
	linkEnc       = 109
	linkSLL       = 113
	linkPFLog     = 117
	linkPrism     = 119
	linkRadiotap  = 127
	linkAVS       = 163
	linkPPPD      = 166
	linkPPI       = 192
	linkPPPDir    = 204
	linkMPLS      = 219
	linkIPv4      = 228
	linkIPv6      = 229
	linkNFLog     = 239
	linkSLL2      = 276
)

// linkNames are the names of those, and of some that have no IP.
var linkNames = map[int]string{
	linkNull: "BSD loopback", linkEthernet: "Ethernet", 3: "AX.25", 6: "Token Ring", 8: "SLIP", linkPPP: "PPP", 10: "FDDI", linkRawBSD: "raw IP", linkRawOther: "raw IP",
	linkPPPHDLC: "PPP in HDLC framing", linkPPPoE: "PPPoE", linkATM: "ATM (RFC 2684)", linkRaw: "raw IP", linkCiscoHDLC: "Cisco HDLC", link80211: "802.11", linkFrame: "Frame Relay",
	linkLoop: "OpenBSD loopback", linkEnc: "OpenBSD IPsec", linkSLL: "Linux cooked", linkPFLog: "OpenBSD pflog", linkPrism: "802.11 with Prism", 122: "IP over Fibre Channel",
	linkRadiotap: "802.11 with radiotap", 138: "IP over IEEE 1394", 140: "MTP2", 143: "DOCSIS", 147: "USER0", linkAVS: "802.11 with AVS", linkPPPD: "pppd", 177: "LAPD", 187: "Bluetooth HCI",
	189: "USB (Linux)", linkPPI: "PPI", 195: "802.15.4", 201: "Bluetooth HCI", linkPPPDir: "PPP with direction", linkMPLS: "MPLS", 220: "USB (Linux)", 227: "CAN", linkIPv4: "IPv4",
	linkIPv6: "IPv6", 230: "802.15.4", linkNFLog: "NFLOG", 249: "USBPcap", 251: "Bluetooth LE", 253: "Linux netlink", linkSLL2: "Linux cooked, version 2",
}

// linkLayer takes the header of a link type off. b is what was captured of n bytes; so it is in all that follows.
func (w *walk) linkLayer(link int, b []byte, n int) Verdict {
	switch link {
	case linkEthernet:
		return w.ethernet(b, n)
	case linkNull, linkLoop:
		return w.skip(b, n, 4, w.version)
	case linkRaw, linkRawBSD, linkRawOther, linkIPv4, linkIPv6:
		return w.version(b, n)
	case linkSLL:
		return w.cooked(b, n, 16, 14, 1)
	case linkSLL2:
		return w.cooked(b, n, 20, 0, 10)
	case linkPPP, linkPPPHDLC:
		return w.pppFramed(b, n)
	case linkPPPoE:
		return w.pppoe(b, n)
	case linkPPPD:
		return w.pppFramed(b, n)
	case linkPPPDir:
		return w.skip(b, n, 1, w.pppFramed)
	case linkCiscoHDLC:
		return w.typed(b, n, 4)
	case linkFrame:
		return w.frameRelay(b, n)
	case linkATM:
		return w.llc(b, n)
	case linkEnc:
		return w.skip(b, n, 12, w.version)
	case linkMPLS:
		return w.mpls(b, n)
	}
	return w.tagged(link, b, n)
}

// tagged are link types whose header says how long it is.
func (w *walk) tagged(link int, b []byte, n int) Verdict {
	const fixed = 8
	switch link {
	case linkPFLog, link80211, linkPrism, linkRadiotap, linkAVS, linkPPI, linkNFLog:
	default:
		return w.passOver(whatNothing, 0) // the link type is what is not known
	}
	if len(b) < fixed {
		return CutOff
	}
	switch link {
	case linkPFLog:
		return w.skip(b, n, (int(b[0])+3)&^3, w.version)
	case linkRadiotap:
		return w.radiotap(b, n)
	case linkPrism:
		return w.skip(b, n, u32le(b[4:]), w.wireless)
	case linkAVS:
		return w.skip(b, n, u16(b[4:])<<16|u16(b[6:]), w.wireless)
	case linkPPI:
		inner := u32le(b[4:])
		if !w.deeper(inPPI) || inner == linkPPI {
			return Damaged
		}
		return w.skip(b, n, u16le(b[2:]), func(b []byte, n int) Verdict { return w.linkLayer(inner, b, n) })
	case linkNFLog:
		return w.nflog(b, n)
	}
	return w.wireless(b, n)
}

// skip passes over a header of the given length.
func (w *walk) skip(b []byte, n, header int, next func([]byte, int) Verdict) Verdict {
	switch {
	case header < 0 || header > n:
		return Damaged
	case header > len(b):
		return CutOff
	}
	return next(b[header:], n-header)
}

// version goes by the first four bits.
func (w *walk) version(b []byte, n int) Verdict {
	if len(b) == 0 {
		return CutOff
	}
	switch b[0] >> 4 {
	case 4:
		return w.ipv4(b, n)
	case 6:
		return w.ipv6(b, n)
	}
	return w.passOver(whatNothing, 0)
}

func (w *walk) ethernet(b []byte, n int) Verdict {
	if len(b) < ethernet.HeaderLength {
		return CutOff
	}
	// The address 01:00:0c:00:00 (or 03:00:0c) is that of Cisco's ISL; it is rare, and not known.
	return w.typed(b, n, ethernet.HeaderLength)
}

// typed is a header that ends with an EtherType, or the length of an 802.3 frame (below 1,536).
func (w *walk) typed(b []byte, n, header int) Verdict {
	if len(b) < header {
		return CutOff
	}
	etherType := u16(b[header-2:])
	b, n = b[header:], n-header
	const smallestType = 0x600
	if etherType < smallestType {
		return w.llc(b, n)
	}
	return w.etherType(etherType, b, n)
}

// The EtherTypes that are known (IANA, IEEE 802 Numbers).
const (
	typeIPv4      = 0x0800
	typeBridging  = 0x6558 // Transparent Ethernet Bridging
	typeVLAN      = 0x8100
	typeIPv6      = 0x86dd
	typePPP       = 0x880b
	typeMPLS      = 0x8847
	typeMPLSMulti = 0x8848
	typePPPoE     = 0x8864
	typeQinQ      = 0x88a8
	typeERSPAN    = 0x88be
	typeBackbone  = 0x88e7
	typeOldQinQ   = 0x9100
	typeERSPAN3   = 0x22eb
)

func (w *walk) etherType(etherType int, b []byte, n int) Verdict {
	switch etherType {
	case typeIPv4:
		return w.ipv4(b, n)
	case typeIPv6:
		return w.ipv6(b, n)
	case typeVLAN, typeQinQ, typeOldQinQ:
		if !w.deeper(inVLAN) {
			return Damaged
		}
		return w.typed(b, n, 4)
	case typeMPLS, typeMPLSMulti:
		return w.mpls(b, n)
	case typePPPoE:
		return w.pppoe(b, n)
	case typePPP:
		return w.pppFramed(b, n)
	case typeBridging:
		if !w.deeper(inEthernet) {
			return Damaged
		}
		return w.ethernet(b, n)
	case typeBackbone:
		if !w.deeper(inBackbone) {
			return Damaged
		}
		return w.skip(b, n, 4, w.ethernet)
	}
	return w.passOver(whatEtherType, etherType)
}

// cooked is a Linux cooked capture: tcpdump -i any.
func (w *walk) cooked(b []byte, n, header, typeAt, packetTypeAt int) Verdict {
	if len(b) < header {
		return CutOff
	}
	const outgoing = 4 // PACKET_OUTGOING, include/uapi/linux/if_packet.h
	w.ip.Direction = Received
	if b[packetTypeAt] == outgoing {
		w.ip.Direction = Sent
	}
	const llc = 4 // ETH_P_802_2, include/uapi/linux/if_ether.h
	etherType := u16(b[typeAt:])
	if etherType == llc {
		return w.llc(b[header:], n-header)
	}
	return w.etherType(etherType, b[header:], n-header)
}

// llc is IEEE 802.2, with SNAP (RFC 1042) or without.
func (w *walk) llc(b []byte, n int) Verdict {
	const header, snap, unnumbered = 3, 8, 3
	if len(b) < header {
		return CutOff
	}
	const sapSNAP, sapIP, sapNLPID = 0xaa, 0x06, 0xfe
	switch {
	case b[0] == sapSNAP && b[1] == sapSNAP && b[2] == unnumbered:
		if len(b) < snap {
			return CutOff
		}
		vendor := int(b[3])<<16 | u16(b[4:])
		if vendor != 0 && vendor != 0xf8 { // 802.1H
			return w.passOver(whatSNAP, u16(b[6:]))
		}
		if !w.deeper(inLLC) {
			return Damaged
		}
		return w.typed(b, n, snap)
	case b[0] == sapIP && b[1] == sapIP && b[2] == unnumbered:
		return w.skip(b, n, header, w.version)
	case b[0] == sapNLPID && b[1] == sapNLPID && b[2] == unnumbered:
		return w.skip(b, n, header, w.nlpid)
	}
	return w.passOver(whatLLC, int(b[0]))
}

// nlpid is the identifier of ISO/IEC TR 9577.
func (w *walk) nlpid(b []byte, n int) Verdict {
	if len(b) == 0 {
		return CutOff
	}
	const ip4, ip6, snap, padding = 0xcc, 0x8e, 0x80, 0
	switch b[0] {
	case ip4, ip6:
		return w.skip(b, n, 1, w.version)
	case snap:
		if len(b) >= 6 && b[1] == 0 && b[2] == 0 && b[3] == 0 {
			return w.typed(b, n, 6)
		}
	case padding:
		if len(b) > 1 && b[1] != padding {
			return w.nlpid(b[1:], n-1)
		}
	}
	return w.passOver(whatNLPID, int(b[0]))
}

// frameRelay is RFC 2427, with addresses of two bytes.
func (w *walk) frameRelay(b []byte, n int) Verdict {
	const header = 3
	if len(b) < header {
		return CutOff
	}
	if b[2] != 3 { // unnumbered information; Cisco has an EtherType instead
		return w.typed(b, n, header+1)
	}
	return w.skip(b, n, header, w.nlpid)
}

// nflog is a packet that netfilter logged: attributes in the byte order of the host that captured it, one of which is the packet.
func (w *walk) nflog(b []byte, n int) Verdict {
	const header, attribute, payload = 4, 4, 9
	for at := header; at+attribute <= len(b); {
		length, kind := u16le(b[at:]), u16le(b[at+2:])
		if length < attribute || length&0xff == 0 && u16(b[at:]) < 0x100 || kind > 0xff && kind&0xff == 0 {
			length, kind = u16(b[at:]), u16(b[at+2:]) // big endian
		}
		if length < attribute {
			return Damaged
		}
		if kind == payload {
			end := min(at+length, len(b))
			return w.version(b[at+attribute:end], length-attribute)
		}
		at += (length + 3) &^ 3
	}
	if len(b) < n {
		return CutOff
	}
	return w.passOver(whatNothing, 0)
}
