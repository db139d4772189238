package packetfilter

import (
	"net"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	. "github.com/onsi/gomega"
	"golang.org/x/net/bpf"
)

func packet(t *testing.T, link Link, layer ...gopacket.SerializableLayer) []byte {
	t.Helper()
	for i, l := range layer {
		network, is := layer[max(0, i-1)].(gopacket.NetworkLayer)
		if !is {
			continue
		}
		if transport, is := l.(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); is {
			if err := transport.SetNetworkLayerForChecksum(network); err != nil {
				t.Fatal(err)
			}
		}
	}
	if link != Raw {
		kind := layers.EthernetTypeIPv4
		if _, is := layer[0].(*layers.IPv6); is {
			kind = layers.EthernetTypeIPv6
		}
		layer = append([]gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: kind}}, layer...)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, layer...); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestPasses(t *testing.T) {
	for _, link := range []Link{Ethernet, Raw} {
		v4 := func(protocol layers.IPProtocol) *layers.IPv4 {
			return &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: protocol, SrcIP: net.IP{10, 0, 1, 1}, DstIP: net.IP{10, 0, 2, 2}}
		}
		v6 := func(protocol layers.IPProtocol) *layers.IPv6 {
			return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: net.ParseIP("fd00:1::1"), DstIP: net.ParseIP("fd00:2::2")}
		}
		tcp := func() *layers.TCP { return &layers.TCP{SrcPort: 40000, DstPort: 80, SYN: true} }
		options := v4(layers.IPProtocolTCP)
		options.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 1}}
		fragment := v4(layers.IPProtocolTCP)
		fragment.FragOffset = 100
		packets := map[string][]byte{
			"tcp4":     packet(t, link, v4(layers.IPProtocolTCP), tcp()),
			"tcp6":     packet(t, link, v6(layers.IPProtocolTCP), tcp()),
			"options":  packet(t, link, options, tcp()),
			"fragment": packet(t, link, fragment, gopacket.Payload("\x9c\x40\x00\x50 and what is no header")),
			"udp4":     packet(t, link, v4(layers.IPProtocolUDP), &layers.UDP{SrcPort: 53, DstPort: 80}),
			"icmp4":    packet(t, link, v4(layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(3, 4)}),
			"icmp6":    packet(t, link, v6(layers.IPProtocolICMPv6), &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(2, 0)}),
		}
		if link == Ethernet {
			packets["arp"] = append(append(make([]byte, 12), 8, 6), make([]byte, 28)...)
		}
		for expression, want := range map[string]string{
			"":                        "tcp4 tcp6 options fragment udp4 icmp4 icmp6 arp",
			"ip":                      "tcp4 options fragment udp4 icmp4",
			"ip6":                     "tcp6 icmp6",
			"tcp":                     "tcp4 tcp6 options fragment",
			"udp":                     "udp4",
			"icmp":                    "icmp4 icmp6",
			"port 80":                 "tcp4 tcp6 options udp4",
			"src port 80":             "",
			"dst port 80":             "tcp4 tcp6 options udp4",
			"src port 40000":          "tcp4 tcp6 options",
			"tcp port 80":             "tcp4 tcp6 options",
			"tcp dst port 80 and ip6": "tcp6",
			"tcp port 80 or icmp":     "tcp4 tcp6 options icmp4 icmp6",
			"not tcp":                 "udp4 icmp4 icmp6 arp",
			"! tcp && ! icmp":         "udp4 arp",
			"not port 80 and ip":      "fragment icmp4",
			"host 10.0.2.2":           "tcp4 options fragment udp4 icmp4",
			"src host 10.0.2.2":       "",
			"host fd00:1::1":          "tcp6 icmp6",
			"host ::ffff:10.0.1.1":    "tcp4 options fragment udp4 icmp4",
			"dst net 10.0.0.0/14":     "tcp4 options fragment udp4 icmp4",
			"net 10.4.0.0/14":         "",
			"net 10.0.1.77/24":        "tcp4 options fragment udp4 icmp4",
			"net fd00:2::/33":         "tcp6 icmp6",
			"net fd00:3::/32":         "",
			"net 0.0.0.0/0":           "tcp4 options fragment udp4 icmp4",
			"(host 10.0.1.1 or host fd00:1::1)&&(tcp port 80||icmp)": "tcp4 tcp6 options icmp4 icmp6",
			"icmp or tcp and ip6":   "icmp4 icmp6 tcp6",
			"(icmp or tcp) and ip6": "icmp6 tcp6",
			"not (ip or ip6)":       "arp",
		} {
			program, err := compile(expression, link)
			if err != nil {
				t.Errorf("%q: %v", expression, err)
				continue
			}
			vm, err := bpf.NewVM(program)
			if err != nil {
				t.Fatalf("%q: %v", expression, err)
			}
			for name, data := range packets {
				n, err := vm.Run(data)
				if passes := n > 0; err != nil || passes != strings.Contains(" "+want+" ", " "+name+" ") {
					t.Errorf("%q: %s on link %d passes: %v (%v)", expression, name, link, passes, err)
				}
			}
		}
	}
}

func TestRefuses(t *testing.T) {
	g := NewWithT(t)
	for expression, says := range map[string]string{
		"port":             "port needs a value",
		"port http":        `port "http": want 0 to 65535`,
		"host example.org": "host: ParseAddr",
		"net 10.0.0.0":     "net: netip.ParsePrefix",
		"tcp and":          "it ends where",
		"tcp tcp":          `"tcp" where and, or or the end was expected`,
		"(tcp":             "a parenthesis is not closed",
		"tcp)":             `")" where and`,
		"vlan":             `"vlan" where ip, ip6, tcp`,
		"src":              `"" where ip`,
		"not":              "it ends where",
		strings.Repeat("tcp and (", 20) + "tcp" + strings.Repeat(")", 20): "too many parentheses",
		"tcp" + strings.Repeat(" or port 1", 100):                         "the kernel takes 4096",
	} {
		_, err := Compile(expression, Ethernet)
		g.Expect(err).To(MatchError(ContainSubstring(says)), expression)
	}
	program, err := Compile("tcp", Loopback)
	g.Expect(err).NotTo(HaveOccurred())
	plain, err := Compile("tcp", Ethernet)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(program[3:]).To(Equal(plain))
}

// FuzzCompile: whatever is typed, what comes of it is refused, or a program that the virtual machine takes, and that ends.
func FuzzCompile(f *testing.F) {
	f.Add("tcp port 80 and (src host 10.0.0.1 or not net fd00::/8)", []byte("\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x08\x00\x45"))
	f.Add("(((", []byte{})
	f.Fuzz(func(t *testing.T, expression string, data []byte) {
		for _, link := range []Link{Ethernet, Raw} {
			program, err := compile(expression, link)
			if err != nil {
				continue
			}
			if _, err := Compile(expression, link); err != nil && !strings.Contains(err.Error(), "the kernel takes") {
				t.Fatal(err)
			}
			vm, err := bpf.NewVM(program)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := vm.Run(data); err != nil {
				t.Fatal(err)
			}
		}
	})
}
