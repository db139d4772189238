package vm

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"github.com/pierrec/lz4/v4"
)

const testRelease = "6.1.0-1-amd64"

// compressors are the programs that the kernel's build compresses images by (scripts/Makefile.lib), whose files are in
// testdata. With TCPLAB_WRITE_TESTDATA=1 they are made anew.
var compressors = map[string][]string{
	"kernel.xz":  {"xz", "--check=crc32", "--x86", "--lzma2=,dict=32MiB", "--stdout"},
	"kernel.lz4": {"lz4", "-l", "-9", "-", "-"},
	"kernel.zst": {"zstd", "-22", "--ultra", "--stdout"},
	"kernel.gz":  {"gzip", "-n", "-9", "--stdout"},
}

func testdata(t *testing.T, name string) []byte {
	t.Helper()
	path := filepath.Join("testdata", name)
	if words := compressors[name]; words != nil && os.Getenv("TCPLAB_WRITE_TESTDATA") == "1" {
		command := exec.Command(words[0], words[1:]...)
		command.Stdin = bytes.NewReader(testKernel(testRelease))
		output, err := command.Output()
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, path, output)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

func TestUnpackKernel(t *testing.T) {
	g := NewWithT(t)
	kernel := testKernel(testRelease)
	var frame bytes.Buffer
	w := lz4.NewWriter(&frame)
	_, err := w.Write(kernel)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(w.Close()).To(Succeed())

	for name, image := range map[string][]byte{
		"xz":           bzImage(testRelease, testdata(t, "kernel.xz"), len(kernel)),
		"zstd":         bzImage(testRelease, testdata(t, "kernel.zst"), len(kernel)),
		"LZ4, legacy":  bzImage(testRelease, testdata(t, "kernel.lz4"), len(kernel)),
		"LZ4, frame":   bzImage(testRelease, frame.Bytes(), len(kernel)),
		"gzip":         bzImageOf(testRelease, testdata(t, "kernel.gz")), // its size is in its own last four bytes
		"uncompressed": bzImageOf(testRelease, kernel),
		"vmlinux":      kernel,
	} {
		g.Expect(unpackKernel(image)).To(Equal(kernel), name)
		g.Expect(kernelRelease(image)).To(Equal(testRelease), name)
		g.Expect(checkBootable(kernel)).To(Succeed(), name)
	}

	packed := compressed(t, kernel)
	image := bzImage(testRelease, packed, len(kernel))
	for name, bad := range map[string][]byte{
		"empty":               nil,
		"text":                []byte("not a kernel"),
		"size field is large": bzImage("r", packed, len(kernel)+1),
		"size field is small": bzImage("r", packed, len(kernel)-1),
		"cut off":             image[:len(image)-10],
		"corrupt":             bzImage("r", packed[:len(packed)/2], len(kernel)),
		"unknown compression": bzImage("r", []byte("LZMA...."), 8),
		"payload is no ELF":   bzImage("r", compressed(t, []byte("hello")), 5),
		"nothing but a size":  bzImageOf("r", []byte{0, 0, 0, 0}),
		"less than a size":    bzImageOf("r", []byte{1}),
	} {
		_, err := unpackKernel(bad)
		g.Expect(err).To(HaveOccurred(), name)
	}
}

func TestKernelRelease(t *testing.T) {
	g := NewWithT(t)
	for name, bad := range map[string][]byte{
		"text":        []byte("not a kernel"),
		"no version":  bzImage("", nil, 0),
		"leads out":   bzImage("../../6.1", nil, 0),
		"a directory": bzImage("6.1/x", nil, 0),
		"no kernel":   testModule("veth"),
	} {
		_, err := kernelRelease(bad)
		g.Expect(err).To(HaveOccurred(), name)
	}
}

func TestCheckBootable(t *testing.T) {
	g := NewWithT(t)
	g.Expect(checkBootable(elfFile(note("GNU", 3, "build"), nil))).To(MatchError(ContainSubstring("CONFIG_PVH=y")))
	other := testKernel(testRelease)
	other[18] = 183 // EM_AARCH64
	g.Expect(checkBootable(other)).To(MatchError(ContainSubstring("EM_AARCH64")))
	g.Expect(checkBootable(elfMagic)).NotTo(Succeed())
}

func FuzzUnpackKernel(f *testing.F) {
	kernel := smallKernel()
	f.Add(bzImage("6.1", compressed(f, kernel), len(kernel)))
	f.Add(bzImageOf("6.1", gzipped(f, kernel)))
	f.Add(bzImageOf("6.1", kernel))
	f.Add(kernel)
	f.Fuzz(func(t *testing.T, image []byte) {
		kernel, err := unpackKernel(image)
		if err == nil {
			if !bytes.HasPrefix(kernel, elfMagic) {
				t.Error("accepted what is no ELF")
			}
			_ = checkBootable(kernel)
		}
		release, err := kernelRelease(image)
		if err == nil && !filepath.IsLocal(release) {
			t.Errorf("release %q leads out of a directory", release)
		}
	})
}
