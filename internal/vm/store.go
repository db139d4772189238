package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/tcplab/tcplab/internal/scratch"
)

// A store is the part of the cache that has kernels: a folder for each, and two links that say which of them are
// meant by [DefaultKernel] and [NewestKernel].
//
//	default -> packages-0123456789abcdef
//	packages-0123456789abcdef/kernel.json    what it is, and the hash of each other file
//	                          vmlinux        uncompressed
//	                          config
//	                          modules/       lib/modules/RELEASE, without the drivers of hardware
//	image-0123456789abcdef/                  of an image that was named by its path: no modules
//
// The folders are named by the hash of what they were made from.
type store struct {
	dir      string
	progress func(string)
}

// storeVersion is that of the layout above. Another one has another folder.
const storeVersion = "v2"

func openStore(cache string, progress func(string)) store {
	return store{dir: filepath.Join(cache, "kernels", storeVersion), progress: progress}
}

const (
	manifestFile = "kernel.json"
	imageFile    = "vmlinux"
	configFile   = "config"
	modulesDir   = "modules"
)

// A manifest says what a folder of the store has.
type manifest struct {
	Release string            `json:"release"`
	Source  string            `json:"source"`
	Version string            `json:"version,omitempty"` // of its package
	Modules bool              `json:"modules"`
	Files   map[string]string `json:"files"` // sha256 of each, by its path in the folder
}

// check reads all files of a kernel's folder. The error is errDamaged if any is not as it was unpacked.
func (m manifest) check(dir string) error {
	var group errgroup.Group
	group.SetLimit(runtime.NumCPU()) // who waits for a scenario waits for this
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		group.Go(func() error {
			hash, err := hashFile(filepath.Join(dir, name))
			switch {
			case errors.Is(err, fs.ErrNotExist):
				return fmt.Errorf("%w: it has no %s", errDamaged, name)
			case err == nil && hash != m.Files[name]:
				return fmt.Errorf("%w: %s is not as it was unpacked (sha256 %s, expected %s)", errDamaged, name, hash, m.Files[name])
			}
			return err
		})
	}
	return group.Wait()
}

func (s store) path(folder string) string { return filepath.Join(s.dir, folder) }

// has tells whether a folder is there, whatever its state.
func (s store) has(folder string) bool {
	_, err := os.Stat(s.path(folder))
	return err == nil
}

var errDamaged = errors.New("damaged")

// held has the files by which this process says that kernels are in use: see [store.use].
var held = struct {
	mutex sync.Mutex
	files map[string]*os.File // by the folder's path
}{files: map[string]*os.File{}}

// verified remembers what was found whole by this process: a session asks several times for one kernel, and it has
// to be read once.
var verified sync.Map // folder's path to os.FileInfo of its image

// open opens a folder of the store. It reads all files of it: what is kept beside a file says nothing about the file. The
// error is errDamaged if any is not as it was when it was unpacked.
func (s store) open(folder string) (*GuestKernel, error) {
	dir := s.path(folder)
	if _, err := os.Stat(dir); err != nil {
		return nil, err
	}
	err := s.use(folder)
	if errors.Is(err, fs.ErrNotExist) && s.has(folder) {
		return nil, fmt.Errorf("%w: it has no %s", errDamaged, manifestFile)
	} else if err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(dir, manifestFile))
	if err != nil {
		return nil, err
	}
	var m manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errDamaged, manifestFile, err)
	}
	kernel := &GuestKernel{Release: m.Release, Source: m.Source, SHA256: m.Files[imageFile], image: filepath.Join(dir, imageFile)}
	if m.Modules {
		kernel.modules = filepath.Join(dir, modulesDir)
	}
	kernel.file, err = os.Stat(kernel.image)
	if errors.Is(err, fs.ErrNotExist) || m.Files[imageFile] == "" {
		return nil, fmt.Errorf("%w: it has no %s", errDamaged, imageFile)
	} else if err != nil {
		return nil, err
	}
	if before, ok := verified.Load(dir); ok && sameFile(before.(os.FileInfo), kernel.file) {
		return kernel, nil
	}
	if err := m.check(dir); err != nil {
		return nil, err
	}
	verified.Store(dir, kernel.file)
	return kernel, nil
}

// take opens a folder if it is there and whole. One that is damaged is removed, and said; then, as if it had never
// been there, there is no kernel and no error.
func (s store) take(folder string) (*GuestKernel, error) {
	kernel, err := s.open(folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.Is(err, errDamaged):
		s.progress(fmt.Sprintf("the cached kernel in %s is %v: removing it", s.path(folder), err))
		return nil, s.remove(folder)
	default:
		return kernel, err
	}
}

// remove removes a folder at once for all who look for it, and then its files.
func (s store) remove(folder string) error {
	if _, err := scratch.Discard(s.path(folder), ""); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("kernel cache: %w", err)
	}
	return nil
}

