package vm

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// Kernels and packages that have all that this package looks at, and are small.

// elfFile makes an ELF file of x86-64 with one segment of notes and some sections.
func elfFile(notes []byte, sections map[string][]byte) []byte {
	const headerSize, segmentSize, sectionSize = 64, 56, 64
	var content, names bytes.Buffer
	offset := uint64(headerSize + segmentSize)
	names.WriteByte(0)
	headers := []elf.Section64{{}}
	add := func(name string, kind elf.SectionType, data []byte) {
		headers = append(headers, elf.Section64{
			Name: uint32(names.Len()), Type: uint32(kind), Off: offset + uint64(content.Len()), Size: uint64(len(data)), Addralign: 1,
		})
		names.WriteString(name + "\x00")
		content.Write(data)
	}
	add(".notes", elf.SHT_NOTE, notes)
	for _, name := range []string{".modinfo", ".rodata"} {
		if data, ok := sections[name]; ok {
			add(name, elf.SHT_PROGBITS, data)
		}
	}
	if text, ok := sections[".strtab"]; ok {
		add(".strtab", elf.SHT_STRTAB, text)
		add(".symtab", elf.SHT_SYMTAB, sections[".symtab"])
		headers[len(headers)-1].Link = uint32(len(headers) - 2)
		headers[len(headers)-1].Entsize = elf.Sym64Size
	}
	namesSize := names.Len() + len(".shstrtab\x00")
	add(".shstrtab", elf.SHT_STRTAB, nil)
	headers[len(headers)-1].Size = uint64(namesSize)
	content.Write(names.Bytes())

	var out bytes.Buffer
	write := func(value any) {
		if err := binary.Write(&out, binary.LittleEndian, value); err != nil {
			panic(err)
		}
	}
	write(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT), Phoff: headerSize,
		Shoff: offset + uint64(content.Len()), Ehsize: headerSize, Phentsize: segmentSize, Phnum: 1,
		Shentsize: sectionSize, Shnum: uint16(len(headers)), Shstrndx: uint16(len(headers) - 1),
	})
	write(elf.Prog64{Type: uint32(elf.PT_NOTE), Off: offset, Filesz: uint64(len(notes)), Memsz: uint64(len(notes)), Align: 4})
	out.Write(content.Bytes())
	write(headers)
	return out.Bytes()
}

// note makes a note as elf(5) has it.
func note(owner string, kind uint32, data string) []byte {
	pad := func(text string) []byte { return append([]byte(text), make([]byte, (4-len(text)%4)%4)...) }
	var out []byte
	out = binary.LittleEndian.AppendUint32(out, uint32(len(owner)+1))
	out = binary.LittleEndian.AppendUint32(out, uint32(len(data)))
	out = binary.LittleEndian.AppendUint32(out, kind)
	out = append(out, pad(owner+"\x00")...)
	return append(out, pad(data)...)
}

// testKernel makes an uncompressed kernel: one that QEMU could find an entry in, and no more.
func testKernel(release string) []byte {
	notes := append(note("GNU", 3, "build"), note("Xen", pvhNote, "\x00\x00\x00\x01")...)
	banner := "%s version %s\x00Linux version " + release + " (builder@host) (gcc 15.2.0) #1 SMP\x00"
	return elfFile(notes, map[string][]byte{".rodata": []byte(banner + strings.Repeat("kernel ", 1000))})
}

func testModule(name string, depends ...string) []byte {
	return elfFile(nil, map[string][]byte{".modinfo": []byte("name=" + name + "\x00depends=" + strings.Join(depends, ",") + "\x00")})
}

// testModuleThatAsks is a module that asks the kernel for a symbol, or, if it is its own, has it.
func testModuleThatAsks(symbol string, own bool) []byte {
	section := elf.SHN_UNDEF
	if own {
		section = 1
	}
	symbols := make([]byte, 2*elf.Sym64Size) // the first one is empty
	if _, err := binary.Encode(symbols[elf.Sym64Size:], binary.LittleEndian, elf.Sym64{Name: 1, Shndx: uint16(section)}); err != nil {
		panic(err)
	}
	return elfFile(nil, map[string][]byte{
		".modinfo": []byte("name=x\x00"), ".strtab": []byte("\x00" + symbol + "\x00"), ".symtab": symbols,
	})
}

