package analysis

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/tcplab/tcplab/harness/analysis/internal/packet"
)

// What became of a packet.
const (
	segment     = packet.Carried
	other       = packet.PassedOver
	undecodable = packet.CutOff // or damaged
)

// decode decodes a packet as a reader does.
func decode(link layers.LinkType, data []byte, length int, s *Segment) packet.Verdict {
	var r Reader
	_, v := r.decodeSegment(link, data, length, s)
	if v == packet.Damaged {
		return undecodable
	}
	return v
}

func TestDecode(t *testing.T) {
	data := Segment{
		Src: client4, Dst: server4, TTL: 64, ECN: 3, Seq: 4_000_000_000, Ack: 7, Window: 512,
		Flags: FlagACK | FlagPSH | FlagECE | FlagAE, Length: 1448,
	}
	data6 := data
	data6.Src, data6.Dst = client6, server6
	empty := data
	empty.Length = 0
	all := data
	all.Flags = FlagFIN | FlagSYN | FlagRST | FlagPSH | FlagACK | FlagURG | FlagECE | FlagCWR | FlagAE
	for _, tt := range []struct {
		name    string
		want    Segment
		between []gopacket.SerializableLayer
	}{
		{"IPv4", data, nil},
		{"IPv6", data6, nil},
		{"all flags", all, nil},
		{"VLAN", data, []gopacket.SerializableLayer{&layers.Dot1Q{VLANIdentifier: 42}}},
		{"two VLANs, IPv6", data6, []gopacket.SerializableLayer{&layers.Dot1Q{VLANIdentifier: 42}, &layers.Dot1Q{VLANIdentifier: 7}}},
		{"padded to an Ethernet frame", empty, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := wire(t, tt.want, nil, tt.between...)
			if len(b) < 60 {
				b = append(b, make([]byte, 60-len(b))...)
			}
			length := len(b)
			for _, captured := range []int{length, 14 + 8 + 40 + 20, 54} {
				var s Segment
				v := decode(layers.LinkTypeEthernet, b[:min(captured, length)], length, &s)
				headers := length - tt.want.Length
				if captured < headers && v == undecodable {
					continue
				}
				if v != segment || s != tt.want {
					t.Errorf("%d of %d bytes captured: verdict %d\n%+v, want\n%+v", captured, length, v, s, tt.want)
				}
			}
		})
	}
}

