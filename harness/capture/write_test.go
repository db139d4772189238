package capture

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gopacket/gopacket/layers"
	"golang.org/x/sys/unix"
)

// spooled is an end whose packets are at the given times, in ns, in that order.
// Each packet's bytes are its end's name and its place in that order.
func spooled(t testing.TB, name string, times ...int64) *end {
	t.Helper()
	s, err := newSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.close)
	for i, at := range times {
		data := fmt.Appendf(nil, "%s%d", name, i)
		s.add(packet{time: at, length: 100, kind: unix.PACKET_HOST, data: data}, 0)
	}
	if err := s.flush(); err != nil {
		t.Fatal(err)
	}
	return &end{name: name, linkType: layers.LinkTypeEthernet, spool: s, accepted: uint64(len(times))}
}

func TestMergeOrdersByTimeThenEndThenRing(t *testing.T) {
	ends := []*end{
		spooled(t, "a", 10, 30, 30, 20, 50), // 20 comes late
		spooled(t, "b"),
		spooled(t, "c", 5, 10, 30, 40),
	}
	path := filepath.Join(t.TempDir(), "x.pcapng")
	size, err := writeFile(path, 0, ends, nil)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	file := readFile(t, path)
	for _, f := range file.frames {
		got = append(got, fmt.Sprintf("%d:%s@%d", f.InterfaceIndex, f.data, f.Timestamp.UnixNano()))
	}
	want := []string{"2:c0@5", "0:a0@10", "2:c1@10", "0:a3@20", "0:a1@30", "0:a2@30", "2:c2@30", "2:c3@40", "0:a4@50"}
	if !slices.Equal(got, want) {
		t.Errorf("order\n%v, want\n%v", got, want)
	}
	if s := file.interfaces[1].Statistics; s.PacketsReceived != 0 || !s.StartTime.IsZero() || s.LastUpdate.UnixNano() != 0 {
		t.Errorf("statistics of an end without packets: %+v", s)
	}
	first, err := os.ReadFile(path)
	if err != nil || int64(len(first)) != size {
		t.Fatalf("file of %d bytes, %v; want %d", len(first), err, size)
	}
	if _, err := writeFile(path, 0, ends, nil); err != nil {
		t.Fatal(err)
	}
	if second, err := os.ReadFile(path); err != nil || !bytes.Equal(first, second) {
		t.Errorf("written again the file differs, %v", err)
	}
}

// TestMergeOfMany has more packets than the look-ahead and the buffers hold.
func TestMergeOfMany(t *testing.T) {
	const n = 3*lookAhead + 7
	var times [2][]int64
	for i := range int64(n) {
		at := i * 10
		if i%100 == 0 {
			at += 2000 // swapped with the 200 after it
		}
		times[0] = append(times[0], at)
		times[1] = append(times[1], at+5)
	}
	path := filepath.Join(t.TempDir(), "x.pcapng")
	ends := []*end{spooled(t, "a", times[0]...), spooled(t, "b", times[1]...)}
	if _, err := writeFile(path, 0, ends, nil); err != nil {
		t.Fatal(err)
	}
	file := readFile(t, path)
	if len(file.frames) != 2*n {
		t.Fatalf("%d packets, want %d", len(file.frames), 2*n)
	}
	if !slices.IsSortedFunc(file.frames, func(a, b frame) int { return a.Timestamp.Compare(b.Timestamp) }) {
		t.Error("packets are not in order of time")
	}
	for _, f := range file.frames {
		var name byte
		var i int
		if _, err := fmt.Sscanf(string(f.data), "%c%d", &name, &i); err != nil {
			t.Fatal(err)
		}
		if k := f.InterfaceIndex; int(name-'a') != k || times[k][i] != f.Timestamp.UnixNano() {
			t.Fatalf("%s on end %d at %d", f.data, k, f.Timestamp.UnixNano())
		}
	}
}

func TestSpoolKeepsItsFirstError(t *testing.T) {
	s, err := newSpool(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	s.data.Close()
	for range 3 {
		s.add(packet{data: make([]byte, 1<<20)}, 0)
	}
	if err := s.flush(); err == nil || s.packets != 0 {
		t.Errorf("flush: %v, %d packets; want an error and none", err, s.packets)
	}
}

func BenchmarkWriteFile(b *testing.B) {
	const n = 50000
	s, err := newSpool(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(s.close)
	data := make([]byte, 1514)
	for i := range int64(n) {
		s.add(packet{time: i, length: len(data), data: data}, 0)
	}
	if err := s.flush(); err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(b.TempDir(), "x.pcapng")
	for b.Loop() {
		// ext4 writes a file to disk that replaces another.
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			b.Fatal(err)
		}
		if _, err := writeFile(path, 0, []*end{{name: "a", linkType: layers.LinkTypeEthernet, spool: s}}, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/packet")
}
