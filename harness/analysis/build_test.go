package analysis

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

var (
	client4 = netip.MustParseAddrPort("192.0.2.1:40000")
	server4 = netip.MustParseAddrPort("192.0.2.2:80")
	client6 = netip.MustParseAddrPort("[2001:db8::1]:40000")
	server6 = netip.MustParseAddrPort("[2001:db8::2]:80")

	epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
)

// wire makes a packet from a segment, with gopacket's layers. Layers between
// Ethernet and IP can be given.
func wire(t testing.TB, s Segment, options []layers.TCPOption, between ...gopacket.SerializableLayer) []byte {
	t.Helper()
	etherType := layers.EthernetTypeIPv4
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	} = &layers.IPv4{Version: 4, Id: s.ID, TTL: s.TTL, TOS: s.ECN, Protocol: layers.IPProtocolTCP, SrcIP: s.Src.Addr().AsSlice(), DstIP: s.Dst.Addr().AsSlice()}
	if s.Src.Addr().Is6() {
		etherType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: s.TTL, TrafficClass: s.ECN, NextHeader: layers.IPProtocolTCP, SrcIP: s.Src.Addr().AsSlice(), DstIP: s.Dst.Addr().AsSlice()}
	}
	has := func(f Flags) bool { return s.Flags&f != 0 }
	tcp := &layers.TCP{
		SrcPort: layers.TCPPort(s.Src.Port()), DstPort: layers.TCPPort(s.Dst.Port()),
		Seq: s.Seq, Ack: s.Ack, Window: s.Window, Options: options,
		FIN: has(FlagFIN), SYN: has(FlagSYN), RST: has(FlagRST), PSH: has(FlagPSH), ACK: has(FlagACK),
		URG: has(FlagURG), ECE: has(FlagECE), CWR: has(FlagCWR), NS: has(FlagAE),
	}
	if err := tcp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	all := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: etherType}}
	for i, l := range between {
		tag := l.(*layers.Dot1Q)
		tag.Type = etherType
		if i == 0 {
			all[0].(*layers.Ethernet).EthernetType = layers.EthernetTypeDot1Q
		} else {
			between[i-1].(*layers.Dot1Q).Type = layers.EthernetTypeDot1Q
		}
		all = append(all, tag)
	}
	payload := make([]byte, s.Length)
	if s.farewell {
		copy(payload[s.Length-24:], []byte{23, 3, 3, 0, 19}) // TLS 1.3
	}
	all = append(all, ip, tcp, gopacket.Payload(payload))
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

// record is a packet in a file.
type record struct {
	at     time.Duration
	data   []byte
	length int // 0: that of data
	intf   int
	dir    Direction
}

func (r record) info() gopacket.CaptureInfo {
	return gopacket.CaptureInfo{Timestamp: epoch.Add(r.at), CaptureLength: len(r.data), Length: max(r.length, len(r.data)), InterfaceIndex: r.intf}
}

// pcapng makes a file with interfaces a and b.
func pcapng(t testing.TB, records ...record) []byte {
	t.Helper()
	var out bytes.Buffer
	intf := pcapgo.NgInterface{Name: "a", LinkType: layers.LinkTypeEthernet, SnapLength: 128}
	w, err := pcapgo.NewNgWriterInterface(&out, intf, pcapgo.NgWriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	intf.Name = "b"
	if _, err := w.AddInterface(intf); err != nil {
		t.Fatal(err)
	}
	for _, r := range records {
		flags := &pcapgo.NgEpbFlags{}
		switch r.dir {
		case Inbound:
			flags.Direction = pcapgo.NgEpbFlagDirectionInbound
		case Outbound:
			flags.Direction = pcapgo.NgEpbFlagDirectionOutbound
		case Unknown:
			flags = nil
		}
		if err := w.WritePacketWithOptions(r.info(), r.data, pcapgo.NgPacketOptions{Flags: flags}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.WriteInterfaceStats(1, pcapgo.NgInterfaceStatistics{PacketsReceived: 17, PacketsDropped: 3}); err != nil {
		t.Fatal(err)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// swapped makes a big-endian file of a little-endian pcapng file that has only
// the blocks and options of pcapng above.
func swapped(t testing.TB, le []byte) []byte {
	t.Helper()
	be := bytes.Clone(le)
	u32 := func(i int) int {
		v := binary.LittleEndian.Uint32(le[i:])
		binary.BigEndian.PutUint32(be[i:], v)
		return int(v)
	}
	u16 := func(i int) int {
		v := binary.LittleEndian.Uint16(le[i:])
		binary.BigEndian.PutUint16(be[i:], v)
		return int(v)
	}
	for at := 0; at < len(le); {
		kind, size := u32(at), u32(at+4)
		u32(at + size - 4)
		options := at + size - 4
		switch kind {
		case 0x0a0d0d0a:
			u32(at + 8)
			u16(at + 12)
			u16(at + 14)
		case 1: // interface
			u16(at + 8)
			u32(at + 12)
			options = at + 16
		case 5: // statistics
			for i := 8; i < 20; i += 4 {
				u32(at + i)
			}
			options = at + 20
		case 6: // packet
			for i := 8; i < 28; i += 4 {
				u32(at + i)
			}
			options = at + 28 + (u32(at+20)+3)&^3
		default:
			t.Fatalf("block of type %d", kind)
		}
		for options < at+size-4 {
			code, n := u16(options), u16(options+2)
			value := options + 4
			switch {
			case kind == 6 && code == 2: // flags
				u32(value)
			case kind == 5 && (code == 4 || code == 5): // received, dropped
				binary.BigEndian.PutUint64(be[value:], binary.LittleEndian.Uint64(le[value:]))
			}
			options = value + (n+3)&^3
		}
		at += size
	}
	return be
}

// pcap makes a file of the old format.
func pcap(order binary.ByteOrder, nanoseconds bool, records ...record) []byte {
	magic, unit := uint32(0xa1b2c3d4), time.Microsecond
	if nanoseconds {
		magic, unit = 0xa1b23c4d, time.Nanosecond
	}
	b := make([]byte, 24)
	order.PutUint32(b, magic)
	order.PutUint16(b[4:], 2)
	order.PutUint16(b[6:], 4)
	order.PutUint32(b[16:], 65535)
	order.PutUint32(b[20:], uint32(layers.LinkTypeEthernet))
	for _, r := range records {
		i := r.info()
		h := make([]byte, 16)
		order.PutUint32(h, uint32(i.Timestamp.Unix()))
		order.PutUint32(h[4:], uint32(time.Duration(i.Timestamp.Nanosecond())/unit))
		order.PutUint32(h[8:], uint32(i.CaptureLength))
		order.PutUint32(h[12:], uint32(i.Length))
		b = append(append(b, h...), r.data...)
	}
	return b
}

// readAll reads a file in memory.
func readAll(t testing.TB, file []byte) ([]Segment, *Reader) {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var all []Segment
	for s := range r.Segments() {
		all = append(all, s)
	}
	return all, r
}
