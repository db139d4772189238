package packet

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// encapsulation is a layer that packets are in.
type encapsulation uint8

const (
	inNothing encapsulation = iota
	inVLAN
	inMPLS
	inPPPoE
	inPPP
	inLLC
	inEthernet
	inIPv4
	inIPv6
	inGRE
	inVXLAN
	inGENEVE
	inGTP
	inL2TP
	inTZSP
	inBackbone
	inPPI
	inFragment
)

var encapsulationNames = [...]string{
	"", "VLAN", "MPLS", "PPPoE", "PPP", "LLC", "Ethernet", "IPv4", "IPv6", "GRE", "VXLAN", "GENEVE", "GTP-U", "L2TP", "TZSP", "802.1ah", "PPI", "fragment",
}

// layers are the encapsulations from outside, as many as are worth a name.
type layers [6]encapsulation

// push adds one; what lies in the same several times counts once.
func (l *layers) push(e encapsulation) {
	for i, x := range l {
		switch {
		case x == inNothing:
			l[i] = e
			return
		case x == e && i+1 < len(l) && l[i+1] == inNothing:
			return
		}
	}
}

func (l layers) String() string {
	var names []string
	for _, e := range l {
		if e != inNothing {
			names = append(names, encapsulationNames[e])
		}
	}
	return strings.Join(names, " > ")
}

// what is what was not decoded: a number of some kind.
type what struct {
	kind   whatKind
	number uint16
}

type whatKind uint8

const (
	whatNothing   whatKind = iota // what the layer carries
	whatEtherType                 // IANA, IEEE 802 Numbers
	whatProtocol                  // IANA, Protocol Numbers
	whatUDP                       // by its destination port
	whatPPP                       // IANA, PPP Numbers
	whatLLC                       // a service access point
	whatSNAP                      // of a vendor
	whatNLPID                     // ISO/IEC TR 9577
	whatWireless                  // see below
	whatFragment                  // of IP, and the rest did not come
)

const (
	wirelessManagement = iota
	wirelessNoData
	wirelessEncrypted
	wirelessAggregate
)

var (
	etherTypeNames = map[uint16]string{
		0x0806: "ARP", 0x8035: "RARP", 0x8137: "IPX", 0x8808: "Ethernet flow control", 0x8809: "slow protocols (LACP)", 0x8863: "PPPoE discovery", 0x888e: "EAPOL", 0x88cc: "LLDP",
		0x88e5: "MACsec", 0x88f7: "PTP", 0x8902: "CFM", 0x9000: "loopback test", 0x22f0: "AVTP", 0x8892: "PROFINET", 0x88a2: "ATA over Ethernet", 0x8906: "FCoE",
	}
	protocolNames = map[uint16]string{
		ICMP: "ICMP", 2: "IGMP", TCP: "TCP", UDP: "UDP", 46: "RSVP", 50: "ESP", ICMPv6: "ICMPv6", 59: "no next header", 88: "EIGRP", 89: "OSPF", 103: "PIM", 112: "VRRP", 115: "L2TP version 3", 132: "SCTP", 33: "DCCP",
	}
	portNames = map[uint16]string{
		53: "DNS", 67: "DHCP", 68: "DHCP", 123: "NTP", 443: "QUIC", 500: "IKE", 1701: "L2TP", 1900: "SSDP", 2152: "GTP-U", 3544: "Teredo", 4500: "IPsec NAT traversal", 4789: "VXLAN", 5353: "mDNS", 6081: "GENEVE", 51820: "WireGuard",
	}
	pppNames = map[uint16]string{
		0x2d: "TCP with compressed headers", 0x2f: "TCP with compressed headers", 0xfd: "compressed", 0x3d: "multilink", 0x8021: "IPCP", 0x8057: "IPV6CP", 0xc021: "LCP", 0xc023: "PAP", 0xc223: "CHAP",
	}
	llcNames      = map[uint16]string{0x42: "spanning tree", 0xe0: "IPX", 0xf0: "NetBEUI", 0xfe: "OSI", 0xff: "IPX"}
	wirelessNames = [...]string{"802.11 management and control", "802.11 without data", "802.11, encrypted", "802.11, several in a frame (A-MSDU)"}
)

func (w what) String() string {
	named := func(names map[uint16]string, format string) string {
		return cmp.Or(names[w.number], fmt.Sprintf(format, w.number))
	}
	switch w.kind {
	case whatEtherType:
		return named(etherTypeNames, "EtherType 0x%04x")
	case whatProtocol:
		return named(protocolNames, "IP protocol %d")
	case whatUDP:
		if name := portNames[w.number]; name != "" {
			return "UDP (" + name + ")"
		}
		return "UDP"
	case whatPPP:
		return named(pppNames, "PPP protocol 0x%04x")
	case whatLLC:
		return named(llcNames, "LLC 0x%02x")
	case whatSNAP:
		return fmt.Sprintf("SNAP of a vendor, 0x%04x", w.number)
	case whatNLPID:
		return fmt.Sprintf("NLPID 0x%02x", w.number)
	case whatWireless:
		return wirelessNames[w.number]
	case whatFragment:
		return "fragments of IP"
	}
	return "not known"
}

// Passed is what was passed over.
type Passed struct {
	link   int
	layers layers
	what   what
}

// Link is the link type, by name and number.
func (p Passed) Link() string {
	if p.link < 0 {
		return "further ones"
	}
	if name := linkNames[p.link]; name != "" {
		return name
	}
	return fmt.Sprintf("link type %d", p.link)
}

// Encapsulation has the layers between the link layer and what was passed over, from outside; "" if there are none.
func (p Passed) Encapsulation() string { return p.layers.String() }

// What names what was passed over.
func (p Passed) What() string { return p.what.String() }

// maxPassed bounds what is told apart; the rest counts as one.
const maxPassed = 1000

func (d *Decoder) count(w *walk) {
	if d.passed == nil {
		d.passed = make(map[Passed]int)
	}
	key := Passed{w.link, w.layers, w.what}
	if w.what.kind == whatUDP && portNames[w.what.number] == "" {
		key.what.number = 0 // ports are many
	}
	if _, known := d.passed[key]; !known && len(d.passed) >= maxPassed {
		key = Passed{link: -1}
	}
	d.passed[key]++
}

// Count is how many packets were passed over for one reason.
type Count struct {
	Passed
	Packets int
}

// PassedOver says what was passed over, the most frequent first. Of IP packets that were put together, all fragments but the
// last are among them.
func (d *Decoder) PassedOver() []Count {
	var all []Count
	for p := range maps.Keys(d.passed) {
		all = append(all, Count{p, d.passed[p]})
	}
	text := func(c Count) string { return c.Link() + c.Encapsulation() + c.What() }
	slices.SortFunc(all, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Packets, a.Packets), cmp.Compare(text(a), text(b)))
	})
	return all
}
