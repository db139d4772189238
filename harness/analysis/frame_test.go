package analysis

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/gopacket/gopacket/layers"
)

// wantFrames is what Frames makes of records, in a file with names.
func wantFrames(records []record) []Frame {
	var frames []Frame
	for i, r := range records {
		f := Frame{
			Frame: i + 1, Time: epoch.Add(r.at), At: r.at, Interface: [...]string{"a", "b"}[r.intf], Direction: r.dir,
			LinkType: int(layers.LinkTypeEthernet), Length: max(r.length, len(r.data)), Data: r.data,
		}
		frames = append(frames, f)
	}
	return frames
}

func TestFramesAreAllPackets(t *testing.T) {
	in := records(t)
	path := filepath.Join(t.TempDir(), "capture.pcapng")
	if err := os.WriteFile(path, pcapng(t, in...), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := ReadFrames(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := wantFrames(in); !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%+v\nwant\n%+v", got, want)
	}
}

// Segments goes on where Frames has stopped, on one timeline.
func TestFramesAndSegmentsShareAReader(t *testing.T) {
	in := records(t)
	r, err := NewReader(bytes.NewReader(pcapng(t, in...)))
	if err != nil {
		t.Fatal(err)
	}
	for f := range r.Frames() {
		if f.Frame == 2 {
			break
		}
	}
	for s := range r.Segments() {
		if s.Frame != 3 || s.At != in[2].at {
			t.Errorf("frame %d at %v, want 3 at %v", s.Frame, s.At, in[2].at)
		}
		break
	}
	if want := (Stats{Packets: 3, Segments: 1}); r.Stats() != want {
		t.Errorf("stats %+v, want %+v", r.Stats(), want)
	}
}

func TestFramesOfADamagedFile(t *testing.T) {
	file := pcapng(t, records(t)...)
	path := filepath.Join(t.TempDir(), "capture.pcapng")
	if err := os.WriteFile(path, file[:len(file)/2], 0o600); err != nil {
		t.Fatal(err)
	}
	frames, err := ReadFrames(path)
	if !errors.Is(err, ErrDamaged) || len(frames) == 0 || len(frames) == len(records(t)) {
		t.Errorf("%d frames, %v", len(frames), err)
	}
	if _, err := ReadFrames(filepath.Join(t.TempDir(), "none")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("of no file: %v", err)
	}
}
