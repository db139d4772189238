package analysis

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/tcplab/tcplab/harness/analysis/internal/packet"
)

// datagramWire makes a packet from a datagram, with gopacket's layers.
func datagramWire(t testing.TB, d Datagram) []byte {
	t.Helper()
	etherType := layers.EthernetTypeIPv4
	var ip interface {
		gopacket.NetworkLayer
		gopacket.SerializableLayer
	} = &layers.IPv4{Version: 4, TTL: d.TTL, TOS: d.ECN, Protocol: layers.IPProtocolUDP, SrcIP: d.Src.Addr().AsSlice(), DstIP: d.Dst.Addr().AsSlice()}
	if d.Src.Addr().Is6() {
		etherType = layers.EthernetTypeIPv6
		ip = &layers.IPv6{Version: 6, HopLimit: d.TTL, TrafficClass: d.ECN, NextHeader: layers.IPProtocolUDP, SrcIP: d.Src.Addr().AsSlice(), DstIP: d.Dst.Addr().AsSlice()}
	}
	udp := &layers.UDP{SrcPort: layers.UDPPort(d.Src.Port()), DstPort: layers.UDPPort(d.Dst.Port())}
	if err := udp.SetNetworkLayerForChecksum(ip); err != nil {
		t.Fatal(err)
	}
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true},
		&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: etherType}, ip, udp, gopacket.Payload(d.Payload)); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestDatagrams(t *testing.T) {
	four := Datagram{Src: client4, Dst: server4, TTL: 63, ECN: 2, Length: 5, Payload: "12345"}
	six := Datagram{Src: client6, Dst: server6, TTL: 64, ECN: 3, Length: 3, Payload: "abc"}
	empty := Datagram{Src: client4, Dst: server4, TTL: 1}
	cut, broken, fragment := datagramWire(t, four), datagramWire(t, four), datagramWire(t, four)
	broken[14+20+4] = 0xff  // the length in the header of UDP
	fragment[14+6] = 1 << 5 // more fragments; but then its length would be a multiple of 8
	padded := append(datagramWire(t, empty), make([]byte, 18)...)
	in := []record{
		{data: datagramWire(t, four), dir: Outbound},
		{data: wire(t, Segment{Src: client4, Dst: server4, TTL: 64, Flags: FlagSYN}, nil), at: time.Millisecond},
		{data: datagramWire(t, six), at: 2 * time.Millisecond, intf: 1, dir: Inbound},
		{data: cut[:14+20+8+2], length: len(cut), at: 3 * time.Millisecond},
		{data: cut[:14+20+7], length: len(cut), at: 3 * time.Millisecond},
		{data: broken, at: 4 * time.Millisecond},
		{data: fragment, at: 5 * time.Millisecond},
		{data: padded, at: 6 * time.Millisecond},
	}
	path := filepath.Join(t.TempDir(), "capture.pcapng")
	file := pcapng(t, in...)
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadDatagrams(path)
	if err != nil {
		t.Fatal(err)
	}
	at := func(frame int, name string, dir Direction, d Datagram) Datagram {
		d.Frame, d.At, d.Time, d.Interface, d.Direction = frame, in[frame-1].at, epoch.Add(in[frame-1].at), name, dir
		return d
	}
	short := four
	short.Payload = "12"
	want := []Datagram{at(1, "a", Outbound, four), at(3, "b", Inbound, six), at(4, "a", Unknown, short), at(8, "a", Unknown, empty)}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
	const line = "#1 0.000000s a out 192.0.2.1:40000 > 192.0.2.2:80 UDP len 5"
	if got[0].String() != line {
		t.Errorf("%q, expected %q", got[0], line)
	}

	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for range r.Datagrams() {
	}
	if want := (Stats{Packets: len(in), Undecodable: 3, CutOff: 1}); r.Stats() != want {
		t.Errorf("%+v, expected %+v", r.Stats(), want)
	}
	if err := os.WriteFile(path, file[:len(file)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	if some, err := ReadDatagrams(path); !errors.Is(err, ErrDamaged) || len(some) == 0 {
		t.Errorf("%v, %v", some, err)
	}
}

// FuzzDatagram: whatever a packet has in it, and however much of it was captured.
func FuzzDatagram(f *testing.F) {
	for _, src := range []Datagram{{Src: client4, Dst: server4, Payload: "x"}, {Src: client6, Dst: server6, Payload: "x"}} {
		f.Add(datagramWire(f, src), uint16(0))
		f.Add(datagramWire(f, src)[:40], uint16(100))
	}
	f.Fuzz(func(t *testing.T, data []byte, more uint16) {
		length := len(data) + int(more)
		var r Reader
		r.decoder.Want = []uint8{packet.UDP}
		d, v := r.decodeDatagram(layers.LinkTypeEthernet, data, length, Segment{})
		if v == segment && (len(d.Payload) > d.Length || d.Length > length || len(d.Payload) > len(data)) {
			t.Errorf("%+v of %d bytes, %d of them captured", d, length, len(data))
		}
		if v != segment && d != (Datagram{}) {
			t.Errorf("%+v, and verdict %d", d, v)
		}
		var s Segment
		if decode(layers.LinkTypeEthernet, data, length, &s) == segment && v == segment {
			t.Errorf("both %+v and %+v", s, d)
		}
	})
}
