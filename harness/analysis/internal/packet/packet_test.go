package packet_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness/analysis/internal/packet"
	"github.com/tcplab/tcplab/harness/analysis/internal/packet/packettest"
)

var (
	from4, to4 = netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	from6, to6 = netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
)

// ip4 is an IPv4 packet, with a checksum.
func ip4(protocol byte, body []byte) []byte {
	b := slices.Concat([]byte{0x45, 3, 0, 0, 0x12, 0x34, 0x40, 0, 61, protocol, 0, 0}, from4.AsSlice(), to4.AsSlice(), body)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	sum := 0
	for i := 0; i < 20; i += 2 {
		sum += int(binary.BigEndian.Uint16(b[i:]))
	}
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(b[10:], ^uint16(sum>>16+sum&0xffff))
	return b
}

func ip6(next byte, body []byte) []byte {
	b := slices.Concat([]byte{0x60, 0x30, 0, 0, 0, 0, next, 61}, from6.AsSlice(), to6.AsSlice(), body)
	binary.BigEndian.PutUint16(b[4:], uint16(len(body)))
	return b
}

// body is of a TCP segment, whose bytes tell where they belong.
func body(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7)
	}
	return b
}

func TestDecodesEachWrapping(t *testing.T) {
	for _, w := range packettest.Wrappings() {
		for family, ip := range map[string][]byte{"IPv4": ip4(packet.TCP, body(1400)), "IPv6": ip6(packet.TCP, body(1400)), "short": ip4(packet.TCP, body(20))} {
			t.Run(w.Name+"/"+family, func(t *testing.T) {
				var d packet.Decoder
				parts := w.Wrap(ip)
				for i, b := range parts {
					got, v := d.Decode(w.Link, b, len(b), 0)
					if i < len(parts)-1 {
						if v != packet.PassedOver {
							t.Fatalf("part %d of %d: verdict %d", i+1, len(parts), v)
						}
						continue
					}
					payload := ip[20:]
					if ip[0]>>4 == 6 {
						payload = ip[40:]
					}
					if v != packet.Carried || got.Protocol != packet.TCP || got.Length != len(payload) || !slices.Equal(got.Payload, payload) ||
						got.TTL != 61 || got.ECN != 3 || got.LengthLost || got.Src != from4 && got.Src != from6 {
						t.Errorf("verdict %d, %d bytes of %d, %+v", v, got.Length, len(payload), got)
					}
				}
			})
		}
	}
}

// TestCutOff: with each byte less there is less to see, and never something that is not there.
func TestCutOff(t *testing.T) {
	for _, w := range packettest.Wrappings() {
		ip := ip4(packet.TCP, body(100))
		parts := w.Wrap(ip)
		b := parts[len(parts)-1]
		if len(parts) > 1 {
			continue
		}
		headers := bytes.Index(b, body(100))
		for n := range b {
			var d packet.Decoder
			got, v := d.Decode(w.Link, b[:n], len(b), 0)
			if v == packet.Carried && (n < headers || got.Length != 100 || !slices.Equal(got.Payload, body(100)[:len(got.Payload)])) {
				t.Errorf("%s: %d of %d bytes: %+v", w.Name, n, len(b), got)
			}
			if v == packet.Damaged {
				t.Errorf("%s: %d of %d bytes: damaged", w.Name, n, len(b))
			}
		}
	}
}

// TestExtensionHeaders: each of IPv6's, and several.
func TestExtensionHeaders(t *testing.T) {
	header := func(next byte, size int) []byte {
		return append([]byte{next, byte(size/8 - 1)}, make([]byte, size-2)...)
	}
	for name, b := range map[string][]byte{
		"hop by hop": ip6(0, slices.Concat(header(packet.TCP, 8), body(40))),
		"routing":    ip6(43, slices.Concat(header(packet.TCP, 24), body(40))),
		"mobility":   ip6(135, slices.Concat(header(packet.TCP, 16), body(40))),
		"AH":         ip6(51, slices.Concat([]byte{packet.TCP, 4}, make([]byte, 22), body(40))),
		"atomic":     ip6(44, slices.Concat([]byte{packet.TCP, 0, 0, 0, 0, 0, 0, 9}, body(40))),
		"three":      ip6(0, slices.Concat(header(60, 8), header(43, 16), header(packet.TCP, 24), body(40))),
		"AH of IPv4": ip4(51, slices.Concat([]byte{packet.TCP, 4}, make([]byte, 22), body(40))),
	} {
		var d packet.Decoder
		got, v := d.Decode(101, b, len(b), 0)
		if v != packet.Carried || got.Length != 40 || !slices.Equal(got.Payload, body(40)) {
			t.Errorf("%s: verdict %d, %+v", name, v, got)
		}
	}
}

