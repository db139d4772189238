package header

import (
	"encoding/json"
	"net"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/gomega"
)

var macs = &layers.Ethernet{SrcMAC: net.HardwareAddr{2, 0, 0, 0, 0, 1}, DstMAC: net.HardwareAddr{0, 0, 0x5e, 0, 0x53, 2}, EthernetType: layers.EthernetTypeIPv4}

// wire serialises layers, with lengths and checksums; gopacket shares no code with this package.
func wire(t testing.TB, list ...gopacket.SerializableLayer) []byte {
	t.Helper()
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, list...); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func syn(t testing.TB) []byte {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, Flags: layers.IPv4DontFragment, Id: 0x261, TOS: 1,
		SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{198, 51, 100, 7}}
	tcp := &layers.TCP{SrcPort: 43282, DstPort: 80, Seq: 3372812152, SYN: true, Window: 64240, Options: []layers.TCPOption{
		{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{5, 0xb4}},
		{OptionType: layers.TCPOptionKindSACKPermitted, OptionLength: 2},
		{OptionType: layers.TCPOptionKindTimestamps, OptionLength: 10, OptionData: []byte{0, 0, 0, 9, 0, 0, 0, 0}},
		{OptionType: layers.TCPOptionKindNop, OptionLength: 1},
		{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}},
	}}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	return wire(t, macs, ip, tcp)
}

func names(headers []Header) (list []string) {
	for _, h := range headers {
		list = append(list, h.Name)
	}
	return list
}

// fields are those of one header: "value (meaning)".
func fields(g *WithT, headers []Header, name string) map[string]string {
	for _, h := range headers {
		if h.Name == name {
			all := map[string]string{}
			for _, f := range h.Fields {
				all[f.Name] = strings.TrimSpace(f.Value + " (" + f.Meaning + ")")
			}
			return all
		}
	}
	g.Expect(names(headers)).To(ContainElement(name))
	return nil
}

func TestSYN(t *testing.T) {
	g := NewWithT(t)
	packet := syn(t)
	headers := Decode(linkEthernet, packet, len(packet))
	g.Expect(names(headers)).To(Equal([]string{"Ethernet", "IPv4", "TCP"}))
	expectWhole(g, headers, packet)
	g.Expect(headers[2].Drawing()).To(Equal(` 0                   1                   2                   3
 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|          Source Port          |       Destination Port        |
|             43282             |              80               |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|                        Sequence Number                        |
|                          3372812152                           |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|                     Acknowledgment Number                     |
|                               0                               |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
| Data  |  0  |A|C|E|U|A|P|R|S|F|            Window             |
|Offset |     |E|W|C|R|C|S|S|Y|I|             64240             |
|  10   |     |0|R|E|G|K|H|T|N|N|                               |
|       |     | |0|0|0|0|0|0|1|0|                               |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|           Checksum            |        Urgent Pointer         |
|            ` + hexOf(packet[50:52]) + `             |               0               |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|                     Maximum Segment Size                      |
|                             1460                              |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
|        SACK Permitted         |                               |
|                               |                               |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+ + + + + + + + + + + + + + + + +
|                          Timestamps                           |
|                       TSval 9, TSecr 0                        |
+ + + + + + + + + + + + + + + + + + + + + + + + + + + + + + + + +
|                                                               |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
| No-Operation  |                 Window Scale                  |
|      01       |                       7                       |
+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
`))
	tcp := fields(g, headers, "TCP")
	g.Expect(tcp["Checksum"]).To(HaveSuffix("(right)"))
	g.Expect(tcp["Window Scale"]).To(Equal("7 (this side's windows are to be multiplied by 128)"))
	g.Expect(tcp["SYN"]).To(Equal("1 (sequence numbers begin here)"))
	ip := fields(g, headers, "IPv4")
	g.Expect(ip["Header Checksum"]).To(HaveSuffix("(right)"))
	g.Expect(ip["ECN"]).To(Equal("1 (ECT(1): ECN, as L4S uses it)"))
	var text strings.Builder
	g.Expect(Text(&text, headers, 80)).To(Succeed())
	for line := range strings.Lines(text.String()) {
		g.Expect(len(strings.TrimSuffix(line, "\n"))).To(BeNumerically("<=", 80), line)
	}
	g.Expect(text.String()).To(ContainSubstring("\n  46.7    1  AE                     0\n"))

	// One bit is another: both checksums say so.
	packet[30]++
	g.Expect(fields(g, Decode(linkEthernet, packet, len(packet)), "IPv4")["Header Checksum"]).To(ContainSubstring("wrong"))
	packet[30]--
	packet[40]++
	headers = Decode(linkEthernet, packet, len(packet))
	g.Expect(fields(g, headers, "IPv4")["Header Checksum"]).To(HaveSuffix("(right)"))
	g.Expect(fields(g, headers, "TCP")["Checksum"]).To(ContainSubstring("wrong"))
}

