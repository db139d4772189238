package analysis

import (
	"encoding/binary"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
	"github.com/gopacket/gopacket/pcapgo"
)

// TestClassifyAgreesOnCaptures compares all pcapng files below a directory: each
// as it is, with interfaces merged, and each of its interfaces for itself.
//
//	TCPLAB_CAPTURES=$PWD/results go test -v -run AgreesOnCaptures ./harness/analysis
func TestClassifyAgreesOnCaptures(t *testing.T) {
	dir := os.Getenv("TCPLAB_CAPTURES")
	if dir == "" {
		t.Skip("needs captures: TCPLAB_CAPTURES names the directory")
	}
	needTshark(t)
	var total agreement
	files, interfaces := 0, 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".pcapng") {
			return err
		}
		if corrupts(path) {
			t.Logf("%s: left out, for its link corrupts headers (see docs/analysis.md)", path)
			return nil
		}
		files++
		agree(t, path, &total)
		names, parts := splitByInterface(t, path)
		if len(names) < 2 {
			return nil
		}
		together := slices.Clone(classifyFile(t, path, &Classifier{}))
		for i, part := range parts {
			interfaces++
			agree(t, part, &total)
			sameAsAlone(t, names[i], together, classifyFile(t, part, &Classifier{}))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files, and %d interfaces of them alone: %v", files, interfaces, &total)
}

// corrupts reports whether the scenario of a capture had netem corrupt packets, by its record.
func corrupts(capture string) bool {
	record, err := os.ReadFile(filepath.Join(filepath.Dir(capture), "record.json"))
	return err == nil && strings.Contains(string(record), `"corrupt"`)
}

// sameAsAlone makes sure that an interface is classified among others as it is
// alone, but for the numbers of frames and streams.
func sameAsAlone(t *testing.T, name string, together, alone []Classified) {
	t.Helper()
	together = slices.DeleteFunc(slices.Clone(together), func(c Classified) bool { return c.Interface != name })
	if len(together) != len(alone) {
		t.Errorf("%s: %d segments among others, %d alone", name, len(together), len(alone))
		return
	}
	figures := func(c Classified) string {
		return fmt.Sprint(c.Marks, c.RelativeSeq, c.RelativeAck, c.WindowSize, c.DuplicateNumber, c.RTT, c.InitialRTT, c.RTO, c.BytesInFlight, c.PushBytesSent, c.Completeness)
	}
	for i := range alone {
		if a, b := figures(together[i]), figures(alone[i]); a != b {
			t.Errorf("%v: %s among others, %s alone", together[i].Segment, a, b)
			return
		}
	}
}

