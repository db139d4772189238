package analysis

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestAgreesInFolder compares the marks of all captures in a folder, and below, with tshark's, frame by frame:
//
//	make captures DIR=/usr/share/captures
//
// It says how many files and frames there were, how many frames differ by each mark, and which row of docs/analysis.md explains the
// differences of a file. It fails if there is one that none explains.
func TestAgreesInFolder(t *testing.T) {
	folder := os.Getenv("TCPLAB_FOLDER")
	if folder == "" {
		t.Skip("needs captures: make captures DIR=FOLDER")
	}
	needTshark(t)
	var total agreement
	files, explained := 0, make(map[string]int)
	err := filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !isCapture(path) {
			return err
		}
		file, err := filepath.EvalSymlinks(path)
		if err != nil {
			return err
		}
		all, reader := readCapture(t, file)
		if len(all) == 0 {
			return nil // nothing to compare
		}
		theirs, damaged := tsharkOf(t, file)
		if damaged != "" {
			t.Logf("%s: tshark: %s", path, damaged)
		}
		files++
		differences := compareFrames(theirs, ours(all))
		total.add(theirs, differences)
		if len(differences) == 0 {
			return nil
		}
		row := explanation(all, reader, theirs, differences)
		explained[row]++
		if row == "" {
			t.Errorf("%s: %d differences, such as %v", path, len(differences), differences[:min(3, len(differences))])
			return nil
		}
		t.Logf("%s: %d differences: docs/analysis.md, Differences from Wireshark: %s", path, len(differences), row)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d files with TCP: %v", files, &total)
	for _, row := range slices.Sorted(maps.Keys(explained)) {
		if row != "" {
			t.Logf("%4d files: %s", explained[row], row)
		}
	}
	if files == 0 {
		t.Errorf("no captures with TCP below %s", folder)
	}
}

func isCapture(path string) bool {
	path = strings.TrimSuffix(strings.ToLower(path), ".gz")
	return slices.Contains([]string{".pcap", ".pcapng", ".cap", ".dump", ".trace"}, filepath.Ext(path))
}

func readCapture(t *testing.T, path string) ([]Classified, *Reader) {
	t.Helper()
	r, err := Open(path)
	if err != nil {
		t.Logf("%s: %v", path, err)
		return nil, nil
	}
	defer func() { _ = r.Close() }()
	c := Classifier{MergeInterfaces: true}
	var all []Classified
	for s := range r.Segments() {
		all = append(all, c.Add(s))
	}
	return all, r
}

// explanation is the row of docs/analysis.md that a file's differences are known for, "" if there is none.
func explanation(all []Classified, r *Reader, theirs map[int]frame, differences []difference) string {
	seen := ours(all)
	missing, more := 0, 0
	for n := range theirs {
		if seen[n] == nil {
			missing++
		}
	}
	for n := range seen {
		if theirs[n] == nil {
			more++
		}
	}
	zero := slices.ContainsFunc(all, func(c Classified) bool {
		return c.Flags&FlagRST == 0 && (c.Seq == 0 || c.NextSeq() == 0) || c.Ack == 0 && c.Flags&FlagACK != 0
	})
	lateReset := slices.ContainsFunc(all, func(c Classified) bool { return RSTs(c.Segment) && c.Seq == 0 })
	options := slices.ContainsFunc(all, func(c Classified) bool { return c.Options.Incomplete })
	times := !slices.ContainsFunc(differences, func(d difference) bool {
		return !slices.Contains([]string{"tcp.analysis.ack_rtt", "tcp.analysis.initial_rtt", "tcp.analysis.rto"}, d.name)
	})
	manyAndFIN := len(all) > maxUnacked && slices.ContainsFunc(all, func(c Classified) bool { return FINs(c.Segment) })
	stats := r.Stats()
	for _, row := range []struct {
		name string
		is   bool
	}{
		{"The file's length of a packet is wrong", r.lengthsLost > 0},
		{"Headers that the network has damaged", stats.Undecodable > stats.CutOff},
		{fmt.Sprintf("What is read: tshark sees %d frames that are not, and %d are that it does not see", missing, more), missing+more > 0},
		{"Fractions of a second that are one or more", times},
		{"A FIN after 10,000 unacknowledged segments", manyAndFIN},
		{"Sequence number 0", zero},
		{"A late reset with number 0", lateReset},
		{"Options cut off by the snap length", options},
	} {
		if row.is {
			return row.name
		}
	}
	return ""
}
