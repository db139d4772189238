package vm

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
)

// The x86 boot protocol, Documentation/arch/x86/boot.rst: offsets into a bzImage.
const (
	setupSectorsOffset  = 0x1f1
	bootMagicOffset     = 0x202 // "HdrS"
	kernelVersionOffset = 0x20e
	payloadOffsetOffset = 0x248
	payloadLengthOffset = 0x24c
	headerEnd           = 0x250
)

var elfMagic = []byte("\x7fELF")

func isBzImage(image []byte) bool {
	return len(image) >= headerEnd && string(image[bootMagicOffset:bootMagicOffset+4]) == "HdrS"
}

var errNoImage = errors.New("neither an image (bzImage, ELF) nor a package (.deb, .rpm)")

// unpackKernel returns the uncompressed ELF kernel in an image (a bzImage, or already ELF).
// QEMU boots it as it is (CONFIG_PVH), and the guest, where every instruction is emulated,
// is the slow place to decompress.
func unpackKernel(image []byte) ([]byte, error) {
	if bytes.HasPrefix(image, elfMagic) {
		return image, nil
	}
	if !isBzImage(image) {
		return nil, errNoImage
	}
	setupSectors := int64(image[setupSectorsOffset])
	if setupSectors == 0 {
		setupSectors = 4
	}
	start := (setupSectors+1)*512 + int64(binary.LittleEndian.Uint32(image[payloadOffsetOffset:]))
	length := int64(binary.LittleEndian.Uint32(image[payloadLengthOffset:]))
	if start+length > int64(len(image)) {
		return nil, fmt.Errorf("bzImage: payload at %d+%d is past its end at %d", start, length, len(image))
	}
	if length < 4 {
		return nil, errors.New("bzImage: empty payload")
	}
	kernel, err := unpackPayload(image[start : start+length])
	if err != nil {
		return nil, fmt.Errorf("bzImage: payload: %w", err)
	}
	if !bytes.HasPrefix(kernel, elfMagic) {
		return nil, errors.New("bzImage: its payload is no ELF kernel")
	}
	return kernel, nil
}

// kernelLimit is KERNEL_IMAGE_SIZE of arch/x86/include/asm/page_64_types.h, which a build checks.
const kernelLimit = 1 << 30

// unpackPayload decompresses a payload. The kernel's build appends the uncompressed size to what it compressed
// (scripts/Makefile.lib, size_append), except to gzip, whose last four bytes are that size anyway.
func unpackPayload(payload []byte) ([]byte, error) {
	if bytes.HasPrefix(payload, elfMagic) {
		return payload, nil
	}
	end := len(payload) - 4
	size := int64(binary.LittleEndian.Uint32(payload[end:]))
	if size > kernelLimit {
		return nil, fmt.Errorf("it has %d bytes, as its size field says: a kernel has at most %d", size, kernelLimit)
	}
	if !bytes.HasPrefix(payload, gzipMagic) {
		payload = payload[:end]
	}
	kernel, err := readPlain(bytes.NewReader(payload), size+1)
	if err != nil {
		return nil, err
	}
	if int64(len(kernel)) != size {
		return nil, fmt.Errorf("it has not %d bytes, as its size field says", size)
	}
	return kernel, nil
}

// kernelRelease reads uname -r out of an image.
func kernelRelease(image []byte) (string, error) {
	switch {
	case isBzImage(image):
		return bzImageRelease(image)
	case bytes.HasPrefix(image, elfMagic):
		// linux_banner, init/version-timestamp.c.
		found := linuxBanner.FindSubmatch(image)
		if found == nil {
			return "", errors.New(`no "Linux version" in it: not a kernel`)
		}
		return string(found[1]), nil
	default:
		return "", errNoImage
	}
}

var linuxBanner = regexp.MustCompile(`Linux version ([0-9][!-~]*) \(`)

func bzImageRelease(image []byte) (string, error) {
	start := int(binary.LittleEndian.Uint16(image[kernelVersionOffset:])) + 512
	if start >= len(image) {
		return "", errors.New("bzImage: its version is past its end")
	}
	version, _, found := bytes.Cut(image[start:min(start+256, len(image))], []byte{0})
	if !found {
		return "", errors.New("bzImage: its version has no end")
	}
	release, _, _ := bytes.Cut(version, []byte(" "))
	if !releaseName.Match(release) {
		return "", fmt.Errorf("bzImage: its version is %q", release)
	}
	return string(release), nil
}

// releaseName is what a release can be: it names a folder.
var releaseName = regexp.MustCompile(`^[0-9][!-.0-~]*$`)

// pvhNote is XEN_ELFNOTE_PHYS32_ENTRY: where a hypervisor can enter an uncompressed kernel.
const pvhNote = 18

