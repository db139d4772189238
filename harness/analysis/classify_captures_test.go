package analysis

import (
	"fmt"
	"io/fs"
	"os"
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
