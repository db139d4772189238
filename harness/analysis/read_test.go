package analysis

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// records are three segments and an ARP packet, on two interfaces.
func records(t testing.TB) []record {
	arp := wire(t, Segment{Src: client4, Dst: server4}, nil)
	arp[12], arp[13] = 0x08, 0x06
	segment := func(s Segment) []byte { return wire(t, s, nil) }
	return []record{
		{at: 0, data: arp, intf: 0},
		{at: 1500 * time.Microsecond, data: segment(Segment{Src: client4, Dst: server4, Flags: FlagSYN, Seq: 1}), intf: 0, dir: Outbound},
		{at: 2 * time.Second, data: segment(Segment{Src: client6, Dst: server6, Flags: FlagACK, Seq: 2, Length: 1000})[:90], length: 14 + 40 + 20 + 1000, intf: 1, dir: Inbound},
		{at: 3 * time.Second, data: segment(Segment{Src: server4, Dst: client4, Flags: FlagFIN, Seq: 3})[:30], length: 54, intf: 0, dir: Inbound},
		{at: time.Hour, data: segment(Segment{Src: client4, Dst: server4, Flags: FlagRST, Seq: 4}), intf: 1},
	}
}

func TestReaderReadsAllFormats(t *testing.T) {
	in := records(t)
	ng := pcapng(t, in...)
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write(swapped(t, ng)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		file  []byte
		named bool
	}{
		{"pcapng", ng, true},
		{"pcapng, big endian", swapped(t, ng), true},
		{"pcapng, big endian, gzip", zipped.Bytes(), true},
		{"pcap, µs", pcap(binary.LittleEndian, false, in...), false},
		{"pcap, µs, big endian", pcap(binary.BigEndian, false, in...), false},
		{"pcap, ns", pcap(binary.LittleEndian, true, in...), false},
		{"pcap, ns, big endian", pcap(binary.BigEndian, true, in...), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, r := readAll(t, tt.file)
			if err := r.Err(); err != nil {
				t.Error(err)
			}
			if want := (Stats{Packets: 5, Segments: 3, Other: 1, Undecodable: 1, CutOff: 1}); r.Stats() != want {
				t.Errorf("stats %+v, want %+v", r.Stats(), want)
			}
			want := []Segment{
				{Frame: 2, At: in[1].at, Interface: "a", Direction: Outbound, Src: client4, Dst: server4, Flags: FlagSYN, Seq: 1},
				{Frame: 3, At: in[2].at, Interface: "b", Direction: Inbound, Src: client6, Dst: server6, Flags: FlagACK, Seq: 2, Length: 1000},
				{Frame: 5, At: in[4].at, Interface: "b", Src: client4, Dst: server4, Flags: FlagRST, Seq: 4},
			}
			for i := range want {
				want[i].Time = epoch.Add(want[i].At)
				if !tt.named {
					want[i].Interface, want[i].Direction = "", Unknown
				}
			}
			if !slices.Equal(got, want) {
				t.Errorf("got\n%v\nwant\n%v", got, want)
			}
			var interfaces []Interface
			if tt.named {
				interfaces = []Interface{{Name: "a", SnapLength: 128}, {Name: "b", SnapLength: 128, HasStatistics: true, Received: 17, Dropped: 3}}
			}
			if got := r.Interfaces(); !slices.Equal(got, interfaces) {
				t.Errorf("interfaces %+v, want %+v", got, interfaces)
			}
		})
	}
}

func TestReaderReadsSeveralSections(t *testing.T) {
	in := records(t)
	file := slices.Concat(pcapng(t, in...), pcapng(t, in[1:3]...))
	got, r := readAll(t, file)
	if r.Err() != nil || len(got) != 5 || got[4].Frame != 7 || got[4].Interface != "b (section 2)" {
		t.Errorf("%v, %v", got, r.Err())
	}
}

