package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/scratch"
	"github.com/tcplab/tcplab/internal/subprocess"
)

// A stateStore is the part of the cache that has the states of guests that have booted: a folder for each, named by a hash of all
// that it depends on.
//
//	0123456789abcdef.../state.json   the hashes of the others; who uses the state has a lock on it
//	                    disk         QEMU's
//	                    memory       as large as the guest's, with holes where it is zero
//	                    console      what the kernel had printed
type stateStore struct {
	dir      string
	progress func(string)
}

// stateVersion is that of the layout above, and of how a guest is stopped and goes on.
const stateVersion = "v2"

const (
	stateManifest = "state.json"
	stateDisk     = "disk"
	stateMemory   = "memory"
	stateConsole  = "console"
)

// A savedState says what a folder of the store has, and for people what it is of.
type savedState struct {
	QEMU      string            `json:"qemu"`
	Kernel    string            `json:"kernel"`
	MemoryMiB int               `json:"memory_mib"`
	Files     map[string]string `json:"files"` // sha256 of each
}

func (b *Base) stateStore() stateStore {
	return stateStore{dir: filepath.Join(b.cache, "states", stateVersion), progress: b.progress}
}

// A stateKey is what a state is of.
type stateKey struct {
	hash string
	savedState
}

// stateKey names all that a booted guest depends on, to the last byte.
func (b *Base) stateKey(job Job) stateKey {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%s\n%s\n%s\n%s\n", stateVersion, b.qemu.Version, b.qemuBuild(), b.kernel.SHA256, b.sha256,
		commandLineHash(job)))
	return stateKey{hex.EncodeToString(sum[:]), savedState{QEMU: b.qemu.Version, Kernel: b.kernel.Release, MemoryMiB: job.memoryMiB()}}
}

// build is a hash of the emulator's program, and of the firmware that a guest executes before its kernel: two builds of one
// version can compute otherwise. Where they lie does not matter.
func (q QEMU) build() string {
	paths := []string{q.Path}
	var output bytes.Buffer
	command := exec.Command(q.Path, "-L", "help")
	command.Stdout = &output
	if subprocess.Run(command) == nil {
		for dir := range strings.FieldsSeq(output.String()) {
			for _, name := range []string{"bios-256k.bin", "pvh.bin", "linuxboot_dma.bin", "kvmvapic.bin"} {
				paths = append(paths, filepath.Join(dir, name))
			}
		}
	}
	all := sha256.New()
	for _, path := range paths {
		if sum, err := hashFile(path); err == nil {
			fmt.Fprintf(all, "%q %s\n", filepath.Base(path), sum)
		}
	}
	return hex.EncodeToString(all.Sum(nil))
}

// cached returns the state in the cache, or nil. Then the caller is the only one to make it, among all processes, until it
// unlocks: another one is waited for.
func (b *Base) cached(ctx context.Context, job Job) (state *machineState, unlock func(), err error) {
	unlock = func() {}
	if b.cache == "" {
		return nil, unlock, nil
	}
	store, key := b.stateStore(), b.stateKey(job)
	scratch.Sweep(store.dir) // of processes that were killed while they kept one
	if state := store.take(key.hash); state != nil {
		return state, unlock, nil
	}
	if unlock, err = store.lock(ctx); err != nil {
		return nil, unlock, err
	}
	return store.take(key.hash), unlock, nil
}

// A boot is waited for no longer than lockPatience, asked for each lockPeriod: then each process boots for itself.
const (
	lockPatience = time.Minute
	lockPeriod   = 50 * time.Millisecond
)