func hexOf(b []byte) string {
	return "0x" + strings.ToLower(strings.ReplaceAll(net.HardwareAddr(b).String(), ":", ""))
}

// expectWhole wants each bit of a packet to be in one field, or in data and padding.
func expectWhole(g *WithT, headers []Header, packet []byte) {
	at := 0
	for _, h := range headers {
		g.Expect(h.Offset).To(Equal(at), h.Name)
		at += h.Length
		if len(h.Fields) == 0 {
			continue
		}
		bit := 0
		for _, f := range h.Fields {
			g.Expect(f.Bit).To(Equal(bit), "%s, %s", h.Name, f.Name)
			bit += f.Bits
		}
		g.Expect(bit).To(Equal(8*h.Length), h.Name)
	}
	g.Expect(at).To(Equal(len(packet)))
}

func TestOthers(t *testing.T) {
	ip4 := &layers.IPv4{Version: 4, TTL: 64, SrcIP: net.IP{192, 0, 2, 1}, DstIP: net.IP{198, 51, 100, 7}}
	ip6 := &layers.IPv6{Version: 6, HopLimit: 64, SrcIP: net.ParseIP("2001:db8::1"), DstIP: net.ParseIP("2001:db8::2"), FlowLabel: 0xabcde}
	with4 := func(p layers.IPProtocol) *layers.IPv4 { c := *ip4; c.Protocol = p; return &c }
	with6 := func(p layers.IPProtocol) *layers.IPv6 { c := *ip6; c.NextHeader = p; return &c }
	udp := &layers.UDP{SrcPort: 53, DstPort: 4242}
	_ = udp.SetNetworkLayerForChecksum(with6(layers.IPProtocolUDP))
	udp4 := &layers.UDP{}
	_ = udp4.SetNetworkLayerForChecksum(with4(layers.IPProtocolUDP))
	quoted := syn(t)[14 : 14+28]
	tooBig := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4), Seq: 1400}
	icmp6 := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(2, 0)}
	_ = icmp6.SetNetworkLayerForChecksum(with6(layers.IPProtocolICMPv6))
	sack := &layers.TCP{ACK: true, Options: []layers.TCPOption{{OptionType: layers.TCPOptionKindSACK, OptionLength: 18, OptionData: []byte{0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 9}}}}
	_ = sack.SetNetworkLayerForChecksum(with4(layers.IPProtocolTCP))
	tagged := *macs
	tagged.EthernetType = layers.EthernetTypeDot1Q
	for name, c := range map[string]struct {
		link   int
		packet []byte
		names  []string
		header string
		want   map[string]string
	}{
		"UDP over IPv6": {linkRaw, wire(t, with6(layers.IPProtocolUDP), udp, gopacket.Payload("hello")), []string{"IPv6", "UDP", "data"}, "UDP",
			map[string]string{"Checksum": "(right)", "Length": "13 (bytes, with this header)"}},
		"a VLAN": {linkEthernet, wire(t, &tagged, &layers.Dot1Q{VLANIdentifier: 5, Type: layers.EthernetTypeIPv4}, with4(layers.IPProtocolTCP), sack),
			[]string{"Ethernet", "VLAN tag", "IPv4", "TCP"}, "TCP", map[string]string{"SACK": "1-2, 5-9 (these bytes have arrived"}},
		"padding": {linkEthernet, append(wire(t, macs, with4(layers.IPProtocolUDP), udp4), make([]byte, 18)...),
			[]string{"Ethernet", "IPv4", "UDP", "padding"}, "UDP", map[string]string{"Source Port": "0 ()"}},
		"ICMP that quotes": {linkRaw, wire(t, with4(layers.IPProtocolICMPv4), tooBig, gopacket.Payload(quoted)), []string{"IPv4", "ICMP", "IPv4, quoted", "TCP"}, "ICMP",
			map[string]string{"Code": "4 (fragmentation needed and DF set)", "Next-Hop MTU": "1400 (bytes: what fits through (RFC 1191))", "Checksum": "(right)"}},
		"ICMPv6 that quotes": {linkRaw, wire(t, with6(layers.IPProtocolICMPv6), icmp6, gopacket.Payload("\x00\x00\x05\x00"+string(quoted))), []string{"IPv6", "ICMPv6", "IPv4, quoted", "TCP"}, "ICMPv6",
			map[string]string{"Type": "2 (Packet Too Big)", "MTU": "1280 (bytes: what fits through)", "Checksum": "(right)"}},
		"an extension header": {linkRaw, wire(t, with6(layers.IPProtocolIPv6Destination), &rawLayer{17, 0, 1, 4, 0, 0, 0, 0}, udp), []string{"IPv6", "Destination Options", "UDP"},
			"Destination Options", map[string]string{"Next Header": "17 (UDP)"}},
		"a fragment": {linkRaw, wire(t, with6(layers.IPProtocolIPv6Fragment), &rawLayer{6, 0, 0, 9, 0, 0, 0, 7}, gopacket.Payload("abc")), []string{"IPv6", "Fragment", "data"},
			"Fragment", map[string]string{"Fragment Offset": "1 (byte 8)", "More Fragments": "1 ()"}},
		"BSD's loopback": {linkNull, append([]byte{2, 0, 0, 0}, syn(t)[14:]...), []string{"BSD loopback", "IPv4", "TCP"}, "BSD loopback", map[string]string{"Address Family": "0x02000000 ("}},
		"cooked": {linkCooked, append([]byte{0, 4, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0}, syn(t)[14:]...), []string{"Linux cooked", "IPv4", "TCP"}, "Linux cooked",
			map[string]string{"Packet Type": "4 (from this host)"}},
		"cooked, the second": {linkCooked2, append([]byte{8, 0, 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0}, syn(t)[14:]...), []string{"Linux cooked v2", "IPv4", "TCP"}, "Linux cooked v2",
			map[string]string{"Interface Index": "3 ()", "Packet Type": "0 (to this host)"}},
		"another link": {147, []byte{1, 2, 3}, []string{"link type 147", "data"}, "link type 147", nil},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			headers := Decode(c.link, c.packet, len(c.packet))
			g.Expect(names(headers)).To(Equal(c.names))
			if name != "another link" {
				expectWhole(g, headers, c.packet)
			}
			if strings.HasSuffix(name, "that quotes") {
				g.Expect(fields(g, headers, "TCP")["Sequence Number"]).To(HavePrefix("3372812152 "))
			}
			got := fields(g, headers, c.header)
			for field, want := range c.want {
				g.Expect(got[field]).To(ContainSubstring(want), field)
			}
		})
	}
}

