package vm

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// room is what a file system has left for us, and how large it is, in bytes.
func room(dir string) (free, size uint64, err error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return 0, 0, fmt.Errorf("room in %s: %w", dir, err)
	}
	block := uint64(stat.Frsize) //nolint:gosec // never negative
	return stat.Bavail * block, stat.Blocks * block, nil
}

// nearlyFull is so little room that a write of some size has failed.
const nearlyFull = 4 << 20

// fullDirectory says that a directory for temporary files has no room left, or is empty.
func fullDirectory(dir string) string {
	free, size, err := room(dir)
	if err != nil || free >= nearlyFull {
		return ""
	}
	return roomText(dir, free, size)
}

func roomText(dir string, free, size uint64) string {
	return fmt.Sprintf("%s, where files of guests are while they run, has %d MiB free of %d: make room, or set TMPDIR to another folder",
		dir, free>>20, size>>20)
}

// withRoom adds to an error that is for want of room what there is in the directory for temporary files. QEMU calls that an
// input/output error.
func withRoom(err error) error {
	if err == nil {
		return nil
	}
	dir := os.TempDir()
	free, size, roomErr := room(dir)
	if roomErr != nil || !errors.Is(err, unix.ENOSPC) && free >= nearlyFull {
		return err
	}
	return fmt.Errorf("%w; %s", err, roomText(dir, free, size))
}
