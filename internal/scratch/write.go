package scratch

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteFile writes a file, whole or not at all, in place of one that is there. It has no name before it is whole: so
// nothing stays of one that is not, in a folder that nobody sweeps.
func WriteFile(path string, content []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	file, err := File(dir)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Write(content); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := errors.Join(file.Chmod(mode), file.Sync()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	// open(2), O_TMPFILE: so it gets a name without a capability.
	unnamed := fmt.Sprintf("/proc/self/fd/%d", file.Fd())
	link := func(name string) error {
		return unix.Linkat(unix.AT_FDCWD, unnamed, unix.AT_FDCWD, name, unix.AT_SYMLINK_FOLLOW)
	}
	switch err := link(path); {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrExist):
		return replace(path, link)
	default:
		// One that had a name before cannot get another (link(2), ENOENT).
		return replace(path, func(name string) error { return os.WriteFile(name, content, mode) })
	}
}

// Symlink makes a symbolic link, in place of what is there.
func Symlink(target, path string) error {
	return replace(path, func(name string) error { return os.Symlink(target, name) })
}

// replace has a file made in a folder beside a path, and renames it to that.
func replace(path string, makeAs func(name string) error) error {
	dir, err := Make(filepath.Dir(path))
	if err != nil {
		return err
	}
	name := filepath.Join(dir.Path(), "new")
	err = makeAs(name)
	if err == nil {
		err = os.Rename(name, path)
	}
	if err != nil {
		err = fmt.Errorf("write %s: %w", path, err)
	}
	return errors.Join(err, dir.Remove())
}
