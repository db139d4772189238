package runner

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tcplab/tcplab/harness/vm"
	"github.com/tcplab/tcplab/results"
)

// cacheAge is for how long a passed scenario that nobody asked for again is kept.
const cacheAge = 30 * 24 * time.Hour

// A runCache keeps the folders of scenarios that passed, by the key of their inputs and name. In
// virtual time the same inputs give the same bytes, so that a copy is as good as another run.
type runCache struct{ dir string }

// cacheKey names a scenario's folder in the cache. The inputs tell what runs, not under which
// name it is recorded: one compiled suite can lie in two places.
func cacheKey(inputs vm.Inputs, suite, scenario string) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%q\n%q\n", inputs.Key(), suite, scenario))
	return hex.EncodeToString(sum[:])
}

// load copies a scenario's folder out of the cache and returns its record. On an error there is
// nothing in the folder.
func (c runCache) load(key, dir string) (*results.Record, error) {
	from := filepath.Join(c.dir, key)
	if _, err := os.Stat(filepath.Join(from, results.FileName)); err != nil {
		return nil, err
	}
	record, err := c.copy(from, dir)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	now := time.Now()
	_ = os.Chtimes(from, now, now) // still in use: see prune. If it cannot be said, it only goes earlier.
	return record, nil
}

func (c runCache) copy(from, dir string) (*results.Record, error) {
	if err := os.CopyFS(dir, os.DirFS(from)); err != nil {
		return nil, err
	}
	record, err := results.Read(filepath.Join(dir, results.FileName))
	if err != nil {
		return nil, err
	}
	artefacts, err := results.Artefacts(dir)
	if err == nil && !slices.Equal(artefacts, record.Artefacts) {
		err = fmt.Errorf("%s: its files are not those that it was saved with", from)
	}
	return record, err
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
