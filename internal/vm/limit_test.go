package vm

import (
	"bytes"
	"compress/zlib"
	"debug/elf"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/testenv"
)

// compressedModule has a .modinfo of zeros that takes little space, and says that it is of some size.
func compressedModule(t *testing.T, zeros int64, says uint64) []byte {
	t.Helper()
	var section bytes.Buffer
	header := elf.Chdr64{Type: uint32(elf.COMPRESS_ZLIB), Size: says, Addralign: 1}
	if err := binary.Write(&section, binary.LittleEndian, header); err != nil {
		t.Fatal(err)
	}
	w := zlib.NewWriter(&section)
	if _, err := io.CopyN(w, zeroReader{}, zeros); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	module := elfFile(nil, map[string][]byte{".modinfo": section.Bytes()})
	file, err := elf.NewFile(bytes.NewReader(module))
	if err != nil {
		t.Fatal(err)
	}
	const sectionHeaders, sectionSize, flags = 40, 64, 8 // Elf64_Ehdr.e_shoff, sizeof Elf64_Shdr, Elf64_Shdr.sh_flags
	at := binary.LittleEndian.Uint64(module[sectionHeaders:])
	for i, s := range file.Sections {
		if s.Name == ".modinfo" {
			binary.LittleEndian.PutUint64(module[at+uint64(i)*sectionSize+flags:], uint64(elf.SHF_COMPRESSED))
		}
	}
	return module
}

type zeroReader struct{}

func (zeroReader) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// linkedRPM has files that are all links of one.
func linkedRPM(files int) []byte {
	var names, indexes, sizes, modes, inodes []any
	for range files {
		names, indexes, sizes = append(names, "a"), append(indexes, uint32(0)), append(sizes, uint32(0))
		modes, inodes = append(modes, uint16(modeRegular)), append(inodes, uint32(1))
	}
	lead := append([]byte(rpmMagic), make([]byte, rpmLead-len(rpmMagic))...)
	return bytes.Join([][]byte{lead, testHeader(), testHeader(
		testTag{rpmBaseNames, rpmStringArray, names}, testTag{rpmDirNames, rpmStringArray, []any{"/"}}, testTag{rpmDirIndexes, rpmInt32, indexes},
		testTag{rpmFileSizes, rpmInt32, sizes}, testTag{rpmFileModes, rpmInt16, modes}, testTag{rpmFileInodes, rpmInt32, inodes},
	), []byte("07070X")}, nil)
}

// TestPackagesAreBounded: what a package or an image says of itself does not make tcplab allocate.
func TestPackagesAreBounded(t *testing.T) {
	out, err := newUnpacker(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer out.close()
	rpm := func(content []byte) func() error {
		return func() error {
			_, err := unpackRPM(io.NewSectionReader(bytes.NewReader(content), 0, int64(len(content))), out)
			return err
		}
	}
	values := smallRPM()
	tag := bytes.Index(values, binary.BigEndian.AppendUint32(nil, rpmBaseNames))
	binary.BigEndian.PutUint32(values[tag+12:], 1<<31)
	entries := smallRPM()
	binary.BigEndian.PutUint32(entries[rpmLead+rpmHeaderStart+8:], rpmEntriesLimit+1)
	// A slice that grows by a quarter takes up to 6.25 times what it ends with.
	module := compressedModule(t, 64<<20, 1<<40)
	window := []byte("\x28\xb5\x2f\xfd\x00" + "\xa8" + "\x01\x00\x00") // RFC 8878, 3.1.1: 2^31 bytes, and an empty last block
	for name, c := range map[string]struct {
		read  func() error
		bytes uint64
		says  string
	}{
		"RPM, values":       {rpm(values), 1 << 20, "at most"},
		"RPM, entries":      {rpm(entries), 1 << 20, "more than"},
		"RPM, links":        {rpm(linkedRPM(20_000)), 64 << 20, "payload"},
		"module's .modinfo": {func() error { _, err := moduleDepends(module); return err }, 8 * modinfoLimit, ""},
		"zstd's window":     {func() error { _, err := readPlain(bytes.NewReader(window), 1); return err }, 16 << 20, "window"},
		"image's size":      {func() error { _, err := unpackKernel(bzImage("6.1", make([]byte, 64), 0xffffffff)); return err }, 1 << 20, "at most"},
		"package's .control": {func() error {
			return (&packageID{}).readControl(bytes.NewReader(stream(t, "control", strings.Repeat("a", controlLimit+1))))
		}, 16 << 20, "at most"},
		"a package's payload": {func() error { out.left = 1 << 20; return out.create("x", zeroReader{}) }, 1 << 20, errPackageLimit.Error()},
	} {
		t.Run(name, func(t *testing.T) {
			g := NewWithT(t)
			var err error
			taken := testenv.Allocated(func() { err = c.read() })
			g.Expect(taken).To(BeNumerically("<=", c.bytes))
			if c.says != "" {
				g.Expect(err).To(MatchError(ContainSubstring(c.says)))
			}
		})
	}
	if out.left = 5; !errors.Is(out.create("y", strings.NewReader("123456")), errPackageLimit) || out.create("z", strings.NewReader("")) == nil {
		t.Error("more than the limit was written")
	}
	if out.left = 6; out.create("y", strings.NewReader("123456")) != nil || out.left != 0 {
		t.Error("what is within the limit was not written")
	}
}