// splitByInterface writes a file for each interface of a capture.
func splitByInterface(t *testing.T, path string) (names, files []string) {
	t.Helper()
	in, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	r, err := pcapgo.NewNgReader(in, pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	type part struct {
		*os.File
		*pcapgo.NgWriter
	}
	parts := make(map[int]part)
	for {
		data, info, err := r.ReadPacketData()
		if err != nil {
			break // the end, or what Reader reports too
		}
		p, ok := parts[info.InterfaceIndex]
		if !ok {
			about, err := r.Interface(info.InterfaceIndex)
			if err != nil {
				t.Fatal(err)
			}
			p.File, err = os.CreateTemp(t.TempDir(), "*.pcapng")
			if err != nil {
				t.Fatal(err)
			}
			defer p.File.Close()
			p.NgWriter, err = pcapgo.NewNgWriterInterface(p.File, pcapgo.NgInterface{Name: about.Name, LinkType: about.LinkType}, pcapgo.NgWriterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			parts[info.InterfaceIndex] = p
			names, files = append(names, about.Name), append(files, p.Name())
		}
		info.InterfaceIndex = 0
		if err := p.WritePacket(info, data); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range parts {
		if err := p.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	return names, files
}

// link wraps Ethernet frames in another link layer.
type link struct {
	kind layers.LinkType
	wrap func(ethernet []byte) []byte
}

var links = map[string]link{
	"Ethernet": {layers.LinkTypeEthernet, func(b []byte) []byte { return b }},
	"Linux cooked": {layers.LinkTypeLinuxSLL, func(b []byte) []byte {
		sll := append([]byte{0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0}, b[12:14]...)
		return append(sll, b[14:]...)
	}},
	"Linux cooked, version 2": {layers.LinkTypeLinuxSLL2, func(b []byte) []byte {
		sll := append(slices.Clone(b[12:14]), 0, 0, 0, 0, 0, 3, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0)
		return append(sll, b[14:]...)
	}},
	"loopback of the BSDs": {layers.LinkTypeNull, func(b []byte) []byte {
		family := []byte{2, 0, 0, 0}
		if b[12] == 0x86 {
			family[0] = 30
		}
		return append(family, b[14:]...)
	}},
	"raw IP": {layers.LinkTypeRaw, func(b []byte) []byte { return b[14:] }},
}

// linkFile writes segments in frames of another link layer.
func linkFile(t *testing.T, l link, segments []Segment, between ...gopacket.SerializableLayer) string {
	t.Helper()
	f, err := os.Create(filepath.Join(t.TempDir(), "link.pcapng"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w, err := pcapgo.NewNgWriter(f, l.kind)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range segments {
		data := l.wrap(wire(t, s, tcpOptions(s.Options), between...))
		i := record{at: s.At, data: data}.info()
		if err := w.WritePacket(i, data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return f.Name()
}

// TestClassifyAgreesOnFormats: both formats and byte orders, and packets of which only
// the headers were captured.
func TestClassifyAgreesOnFormats(t *testing.T) {
	needTshark(t)
	var whole, headers []record
	for _, s := range randomConversation(11) {
		s.At = s.At.Truncate(µs) // some formats have no more
		data := wire(t, s, tcpOptions(s.Options))
		whole = append(whole, record{at: s.At, data: data})
		headers = append(headers, record{at: s.At, data: data[:len(data)-s.Length], length: len(data)})
	}
	for name, file := range map[string][]byte{
		"pcapng":             pcapng(t, headers...),
		"pcapng, big endian": swapped(t, pcapng(t, headers...)),
		"pcap, µs":           pcap(binary.LittleEndian, false, whole...),
		"pcap, µs, headers":  pcap(binary.LittleEndian, false, headers...),
		"pcap, ns":           pcap(binary.LittleEndian, true, headers...),
		"pcap, µs, big":      pcap(binary.BigEndian, false, headers...),
		"pcap, ns, big":      pcap(binary.BigEndian, true, headers...),
	} {
		t.Run(name, func(t *testing.T) { agree(t, writeFile(t, "capture", file), nil) })
	}
}

// TestCapturesOpenInWireshark: tshark reads the captures of the suites without a word of
// complaint, finds nothing malformed, and sees every packet that we see.
//
//	TCPLAB_CAPTURES=$PWD/results go test -v -run OpenInWireshark ./harness/analysis
func TestCapturesOpenInWireshark(t *testing.T) {
	dir := os.Getenv("TCPLAB_CAPTURES")
	if dir == "" {
		t.Skip("needs captures: TCPLAB_CAPTURES names the directory")
	}
	needTshark(t)
	const malformed = 0x07000000 // PI_MALFORMED
	files := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".pcapng") {
			return err
		}
		files++
		complaints, frames := readByTshark(t, path, fmt.Sprintf("_ws.malformed || _ws.expert.group == %d", malformed))
		if complaints != "" || frames != 0 && !corrupts(path) {
			t.Errorf("%s: %d malformed packets; tshark says %q", path, frames, complaints)
		}
		r, err := Open(path)
		if err != nil {
			return err
		}
		defer r.Close()
		Count(r.Segments())
		if _, frames := readByTshark(t, path, "frame"); frames != r.Stats().Packets || r.Err() != nil {
			t.Errorf("%s: tshark reads %d packets, we %d, %v", path, frames, r.Stats().Packets, r.Err())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files == 0 {
		t.Errorf("no captures below %s", dir)
	}
	t.Logf("%d files", files)

	// A file that is cut off shows that this test can fail.
	whole := pcapng(t, records(t)...)
	if complaints, _ := readByTshark(t, writeFile(t, "cut.pcapng", whole[:len(whole)-150]), "frame"); complaints == "" {
		t.Error("tshark has nothing to say about a file that is cut off")
	}
}

// readByTshark counts the frames for which a display filter holds.
func readByTshark(t *testing.T, path, filter string) (complaints string, frames int) {
	t.Helper()
	cmd := exec.Command("tshark", "-r", path, "-n", "-Y", filter, "-T", "fields", "-e", "frame.number")
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_CONFIG_HOME=")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	for line := range strings.Lines(stderr.String()) {
		if !strings.HasPrefix(line, "Running as user") { // it does not like root
			complaints += line
		}
	}
	if err != nil && complaints == "" {
		complaints = err.Error()
	}
	return complaints, strings.Count(string(out), "\n")
}

func TestClassifyAgreesOnLinkLayers(t *testing.T) {
	needTshark(t)
	tags := []gopacket.SerializableLayer{&layers.Dot1Q{VLANIdentifier: 42}, &layers.Dot1Q{VLANIdentifier: 7}}
	for name, l := range links {
		t.Run(name, func(t *testing.T) {
			agree(t, linkFile(t, l, randomConversation(5)), nil)
		})
	}
	for n := 1; n <= 2; n++ {
		t.Run(fmt.Sprint(n, " VLAN tags"), func(t *testing.T) {
			agree(t, linkFile(t, links["Ethernet"], randomConversation(7), tags[:n]...), nil)
		})
	}
}