// TestReaderReadsResolutions: pcapng of microseconds, as most programs write, and of
// nanoseconds.
func TestReaderReadsResolutions(t *testing.T) {
	for _, resolution := range []pcapgo.NgResolution{6, 9} {
		var file bytes.Buffer
		w, err := pcapgo.NewNgWriterInterface(&file, pcapgo.NgInterface{LinkType: layers.LinkTypeEthernet, TimestampResolution: resolution}, pcapgo.NgWriterOptions{})
		if err != nil {
			t.Fatal(err)
		}
		in := records(t)
		for _, r := range in {
			r.intf = 0
			if err := w.WritePacket(r.info(), r.data); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		got, r := readAll(t, file.Bytes())
		if r.Err() != nil || len(got) != 3 || got[0].At != in[1].at || got[2].At != in[4].at || !got[0].Time.Equal(epoch.Add(in[1].at)) {
			t.Errorf("resolution %d: %v, %v", resolution, got, r.Err())
		}
	}
}

// TestCookedInterfaces: a capture on "any" has the interfaces' indexes only.
func TestCookedInterfaces(t *testing.T) {
	segments, want := segmentsOf(cases["nothing wrong"], client4, server4, 1000, 2000)
	var cooked []record
	for _, s := range segments {
		ethernet := wire(t, s, tcpOptions(s.Options))
		for _, index := range []byte{2, 7} { // a bridge and its port
			b := slices.Concat(ethernet[12:14], []byte{0, 0, 0, 0, 0, index}, make([]byte, 12), ethernet[14:])
			cooked = append(cooked, record{at: s.At, data: b})
		}
	}
	file := pcap(binary.LittleEndian, true, cooked...)
	binary.LittleEndian.PutUint32(file[20:], uint32(layers.LinkTypeLinuxSLL2))
	got, r := readAll(t, file)
	if r.Err() != nil || len(got) != 2*len(segments) || got[0].Interface != "if2" || got[1].Interface != "if7" {
		t.Fatalf("%v, %v", got, r.Err())
	}
	i := 0
	for c := range Classify(slices.Values(got)) {
		if c.Marks != want[i/2] || c.Stream != i%2 {
			t.Errorf("%v on stream %d is %q, want %q", c.Segment, c.Stream, c.Marks, want[i/2])
		}
		i++
	}
}

func TestReaderContinues(t *testing.T) {
	r, err := NewReader(bytes.NewReader(pcapng(t, records(t)...)))
	if err != nil {
		t.Fatal(err)
	}
	var frames []int
	for range 3 {
		for s := range r.Segments() {
			frames = append(frames, s.Frame)
			break
		}
	}
	if want := []int{2, 3, 5}; !slices.Equal(frames, want) {
		t.Errorf("frames %v, want %v", frames, want)
	}
}

// TestCutOffFiles cuts files off at every byte: what is before the cut is
// read, and unless that is at the end of a packet there is an error.
func TestCutOffFiles(t *testing.T) {
	in := records(t)
	for name, file := range map[string][]byte{
		"pcapng":             pcapng(t, in...),
		"pcapng, big endian": swapped(t, pcapng(t, in...)),
		"pcap":               pcap(binary.LittleEndian, true, in...),
	} {
		t.Run(name, func(t *testing.T) {
			whole, _ := readAll(t, file)
			clean := 0
			for n := range file {
				r, err := NewReader(bytes.NewReader(file[:n]))
				if err != nil {
					if !errors.Is(err, ErrFormat) {
						t.Fatalf("%d bytes: error %v, want ErrFormat", n, err)
					}
					continue
				}
				var got []Segment
				for s := range r.Segments() {
					got = append(got, s)
				}
				if len(got) > len(whole) || !slices.Equal(got, whole[:len(got)]) {
					t.Fatalf("%d bytes: %v", n, got)
				}
				switch {
				case r.Err() == nil:
					clean++
				case !errors.Is(r.Err(), ErrDamaged) || !errors.Is(r.Err(), io.ErrUnexpectedEOF):
					t.Fatalf("%d bytes: error %v, want ErrDamaged", n, r.Err())
				}
			}
			// The ends of the header, of the interfaces and of all packets but
			// the last one of a pcap file, which is the end of the file.
			want := 1 + 2 + len(in)
			if name == "pcap" {
				want = 1 + len(in) - 1
			}
			if clean != want {
				t.Errorf("%d cuts give no error, want %d", clean, want)
			}
		})
	}
}

func TestBadFiles(t *testing.T) {
	for name, file := range map[string]string{
		"empty":   "",
		"short":   "\x0a\x0d\x0d\x0a",
		"text":    "this is not a capture at all",
		"gzip":    "\x1f\x8bnonsense that is long enough",
		"section": "\x0a\x0d\x0d\x0a\x1c\x00\x00\x00no magic here....",
	} {
		if _, err := NewReader(strings.NewReader(file)); !errors.Is(err, ErrFormat) {
			t.Errorf("%s: error %v, want ErrFormat", name, err)
		}
	}
}

func TestReadFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if _, err := ReadFile(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want ErrNotExist", err)
	}
	file := pcapng(t, records(t)...)
	if err := os.WriteFile(path, file, 0o644); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadFile(path); err != nil || len(got) != 3 {
		t.Errorf("%v, %v", got, err)
	}
	if err := os.WriteFile(path, file[:len(file)-100], 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFile(path)
	if !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), path) || len(got) != 2 {
		t.Errorf("cut off: %v, %v; want two segments and ErrDamaged", got, err)
	}
	if err := os.WriteFile(path, []byte("hello, world"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadFile(path); !errors.Is(err, ErrFormat) {
		t.Errorf("error %v, want ErrFormat", err)
	}
}

func FuzzReader(f *testing.F) {
	in := records(f)
	f.Add(pcapng(f, in...))
	f.Add(swapped(f, pcapng(f, in...)))
	f.Add(pcap(binary.LittleEndian, true, in...))
	f.Add(pcap(binary.BigEndian, false, in...))
	f.Fuzz(func(t *testing.T, file []byte) {
		if whole, err := NewReader(bytes.NewReader(file)); err == nil {
			report := Analyze(whole)
			if report.Damaged != (whole.Err() != nil) || report.Damaged && len(report.Notes) == 0 {
				t.Fatalf("%v: %+v", whole.Err(), report.Notes)
			}
			checkRendering(t, report)
		}
		r, err := NewReader(bytes.NewReader(file))
		if err != nil {
			return
		}
		var all []Segment
		for s := range r.Segments() {
			if s.Length < 0 {
				t.Fatalf("negative length: %+v", s)
			}
			_ = s.String()
			_ = s.Options.SACK()
			all = append(all, s)
		}
		if st := r.Stats(); st.Segments != len(all) || st.Segments+st.Other+st.Undecodable != st.Packets {
			t.Fatalf("stats %+v, %d segments", st, len(all))
		}
		r.Interfaces()
		for x := range Retransmissions(slices.Values(all)) {
			if x.Again <= 0 || x.Again > x.SequenceLength() {
				t.Fatalf("%d again of %v", x.Again, x.Segment)
			}
		}
		Handshakes(slices.Values(all))
	})
}

// BenchmarkRead reads a file of data segments with timestamps, cut to 96 bytes.
func BenchmarkRead(b *testing.B) {
	const n = 10000
	in := make([]record, n)
	for i := range in {
		s := Segment{Src: client4, Dst: server4, Flags: FlagACK, Seq: uint32(i) * 1448, Length: 1448}
		p := wire(b, s, nil)
		in[i] = record{at: time.Duration(i) * time.Microsecond, data: p[:96], length: len(p), intf: i % 2, dir: Outbound}
	}
	for name, file := range map[string][]byte{"pcapng": pcapng(b, in...), "pcap": pcap(binary.LittleEndian, true, in...)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := NewReader(bytes.NewReader(file))
				if err != nil {
					b.Fatal(err)
				}
				if got := Count(r.Segments()); got != n {
					b.Fatalf("%d segments", got)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/packet")
		})
	}
}
