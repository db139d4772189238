package vm

import (
	"bytes"
	"crypto/sha256"
	"debug/elf"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// A guest's memory is in a file where another guest begins at its state, or it begins at another's: QEMU maps the file, the
// first shared, so that it has what is in memory, the second privately, so that it reads only what it needs, and the file
// stays as it is. The state of the rest of the machine is on the disk.

// pageSize is that of the machine's memory.
const pageSize = 4096

// newMemory is a file for the memory of a guest. It has no name, and takes room only where something is written.
func newMemory(mib int) (*os.File, error) {
	file, err := memoryFile("memory of a guest")
	if err != nil {
		return nil, err
	}
	if err := file.Truncate(int64(mib) << 20); err != nil {
		file.Close()
		return nil, fmt.Errorf("memory of a guest, %d MiB: %w", mib, err)
	}
	return file, nil
}

// memoryFile is a file in memory, without a name.
func memoryFile(what string) (*os.File, error) {
	fd, err := unix.MemfdCreate("tcplab", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("%s: memfd_create: %w", what, err)
	}
	return os.NewFile(uintptr(fd), what), nil
}

// memoryArguments has QEMU find the guest's memory in a file that it inherits, and leave it out of the state on its disk.
func memoryArguments(job Job, shared bool) []string {
	share := "off"
	if shared {
		share = "on"
	}
	return []string{
		"-object", fmt.Sprintf("memory-backend-file,id=memory,mem-path=/proc/self/fd/%d,size=%dM,share=%s", memoryNumber, job.memoryMiB(), share),
		"-machine", "memory-backend=memory",
	}
}

// duplicate opens a file once more.
func duplicate(file *os.File) (*os.File, error) {
	fd, err := unix.FcntlInt(file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file.Name(), err)
	}
	return os.NewFile(uintptr(fd), file.Name()), nil
}

// eachPage calls a function for each page of a memory that is not all zero.
func eachPage(memory *os.File, do func(offset int64, page []byte) error) error {
	info, err := memory.Stat()
	if err != nil {
		return err
	}
	buffer, zero := make([]byte, 256*pageSize), make([]byte, pageSize)
	for offset := int64(0); offset < info.Size(); {
		data, err := unix.Seek(int(memory.Fd()), offset, unix.SEEK_DATA)
		if errors.Is(err, unix.ENXIO) {
			return nil // nothing but a hole
		}
		if err != nil {
			return fmt.Errorf("find data: %w", err)
		}
		offset = data - data%pageSize
		n, err := memory.ReadAt(buffer, offset)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for at := 0; at < n; at += pageSize {
			page := buffer[at:min(at+pageSize, n)]
			if bytes.Equal(page, zero[:len(page)]) {
				continue
			}
			if err := do(offset+int64(at), page); err != nil {
				return err
			}
		}
		offset += int64(n)
	}
	return nil
}

// copyMemory copies a memory into an empty file, and leaves holes for pages that are zero.
func copyMemory(to, from *os.File) error {
	info, err := from.Stat()
	if err == nil {
		err = to.Truncate(info.Size())
	}
	if err != nil {
		return err
	}
	return eachPage(from, func(offset int64, page []byte) error {
		_, err := to.WriteAt(page, offset)
		return err
	})
}

// hashMemory hashes what is in a memory, wherever the file has holes.
func hashMemory(memory *os.File) (string, error) {
	info, err := memory.Stat()
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	var number [8]byte
	write := func(n int64, page []byte) error {
		binary.BigEndian.PutUint64(number[:], uint64(n)) //nolint:gosec // never negative
		sum.Write(number[:])
		sum.Write(page)
		return nil
	}
	if err := errors.Join(write(info.Size(), nil), eachPage(memory, write)); err != nil {
		return "", err
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// noKernel is a file that QEMU takes for a kernel (an ELF file that boots by PVH) and that has none. QEMU writes a kernel into the
// guest's memory when the machine is reset, also when a state is loaded, and the memory of one that has booted is not on its disk
// to be loaded over that. The machine must be like the one of the state, so there has to be a kernel.
func noKernel() (*os.File, error) {
	const (
		headerSize, segmentSize = 64, 56
		entryNote               = 18   // XEN_ELFNOTE_PHYS32_ENTRY
		size                    = 8192 // QEMU reads so much to see what it is
	)
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(elf.EM_X86_64), Version: uint32(elf.EV_CURRENT),
		Phoff: headerSize, Ehsize: headerSize, Phentsize: segmentSize, Phnum: 1,
	}
	note := struct {
		NameSize, ValueSize, Type uint32
		Name                      [4]byte
		Value                     uint64
	}{4, 8, entryNote, [4]byte{'X', 'e', 'n'}, 1 << 20}
	length := uint64(binary.Size(note)) //nolint:gosec // a constant
	segment := elf.Prog64{Type: uint32(elf.PT_NOTE), Off: headerSize + segmentSize, Filesz: length, Memsz: length, Align: 4}
	var content bytes.Buffer
	for _, part := range []any{header, segment, note} {
		if err := binary.Write(&content, binary.LittleEndian, part); err != nil {
			return nil, err
		}
	}
	file, err := memoryFile("no kernel")
	if err != nil {
		return nil, err
	}
	if _, err := file.Write(append(content.Bytes(), make([]byte, size-content.Len())...)); err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
