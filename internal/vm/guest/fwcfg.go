//go:build linux && amd64

package guest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// QEMU's fw_cfg device (docs/specs/fw_cfg.rst) has the files that the host hands over. It writes them into the guest's memory
// itself (DMA), by a command that lies in memory, too: that costs no instruction for each byte, where an I/O port gives
// one byte at a time, and Linux's own qemu_fw_cfg reads from there.
const (
	fwPorts, fwPortCount = 0x510, 12
	fwDMAHigh, fwDMALow  = 0x514, 0x518 // the command's address in two halves; the lower one starts it
	fwDirectory          = 0x19         // the item that lists the files
	fwNameSize           = 56

	fwError  = 1 << 0
	fwRead   = 1 << 1
	fwSelect = 1 << 3
)

// fwFile is an entry of the directory, in network byte order.
type fwFile struct {
	Size     uint32
	Selector uint16
	_        uint16
	Name     [fwNameSize]byte
}

// A firmware is the fw_cfg device.
type firmware struct {
	pagemap *os.File
	memory  []byte // locked: the first page is for commands, the rest is for what is read
	command uint64 // the physical address of the first page
}

const (
	pageSize = 4096
	// bufferSize is how much is read at once of what has to be copied from there.
	bufferSize = 256 << 10
)

// openFirmware gets all that is needed to read files.
func openFirmware() (*firmware, error) {
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return nil, fmt.Errorf("where the host is to write (the kernel needs CONFIG_PROC_PAGE_MONITOR): %w", err)
	}
	f := &firmware{pagemap: pagemap}
	f.memory, err = unix.Mmap(-1, 0, pageSize+bufferSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return nil, fmt.Errorf("memory for the host to write to: %w", err)
	}
	if err := makePresent(f.memory); err != nil {
		return nil, err
	}
	where, err := f.extents(f.memory[:pageSize])
	if err != nil {
		return nil, err
	}
	f.command = where[0].address
	return f, nil
}

// makePresent sees to it that memory has pages, stays where it is, and is known to have been written to: a page of a file that is
// not, the kernel could take away.
func makePresent(memory []byte) error {
	if err := unix.Mlock(memory); err != nil {
		return fmt.Errorf("lock memory for the host to write to: %w", err)
	}
	for at := 0; at < len(memory); at += pageSize {
		memory[at] = 0
	}
	return nil
}

// An extent is a piece of physical memory.
type extent struct{ address, size uint64 }

// extents tells where memory is. It has to begin with a page.
func (f *firmware) extents(memory []byte) ([]extent, error) {
	const present, frame = 1 << 63, 1<<55 - 1 // Documentation/admin-guide/mm/pagemap.rst
	entries := make([]byte, 8*((len(memory)+pageSize-1)/pageSize))
	start := uint64(uintptr(unsafe.Pointer(unsafe.SliceData(memory))))
	if _, err := f.pagemap.ReadAt(entries, int64(start/pageSize*8)); err != nil {
		return nil, fmt.Errorf("where the host is to write: %w", err)
	}
	var list []extent
	for left := uint64(len(memory)); left > 0; entries = entries[8:] {
		entry := binary.NativeEndian.Uint64(entries)
		if entry&present == 0 || entry&frame == 0 {
			return nil, errors.New("where the host is to write: /proc/self/pagemap does not say")
		}
		one := extent{entry & frame * pageSize, min(left, pageSize)}
		left -= one.size
		if n := len(list); n > 0 && list[n-1].address+list[n-1].size == one.address {
			list[n-1].size += one.size
		} else {
			list = append(list, one)
		}
	}
	return list, nil
}

// selectItem has the next read begin with an item.
func (f *firmware) selectItem(number uint16) error {
	return f.do(uint32(number)<<16|fwSelect, nil)
}

// read reads the next bytes of the selected item.
func (f *firmware) read(to []extent) error { return f.do(fwRead, to) }

