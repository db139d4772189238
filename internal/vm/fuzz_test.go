package vm

import (
	"bytes"
	"encoding/binary"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// smallKernel has all that a kernel is known by, and little else.
func smallKernel() []byte {
	return elfFile(note("Xen", pvhNote, "\x00\x00\x00\x01"), map[string][]byte{".rodata": []byte("Linux version " + testRelease + " (x) #1\x00")})
}

// fuzzUnpack returns what unpacks into a directory, which is looked through and emptied each time. It is always the
// same one, since a new one takes as long as all else.
func fuzzUnpack(f *testing.F) func(testing.TB, func(*unpacker) error) error {
	f.Helper()
	outside := f.TempDir()
	dir := filepath.Join(outside, "dir")
	if err := os.Mkdir(dir, 0o755); err != nil {
		f.Fatal(err)
	}
	return func(t testing.TB, unpack func(*unpacker) error) error {
		out, err := newUnpacker(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		out.left = 1 << 20
		err = unpack(out)
		out.close()
		if err := onlyWanted(outside, dir); err != nil {
			t.Error(err)
		}
		return err
	}
}

// onlyWanted empties a directory, if there is anything in it, and tells of what should not be there.
func onlyWanted(outside, dir string) error {
	entries, err := os.ReadDir(outside)
	if err != nil || len(entries) != 1 {
		return &fs.PathError{Op: "written outside", Path: outside, Err: err}
	}
	if entries, err = os.ReadDir(dir); err != nil {
		return err
	}
	for _, entry := range entries {
		path := filepath.Join(dir, entry.Name())
		err := filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
			name, _ := filepath.Rel(dir, path)
			if err == nil && !entry.IsDir() && !wanted(name) {
				err = &fs.PathError{Op: "written", Path: name, Err: fs.ErrInvalid}
			}
			return err
		})
		if removeErr := os.RemoveAll(path); err == nil {
			err = removeErr
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// FuzzUnpackDeb: ar, control and data; what is in the archives' members is for FuzzUnpackTar, since it is compressed here.
func FuzzUnpackDeb(f *testing.F) {
	small := testPackage{name: "linux-base-x", version: "1", files: map[string]string{"./boot/vmlinuz-1": "image"}}
	for _, c := range []compression{noCompression, gzipCompression, zstdCompression} {
		f.Add(small.deb(f, c))
	}
	unpack := fuzzUnpack(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		_ = unpack(t, func(out *unpacker) error {
			id, err := unpackDeb(sectionOf(debMagic+strings.TrimPrefix(string(content), debMagic)), out)
			if err == nil && (id.Name == "" || id.Version == "") {
				t.Errorf("a package without a name or a version: %+v", id)
			}
			return err
		})
	})
}

func sectionOf(content string) *io.SectionReader {
	return io.NewSectionReader(strings.NewReader(content), 0, int64(len(content)))
}

// FuzzUnpackTar: what a package's data and control archives have in them.
func FuzzUnpackTar(f *testing.F) {
	f.Add(stream(f, "./boot/vmlinuz-1", "image", "./usr/lib/modules/1/a.ko", "", "./control", "Package: a\nVersion: 1\n"))
	f.Add(stream(f, "../boot/vmlinuz-1", "image", "control", "Package: a\n continued\n\n"))
	unpack := fuzzUnpack(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		_ = unpack(t, func(out *unpacker) error { return out.unpackTar(bytes.NewReader(content)) })
		var id packageID
		if err := id.readControl(bytes.NewReader(content)); err == nil && (id.Name == "" || id.Version == "") {
			t.Errorf("a package without a name or a version: %+v", id)
		}
	})
}

// A testTag is a value in an RPM's header.
type testTag struct {
	tag, kind uint32
	values    []any // strings and integers
}

func testHeader(tags ...testTag) []byte {
	var index, data []byte
	for _, tag := range tags {
		index = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(index, tag.tag), tag.kind)
		index = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(index, uint32(len(data))), uint32(len(tag.values)))
		for _, value := range tag.values {
			switch value := value.(type) {
			case string:
				data = append(append(data, value...), 0)
			case uint16:
				data = binary.BigEndian.AppendUint16(data, value)
			case uint32:
				data = binary.BigEndian.AppendUint32(data, value)
			}
		}
	}
	header := binary.BigEndian.AppendUint32([]byte(rpmHeaderMagic+"\x00\x00\x00\x00"), uint32(len(tags)))
	header = binary.BigEndian.AppendUint32(header, uint32(len(data)))
	return append(append(header, index...), data...)
}

