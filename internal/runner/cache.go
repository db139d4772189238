package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/results"
)

// A runCache keeps the folders of scenarios that passed, by the key of their inputs and name. In
// virtual time the same inputs give the same bytes, so that a copy is as good as another run.
type runCache struct{ dir string }

// cacheKey names a scenario's folder in the cache. The inputs tell what runs, not under which
// name it is recorded: one compiled suite can lie in two places.
func cacheKey(inputs vm.Inputs, suite, scenario string) string {
	return hashOf(fmt.Appendf(nil, "%s\n%q\n%q\n", inputs.Key(), suite, scenario))
}

// An entry has a scenario's folder, and beside it the hash of its record, which has those of all other files.
const (
	entryFolder = "scenario"
	entryHash   = "record.sha256"
)

// errDamaged is for an entry that is not as it was saved.
var errDamaged = errors.New("is damaged")

// load copies a scenario's folder out of the cache and returns its record. On an error there is nothing in the folder; an
// entry that is damaged is gone then, so that the next result takes its place.
func (c runCache) load(key, dir string) (*results.Record, error) {
	entry := filepath.Join(c.dir, key)
	if _, err := os.Stat(entry); err != nil {
		return nil, err
	}
	now := time.Now()
	_ = os.Chtimes(entry, now, now) // still in use: see prune. If it cannot be said, it only goes earlier.
	record, err := copyEntry(entry, dir)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s %w: %w", entry, errDamaged, err), os.RemoveAll(dir), os.RemoveAll(entry))
	}
	return record, nil
}

// drop removes an entry, and tells whether there was one.
func (c runCache) drop(key string) (bool, error) {
	entry := filepath.Join(c.dir, key)
	if _, err := os.Stat(entry); err != nil {
		return false, nil //nolint:nilerr // nothing is there that could be taken
	}
	return true, os.RemoveAll(entry)
}

func copyEntry(entry, dir string) (*results.Record, error) {
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(entry, entryFolder))); err != nil {
		return nil, err
	}
	saved, err := os.ReadFile(filepath.Join(entry, entryHash))
	if err != nil {
		return nil, err
	}
	hash, err := recordHash(dir)
	if err != nil {
		return nil, err
	}
	if hash != string(saved) {
		return nil, errors.New("its record is not the one that was saved")
	}
	record, err := results.Read(filepath.Join(dir, results.FileName))
	if err != nil {
		return nil, err
	}
	artefacts, err := results.Artefacts(dir)
	if err == nil && !slices.Equal(artefacts, record.Artefacts) {
		err = errors.New("its files are not those that were saved")
	}
	return record, err
}

// recordHash is the SHA-256 of the record in a scenario's folder.
func recordHash(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, results.FileName))
	if err != nil {
		return "", err
	}
	return hashOf(text), nil
}

// save copies a scenario's folder into the cache, whole or not at all.
func (c runCache) save(key, dir string) error {
	final := filepath.Join(c.dir, key)
	if _, err := os.Stat(final); err == nil {
		return nil
	}
	hash, err := recordHash(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(c.dir, 0o755); err != nil {
		return err
	}
	folder, err := scratch.Make(c.dir)
	if err != nil {
		return err
	}
	defer func() { _ = folder.Remove() }() // what stays is removed by the next one
	temporary := filepath.Join(folder.Path(), "entry")
	if err := os.CopyFS(filepath.Join(temporary, entryFolder), os.DirFS(dir)); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(temporary, entryHash), []byte(hash), 0o644); err != nil {
		return err
	}
	if err := os.Rename(temporary, final); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
