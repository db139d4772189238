package vm

import (
	"debug/elf"
	"io"
	"os"
	"path/filepath"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"
)

// A copy of a memory takes room only for the pages that are not zero, and has the same hash, as has one without holes.
func TestCopyMemory(t *testing.T) {
	g := NewWithT(t)
	memory := someMemory(t)
	to, err := os.Create(filepath.Join(t.TempDir(), "memory"))
	g.Expect(err).NotTo(HaveOccurred())
	defer to.Close()
	g.Expect(copyMemory(to, memory)).To(Succeed())
	content, err := readAll(memory)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(content).To(HaveLen(1 << 20))
	copied, err := readAll(to)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(copied).To(Equal(content))
	g.Expect(sameMemory(to, memory)).To(BeTrue())
	var stat unix.Stat_t
	g.Expect(unix.Fstat(int(to.Fd()), &stat)).To(Succeed())
	g.Expect(stat.Blocks*512).To(BeNumerically("<=", 3*pageSize), "pages 0, 3 and 7")

	_, err = to.WriteAt(content, 0)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(sameMemory(to, memory)).To(BeTrue(), "without a hole")
	for _, change := range []func() error{
		func() error { _, err := to.WriteAt([]byte{1}, 5*pageSize); return err },
		func() error { return to.Truncate(2 << 20) },
	} {
		before, err := hashMemory(to)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(change()).To(Succeed())
		g.Expect(hashMemory(to)).NotTo(Equal(before))
	}

	empty, err := newMemory(1)
	g.Expect(err).NotTo(HaveOccurred())
	defer empty.Close()
	g.Expect(to.Truncate(0)).To(Succeed())
	g.Expect(copyMemory(to, empty)).To(Succeed())
	g.Expect(sameMemory(to, empty)).To(BeTrue())
}

// What stands for a kernel is an ELF file with nothing to load, and with the note by which QEMU takes it for a kernel.
func TestNoKernel(t *testing.T) {
	g := NewWithT(t)
	file, err := noKernel()
	g.Expect(err).NotTo(HaveOccurred())
	defer file.Close()
	parsed, err := elf.NewFile(file)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(parsed.Progs).To(HaveLen(1))
	g.Expect(parsed.Progs[0].Type).To(Equal(elf.PT_NOTE))
	note, err := io.ReadAll(parsed.Progs[0].Open())
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(note).To(Equal([]byte("\x04\x00\x00\x00\x08\x00\x00\x00\x12\x00\x00\x00Xen\x00\x00\x00\x10\x00\x00\x00\x00\x00")))
}
