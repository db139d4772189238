package inject

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/internal/golden"
	"github.com/tcplab/tcplab/netns/netdev"
)

var families = []struct {
	name           string
	client, server netip.AddrPort
	router         netip.Addr
}{
	{"IPv4", netip.MustParseAddrPort("10.0.1.1:4711"), netip.MustParseAddrPort("10.0.2.2:80"), netip.MustParseAddr("10.0.1.2")},
	{"IPv6", netip.MustParseAddrPort("[fd00:0:0:1::1]:4711"), netip.MustParseAddrPort("[fd00:0:0:2::2]:80"), netip.MustParseAddr("fd00:0:0:1::2")},
}

// packets are one of each kind, of a family.
func packets(client, server netip.AddrPort, router netip.Addr) []Packet {
	syn := Segment{
		Src: client, Dst: server, Seq: 0xfffffffe, Flags: analysis.FlagSYN, Window: 64240,
		Options: Options{MSS: 1460, SACKPermitted: true, HasTimestamps: true, TSVal: 1, HasWindowScale: true, WindowScale: 7},
	}
	data := Segment{
		Src: server, Dst: client, TTL: 63, ECN: 2, Seq: 7, Ack: 9, Flags: analysis.FlagPSH | analysis.FlagACK, Window: 502,
		Options: Options{HasTimestamps: true, TSVal: 3, TSEcr: 4, SACK: []analysis.Block{{Left: 20, Right: 30}, {Left: 40, Right: 50}}},
		Payload: []byte("hello"),
	}
	reset := Segment{Src: server, Dst: client, Seq: 8, Flags: analysis.FlagRST}
	illegal := Segment{Src: client, Dst: server, Seq: 1, Flags: analysis.FlagSYN | analysis.FlagFIN | analysis.FlagURG | analysis.FlagAE, Urgent: 5}
	wrong := data
	wrong.BadChecksum = true
	list := []Packet{syn, data, reset, illegal, wrong}
	for _, reason := range []Reason{
		NetUnreachable, HostUnreachable, ProtocolUnreachable, PortUnreachable, TooBig, AdminProhibited, TimeExceeded,
	} {
		e := ICMPError{Reason: reason, Src: router, Quote: syn}
		if reason == TooBig {
			e.MTU = 1300
		}
		list = append(list, e)
	}
	return append(list, ICMPError{Reason: PortUnreachable, Src: server.Addr(), TTL: 9, Quote: data, BadChecksum: true})
}

// What the bytes are. After a change that is meant: go test ./impair/inject -run Golden -update
func TestGolden(t *testing.T) {
	for _, f := range families {
		var listing strings.Builder
		for _, p := range packets(f.client, f.server, f.router) {
			ip, err := p.IP()
			if err != nil {
				t.Fatalf("%v: %v", p, err)
			}
			fmt.Fprintf(&listing, "%v\n%s\n", p, hex.Dump(ip))
		}
		golden.Compare(t, f.name+".txt", []byte(listing.String()))
	}
}

// sum is the Internet checksum (RFC 1071), written down once more.
func sum(parts ...[]byte) uint16 {
	var total uint32
	all := bytes.Join(parts, nil)
	if len(all)%2 == 1 {
		all = append(all, 0)
	}
	for i := 0; i < len(all); i += 2 {
		total += uint32(binary.BigEndian.Uint16(all[i:]))
	}
	for total>>16 != 0 {
		total = total&0xffff + total>>16
	}
	return ^uint16(total)
}

// pseudo is the pseudo header of a packet's transport, and its transport.
func pseudo(ip []byte) (header, transport []byte) {
	if ip[0]>>4 == 4 {
		transport = ip[20:]
		return append(append([]byte(nil), ip[12:20]...), 0, ip[9], byte(len(transport)>>8), byte(len(transport))), transport
	}
	transport = ip[40:]
	return append(append([]byte(nil), ip[8:40]...), 0, 0, byte(len(transport)>>8), byte(len(transport)), 0, 0, 0, ip[6]), transport
}

func TestChecksums(t *testing.T) {
	for _, f := range families {
		for _, p := range packets(f.client, f.server, f.router) {
			ip, err := p.IP()
			if err != nil {
				t.Fatal(err)
			}
			if ip[0]>>4 == 4 && sum(ip[:20]) != 0 {
				t.Errorf("%v: the checksum of its IP header is wrong", p)
			}
			header, transport := pseudo(ip)
			if ip[0]>>4 == 4 && ip[9] == 1 { // ICMP has no pseudo header
				header = nil
			}
			bad := strings.Contains(p.String(), "bad checksum")
			if got := sum(header, transport); (got != 0) != bad {
				t.Errorf("%v: the sum is %#x", p, got)
			}
		}
	}
}

// read is what package analysis, which has a decoder of its own, makes of an IP packet.
func read(t *testing.T, ip []byte) []analysis.Segment {
	t.Helper()
	var file bytes.Buffer
	w := pcapgo.NewWriter(&file)
	if err := w.WriteFileHeader(65535, layers.LinkTypeRaw); err != nil {
		t.Fatal(err)
	}
	if err := w.WritePacket(gopacket.CaptureInfo{Timestamp: time.Unix(1, 0), CaptureLength: len(ip), Length: len(ip)}, ip); err != nil {
		t.Fatal(err)
	}
	r, err := analysis.NewReader(&file)
	if err != nil {
		t.Fatal(err)
	}
	var got []analysis.Segment
	for s := range r.Segments() {
		got = append(got, s)
	}
	if r.Err() != nil {
		t.Fatal(r.Err())
	}
	return got
}

