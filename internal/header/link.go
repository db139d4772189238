package header

import (
	"fmt"
	"net"
	"slices"
)

var etherTypes = map[uint64]string{0x0800: "IPv4", 0x0806: "ARP", 0x86dd: "IPv6", 0x8100: "VLAN tag", 0x88a8: "VLAN tag (service)", 0x8847: "MPLS", 0x8864: "PPPoE"}

func (d *decoder) linkLayer(link int) step {
	switch link {
	case linkEthernet:
		return d.ethernet
	case linkRaw, linkRawOld, linkRawOther, linkIPv4, linkIPv6:
		return d.byVersion
	case linkNull, linkLoop:
		return d.null
	case linkCooked:
		return d.cooked
	case linkCooked2:
		return d.cooked2
	}
	d.headers = append(d.headers, Header{Name: fmt.Sprintf("link type %d", link), Wrong: []string{"its header is not taken apart here: tcplab analyze may know it"}})
	return nil
}

// byVersion looks at the first four bits.
func (d *decoder) byVersion() step {
	if d.at >= len(d.data) {
		return nil
	}
	switch d.data[d.at] >> 4 {
	case 4:
		return d.ipv4
	case 6:
		return d.ipv6
	}
	return nil
}

func (d *decoder) byEtherType(t uint64) step {
	switch t {
	case 0x0800:
		return d.ipv4
	case 0x86dd:
		return d.ipv6
	case 0x8100, 0x88a8:
		return d.vlan
	}
	return nil
}

func (h builder) etherType(bit int) uint64 {
	t := h.hex("EtherType", bit, 16, "")
	h.mean("%s", etherTypes[t])
	return t
}

func (h builder) mac(name string, bit int) {
	address := net.HardwareAddr(slices.Clone(h.b[bit/8 : bit/8+6]))
	meaning := ""
	switch {
	case address.String() == "ff:ff:ff:ff:ff:ff":
		meaning = "broadcast"
	case address[0]&1 != 0:
		meaning = "multicast"
	case address[0]&2 != 0:
		meaning = "locally administered: made up by software"
	}
	h.text(name, bit, 48, address.String(), meaning)
}

func (d *decoder) ethernet() step {
	h, ok := d.begin("Ethernet", "IEEE 802.3", 14)
	if !ok {
		return nil
	}
	h.mac("Destination", 0)
	h.mac("Source", 48)
	if h.bits(96, 16) < 1536 {
		h.field("Length", 96, 16, "of IEEE 802.3: LLC follows")
		return nil
	}
	return d.byEtherType(h.etherType(96))
}

func (d *decoder) vlan() step {
	h, ok := d.begin("VLAN tag", "IEEE 802.1Q", 4)
	if !ok {
		return nil
	}
	h.field("Priority", 0, 3, "")
	h.field("Drop Eligible", 3, 1, "")
	h.field("VLAN Identifier", 4, 12, "")
	return d.byEtherType(h.etherType(16))
}

// null is BSD's loopback header: the address family, in the byte order of the machine that captured.
func (d *decoder) null() step {
	h, ok := d.begin("BSD loopback", "LINKTYPE_NULL, LINKTYPE_LOOP", 4)
	if !ok {
		return nil
	}
	h.hex("Address Family", 0, 32, "in the byte order of who captured it")
	return d.byVersion
}

func (d *decoder) cooked() step {
	h, ok := d.begin("Linux cooked", "LINKTYPE_LINUX_SLL", 16)
	if !ok {
		return nil
	}
	h.packetType("Packet Type", 0, 16)
	h.field("ARPHRD", 16, 16, "")
	h.field("Address Length", 32, 16, "")
	h.hex("Address", 48, 64, "")
	return d.byEtherType(h.etherType(112))
}

func (d *decoder) cooked2() step {
	h, ok := d.begin("Linux cooked v2", "LINKTYPE_LINUX_SLL2", 20)
	if !ok {
		return nil
	}
	t := h.etherType(0)
	h.hex("Reserved", 16, 16, "")
	h.field("Interface Index", 32, 32, "")
	h.field("ARPHRD", 64, 16, "")
	h.packetType("Packet Type", 80, 8)
	h.field("Address Length", 88, 8, "")
	h.hex("Address", 96, 64, "")
	return d.byEtherType(t)
}

func (h builder) packetType(name string, bit, bits int) {
	meanings := []string{"to this host", "broadcast", "multicast", "to another host", "from this host"}
	t := h.field(name, bit, bits, "")
	if int(t) < len(meanings) { //nolint:gosec // 16 bits at most
		h.mean("%s", meanings[t])
	}
}
