package analysis

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"

	"github.com/tcplab/tcplab/harness/analysis/internal/packet/packettest"
)

// wrapped is a conversation in a wrapping.
type wrapped struct {
	packettest.Wrapping
	segments []Segment
}

// wrappedFile writes conversations, each on an interface of its own.
func wrappedFile(t testing.TB, all ...wrapped) []byte {
	t.Helper()
	var out bytes.Buffer
	intf := func(i int) pcapgo.NgInterface {
		return pcapgo.NgInterface{Name: fmt.Sprint("if", i), LinkType: layers.LinkType(all[i].Link)}
	}
	w, err := pcapgo.NewNgWriterInterface(&out, intf(0), pcapgo.NgWriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		if i > 0 {
			if _, err := w.AddInterface(intf(i)); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range all[i].segments {
			for _, data := range all[i].Wrap(ipOf(wire(t, s, tcpOptions(s.Options)))) {
				if err := w.WritePacket(record{at: s.At, data: data, intf: i}.info(), data); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// ipOf is an Ethernet frame without its header and padding.
func ipOf(frame []byte) []byte {
	ip := frame[14:]
	if ip[0]>>4 == 4 {
		ip = ip[:binary.BigEndian.Uint16(ip[2:])]
	}
	return ip
}

// TestReadsEachWrapping: what is found of a conversation in a tunnel, a link layer or in fragments is what is found of it alone.
func TestReadsEachWrapping(t *testing.T) {
	for _, w := range packettest.Wrappings() {
		for _, ends := range variants[:2] {
			t.Run(fmt.Sprint(w.Name, "/", ends.client), func(t *testing.T) {
				segments, _ := segmentsOf(closed(exchanges(3, 300, 1400, ms, true), 901, 4201), ends.client, ends.server, 1000, 2000)
				want, _ := readAll(t, pcapng(t, func() (all []record) {
					for _, s := range segments {
						all = append(all, record{at: s.At, data: wire(t, s, tcpOptions(s.Options))})
					}
					return all
				}()...))
				got, r := readAll(t, wrappedFile(t, wrapped{w, segments}))
				if r.Err() != nil || len(got) != len(want) {
					t.Fatalf("%d segments, want %d; %v", len(got), len(want), r.Err())
				}
				for i := range got {
					g, x := got[i], want[i]
					g.Frame, g.Interface, g.ID = x.Frame, x.Interface, x.ID
					if g != x {
						t.Errorf("%v, want %v", g, x)
					}
				}
			})
		}
	}
}

// unlikeTshark are the wrappings that tshark shows in another way by default, and why.
var unlikeTshark = map[string]string{
	"Ethernet over MPLS":   "it needs to be told that this is Ethernet",
	"fragments, one twice": "it marks the second copy as an overlap, and dissects no more",
	"MPLS link":            "it does not know the link type",
	"Frame Relay":          "it takes the virtual circuit for the connection, whatever the addresses",
}

// TestClassifyAgreesOnWrappings asks tshark about all wrappings in one file: conversations of their own ports.
func TestClassifyAgreesOnWrappings(t *testing.T) {
	needTshark(t)
	var all []wrapped
	for i, w := range packettest.Wrappings() {
		if unlikeTshark[w.Name] != "" {
			continue
		}
		for k, name := range []string{"fast retransmission with SACK", "closed window", "half-close", "spurious retransmission"} {
			ends := variants[(i+k)%2]
			port := uint16(10_000 + 10*i + k)
			segments, _ := segmentsOf(cases[name], netip.AddrPortFrom(ends.client.Addr(), port), ends.server, 1000, 2000)
			all = append(all, wrapped{w, segments})
		}
	}
	agree(t, writeFile(t, "wrapped.pcapng", wrappedFile(t, all...)), nil)
}

// TestTapOfTwoInterfaces: each has one direction, and both are one conversation; two that have both directions are two.
func TestTapOfTwoInterfaces(t *testing.T) {
	lines := closed(exchanges(5, 300, 1400, ms, true), 1501, 7001)
	for _, ends := range variants[:2] {
		segments, _ := segmentsOf(lines, ends.client, ends.server, 1000, 2000)
		records := func(place func(Segment) []int, from int) (all []record) {
			for _, s := range segments[from:] {
				for _, i := range place(s) {
					all = append(all, record{at: s.At, data: wire(t, s, tcpOptions(s.Options)), intf: i})
				}
			}
			return all
		}
		way := func(s Segment) []int {
			if s.Src.Port() == 80 {
				return []int{1}
			}
			return []int{0}
		}
		both := func(Segment) []int { return []int{0, 1} }
		for name, tt := range map[string]struct {
			in   []record
			want []string
		}{
			"a tap":                            {records(way, 0), []string{"a + b"}},
			"turned around":                    {records(func(s Segment) []int { return []int{1 - way(s)[0]} }, 0), []string{"b + a"}},
			"both have all":                    {records(both, 0), []string{"a", "b"}},
			"both have all, from the middle":   {records(both, 4), []string{"a", "b"}},
			"the second has the server's only": {records(func(s Segment) []int { return slices.Concat([]int{0}, way(s)[:way(s)[0]]) }, 0), []string{"a", "b"}},
		} {
			report := analyzed(t, pcapng(t, tt.in...))
			var got []string
			for _, c := range report.Conversations {
				got = append(got, c.Interface)
			}
			kinds, text := said(report)
			if !slices.Equal(got, tt.want) || kinds != "" && name != "the second has the server's only" {
				t.Errorf("%s: conversations on %q, want %q; findings %s", name, got, tt.want, text)
			}
		}
	}
}

// TestInterfacesAreNumbered: names that are the same, or missing, do not make one of two.
func TestInterfacesAreNumbered(t *testing.T) {
	segments, _ := segmentsOf(exchanges(2, 300, 1400, ms, true), client4, server4, 1000, 2000)
	file := func(names ...string) []byte {
		var out bytes.Buffer
		intf := func(name string) pcapgo.NgInterface {
			return pcapgo.NgInterface{Name: name, LinkType: layers.LinkTypeEthernet}
		}
		w, err := pcapgo.NewNgWriterInterface(&out, intf(names[0]), pcapgo.NgWriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names[1:] {
			if _, err := w.AddInterface(intf(name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range segments {
			data := wire(t, s, nil)
			for i := range names {
				info := gopacket.CaptureInfo{Timestamp: epoch.Add(s.At), CaptureLength: len(data), Length: len(data), InterfaceIndex: i}
				if err := w.WritePacket(info, data); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		return out.Bytes()
	}
	for name, tt := range map[string]struct {
		file []byte
		want []string
	}{
		"one without a name":         {file(""), []string{""}},
		"two without a name":         {file("", ""), []string{"interface 0", "interface 1"}},
		"two with the same name":     {file("eth0", "eth0"), []string{"eth0", "eth0 (interface 1)"}},
		"two sections":               {slices.Concat(file("eth0"), file("eth0")), []string{"eth0", "eth0 (section 2)"}},
		"two sections without names": {slices.Concat(file(""), file("")), []string{"", "interface 0 (section 2)"}},
	} {
		report := analyzed(t, tt.file)
		var got []string
		for _, c := range report.Conversations {
			got = append(got, c.Interface)
		}
		if kinds, text := said(report); !slices.Equal(got, tt.want) || kinds != "" {
			t.Errorf("%s: conversations on %q, want %q; findings %s", name, got, tt.want, text)
		}
	}
}

// TestPassedOver: what is not TCP is named in the report, and in the text.
func TestPassedOver(t *testing.T) {
	arp := wire(t, Segment{Src: client4, Dst: server4}, nil)
	arp[12], arp[13] = 0x08, 0x06
	esp := wire(t, Segment{Src: client4, Dst: server4}, nil)
	esp[14+9] = 50
	report := analyzed(t, pcapng(t, record{data: arp}, record{data: esp}, record{data: arp}))
	want := []PassedOver{{Link: "Ethernet", What: "ARP", Packets: 2}, {Link: "Ethernet", What: "ESP", Packets: 1}}
	if !slices.Equal(report.PassedOver, want) {
		t.Errorf("%+v, want %+v", report.PassedOver, want)
	}
	const note = "none of the 3 packets is a TCP segment that can be seen; there is 2 of ARP in Ethernet, 1 of ESP in Ethernet"
	if len(report.Notes) != 2 || report.Notes[1] != note {
		t.Errorf("notes %q", report.Notes)
	}
	checkRendering(t, report)
}