// smallRPM has two names of one file, and a payload that is not compressed.
func smallRPM() []byte {
	const trailer = "00000000"
	payload := "07070X" + "00000001" + "\x00\x00image\x00\x00\x00" +
		"070701" + strings.Repeat(trailer, 11) + "0000000b" + trailer + cpioTrailer + "\x00\x00\x00\x00"
	header := testHeader(
		testTag{rpmName, rpmString, []any{"kernel"}}, testTag{rpmVersion, rpmString, []any{"1"}},
		testTag{rpmRelease, rpmString, []any{"2"}}, testTag{rpmArch, rpmString, []any{"x86_64"}},
		testTag{rpmRequires, rpmStringArray, []any{"rpmlib(CompressedFileNames)"}},
		testTag{rpmBaseNames, rpmStringArray, []any{"vmlinuz-1", "vmlinuz-2"}}, testTag{rpmDirNames, rpmStringArray, []any{"/boot/"}},
		testTag{rpmDirIndexes, rpmInt32, []any{uint32(0), uint32(0)}}, testTag{rpmFileSizes, rpmInt32, []any{uint32(5), uint32(5)}},
		testTag{rpmFileModes, rpmInt16, []any{uint16(modeRegular), uint16(modeRegular)}},
		testTag{rpmFileInodes, rpmInt32, []any{uint32(7), uint32(7)}},
	)
	lead := append([]byte(rpmMagic), make([]byte, rpmLead-len(rpmMagic))...)
	return bytes.Join([][]byte{lead, testHeader(), header, []byte(payload)}, nil)
}

// FuzzUnpackRPM: lead, headers and payload. FuzzUnpackCPIO looks into the archive, which in most packages is compressed.
func FuzzUnpackRPM(f *testing.F) {
	f.Add(smallRPM())
	unpack := fuzzUnpack(f)
	if err := unpack(f, func(out *unpacker) error {
		id, err := unpackRPM(sectionOf(string(smallRPM())), out)
		if id.String() != "kernel-1-2.x86_64" || out.left != 1<<20-5 {
			f.Errorf("%v, %d left", id, out.left)
		}
		return err
	}); err != nil {
		f.Fatal(err) // or nothing would be fuzzed
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		_ = unpack(t, func(out *unpacker) error {
			_, err := unpackRPM(sectionOf(rpmMagic+strings.TrimPrefix(string(content), rpmMagic)), out)
			return err
		})
	})
}

func FuzzUnpackCPIO(f *testing.F) {
	header := func(mode, size, name string) string {
		return "070701" + "00000001" + mode + "000000000000000000000001" + "00000000" + size +
			"00000000000000000000000000000000" + name + "00000000"
	}
	trailer := header("00000000", "00000000", "0000000b") + "TRAILER!!!\x00\x00\x00\x00"
	f.Add([]byte(header("000081a4", "00000005", "00000012") + "./boot/vmlinuz-1\x00\x00image\x00\x00\x00" + trailer))
	f.Add([]byte("07070X00000000\x00\x00image\x00\x00\x00" + trailer))
	files := []rpmFile{{name: "/boot/vmlinuz-2", mode: modeRegular, size: 5}, {name: "../../x/boot/vmlinuz-3", mode: modeRegular, size: 1 << 40}}
	unpack := fuzzUnpack(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		_ = unpack(t, func(out *unpacker) error { return unpackCPIO(bytes.NewReader(content), files, out) })
	})
}

func FuzzModuleDepends(f *testing.F) {
	f.Add(testModule("veth", "a", "b"))
	f.Add(elfFile(nil, map[string][]byte{".modinfo": []byte("depends=\x00softdep=pre: crc32c d post: e\x00")}))
	f.Add(smallKernel())
	f.Fuzz(func(t *testing.T, content []byte) {
		depends, err := moduleDepends(content)
		if err != nil && len(depends) > 0 {
			t.Errorf("%v, and %v", depends, err)
		}
		for _, d := range depends {
			if strings.ContainsAny(d.name, "\x00,") || d.optional && strings.ContainsAny(d.name, " ") {
				t.Errorf("a module called %q", d.name)
			}
		}
	})
}

// FuzzDiagnose: what a guest's console says is shown, cut, and never taken for success.
func FuzzDiagnose(f *testing.F) {
	f.Add([]byte("[ 1.0] booting\r\n[ 2.0] Kernel panic - not syncing: sysrq\n"), 0)
	f.Add([]byte("Out of memory: Killed process 12 (program)\n\xff\x1b[2J"), 1)
	f.Fuzz(func(t *testing.T, console []byte, kind int) {
		ended := ending{after: time.Second, memoryMiB: 512}
		if kind == 0 {
			ended.kind = ErrTimeout
		}
		if err := diagnose(ended, nil, console); err == nil {
			t.Error("a guest without a status ended well")
		}
		if lines := lastLines(console, consoleTail); len(lines) > consoleTail {
			t.Errorf("%d lines", len(lines))
		}
	})
}

// FuzzApt: what apt prints about its sources and its packages.
func FuzzApt(f *testing.F) {
	f.Add("Debian|Debian|main|http://deb.debian.org/debian\n")
	f.Add("Package: linux-image-6.1\nVersion: 1~bpo\nDepends: a (>= 1), b | c:any\nSize: 7\n\nPackage: b\n")
	f.Fuzz(func(t *testing.T, output string) {
		if archive, found := findArchive(output); strings.ContainsAny(archive, "\n|") || !found && archive != "" {
			t.Errorf("the archive %q, %v", archive, found)
		}
		for _, name := range dependencies(output) {
			if name == "" || strings.ContainsAny(name, ",|: ") {
				t.Errorf("the name %q", name)
			}
		}
		if line := lastLine(output); strings.Contains(line, "\n") {
			t.Errorf("the line %q", line)
		}
		_ = QEMU{Version: output}.Doubt()
	})
}
