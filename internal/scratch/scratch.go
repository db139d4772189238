// Package scratch owns temporary folders and files: what a process could not remove itself, the next one does.
//
// A process that is killed removes nothing. So each folder has a lock (flock(2)) that its process holds for as long as
// it lives, and [Make] and [Sweep] remove the folders whose lock nobody holds. Neither an age nor a process's number
// says as much: a download can take a day, and numbers are given out again.
//
// The lock is of a file in the folder. It comes first and goes last, so that a folder without it is one that has just
// been made, or is all but removed: it is empty, and rmdir(2) settles it.
package scratch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const (
	// prefix begins the names of all folders.
	prefix = "tcplab-scratch-"
	// lockName is what a folder's lock is called.
	lockName = ".lock"
)

// A Dir is a temporary folder.
type Dir struct {
	path string
	lock *os.File
}

// Make makes a folder in another one, such as [os.TempDir], and removes what processes that have ended have left there.
func Make(parent string) (*Dir, error) {
	Sweep(parent)
	for {
		path, err := os.MkdirTemp(parent, prefix)
		if err != nil {
			return nil, fmt.Errorf("temporary folder: %w", err)
		}
		lock, err := lock(filepath.Join(path, lockName), os.O_CREATE)
		switch {
		case err == nil:
			return &Dir{path, lock}, nil
		case errors.Is(err, fs.ErrNotExist) || errors.Is(err, errHeld):
			// Somebody swept it away before it had its lock.
		default:
			return nil, errors.Join(fmt.Errorf("temporary folder: %w", err), os.RemoveAll(path))
		}
	}
}

// Path is the folder's. The lock is in it: what is to be renamed to elsewhere belongs into a folder below.
func (d *Dir) Path() string { return d.path }

// Remove removes the folder with all that is in it.
func (d *Dir) Remove() error {
	err := empty(d.path)
	return errors.Join(err, d.lock.Close())
}

// Sweep removes the folders of processes that have ended. What cannot be removed stays: it is in nobody's way.
func Sweep(parent string) {
	entries, err := os.ReadDir(parent)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if !Is(entry.Name()) || !entry.IsDir() {
			continue
		}
		// In a folder for all, such as /tmp, others could have made it.
		info, err := entry.Info()
		if err != nil || int(info.Sys().(*syscall.Stat_t).Uid) != os.Geteuid() {
			continue
		}
		path := filepath.Join(parent, entry.Name())
		lock, err := lock(filepath.Join(path, lockName), 0)
		if errors.Is(err, fs.ErrNotExist) {
			_ = unix.Rmdir(path) // only an empty one goes
		}
		if err != nil {
			continue
		}
		_ = empty(path)
		_ = lock.Close()
	}
}

// Is tells whether a name is one of such a folder.
func Is(name string) bool { return strings.HasPrefix(name, prefix) }

// errHeld is for a lock that somebody holds.
var errHeld = errors.New("is locked")

// lock opens a lock's file and takes it. The error is fs.ErrNotExist, too, if the file was removed meanwhile.
func lock(path string, flag int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|unix.O_NOFOLLOW|flag, 0o600)
	if err != nil {
		return nil, err
	}
	if err := take(file, path, unix.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// take locks a file that was opened under a path, and sees to it that it is still the one of that path.
func take(file *os.File, path string, how int) error {
	for {
		err := unix.Flock(int(file.Fd()), how|unix.LOCK_NB)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%s %w", path, errHeld)
		}
		if err != nil {
			return &fs.PathError{Op: "flock", Path: path, Err: err}
		}
		break
	}
	mine, err := file.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if !os.SameFile(mine, there) {
		return &fs.PathError{Op: "flock", Path: path, Err: fs.ErrNotExist}
	}
	return nil
}

// empty removes a folder whose lock the caller holds, the lock last.
func empty(path string) error {
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == lockName {
			continue
		}
		if err := removeAll(filepath.Join(path, entry.Name())); err != nil {
			return err
		}
	}
	if err := os.Remove(filepath.Join(path, lockName)); err != nil {
		return err
	}
	if err := unix.Rmdir(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return &fs.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return nil
}

// removeAll is os.RemoveAll, also of folders that may not be written to: the go command leaves such ones.
func removeAll(path string) error {
	if err := os.RemoveAll(path); err == nil {
		return nil
	}
	_ = filepath.WalkDir(path, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.IsDir() {
			_ = os.Chmod(path, 0o700)
		}
		return nil
	})
	return os.RemoveAll(path)
}