// lock locks the store. What it cannot lock, it leaves: at worst somebody boots once too often.
func (s stateStore) lock(ctx context.Context) (unlock func(), err error) {
	unlock = func() {}
	if os.MkdirAll(s.dir, 0o755) != nil {
		return unlock, nil // which is said when there is a state to be kept
	}
	dir, err := os.Open(s.dir)
	if err != nil {
		return unlock, nil
	}
	for began := time.Now(); time.Since(began) < lockPatience; {
		err := unix.Flock(int(dir.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { dir.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		select {
		case <-time.After(lockPeriod):
		case <-ctx.Done():
			dir.Close()
			return unlock, ctx.Err()
		}
	}
	dir.Close()
	return unlock, nil
}

// take opens a state if it is there and whole, or returns nil. One that is damaged is removed, which is said.
func (s stateStore) take(name string) *machineState {
	state, err := s.open(name, true)
	if err == nil {
		return state
	}
	if errors.Is(err, errDamaged) { // what is there and cannot be read, or used, is said when one is to be kept
		dir := filepath.Join(s.dir, name)
		s.progress(fmt.Sprintf("the kept state of a booted guest in %s cannot be used, and is made anew: %v", dir, err))
		if _, err := scratch.Discard(dir, ""); err != nil {
			s.progress(fmt.Sprintf("%s stays: %v", dir, err))
		}
	}
	return nil
}

// open opens a state, and marks it as in use for as long as it is not closed. All of it is read if it is to be verified: what is
// kept beside a file says nothing about the file. The error is fs.ErrNotExist if there is none.
func (s stateStore) open(name string, verify bool) (*machineState, error) {
	dir := filepath.Join(s.dir, name)
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	now := time.Now()
	_ = os.Chtimes(dir, now, now) // if it cannot be said, it only goes earlier
	used, err := scratch.Use(filepath.Join(dir, stateManifest))
	if err != nil {
		if _, statErr := os.Stat(dir); statErr == nil {
			err = fmt.Errorf("%w: %s: %s", errDamaged, stateManifest, err.Error())
		}
		return nil, err
	}
	state, err := readState(dir, used, verify)
	if err != nil {
		used.Close()
		return nil, err
	}
	return state, nil
}

func readState(dir string, used *os.File, verify bool) (*machineState, error) {
	var saved savedState
	if err := json.NewDecoder(used).Decode(&saved); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, stateManifest, err)
	}
	if verify {
		hashes, err := hashState(dir)
		if err != nil {
			return nil, fmt.Errorf("%w: %s", errDamaged, err.Error())
		}
		for name, hash := range hashes {
			if hash != saved.Files[name] {
				return nil, fmt.Errorf("%w: %s is not as it was kept (sha256 %s, expected %s)", errDamaged, name, hash, saved.Files[name])
			}
		}
	}
	console, err := os.ReadFile(filepath.Join(dir, stateConsole))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", errDamaged, err.Error())
	}
	disk, err := os.Open(filepath.Join(dir, stateDisk))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", errDamaged, err.Error())
	}
	memory, err := os.Open(filepath.Join(dir, stateMemory))
	if err != nil {
		disk.Close()
		return nil, fmt.Errorf("%w: %s", errDamaged, err.Error())
	}
	return &machineState{disk: disk, memory: memory, console: console, used: used}, nil
}

// hashState has the hash of each file of a state. That of the memory is of its pages: where a file has holes can change when it
// is copied.
func hashState(dir string) (map[string]string, error) {
	memory, err := os.Open(filepath.Join(dir, stateMemory))
	if err != nil {
		return nil, err
	}
	defer memory.Close()
	hashes := map[string]string{}
	if hashes[stateMemory], err = hashMemory(memory); err != nil {
		return nil, fmt.Errorf("%s: %w", memory.Name(), err)
	}
	for _, name := range []string{stateDisk, stateConsole} {
		if hashes[name], err = hashFile(filepath.Join(dir, name)); err != nil {
			return nil, err
		}
	}
	return hashes, nil
}

// add keeps a state, whole or not at all, and makes room. Somebody else may have been faster: then theirs is as good.
func (s stateStore) add(key stateKey, made machineState) (*machineState, error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return nil, err
	}
	folder, err := scratch.Make(s.dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = folder.Remove() }() // what stays is removed by the next one
	content := filepath.Join(folder.Path(), "content")
	if err := os.Mkdir(content, 0o755); err != nil {
		return nil, err
	}
	if err := writeState(content, key.savedState, made); err != nil {
		return nil, err
	}
	err = os.Rename(content, filepath.Join(s.dir, key.hash))
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, unix.ENOTEMPTY) {
		return nil, err
	}
	state, err := s.open(key.hash, err != nil)
	if err != nil {
		return nil, err
	}
	if err := s.prune(); err != nil {
		s.progress(fmt.Sprintf("kept states of booted guests: %v", err))
	}
	return state, nil
}

func writeState(dir string, saved savedState, made machineState) error {
	for _, part := range []struct {
		name string
		from *os.File
		copy func(to, from *os.File) error
	}{{stateDisk, made.disk, copyFile}, {stateMemory, made.memory, copyMemory}} {
		file, err := os.Create(filepath.Join(dir, part.name))
		if err != nil {
			return err
		}
		if err := errors.Join(part.copy(file, part.from), file.Close()); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, stateConsole), made.console, 0o644); err != nil {
		return err
	}
	var err error
	if saved.Files, err = hashState(dir); err != nil {
		return err
	}
	text, err := json.MarshalIndent(saved, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, stateManifest), append(text, '\n'), 0o644)
}

// prune removes the states that were not used for the longest time, as far as all together have more than they may.
func (s stateStore) prune() error {
	limit, err := StatesLimit()
	if err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(s.dir, strings.Repeat("[0-9a-f]", 2*sha256.Size)))
	if err != nil {
		return err
	}
	scratch.Prune(names, stateManifest, limit, 0) // a state is made anew in some seconds: nothing to tell of
	return nil
}
