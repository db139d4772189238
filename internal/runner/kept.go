package runner

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/vm"
)

// keptPrograms is the part of the cache that has what was compiled, so that the go command need not link it again: it leaves a
// program in its place that has the right build ID. That is all that it looks at, and what is damaged elsewhere in the file would
// run. So each file is named by the hash of its content, and checked before the go command sees it:
//
//	suites/KEY-SHA256
//
// A program is copied out before it is used, and into the cache when it is another one: no two processes ever write to, or
// run, the same file. Whether a program is up to date only the go command decides, so a key need only be good enough to find
// it again. The zero value keeps nothing.
type keptPrograms struct {
	dir   string
	limit int64
	log   *logger
}

// keptSuites is the folder of the cache.
const keptSuites = "suites"

// openKept opens it. Where there can be none, everything is compiled anew, which is said.
func openKept(log *logger) (keptPrograms, error) {
	limit, err := vm.SuitesLimit()
	if err != nil {
		return keptPrograms{}, err
	}
	cache, err := vm.CacheDir()
	if err != nil {
		log.once("cache: compiled suites are not kept: %v", err)
		return keptPrograms{}, nil
	}
	if limit == 0 {
		return keptPrograms{}, nil
	}
	return keptPrograms{dir: filepath.Join(cache, keptSuites), limit: limit, log: log}, nil
}

// A program is what the go command makes: where, and for which key it is kept.
type program struct {
	key  string
	path string
	kept string // SHA-256 of the one that was taken from the cache, or empty
}

// keyOf names a program by what it is made from. The source's folder tells one checkout from another, and kind an
// architecture.
func keyOf(sourceDir, importPath, kind string) string {
	return hashOf(fmt.Appendf(nil, "%q %q %q", sourceDir, importPath, kind))[:32]
}

// take copies a program to its path, if there is one, for the go command to judge. What cannot be copied is compiled, and
// so is what is damaged, which goes.
func (k keptPrograms) take(p *program) {
	name, ok := k.find(p.key)
	if !ok {
		return
	}
	kept := filepath.Join(k.dir, name)
	now := time.Now()
	_ = os.Chtimes(kept, now, now) // still in use: see prune. If it cannot be said, it only goes earlier.
	hash, err := copyFile(kept, p.path, 0o755)
	if err == nil && name == p.key+"-"+hash {
		p.kept = hash
		return
	}
	_ = os.Remove(p.path)
	if err == nil {
		k.log.printf("cache: the compiled suite in %s is damaged (sha256 %s): compiling it again", kept, hash)
		_ = os.Remove(kept) // if it stays, it is found out again
	}
}

// find returns the name of a key's newest file.
func (k keptPrograms) find(key string) (name string, ok bool) {
	var newest time.Time
	for _, entry := range k.entries(key) {
		if info, err := entry.Info(); err == nil && info.Mode().IsRegular() && (!ok || info.ModTime().After(newest)) {
			name, ok, newest = entry.Name(), true, info.ModTime()
		}
	}
	return name, ok
}

// entries are the files of a key: there are two while another process keeps one.
func (k keptPrograms) entries(key string) []fs.DirEntry {
	if k.dir == "" {
		return nil
	}
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(entries, func(e fs.DirEntry) bool { return !strings.HasPrefix(e.Name(), key+"-") })
}

// keep copies a program that has a hash into the cache, unless it is from there.
func (k keptPrograms) keep(p program, hash string) {
	if k.dir == "" || p.kept == hash {
		return
	}
	if err := k.save(p, hash); err != nil {
		k.log.once("cache: compiled suites are not kept: %v", err)
		return
	}
	for _, entry := range k.entries(p.key) {
		if entry.Name() != p.key+"-"+hash {
			_ = os.Remove(filepath.Join(k.dir, entry.Name())) // what stays is not the newest
		}
	}
}

// save makes a file of the cache, whole or not at all.
func (k keptPrograms) save(p program, hash string) error {
	if err := os.MkdirAll(k.dir, 0o755); err != nil {
		return err
	}
	folder, err := scratch.Make(k.dir)
	if err != nil {
		return err
	}
	temporary := filepath.Join(folder.Path(), "program")
	_, err = copyFile(p.path, temporary, 0o644) // nobody is to run it there
	if err == nil {
		err = os.Rename(temporary, filepath.Join(k.dir, p.key+"-"+hash))
	}
	return errors.Join(err, folder.Remove())
}

// prune removes what is too old or too much.
func (k keptPrograms) prune() {
	if k.dir == "" {
		return
	}
	if tooMany := prune(k.dir, k.limit); tooMany > 0 {
		k.log.once("cache: compiled suites that were not used for long make room: at most %s are kept (%s)",
			humanize.Bytes(uint64(k.limit)), vm.SuitesLimitVariable)
	}
}

// copyFile copies a file to a new one, and returns the SHA-256 of what it has copied.
func copyFile(from, to string, mode fs.FileMode) (hash string, err error) {
	source, err := os.Open(from)
	if err != nil {
		return "", err
	}
	defer source.Close()
	target, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return "", err
	}
	sum := sha256.New()
	_, err = io.Copy(io.MultiWriter(target, sum), source)
	return hex.EncodeToString(sum.Sum(nil)), cmp.Or(err, target.Close())
}
