package peers

import (
	"errors"
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"github.com/tcplab/tcplab/harness/invalid"
)

func TestFloodSources(t *testing.T) {
	for _, x := range []struct {
		from  string
		n     int
		want  string
		label string
	}{
		{"10.0.0.0/24", 0, "10.0.0.1", "the first is the subnet's own"},
		{"10.0.0.0/24", 253, "10.0.0.254", "the last is for broadcast"},
		{"10.0.0.0/24", 254, "10.0.0.1", "and again"},
		{"10.0.0.0/8", 64511, "10.0.252.0", "large"},
		{"10.0.0.4/31", 1, "10.0.0.5", "point to point"},
		{"10.0.0.4/32", 7, "10.0.0.4", "one"},
		{"fd00::/64", 64511, "fd00::fc00", "IPv6"},
		{"fd00::fe/127", 3, "fd00::ff", "IPv6 point to point"},
	} {
		f := SYNFlood{From: netip.MustParsePrefix(x.from)}
		if got := f.source(x.n); got != netip.MustParseAddr(x.want) {
			t.Errorf("%s: source %d of %s is %v, expected %s", x.label, x.n, x.from, got, x.want)
		}
	}
}

// What is built can be read again, and its checksums are right.
func TestFloodPackets(t *testing.T) {
	for _, x := range []struct {
		connect, from, source string
		first                 gopacket.LayerType
	}{
		{"10.0.0.1:80", "10.9.0.0/24", "10.9.0.6", layers.LayerTypeIPv4},
		{"[fd00::1]:80", "fd00:9::/64", "fd00:9::6", layers.LayerTypeIPv6},
	} {
		f := SYNFlood{Connect: netip.MustParseAddrPort(x.connect), From: netip.MustParsePrefix(x.from)}
		b, err := f.packet(5)
		if err != nil {
			t.Fatal(err)
		}
		packet := gopacket.NewPacket(b, x.first, gopacket.Default)
		if e := packet.ErrorLayer(); e != nil {
			t.Fatal(e.Error())
		}
		tcp, ok := packet.TransportLayer().(*layers.TCP)
		if !ok {
			t.Fatal(packet)
		}
		if err := tcp.SetNetworkLayerForChecksum(packet.NetworkLayer()); err != nil {
			t.Fatal(err)
		}
		if err, mismatches := packet.VerifyChecksums(); err != nil || len(mismatches) > 0 {
			t.Errorf("checksums: %v, %+v", err, mismatches)
		}
		if !tcp.SYN || tcp.ACK || tcp.Seq != 5 || tcp.SrcPort != 1029 || tcp.DstPort != 80 || len(tcp.Options) != 1 {
			t.Errorf("%+v", tcp)
		}
		if src := packet.NetworkLayer().NetworkFlow().Src().String(); src != x.source {
			t.Errorf("from %s, expected %s", src, x.source)
		}
	}
}

func TestBadFloodsAreRefused(t *testing.T) {
	good := SYNFlood{Connect: netip.MustParseAddrPort("10.0.0.1:80"), From: netip.MustParsePrefix("10.9.0.0/24"), Count: maxFlood}
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	for field, change := range map[string]func(*SYNFlood){
		"Connect":  func(f *SYNFlood) { f.Connect = netip.AddrPort{} },
		"From":     func(f *SYNFlood) { f.From = netip.Prefix{} },
		"Count":    func(f *SYNFlood) { f.Count = maxFlood + 1 },
		"Interval": func(f *SYNFlood) { f.Interval = -1 },
	} {
		f := good
		change(&f)
		expectRefused(t, f, field)
	}
	f := good
	f.From = netip.MustParsePrefix("10.9.0.1/24")
	expectRefused(t, f, "From")
	f.From = netip.MustParsePrefix("fd00::/64")
	expectRefused(t, f, "From")
	f.Connect = netip.MustParseAddrPort("[fe80::1%1]:80")
	expectRefused(t, f, "Connect")
}

func expectRefused(t *testing.T, p Program, field string) {
	t.Helper()
	var e *invalid.FieldError
	if err := p.Validate(); !errors.As(err, &e) || e.Field != field {
		t.Errorf("%+v: %v, expected an error about %s", p, err, field)
	}
}