// checkBootable tells whether QEMU can boot an uncompressed kernel.
func checkBootable(kernel []byte) error {
	file, err := elf.NewFile(bytes.NewReader(kernel))
	if err != nil {
		return err
	}
	if file.Machine != elf.EM_X86_64 {
		return fmt.Errorf("it is for %s, and guests are x86-64", file.Machine)
	}
	for _, segment := range file.Progs {
		if segment.Type != elf.PT_NOTE {
			continue
		}
		notes, err := io.ReadAll(io.LimitReader(segment.Open(), 1<<20))
		if err != nil {
			return err
		}
		if hasNote(notes, "Xen", pvhNote) {
			return nil
		}
	}
	return errors.New("it has no PVH entry, by which QEMU boots an uncompressed kernel: build it with CONFIG_PVH=y")
}

// hasNote looks for a note in a segment of notes, elf(5).
func hasNote(notes []byte, owner string, kind uint32) bool {
	for len(notes) >= 12 {
		nameLength, length := int64(binary.LittleEndian.Uint32(notes)), int64(binary.LittleEndian.Uint32(notes[4:]))
		if string(bytes.TrimRight(notes[12:min(12+nameLength, int64(len(notes)))], "\x00")) == owner &&
			binary.LittleEndian.Uint32(notes[8:]) == kind {
			return true
		}
		next := 12 + (nameLength+3)/4*4 + (length+3)/4*4
		notes = notes[min(next, int64(len(notes))):]
	}
	return false
}

var (
	gzipMagic      = []byte("\x1f\x8b")
	xzMagic        = []byte("\xfd7zXZ\x00")
	zstdMagic      = []byte("\x28\xb5\x2f\xfd")
	lz4Magic       = []byte("\x04\x22\x4d\x18")
	lz4LegacyMagic = []byte("\x02\x21\x4c\x18") // what the kernel's build makes
)

// decompress passes on content without the compression by which distributions ship kernels, modules and packages.
func decompress(content io.Reader, read func(io.Reader) error) error {
	plain, err := decompressor(content)
	if err != nil {
		return err
	}
	defer func() { _ = plain.Close() }() // it frees memory
	return read(plain)
}

// readPlain reads up to a limit of what is compressed.
func readPlain(content io.Reader, limit int64) (plain []byte, err error) {
	err = decompress(content, func(r io.Reader) (err error) {
		plain, err = io.ReadAll(io.LimitReader(r, limit))
		return err
	})
	return plain, err
}

// decompressor recognizes a compression by its first bytes. ELF, or a cpio archive, that is not compressed is passed on.
func decompressor(content io.Reader) (io.ReadCloser, error) {
	r := bufio.NewReader(content)
	start, err := r.Peek(len(xzMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	switch {
	case bytes.HasPrefix(start, gzipMagic):
		return wrapped("gzip")(gzip.NewReader(r))
	case bytes.HasPrefix(start, xzMagic):
		return wrapped("xz")(xzReader(r))
	case bytes.HasPrefix(start, zstdMagic):
		decoder, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return wrapped("zstd")(decoder.IOReadCloser(), nil)
	case bytes.HasPrefix(start, lz4Magic), bytes.HasPrefix(start, lz4LegacyMagic):
		return wrapped("lz4")(io.NopCloser(lz4.NewReader(r)), nil)
	case bytes.HasPrefix(start, elfMagic), bytes.HasPrefix(start, []byte(cpioMagic[:5])):
		return io.NopCloser(r), nil
	default:
		return nil, fmt.Errorf("unknown compression (first bytes % x): gzip, xz, zstd and lz4 are known", start)
	}
}

func xzReader(r io.Reader) (io.ReadCloser, error) {
	reader, err := xz.NewReader(r, 0)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(reader), nil
}

// zstdWindow is what zstd decompresses without being asked for more (ZSTD_WINDOWLOG_LIMIT_DEFAULT), and what it uses
// at its highest level, by which kernels are compressed.
const zstdWindow = 128 << 20

// wrapped makes errors say which compression they are of.
func wrapped(compression string) func(io.ReadCloser, error) (io.ReadCloser, error) {
	return func(r io.ReadCloser, err error) (io.ReadCloser, error) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", compression, err)
		}
		return &namedReader{r, compression}, nil
	}
}

type namedReader struct {
	io.ReadCloser
	compression string
}

func (n *namedReader) Read(p []byte) (int, error) {
	count, err := n.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = fmt.Errorf("%s: %w", n.compression, err)
	}
	return count, err
}

// moduleLimit is more than any module has, uncompressed.
const moduleLimit = 256 << 20

func readDecompressed(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := readPlain(file, moduleLimit)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return content, nil
}

func hashOf(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}
