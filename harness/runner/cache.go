package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/tcplab/tcplab/results"
)

// cacheAge is for how long a passed scenario that nobody asked for again is kept.
const cacheAge = 30 * 24 * time.Hour

// A runCache keeps the folders of scenarios that passed, by their inputs' key. In virtual
// time the same inputs give the same bytes, so that a copy is as good as another run.
type runCache struct{ dir string }

var errNotCached = errors.New("not cached")

// load copies a scenario's folder out of the cache.
func (c runCache) load(key, dir string) error {
	from := filepath.Join(c.dir, key)
	if _, err := os.Stat(filepath.Join(from, results.FileName)); err != nil {
		return errNotCached
	}
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		return fmt.Errorf("%w: %w", errNotCached, err)
	}
	now := time.Now()
	return os.Chtimes(from, now, now) // still in use: see prune
}

// save copies a scenario's folder into the cache, whole or not at all.
func (c runCache) save(key, dir string) error {
	final := filepath.Join(c.dir, key)
	if _, err := os.Stat(final); err == nil {
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	temporary, err := os.MkdirTemp(c.dir, ".save-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temporary)
	if err := os.CopyFS(temporary, os.DirFS(dir)); err != nil {
		return err
	}
	if err := os.Rename(temporary, final); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// prune removes what was not used for cacheAge. What cannot be removed stays.
func (c runCache) prune() {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err == nil && time.Since(info.ModTime()) > cacheAge {
			os.RemoveAll(filepath.Join(c.dir, entry.Name()))
		}
	}
}
