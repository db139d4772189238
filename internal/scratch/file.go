package scratch

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// File makes a file without a name in a folder: it is gone with the last process that has it open.
func File(dir string) (*os.File, error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	switch {
	case err == nil:
		return os.NewFile(uintptr(fd), filepath.Join(dir, "(without a name)")), nil
	case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EISDIR), errors.Is(err, unix.EINVAL):
		return named(dir) // the file system, such as NFS, or a kernel in a sandbox does not know O_TMPFILE
	default:
		return nil, fmt.Errorf("temporary file in %s: %w", dir, err)
	}
}

// named makes a file and removes its name. Until then it is in a folder that the next process would remove.
func named(dir string) (*os.File, error) {
	folder, err := Make(dir)
	if err != nil {
		return nil, err
	}
	file, err := os.Create(filepath.Join(folder.Path(), "file"))
	if err := errors.Join(err, folder.Remove()); err != nil {
		if file != nil {
			_ = file.Close()
		}
		return nil, fmt.Errorf("temporary file in %s: %w", dir, err)
	}
	return file, nil
}