// TestPassedOver: what is not decoded has a name.
func TestPassedOver(t *testing.T) {
	ethernet := func(etherType uint16, b ...byte) []byte {
		return slices.Concat(make([]byte, 12), binary.BigEndian.AppendUint16(nil, etherType), b, make([]byte, 50))
	}
	udp := func(port uint16, b ...byte) []byte {
		return ip4(packet.UDP, slices.Concat([]byte{0xc0, 0, byte(port >> 8), byte(port), 0, byte(8 + len(b)), 0, 0}, b))
	}
	wireless := func(control, flags byte) []byte { return append([]byte{control, flags}, make([]byte, 60)...) }
	for _, tt := range []struct {
		link int
		b    []byte
		want string
	}{
		{1, ethernet(0x0806), "Ethernet||ARP"},
		{1, ethernet(0x1234), "Ethernet||EtherType 0x1234"},
		{1, ethernet(0x8100, 0, 42, 0x88, 0xcc), "Ethernet|VLAN|LLDP"},
		{1, ethernet(0x26, 0x42, 0x42, 3), "Ethernet||spanning tree"},
		{101, ip4(50, body(40)), "raw IP||ESP"},
		{101, ip4(200, body(40)), "raw IP||IP protocol 200"},
		{101, ip6(packet.ICMPv6, body(40)), "raw IP||ICMPv6"},
		{101, udp(53, body(20)...), "raw IP||UDP (DNS)"},
		{101, udp(5000, body(20)...), "raw IP||UDP"},
		{101, udp(4789, body(20)...), "raw IP||UDP (VXLAN)"}, // its header says that it is none
		{101, ip4(47, slices.Concat([]byte{0, 0, 8, 0}, ip4(50, body(40)))), "raw IP|IPv4 > GRE|ESP"},
		{101, ip4(4, udp(53, body(20)...)), "raw IP|IPv4|UDP (DNS)"},
		{9, slices.Concat([]byte{0xff, 3, 0xc0, 0x21}, body(20)), "PPP|PPP|LCP"},
		{105, wireless(0x80, 0), "802.11||802.11 management and control"},
		{105, wireless(0x48, 1), "802.11||802.11 without data"},
		{105, wireless(0x88, 0x41), "802.11||802.11, encrypted"},
		{147, body(60), "USER0||not known"},
		{9999, body(60), "link type 9999||not known"},
	} {
		var d packet.Decoder
		_, v := d.Decode(tt.link, tt.b, len(tt.b), 0)
		var got []string
		for _, c := range d.PassedOver() {
			got = append(got, strings.Join([]string{c.Link(), c.Encapsulation(), c.What()}, "|"))
		}
		if v != packet.PassedOver || !slices.Equal(got, []string{tt.want}) {
			t.Errorf("%s: verdict %d, %q", tt.want, v, got)
		}
	}
}

