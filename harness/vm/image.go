package vm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"
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

// unpackKernel returns the uncompressed ELF kernel in an image (a bzImage, or already ELF).
// QEMU boots it as it is (CONFIG_PVH), and the guest, where every instruction is emulated,
// is the slow place to decompress.
func unpackKernel(image []byte) ([]byte, error) {
	if bytes.HasPrefix(image, elfMagic) {
		return image, nil
	}
	if len(image) < headerEnd || string(image[bootMagicOffset:bootMagicOffset+4]) != "HdrS" {
		return nil, errors.New("neither a bzImage nor an ELF kernel")
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
	// The kernel's build appends the uncompressed size to what it compressed.
	payload := image[start : start+length-4]
	size := binary.LittleEndian.Uint32(image[start+length-4:])
	kernel, err := decompress(payload)
	if err != nil {
		return nil, fmt.Errorf("bzImage: payload: %w", err)
	}
	if len(kernel) != int(size) {
		return nil, fmt.Errorf("bzImage: payload has %d bytes, its size field says %d", len(kernel), size)
	}
	if !bytes.HasPrefix(kernel, elfMagic) {
		return nil, errors.New("bzImage: its payload is no ELF kernel")
	}
	return kernel, nil
}

// kernelRelease reads uname -r out of a bzImage.
func kernelRelease(image []byte) (string, error) {
	if len(image) < headerEnd || string(image[bootMagicOffset:bootMagicOffset+4]) != "HdrS" {
		return "", errors.New("not a bzImage")
	}
	start := int(binary.LittleEndian.Uint16(image[kernelVersionOffset:])) + 512
	if start >= len(image) {
		return "", errors.New("bzImage: its version is past its end")
	}
	version, _, found := bytes.Cut(image[start:min(start+256, len(image))], []byte{0})
	if !found {
		return "", errors.New("bzImage: its version has no end")
	}
	release, _, _ := bytes.Cut(version, []byte(" "))
	return string(release), nil
}

// decompress undoes the compressions in which distributions ship kernels and modules.
func decompress(data []byte) ([]byte, error) {
	switch {
	case bytes.HasPrefix(data, []byte("\xfd7zXZ\x00")):
		reader, err := xz.NewReader(bytes.NewReader(data), 0)
		if err != nil {
			return nil, fmt.Errorf("xz: %w", err)
		}
		out, err := io.ReadAll(reader)
		if err != nil {
			return nil, fmt.Errorf("xz: %w", err)
		}
		return out, nil
	case bytes.HasPrefix(data, []byte("\x28\xb5\x2f\xfd")):
		decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		defer decoder.Close()
		out, err := decoder.DecodeAll(data, nil)
		if err != nil {
			return nil, fmt.Errorf("zstd: %w", err)
		}
		return out, nil
	case bytes.HasPrefix(data, elfMagic):
		return data, nil
	default:
		return nil, fmt.Errorf("unknown compression (first bytes % x): xz and zstd are known; "+
			"an uncompressed vmlinux works too", data[:min(len(data), 6)])
	}
}

func readDecompressed(path string) ([]byte, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	out, err := decompress(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return out, nil
}