func TestDecodeOptions(t *testing.T) {
	be := binary.BigEndian
	option := func(kind uint8, values ...uint32) layers.TCPOption {
		var b []byte
		for _, v := range values {
			b = be.AppendUint32(b, v)
		}
		return layers.TCPOption{OptionType: layers.TCPOptionKind(kind), OptionLength: uint8(2 + len(b)), OptionData: b}
	}
	accECN := func(kind uint8, value ...byte) layers.TCPOption {
		return layers.TCPOption{OptionType: layers.TCPOptionKind(kind), OptionLength: uint8(2 + len(value)), OptionData: value}
	}
	nop := layers.TCPOption{OptionType: 1, OptionLength: 1}
	mss := layers.TCPOption{OptionType: 2, OptionLength: 4, OptionData: []byte{0x05, 0xb4}}
	scale := layers.TCPOption{OptionType: 3, OptionLength: 3, OptionData: []byte{7}}
	permitted := layers.TCPOption{OptionType: 4, OptionLength: 2}
	timestamps := option(8, 1234, 5678)
	for _, tt := range []struct {
		name    string
		options []layers.TCPOption
		want    Options
		sack    []Block
	}{
		{"none", nil, Options{}, nil},
		{"SYN of Linux", []layers.TCPOption{mss, permitted, timestamps, nop, scale},
			Options{MSS: 1460, SACKPermitted: true, HasTimestamps: true, TSVal: 1234, TSEcr: 5678, HasWindowScale: true, WindowScale: 7}, nil},
		{"data of Linux", []layers.TCPOption{nop, nop, timestamps}, Options{HasTimestamps: true, TSVal: 1234, TSEcr: 5678}, nil},
		{"SACK", []layers.TCPOption{nop, nop, timestamps, nop, nop, option(5, 10, 20, 30, 40)},
			Options{HasTimestamps: true, TSVal: 1234, TSEcr: 5678}, []Block{{10, 20}, {30, 40}}},
		{"four blocks", []layers.TCPOption{nop, nop, option(5, 1, 2, 3, 4, 5, 6, 7, 8)}, Options{}, []Block{{1, 2}, {3, 4}, {5, 6}, {7, 8}}},
		{"AccECN, order 0", []layers.TCPOption{accECN(172, 0, 1, 2, 0, 0, 3, 4, 5, 6)},
			Options{HasAccECN: true, AccECN: AccECN{E0B: 0x000102, CEB: 3, E1B: 0x040506, Fields: 3}}, nil},
		{"AccECN, order 1", []layers.TCPOption{accECN(174, 0, 1, 2, 0, 0, 3, 4, 5, 6)},
			Options{HasAccECN: true, AccECN: AccECN{E1B: 0x000102, CEB: 3, E0B: 0x040506, Fields: 3, Order: 1}}, nil},
		{"AccECN of two fields", []layers.TCPOption{accECN(174, 0, 0, 1, 255, 255, 255)},
			Options{HasAccECN: true, AccECN: AccECN{E1B: 1, CEB: 1<<24 - 1, Fields: 2, Order: 1}}, nil},
		{"AccECN without a field", []layers.TCPOption{accECN(172), nop, nop}, Options{HasAccECN: true}, nil},
		{"AccECN of a bad length", []layers.TCPOption{accECN(172, 1, 2)}, Options{Incomplete: true}, nil},
		{"AccECN of four fields", []layers.TCPOption{accECN(172, make([]byte, 12)...)}, Options{Incomplete: true}, nil},
		{"unknown kind", []layers.TCPOption{option(254, 1), mss, nop, nop}, Options{MSS: 1460}, nil},
		{"MSS of a bad length", []layers.TCPOption{option(2, 1), nop, nop}, Options{Incomplete: true}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in := Segment{Src: client4, Dst: server4, Flags: FlagACK, Length: 10}
			b := wire(t, in, tt.options)
			var s Segment
			if v := decode(layers.LinkTypeEthernet, b, len(b), &s); v != segment {
				t.Fatalf("verdict %d", v)
			}
			if s.Length != 10 || !slices.Equal(s.Options.SACK(), tt.sack) {
				t.Errorf("length %d, SACK %v; want 10, %v", s.Length, s.Options.SACK(), tt.sack)
			}
			got := s.Options
			got.sack, got.sackCount = [4]Block{}, 0
			if got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}

	b := wire(t, Segment{Src: client4, Dst: server4, Length: 100}, []layers.TCPOption{mss, permitted, timestamps, nop, scale})
	for captured := 14 + 20 + 20; captured < 14+20+40; captured++ {
		var s Segment
		if v := decode(layers.LinkTypeEthernet, b[:captured], len(b), &s); v != segment || s.Length != 100 || !s.Options.Incomplete {
			t.Errorf("%d bytes captured: verdict %d, %+v", captured, v, s)
		}
		if captured >= 14+20+20+4 && s.Options.MSS != 1460 {
			t.Errorf("%d bytes captured: MSS %d", captured, s.Options.MSS)
		}
	}
}

func TestDecodeOddPackets(t *testing.T) {
	in4 := Segment{Src: client4, Dst: server4, Length: 100, Flags: FlagACK}
	in6 := in4
	in6.Src, in6.Dst = client6, server6
	const ip = 14
	// extended puts an extension header before TCP.
	extended := func(kind byte, header ...byte) func([]byte) []byte {
		return func(b []byte) []byte {
			header[0], b[ip+6] = b[ip+6], kind
			binary.BigEndian.PutUint16(b[ip+4:], binary.BigEndian.Uint16(b[ip+4:])+uint16(len(header)))
			return slices.Insert(b, ip+40, header...)
		}
	}
	set := func(at int, v ...byte) func([]byte) []byte {
		return func(b []byte) []byte { copy(b[at:], v); return b }
	}
	for _, tt := range []struct {
		name  string
		in    Segment
		spoil func([]byte) []byte
		want  packet.Verdict
	}{
		{"ARP", in4, set(12, 0x08, 0x06), other},
		{"UDP", in4, set(ip+9, 17), other},
		{"UDP over IPv6", in6, set(ip+6, 17), other},
		{"first fragment", in4, set(ip+6, 0x20, 0), other},
		{"later fragment", in4, set(ip+6, 0, 5), other},
		{"don't fragment", in4, set(ip+6, 0x40, 0), segment},
		{"BIG TCP", in4, set(ip+2, 0, 0), segment},
		{"BIG TCP over IPv6", in6, set(ip+4, 0, 0), segment},
		{"hop by hop of 16", in6, extended(0, append([]byte{0, 1}, make([]byte, 14)...)...), segment},
		{"destination options", in6, extended(60, make([]byte, 8)...), segment},
		{"authentication", in6, extended(51, append([]byte{0, 4}, make([]byte, 22)...)...), segment},
		{"atomic fragment", in6, extended(44, make([]byte, 8)...), segment},
		{"fragment of IPv6", in6, extended(44, 0, 0, 0, 1, 0, 0, 0, 0), other},
		{"no next header", in6, set(ip+6, 59), other},
		{"version", in4, set(ip, 0x55), undecodable},
		{"header length", in4, set(ip, 0x44), undecodable},
		{"header beyond the packet", in4, set(ip+2, 0, 19), undecodable},
		{"total length beyond the packet", in4, set(ip+2, 0xff, 0xff), undecodable},
		{"payload length beyond the packet", in6, set(ip+4, 0xff, 0xff), undecodable},
		{"data offset too small", in4, set(ip+20+12, 0x40), undecodable},
		{"data offset beyond the segment", in4, func(b []byte) []byte { b[ip+3] = 40; b[ip+20+12] = 0xf0; return b }, undecodable},
		{"empty", in4, func([]byte) []byte { return nil }, undecodable},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := tt.spoil(wire(t, tt.in, nil))
			var s Segment
			v := decode(layers.LinkTypeEthernet, b, len(b), &s)
			if v != tt.want || v == segment && s.Length != tt.in.Length {
				t.Errorf("verdict %d, length %d; want %d, %d", v, s.Length, tt.want, tt.in.Length)
			}
		})
	}
}

