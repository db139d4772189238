//go:build linux && amd64

package guest

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// A program is handed over after the boot, so that guests of all programs can begin where one has booted. Its file is
// there before, with pages for what it is expected to have: the host writes into them, and the guest's kernel neither
// clears nor copies them. (Each step of the instructions that do is a translation block of its own for QEMU.)
type slot struct {
	file   *os.File
	memory []byte // the file's
	where  []extent
}

// slotSize is a little more than a suite of scenarios has. What is more of a program is copied.
const slotSize = 24 << 20

func makeSlot(f *firmware) (*slot, error) {
	if err := os.MkdirAll(filepath.Dir(ProgramPath), 0o755); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(ProgramPath, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o755)
	if err == nil {
		err = file.Truncate(slotSize)
	}
	if err != nil {
		return nil, fmt.Errorf("room for the program: %w", err)
	}
	s := &slot{file: file}
	s.memory, err = unix.Mmap(int(file.Fd()), 0, slotSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err == nil {
		err = makePresent(s.memory)
	}
	if err == nil {
		s.where, err = f.extents(s.memory)
	}
	if err != nil {
		return nil, fmt.Errorf("room for the program: %w", err)
	}
	return s, nil
}

// fill makes the program's file have the program.
func (s *slot) fill(program *fwReader) error {
	size := program.left
	var here []extent
	for left := min(size, slotSize); left > 0; {
		next := s.where[len(here)]
		next.size = min(next.size, uint64(left))
		left -= int64(next.size)
		here = append(here, next)
	}
	if err := program.readInto(here); err != nil {
		return err
	}
	if err := errors.Join(unix.Munmap(s.memory), s.file.Truncate(min(size, slotSize))); err != nil {
		return err
	}
	_, err := s.file.Seek(0, io.SeekEnd)
	if err == nil {
		_, err = program.WriteTo(s.file)
	}
	return errors.Join(err, s.file.Close()) // what is open to be written cannot be executed
}

// prepare makes room for what the host hands over.
func prepare() (*firmware, *slot, error) {
	f, err := openFirmware()
	if err != nil {
		return nil, nil, err
	}
	s, err := makeSlot(f)
	return f, s, err
}

// receive takes what the host hands over.
func receive(f *firmware, s *slot) (Job, error) {
	reader, err := f.open(JobFile)
	if err != nil {
		return Job{}, err
	}
	text, err := io.ReadAll(reader)
	if err != nil {
		return Job{}, err
	}
	job, err := parseJob(text)
	if err != nil {
		return Job{}, err
	}
	if reader, err = f.open(ProgramFile); err == nil {
		err = s.fill(reader)
	}
	if err != nil {
		return job, fmt.Errorf("receive the program: %w", err)
	}
	if reader, err = f.open(FilesFile); err == nil && reader.left > 0 {
		err = unpack(reader, "/")
	}
	if err != nil {
		return job, fmt.Errorf("receive files: %w", err)
	}
	return job, nil
}

// unpack unpacks an archive of the host's. What is there already it replaces, but for directories, which get the mode and the
// owner that the archive has for them.
func unpack(archive io.Reader, root string) error {
	stream := tar.NewReader(archive)
	for {
		header, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := unpackEntry(stream, header, filepath.Join(root, header.Name)); err != nil {
			return err
		}
	}
}

func unpackEntry(stream *tar.Reader, header *tar.Header, path string) error {
	mode := uint32(header.Mode)
	there, err := os.Lstat(path)
	if isThere := err == nil; isThere && (header.Typeflag != tar.TypeDir || !there.IsDir()) {
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch header.Typeflag {
	case tar.TypeDir:
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	case tar.TypeSymlink:
		return os.Symlink(header.Linkname, path)
	case tar.TypeReg:
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, stream)
		if err := errors.Join(err, file.Close()); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s: entries of type %q are not expected", header.Name, header.Typeflag)
	}
	return errors.Join(os.Lchown(path, header.Uid, header.Gid), unix.Chmod(path, mode))
}