func TestSegmentIsReadAsItWasMade(t *testing.T) {
	for _, f := range families {
		for _, p := range packets(f.client, f.server, f.router) {
			made, is := p.(Segment)
			if !is {
				continue
			}
			ip, err := made.IP()
			if err != nil {
				t.Fatal(err)
			}
			got := read(t, ip)
			if len(got) != 1 {
				t.Fatalf("%v: read %v", made, got)
			}
			if made.TTL == 0 {
				made.TTL = defaultTTL
			}
			// What no decoder tells, or no capture.
			made.BadChecksum, made.Urgent = false, 0
			made.Payload = make([]byte, len(made.Payload))
			if len(made.Payload) == 0 {
				made.Payload = nil
			}
			if like := Like(got[0]); !reflect.DeepEqual(like, made) {
				t.Errorf("made %+v\nread %+v", made, like)
			}
		}
	}
}

func TestAfter(t *testing.T) {
	f := families[0]
	syn := analysis.Segment{Src: f.client, Dst: f.server, TTL: 63, Seq: 0xffffffff, Flags: analysis.FlagSYN, Window: 10}
	if next := After(syn); next.Seq != 0 || next.Flags != analysis.FlagACK || next.Src != f.client || next.Window != 10 || next.Payload != nil {
		t.Errorf("after a SYN: %v", next)
	}
	data := analysis.Segment{Src: f.client, Dst: f.server, Seq: 5, Ack: 6, Length: 100, Flags: analysis.FlagACK | analysis.FlagFIN}
	if next := After(data); next.Seq != 106 || next.Ack != 6 {
		t.Errorf("after data and FIN: %v", next)
	}
}

func TestICMPErrorQuotes(t *testing.T) {
	for i, f := range families {
		quote := Segment{Src: f.client, Dst: f.server, Seq: 7, Flags: analysis.FlagACK, Payload: make([]byte, 1400)}
		whole, err := quote.IP()
		if err != nil {
			t.Fatal(err)
		}
		ip, err := ICMPError{Reason: TooBig, MTU: 1280, Src: f.router, Quote: quote}.IP()
		if err != nil {
			t.Fatal(err)
		}
		header := [2]int{20, 40}[i]
		if want := [2]int{576, 1280}[i]; len(ip) != want {
			t.Errorf("%s: %d bytes, want %d", f.name, len(ip), want)
		}
		if quoted := ip[header+8:]; !bytes.Equal(quoted, whole[:len(quoted)]) {
			t.Errorf("%s: it quotes %x, want %x", f.name, quoted, whole)
		}
		mtu := binary.BigEndian.Uint32(ip[header+4:])
		if mtu != 1280 {
			t.Errorf("%s: MTU %d", f.name, mtu)
		}
		decoded := gopacket.NewPacket(ip, [2]gopacket.Decoder{layers.LayerTypeIPv4, layers.LayerTypeIPv6}[i], gopacket.Default)
		network := decoded.NetworkLayer().NetworkFlow()
		if network.Dst().String() != f.client.Addr().String() || network.Src().String() != f.router.String() {
			t.Errorf("%s: %v", f.name, network)
		}
	}
}

func TestValidate(t *testing.T) {
	f, six := families[0], families[1]
	good := Segment{Src: f.client, Dst: f.server}
	if err := good.Validate(); err != nil {
		t.Errorf("no flags at all: %v", err)
	}
	change := func(by func(*Segment)) Segment { s := good; by(&s); return s }
	for _, c := range []struct {
		packet Packet
		field  string
	}{
		{change(func(s *Segment) { s.Src = netip.AddrPort{} }), "Src"},
		{change(func(s *Segment) { s.Dst = six.server }), "Dst"},
		{change(func(s *Segment) { s.Dst = netip.MustParseAddrPort("[::ffff:10.0.0.1]:80") }), "Dst"},
		{change(func(s *Segment) { s.ECN = 4 }), "ECN"},
		{change(func(s *Segment) { s.Flags = 1 << 9 }), "Flags"},
		{change(func(s *Segment) { s.Options.SACK = make([]analysis.Block, 5) }), "Options"},
		{change(func(s *Segment) { s.Payload = make([]byte, 65536) }), "Payload"},
		{ICMPError{Src: f.router, Quote: good}, "Reason"},
		{ICMPError{Reason: TooBig, MTU: 65536, Src: f.router, Quote: good}, "MTU"},
		{ICMPError{Reason: PortUnreachable, MTU: 1, Src: f.router, Quote: good}, "MTU"},
		{ICMPError{Reason: PortUnreachable, Src: six.router, Quote: good}, "Src"},
		{ICMPError{Reason: PortUnreachable, Src: f.router}, "Src"}, // of the Quote
	} {
		err := c.packet.Validate()
		field, is := errors.AsType[*invalid.FieldError](err)
		if !is || field.Field != c.field {
			t.Errorf("%v: %v, want field %s refused", c.packet, err, c.field)
		}
		if _, err := c.packet.IP(); err == nil {
			t.Errorf("%v: it has bytes", c.packet)
		}
	}
}

func TestSendRefuses(t *testing.T) {
	f := families[0]
	good, to := Segment{Src: f.client, Dst: f.server}, net.HardwareAddr{2, 0, 0, 0, 0, 1}
	device := netdev.Device{Name: "tcplab-none"}
	if _, err := Send(device, to, good); !errors.Is(err, netdev.ErrNoDevice) {
		t.Errorf("without a device: %v", err)
	}
	for _, c := range []struct {
		device netdev.Device
		to     net.HardwareAddr
		packet Packet
	}{{netdev.Device{}, to, good}, {device, nil, good}, {device, to, Segment{}}} {
		_, err := Send(c.device, c.to, c.packet)
		if _, is := errors.AsType[*invalid.FieldError](err); !is {
			t.Errorf("%v", err)
		}
	}
}