// bzImage makes an image of the x86 boot protocol around a payload.
func bzImage(release string, payload []byte, size int) []byte {
	return bzImageOf(release, binary.LittleEndian.AppendUint32(bytes.Clone(payload), uint32(size)))
}

// bzImageOf takes a payload that has its size at its end, or, by gzip, in it.
func bzImageOf(release string, payload []byte) []byte {
	const setupSectors = 2
	image := make([]byte, (setupSectors+1)*512)
	image[setupSectorsOffset] = setupSectors
	copy(image[bootMagicOffset:], "HdrS")
	binary.LittleEndian.PutUint16(image[kernelVersionOffset:], 0x300-512)
	copy(image[0x300:], release+" (builder) #1\x00")
	const offset = 16
	binary.LittleEndian.PutUint32(image[payloadOffsetOffset:], offset)
	binary.LittleEndian.PutUint32(image[payloadLengthOffset:], uint32(len(payload)))
	image = append(image, make([]byte, offset)...)
	return append(image, payload...)
}

func compressed(t testing.TB, text []byte) []byte {
	t.Helper()
	encoder, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return encoder.EncodeAll(text, nil)
}

func gzipped(t testing.TB, text []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func plain(_ testing.TB, text []byte) []byte { return text }

type compression struct {
	suffix string
	encode func(testing.TB, []byte) []byte
}

var (
	noCompression   = compression{"", plain}
	zstdCompression = compression{".zst", compressed}
	gzipCompression = compression{".gz", gzipped}
)

// vmlinuz is an image of testKernel, as most distributions have it.
func vmlinuz(t testing.TB, release string) []byte {
	t.Helper()
	kernel := testKernel(release)
	return bzImage(release, compressed(t, kernel), len(kernel))
}

// moduleFiles are all modules that a guest needs, with one that it does not, below a directory. The last
// three are returned apart.
func moduleFiles(t testing.TB, dir string, c compression) (files, more map[string]string) {
	t.Helper()
	files, more = map[string]string{}, map[string]string{}
	for i, name := range defaultModules {
		content := c.encode(t, testModule(name))
		path := filepath.Join(dir, "kernel/net/sched", name+".ko"+c.suffix)
		if i < len(defaultModules)-3 {
			files[path] = string(content)
		} else {
			more[path] = string(content)
		}
	}
	files[filepath.Join(dir, "kernel/drivers/gpu/drm.ko"+c.suffix)] = string(c.encode(t, testModule("drm")))
	return files, more
}

const builtinModules = "kernel/fs/ext4/ext4.ko\n"

// A testPackage is what a package has.
type testPackage struct {
	name, version string
	depends       string
	files         map[string]string
}

// The layouts of distributions, each for one kernel. The names of packages and the paths in them are those of Debian 12, of
// its trixie-backports in November 2026, and of Ubuntu 24.04.
func debianWhole(t testing.TB, release, version string) []testPackage {
	t.Helper()
	files, more := moduleFiles(t, "./lib/modules/"+release, noCompression)
	for name, content := range more {
		files[name] = content
	}
	files["./boot/vmlinuz-"+release] = string(vmlinuz(t, release))
	files["./boot/config-"+release] = "CONFIG_HZ=250\n"
	files["./boot/System.map-"+release] = "0 A start\n"
	files["./lib/modules/"+release+"/modules.builtin"] = builtinModules
	files["./lib/modules/"+release+"/modules.order"] = "order"
	files["./usr/share/doc/linux-image/copyright"] = "GPL"
	return []testPackage{{name: "linux-image-" + release, version: version, depends: "kmod, linux-base (>= 4.3~)", files: files}}
}

func debianSplit(t testing.TB, release, version string) []testPackage {
	t.Helper()
	dir := "./usr/lib/modules/" + release
	files, more := moduleFiles(t, dir, gzipCompression)
	for name, content := range more {
		files[name] = content
	}
	ours := func(names ...string) (depends string) {
		for _, name := range names {
			depends += fmt.Sprintf(", linux-%s-%s (= %s)", name, release, version)
		}
		return depends
	}
	return []testPackage{
		{name: "linux-image-" + release, version: version, depends: "dracut | initramfs-tools (>= 0.120)" + ours("base", "binary", "modules")},
		{name: "linux-binary-" + release, version: version, depends: strings.TrimPrefix(ours("base"), ", "),
			files: map[string]string{dir + "/vmlinuz": string(vmlinuz(t, release))}},
		{name: "linux-modules-" + release, version: version, depends: "kmod" + ours("base"), files: files},
		{name: "linux-base-" + release, version: version, files: map[string]string{
			dir + "/config": "CONFIG_HZ=1000\n", dir + "/System.map": "0 A start\n", dir + "/modules.builtin": builtinModules,
		}},
	}
}

func ubuntu(t testing.TB, release, version string) []testPackage {
	t.Helper()
	dir := "./lib/modules/" + release
	files, more := moduleFiles(t, dir, zstdCompression)
	files[dir+"/modules.builtin"] = builtinModules
	files["./boot/config-"+release] = "CONFIG_HZ=1000\n"
	return []testPackage{
		{name: "linux-image-" + release, version: version, depends: "kmod, linux-base (>= 4.5ubuntu1~16.04.1), linux-modules-" + release,
			files: map[string]string{"./boot/vmlinuz-" + release: string(vmlinuz(t, release))}},
		{name: "linux-modules-" + release, version: version, files: files},
		{name: "linux-modules-extra-" + release, version: version, depends: "linux-image-" + release + " | linux-image-unsigned-" + release, files: more},
	}
}

// ubuntuGeneric has all that is needed without the extra package.
func ubuntuGeneric(t testing.TB, release, version string) []testPackage {
	t.Helper()
	packages := ubuntu(t, release, version)
	for name, content := range packages[2].files {
		packages[1].files[name] = content
	}
	packages[2].files = map[string]string{"./lib/modules/" + release + "/kernel/net/sched/cls_extra.ko.zst": "x"}
	return packages
}

// tarOf makes an archive of regular files, in the order of their names.
func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var entries []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		entries = append(entries, name, files[name])
	}
	return stream(t, entries...)
}