// do gives a command for each extent, or one that is for none.
func (f *firmware) do(control uint32, to []extent) error {
	if control&fwRead == 0 {
		to = []extent{{}}
	}
	var failed uint32
	err := withPorts(fwPorts, fwPortCount, func() {
		for _, piece := range to {
			binary.BigEndian.PutUint32(f.memory, control)
			binary.BigEndian.PutUint32(f.memory[4:], uint32(piece.size))
			binary.BigEndian.PutUint64(f.memory[8:], piece.address)
			outl(fwDMAHigh, swapped(uint32(f.command>>32)))
			outl(fwDMALow, swapped(uint32(f.command))) // when it has returned, all is done
			failed |= binary.BigEndian.Uint32(f.memory)
		}
	})
	if err == nil && failed != 0 {
		err = fmt.Errorf("QEMU's fw_cfg device refuses to write (%#x)", failed)
	}
	return err
}

// swapped is in network byte order what the processor has in its own.
func swapped(value uint32) uint32 {
	var bytes [4]byte
	binary.BigEndian.PutUint32(bytes[:], value)
	return binary.NativeEndian.Uint32(bytes[:])
}

// buffer is memory for what has to be copied from there.
func (f *firmware) buffer() []byte { return f.memory[pageSize:] }

// find finds a file that the host has given the machine.
func (f *firmware) find(name string) (fwFile, error) {
	if err := f.selectItem(fwDirectory); err != nil {
		return fwFile{}, err
	}
	// The directory begins with how many there are. Behind its end the device writes zeros.
	where, err := f.extents(f.buffer())
	if err == nil {
		err = f.read(where[:1])
	}
	if err != nil {
		return fwFile{}, err
	}
	first := f.buffer()[:where[0].size]
	return findFile(first, name)
}

// findFile looks a file up in a directory.
func findFile(directory []byte, name string) (fwFile, error) {
	r := bytes.NewReader(directory)
	var count uint32
	err := binary.Read(r, binary.BigEndian, &count)
	for ; err == nil && count > 0; count-- {
		var file fwFile
		if err = binary.Read(r, binary.BigEndian, &file); err == nil && string(bytes.TrimRight(file.Name[:], "\x00")) == name {
			return file, nil
		}
	}
	return fwFile{}, errors.Join(fmt.Errorf("QEMU has no file %s: %w", name, os.ErrNotExist), err)
}

// open returns a reader of a file. There is one at a time.
func (f *firmware) open(name string) (*fwReader, error) {
	file, err := f.find(name)
	if err != nil {
		return nil, err
	}
	return &fwReader{firmware: f, left: int64(file.Size)}, f.selectItem(file.Selector)
}

// An fwReader reads a file by way of the firmware's buffer.
type fwReader struct {
	firmware *firmware
	left     int64  // not read yet
	ready    []byte // in the buffer
}

// fill reads the next part of the file into the buffer.
func (r *fwReader) fill() error {
	if r.left == 0 {
		return io.EOF
	}
	part := r.firmware.buffer()
	part = part[:min(int64(len(part)), r.left)]
	where, err := r.firmware.extents(part)
	if err == nil {
		err = r.firmware.read(where)
	}
	if err != nil {
		return err
	}
	r.left -= int64(len(part))
	r.ready = part
	return nil
}

func (r *fwReader) Read(p []byte) (int, error) {
	if len(r.ready) == 0 {
		if err := r.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.ready)
	r.ready = r.ready[n:]
	return n, nil
}

// WriteTo spares the copy that Read makes.
func (r *fwReader) WriteTo(w io.Writer) (written int64, err error) {
	for {
		n, err := w.Write(r.ready)
		written += int64(n)
		r.ready = r.ready[n:]
		if err != nil {
			return written, err
		}
		switch err := r.fill(); {
		case errors.Is(err, io.EOF):
			return written, nil
		case err != nil:
			return written, err
		}
	}
}

// readInto reads the next part of a file to where it belongs.
func (r *fwReader) readInto(where []extent) error {
	for _, e := range where {
		r.left -= int64(e.size)
	}
	return r.firmware.read(where)
}
