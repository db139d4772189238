//go:build linux && amd64

package guest

import (
	"archive/tar"
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
)

func archiveOf(t *testing.T, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, header := range headers {
		content := ""
		if header.Typeflag == tar.TypeReg {
			content = header.PAXRecords["TEST.content"]
			header.PAXRecords = nil
			header.Size = int64(len(content))
		}
		header.Uid, header.Gid = os.Getuid(), os.Getgid()
		if err := w.WriteHeader(&header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &out
}

func file(name, content string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o640, PAXRecords: map[string]string{"TEST.content": content}}
}

// What is handed over takes the place of what is there, whatever that is; a directory stays with what is in it.
func TestUnpackWins(t *testing.T) {
	root := t.TempDir()
	for _, dir := range []string{"kept", "directory/full"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"kept/file", "directory/full/file", "file", "becomes-a-directory"} {
		if err := os.WriteFile(filepath.Join(root, name), []byte("old"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("kept", filepath.Join(root, "link")); err != nil {
		t.Fatal(err)
	}
	err := unpack(archiveOf(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "kept", Mode: 0o1777},
		file("directory", "new"), file("file", "new"),
		tar.Header{Typeflag: tar.TypeDir, Name: "becomes-a-directory", Mode: 0o755}, file("becomes-a-directory/file", "new"),
		tar.Header{Typeflag: tar.TypeDir, Name: "link", Mode: 0o700}, file("link/file", "new"),
		tar.Header{Typeflag: tar.TypeSymlink, Name: "points", Linkname: "file"},
	), root)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"kept/file": "old", "directory": "new", "file": "new", "becomes-a-directory/file": "new", "link/file": "new", "points": "new",
	} {
		if got, err := os.ReadFile(filepath.Join(root, name)); err != nil || string(got) != content {
			t.Errorf("%s has %q, %v; expected %q", name, got, err, content)
		}
	}
	for name, mode := range map[string]os.FileMode{
		"kept": os.ModeDir | os.ModeSticky | 0o777, "link": os.ModeDir | 0o700, "file": 0o640, "points": os.ModeSymlink | 0o777,
	} {
		if info, err := os.Lstat(filepath.Join(root, name)); err != nil || info.Mode() != mode {
			t.Errorf("%s: %v, %v; expected %v", name, info.Mode(), err, mode)
		}
	}
	cut := archiveOf(t, file("cut", "content"))
	cut.Truncate(515)
	if err := unpack(cut, root); err == nil {
		t.Error("half an archive was taken for a whole one")
	}
}

// FuzzFindFile: a directory of the device's is what QEMU makes, and half of one must not end /init.
func FuzzFindFile(f *testing.F) {
	var whole bytes.Buffer
	for _, part := range []any{uint32(2), fwFile{1, 2, 0, [fwNameSize]byte{'a'}}, fwFile{3, 4, 0, [fwNameSize]byte{'b'}}} {
		if err := binary.Write(&whole, binary.BigEndian, part); err != nil {
			f.Fatal(err)
		}
	}
	f.Add(whole.Bytes(), "b")
	f.Add(whole.Bytes(), "c")
	f.Add(whole.Bytes()[:70], "b")
	f.Fuzz(func(t *testing.T, directory []byte, name string) {
		found, err := findFile(directory, name)
		if err == nil && string(bytes.TrimRight(found.Name[:], "\x00")) != name {
			t.Errorf("looked for %q, found %q", name, found.Name)
		}
		if bytes.Equal(directory, whole.Bytes()) && name == "b" && found.Size != 3 {
			t.Errorf("%+v, %v", found, err)
		}
	})
}