// rawLayer is bytes as they are.
type rawLayer [8]byte

func (l *rawLayer) SerializeTo(b gopacket.SerializeBuffer, _ gopacket.SerializeOptions) error {
	bytes, err := b.PrependBytes(len(l))
	copy(bytes, l[:])
	return err
}
func (*rawLayer) LayerType() gopacket.LayerType { return gopacket.LayerTypePayload }

func TestWrong(t *testing.T) {
	g := NewWithT(t)
	packet := syn(t)
	wrong := func(headers []Header) (list []string) {
		for _, h := range headers {
			list = append(list, h.Wrong...)
		}
		return list
	}
	g.Expect(wrong(Decode(linkEthernet, packet[:40], len(packet)))).To(Equal([]string{"only 6 of its 20 bytes are there"}))
	g.Expect(wrong(Decode(linkEthernet, packet[:60], len(packet)))).To(Equal([]string{"only 26 of its 40 bytes are there", "the option at byte 22 is longer than the header, or shorter than itself"}[:1]))
	short := append([]byte{}, packet...)
	short[14] = 0x43
	g.Expect(wrong(Decode(linkEthernet, short, len(short)))).To(ContainElement(ContainSubstring("a header of 12 bytes in a packet of 60: this cannot be")))
	option := append([]byte{}, packet...)
	option[55] = 60
	g.Expect(wrong(Decode(linkEthernet, option, len(option)))).To(ContainElement(ContainSubstring("the option at byte 20 is longer than the header")))
	offset := append([]byte{}, packet...)
	offset[46] = 0x40
	g.Expect(wrong(Decode(linkEthernet, offset, len(offset)))).To(ContainElement("a header of 16 bytes: this cannot be"))
	g.Expect(Decode(linkRaw, nil, 0)).To(BeEmpty())
}

// FuzzDecode takes any bytes apart: no panic, headers one behind the other, and text and JSON of all.
func FuzzDecode(f *testing.F) {
	f.Add(1, syn(f))
	f.Add(101, syn(f)[14:])
	f.Add(276, []byte{0x86, 0xdd})
	f.Fuzz(func(t *testing.T, link int, packet []byte) {
		headers := Decode(link, packet, len(packet))
		at := 0
		for _, h := range headers {
			if h.Offset != at {
				t.Fatalf("%s begins at %d, not %d", h.Name, h.Offset, at)
			}
			at += h.Length
			for _, field := range h.Fields {
				if field.Bit < 0 || field.Bits < 1 || field.Bit+field.Bits > 8*h.Length {
					t.Fatalf("%s: %+v in %d bytes", h.Name, field, h.Length)
				}
			}
		}
		if at > len(packet) {
			t.Fatalf("%d bytes of %d", at, len(packet))
		}
		if err := Text(&strings.Builder{}, headers, 80); err != nil {
			t.Fatal(err)
		}
		if _, err := json.Marshal(headers); err != nil {
			t.Fatal(err)
		}
	})
}
