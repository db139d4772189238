package scratch

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Use marks a file as in use for as long as it is not closed, by any number of processes at once. [Discard] leaves what
// is in use. The error is fs.ErrNotExist for what is not there, or no longer.
func Use(path string) (*os.File, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if err := take(file, path, unix.LOCK_SH); err != nil {
		if errors.Is(err, errHeld) { // by Discard
			err = &fs.PathError{Op: "flock", Path: path, Err: fs.ErrNotExist}
		}
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

// Discard removes a folder, at once for all who look for it, unless the file in it by which it is used (see [Use]) is in
// use: then it returns false. An empty name means that nobody asks before using it.
func Discard(path, used string) (gone bool, err error) {
	if used != "" {
		lock, err := lock(filepath.Join(path, used), 0)
		if errors.Is(err, errHeld) {
			return false, nil
		} else if err != nil {
			return false, err
		}
		defer lock.Close()
	}
	trash, err := Make(filepath.Dir(path))
	if err != nil {
		return false, err
	}
	err = os.Rename(path, filepath.Join(trash.Path(), "discarded"))
	return err == nil, errors.Join(err, trash.Remove())
}