// deb makes a Debian package, deb(5).
func (p testPackage) deb(t testing.TB, c compression) []byte {
	t.Helper()
	control := tarOf(t, map[string]string{"./control": p.control()})
	out := []byte(debMagic)
	for _, member := range []struct {
		name    string
		content []byte
	}{
		{"debian-binary", []byte("2.0\n")},
		{"control.tar" + c.suffix, c.encode(t, control)},
		{"data.tar" + c.suffix, c.encode(t, tarOf(t, p.files))},
	} {
		out = fmt.Appendf(out, "%-16s%-12d%-6d%-6d%-8s%-10d`\n", member.name, 0, 0, 0, "100644", len(member.content))
		out = append(out, member.content...)
		if len(member.content)%2 == 1 {
			out = append(out, '\n')
		}
	}
	return out
}

func (p testPackage) control() string {
	text := "Package: " + p.name + "\nVersion: " + p.version + "\nArchitecture: amd64\nMaintainer: Nobody <nobody@example.org>\n"
	if p.depends != "" {
		text += "Depends: " + p.depends + "\n"
	}
	return text + "Description: a kernel\n It is small.\n"
}

// writeDebs writes packages into a directory, and lists their paths.
func writeDebs(t testing.TB, dir string, packages []testPackage, c compression) (paths []string) {
	t.Helper()
	for _, p := range packages {
		path := filepath.Join(dir, p.name+"_"+p.version+"_amd64.deb")
		writeFile(t, path, p.deb(t, c))
		paths = append(paths, path)
	}
	return paths
}

// writeTree writes the files of packages as if they were installed below a directory.
func writeTree(t testing.TB, dir string, packages []testPackage) {
	t.Helper()
	for _, p := range packages {
		for name, content := range p.files {
			writeFile(t, filepath.Join(dir, name), []byte(content))
		}
	}
}

func writeFile(t testing.TB, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