// TestFragments that do not make a packet.
func TestFragments(t *testing.T) {
	part := func(id uint16, at int, more bool, data []byte) []byte {
		b := ip4(packet.TCP, data)
		binary.BigEndian.PutUint16(b[4:], id)
		field := uint16(at / 8)
		if more {
			field |= 0x2000
		}
		binary.BigEndian.PutUint16(b[6:], field)
		return b
	}
	type arrival struct {
		b  []byte
		at time.Duration
	}
	whole := body(64)
	for name, tt := range map[string]struct {
		in   []arrival
		want bool
	}{
		"whole":              {[]arrival{{part(1, 0, true, whole[:32]), 0}, {part(1, 32, false, whole[32:]), time.Second}}, true},
		"others in between":  {[]arrival{{part(1, 0, true, whole[:32]), 0}, {part(2, 32, false, whole[32:]), 0}, {part(1, 32, false, whole[32:]), 0}}, true},
		"one is missing":     {[]arrival{{part(1, 0, true, whole[:16]), 0}, {part(1, 32, false, whole[32:]), 0}}, false},
		"of another packet":  {[]arrival{{part(1, 0, true, whole[:32]), 0}, {part(2, 32, false, whole[32:]), 0}}, false},
		"too late":           {[]arrival{{part(1, 0, true, whole[:32]), 0}, {part(1, 32, false, whole[32:]), time.Minute}}, false},
		"overlap":            {[]arrival{{part(1, 0, true, whole[:40]), 0}, {part(1, 32, false, whole[32:]), 0}}, false},
		"two ends":           {[]arrival{{part(1, 32, false, whole[32:]), 0}, {part(1, 64, false, whole[:8]), 0}, {part(1, 0, true, whole[:32]), 0}}, false},
		"an odd length":      {[]arrival{{part(1, 0, true, whole[:31]), 0}, {part(1, 32, false, whole[32:]), 0}}, false},
		"beyond 64 KB":       {[]arrival{{part(1, 0, true, whole[:32]), 0}, {part(1, 65528, false, whole[32:]), 0}}, false},
		"a clock that jumps": {[]arrival{{part(1, 0, true, whole[:32]), time.Hour}, {part(1, 32, false, whole[32:]), 0}}, false},
	} {
		var d packet.Decoder
		found := false
		for _, a := range tt.in {
			got, v := d.Decode(101, a.b, len(a.b), a.at)
			if v == packet.Carried {
				found = true
				if got.Length != len(whole) || !slices.Equal(got.Payload, whole) || got.ID != 1 {
					t.Errorf("%s: %+v", name, got)
				}
			}
		}
		if found != tt.want {
			t.Errorf("%s: %v", name, found)
		}
	}
	// What is kept is bounded, and the youngest are.
	var d packet.Decoder
	for i := range 10_000 {
		b := part(uint16(i), 0, true, whole[:32])
		d.Decode(101, b, len(b), 0)
	}
	last := part(9_999, 32, false, whole[32:])
	if _, v := d.Decode(101, last, len(last), 0); v != packet.Carried {
		t.Errorf("the last packet of many: verdict %d", v)
	}
}

// TestLengthLost: a file that has the captured length for the packet's.
func TestLengthLost(t *testing.T) {
	for name, tt := range map[string]struct {
		whole []byte
		cut   int
		want  packet.Verdict
		spoil int // a byte of the header
	}{
		"IPv4":                        {ip4(packet.TCP, body(1400)), 96, packet.Carried, -1},
		"IPv4, damaged":               {ip4(packet.TCP, body(1400)), 96, packet.Damaged, 2},
		"IPv6":                        {ip6(packet.TCP, body(1400)), 128, packet.Carried, -1},
		"IPv6, longer than any would": {ip6(packet.TCP, body(1400)), 600, packet.Damaged, -1},
	} {
		var d packet.Decoder
		b := slices.Clone(tt.whole[:tt.cut])
		if tt.spoil >= 0 {
			b[tt.spoil] ^= 0x40
		}
		d.Decode(101, b, len(b), 0) // of IPv6 one alone is no evidence
		got, v := d.Decode(101, b, len(b), 0)
		if v != tt.want || v == packet.Carried && (!got.LengthLost || got.Length != 1400) {
			t.Errorf("%s: verdict %d, %+v", name, v, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, w := range packettest.Wrappings() {
		for _, b := range w.Wrap(ip4(packet.TCP, body(700))) {
			f.Add(uint16(w.Link), b, uint16(0))
		}
		for _, b := range w.Wrap(ip6(packet.TCP, body(60))) {
			f.Add(uint16(w.Link), b, uint16(1000))
		}
	}
	f.Fuzz(func(t *testing.T, link uint16, b []byte, more uint16) {
		var d packet.Decoder
		for range 2 { // fragments meet themselves
			got, v := d.Decode(int(link), b, len(b)+int(more), 0)
			if v == packet.Carried && (got.Length < 0 || len(got.Payload) > got.Length || !got.Src.IsValid() || got.Protocol != packet.TCP) {
				t.Fatalf("%+v", got)
			}
		}
		for _, c := range d.PassedOver() {
			if c.Link() == "" || c.What() == "" || c.Packets == 0 {
				t.Fatalf("%+v", c)
			}
		}
	})
}

func ExampleDecoder() {
	var d packet.Decoder
	inner := ip4(packet.TCP, make([]byte, 20))
	tunnel := ip4(47, slices.Concat([]byte{0, 0, 8, 0}, inner)) // GRE
	const raw = 101
	got, _ := d.Decode(raw, tunnel, len(tunnel), 0)
	fmt.Println(got.Src, got.Dst, got.Protocol, got.Length)

	esp := ip4(50, make([]byte, 40))
	d.Decode(raw, esp, len(esp), 0)
	for _, c := range d.PassedOver() {
		fmt.Println(c.Packets, c.What(), "in", c.Link())
	}
	// Output:
	// 192.0.2.1 192.0.2.2 6 20
	// 1 ESP in raw IP
}