func TestDecodeLinkTypes(t *testing.T) {
	outgoing := byte(4) // PACKET_OUTGOING
	for _, in := range []Segment{{Src: client4, Dst: server4, Length: 50}, {Src: client6, Dst: server6, Length: 50}} {
		ethernet := wire(t, in, nil)
		tagged := wire(t, in, nil, &layers.Dot1Q{VLANIdentifier: 42})
		cooked := func(packetType byte, from []byte) []byte {
			return slices.Concat([]byte{0, packetType}, make([]byte, 12), from[12:])
		}
		cooked2 := func(packetType byte, from []byte) []byte {
			return slices.Concat(from[12:14], make([]byte, 8), []byte{packetType}, make([]byte, 9), from[14:])
		}
		for _, tt := range []struct {
			link layers.LinkType
			b    []byte
			want Direction
		}{
			{layers.LinkTypeEthernet, ethernet, Unknown},
			{layers.LinkTypeEthernet, tagged, Unknown},
			{layers.LinkTypeRaw, ethernet[14:], Unknown},
			{layers.LinkTypeNull, append([]byte{2, 0, 0, 0}, ethernet[14:]...), Unknown},
			{layers.LinkTypeLoop, append([]byte{0, 0, 0, 2}, ethernet[14:]...), Unknown},
			{layers.LinkTypeLinuxSLL, cooked(0, ethernet), Inbound},
			{layers.LinkTypeLinuxSLL, cooked(outgoing, tagged), Outbound},
			{layers.LinkTypeLinuxSLL2, cooked2(0, ethernet), Inbound},
			{layers.LinkTypeLinuxSLL2, cooked2(outgoing, tagged), Outbound},
		} {
			want := in
			want.Direction = tt.want
			var s Segment
			if v := decode(tt.link, tt.b, len(tt.b), &s); v != segment || s != want {
				t.Errorf("link type %v: verdict %d, %v; want %v", tt.link, v, s, want)
			}
			// Cut off in its headers, it is no segment; nothing breaks.
			headers := len(tt.b) - in.Length
			for n := range headers {
				if v := decode(tt.link, tt.b[:n], len(tt.b), new(Segment)); v == segment {
					t.Errorf("link type %v, %d bytes of %d: a segment", tt.link, n, len(tt.b))
				}
			}
			// What the file says of the direction is better than the header.
			s = Segment{Direction: Inbound}
			if decode(tt.link, tt.b, len(tt.b), &s); s.Direction != Inbound {
				t.Errorf("link type %v: direction %v", tt.link, s.Direction)
			}
		}
		if v := decode(layers.LinkTypeIEEE802_11, ethernet, len(ethernet), new(Segment)); v != other {
			t.Errorf("unknown link type: verdict %d", v)
		}
	}
}

func TestStrings(t *testing.T) {
	s := Segment{Frame: 4, At: 20113000, Interface: "client/eth0", Direction: Outbound, Src: client4, Dst: server4, Seq: 1, Ack: 2, Length: 3, Window: 4, Flags: FlagPSH | FlagACK}
	const want = "#4 0.020113s client/eth0 out 192.0.2.1:40000 > 192.0.2.2:80 [PSH ACK] seq 1 ack 2 len 3 win 4"
	if got := s.String(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got := fmt.Sprint(Unknown, Inbound, Flags(0), FlagAE|FlagSYN); got != "unknown in  SYN AE" {
		t.Errorf("%q", got)
	}
}