// add makes a folder of the store, which fill puts files into. It is whole or absent. Somebody else may have been
// faster: then theirs is as good.
func (s store) add(folder string, fill func(dir string) (manifest, error)) (*GuestKernel, error) {
	dir, cleanup, err := s.temporary()
	if err != nil {
		return nil, err
	}
	defer cleanup()
	content := filepath.Join(dir, "content")
	if err := os.Mkdir(content, 0o755); err != nil {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	m, err := fill(content)
	if err != nil {
		return nil, err
	}
	if m.Files, err = hashTree(content); err != nil {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	text, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(content, manifestFile), append(text, '\n'), 0o644); err != nil {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	if err := os.Rename(content, s.path(folder)); err != nil && !s.has(folder) {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	kernel, err := s.open(folder)
	if err != nil {
		return nil, err
	}
	limit, err := KernelsLimit()
	if err != nil {
		return nil, err
	}
	return kernel, s.prune(limit)
}

// sweep removes what was left by processes that were killed while they downloaded or unpacked.
func (s store) sweep() { scratch.Sweep(s.dir) }

// temporary makes a directory in the store, for files that will be renamed into it.
func (s store) temporary() (dir string, cleanup func(), err error) {
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return "", nil, fmt.Errorf("kernel cache: %w", err)
	}
	made, err := scratch.Make(s.dir)
	if err != nil {
		return "", nil, fmt.Errorf("kernel cache: %w", err)
	}
	return made.Path(), func() { _ = made.Remove() }, nil // what stays is removed by the next one
}

// point makes a name mean a folder, from now on.
func (s store) point(name, folder string) error {
	if err := scratch.Symlink(folder, s.path(name)); err != nil {
		return fmt.Errorf("kernel cache: %w", err)
	}
	return nil
}

// packagesFolder names the folder of a kernel by the hashes of the packages that it is unpacked from.
func packagesFolder(hashes []string) string {
	return "packages-" + shortHash(strings.Join(slices.Sorted(slices.Values(hashes)), "\n"))
}

func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// addPackages unpacks the packages of one kernel, unless that has been done. An empty source is replaced by the name and
// version of the package that has the image.
func (s store) addPackages(ctx context.Context, paths []string, source string) (*GuestKernel, string, error) {
	var hashes []string
	for _, path := range paths {
		hash, err := hashFile(path)
		if err != nil {
			return nil, "", fmt.Errorf("kernel package: %w", err)
		}
		hashes = append(hashes, hash)
	}
	folder := packagesFolder(hashes)
	if kernel, err := s.take(folder); err != nil || kernel != nil {
		return kernel, folder, err
	}
	if source == "" {
		s.progress("unpacking " + strings.Join(baseNames(paths), ", "))
	} else {
		s.progress("unpacking " + source)
	}
	kernel, err := s.add(folder, func(dir string) (manifest, error) {
		return unpackKernelPackages(ctx, paths, source, dir)
	})
	return kernel, folder, err
}

func baseNames(paths []string) (names []string) {
	for _, path := range paths {
		names = append(names, filepath.Base(path))
	}
	return names
}

// hashTree has the hash of each file below a directory.
func hashTree(dir string) (map[string]string, error) {
	hashes := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		hashes[name], err = hashFile(path)
		return err
	})
	return hashes, err
}

func hashFile(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(hash, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// A Stored is a kernel in the cache. It has not been looked at whether it is damaged: [FindKernel] does.
type Stored struct {
	Name    string // the shortest version that [KernelOptions].Name takes for it
	Release string
	Source  string
	Links   map[string]time.Time // the other names that mean it, such as [DefaultKernel], and since when
	Bytes   int64                // on disk

	folder  string
	version string
}

// Default tells whether it is the one that is taken without a name.
func (k *Stored) Default() bool { return !k.Links[DefaultKernel].IsZero() }

// A storedList has the kernels of a cache.
type storedList []Stored

// StoredKernels lists the kernels of a cache, unpacked from packages: the default first, then by
// version. Of an image that was named by its path there is only a copy, and no name: it is not
// among them.
func StoredKernels(cache string) (storedList, error) {
	s := openStore(cache, nil)
	s.sweep()
	return s.list()
}

func (s store) list() (storedList, error) {
	dirs, err := filepath.Glob(s.path("packages-*"))
	if err != nil {
		return nil, err
	}
	links, err := s.links()
	if err != nil {
		return nil, err
	}
	var stored storedList
	for _, dir := range dirs {
		text, err := os.ReadFile(filepath.Join(dir, manifestFile))
		if err != nil {
			continue // it is removed when it is asked for
		}
		var m manifest
		if json.Unmarshal(text, &m) != nil {
			continue
		}
		size, err := scratch.Size(dir)
		if err != nil {
			return nil, err
		}
		folder := filepath.Base(dir)
		stored = append(stored, Stored{
			Release: m.Release, Source: m.Source, Links: links[folder], Bytes: size, folder: folder, version: m.Version,
		})
	}
	slices.SortFunc(stored, func(a, b Stored) int {
		if a.Default() != b.Default() {
			if a.Default() {
				return -1
			}
			return 1
		}
		return b.compare(a)
	})
	for i := range stored {
		stored[i].Name = stored[i].Release
		if series := Series(stored[i].Release); stored.find(series) == &stored[i] {
			stored[i].Name = series
		}
	}
	return stored, nil
}

// links are the names that point to each folder, and since when.
func (s store) links() (map[string]map[string]time.Time, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	links := map[string]map[string]time.Time{}
	for _, entry := range entries {
		if entry.Type()&fs.ModeSymlink == 0 {
			continue
		}
		folder, linkErr := os.Readlink(s.path(entry.Name()))
		info, infoErr := entry.Info()
		if linkErr != nil || infoErr != nil {
			continue // it has been replaced just now
		}
		if links[folder] == nil {
			links[folder] = map[string]time.Time{}
		}
		links[folder][entry.Name()] = info.ModTime()
	}
	return links, nil
}

// compare orders kernels by release, and builds of one release by their package's version.
func (k *Stored) compare(other Stored) int {
	if order := compareVersions(k.Release, other.Release); order != 0 {
		return order
	}
	return compareVersions(k.version, other.version)
}
