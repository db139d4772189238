package vm

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/renameio/v2"
)

// A Kernel is one that a guest can boot.
type Kernel struct {
	Release string // uname -r
	Source  string // where it is from, in words: a package's name and version, or a path
	SHA256  string // of the uncompressed image
	image   string // path of the uncompressed ELF image
	modules string // path of lib/modules/RELEASE
}

// KernelOptions say which kernel to find.
type KernelOptions struct {
	// Name is a version ("6.1", "6.12.95": the newest in the cache that begins with it), a
	// release ("6.1.0-56-amd64"), or the path of a kernel of one's own: a vmlinuz (bzImage) or
	// a Debian package (.deb). The modules of a vmlinuz are expected in ../lib/modules/RELEASE
	// beside it, as in an unpacked package, or in /lib/modules/RELEASE. A version that is not in
	// the cache is downloaded if it is among [Offers]. Empty: Debian's linux-image-amd64,
	// downloaded once.
	Name string
	// Cache is where kernels are kept; empty for [CacheDir].
	Cache string
	// Progress is told, in one line, about what takes long. May be nil.
	Progress func(string)
}

// CacheDir is where tcplab keeps what it downloaded and unpacked: $TCPLAB_CACHE, else
// tcplab in the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv("TCPLAB_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cache directory: %w; set TCPLAB_CACHE", err)
	}
	return filepath.Join(dir, "tcplab"), nil
}

// complete fills in what was left empty.
func (o KernelOptions) complete() (KernelOptions, error) {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Cache == "" {
		cache, err := CacheDir()
		if err != nil {
			return o, err
		}
		o.Cache = cache
	}
	return o, nil
}

// FindKernel finds a kernel, or downloads one of Debian's if it is not there yet.
func FindKernel(ctx context.Context, options KernelOptions) (*Kernel, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	switch {
	case options.Name == "":
		return defaultKernel(ctx, options)
	case strings.HasSuffix(options.Name, ".deb"):
		return kernelFromPackages(ctx, options, []string{options.Name}, givenDir)
	case isVersion(options.Name):
		return namedKernel(ctx, options)
	default:
		return kernelFromFile(options)
	}
}

// defaultKernel is the one that tcplab has chosen before, or Debian's of today.
func defaultKernel(ctx context.Context, options KernelOptions) (*Kernel, error) {
	if kernel, err := CachedKernel(options.Cache); err == nil || !errors.Is(err, ErrNoKernel) {
		return kernel, err
	}
	paths, cleanup, err := downloadKernel(ctx, options)
	if err != nil {
		return nil, err
	}
	defer cleanup()
	return kernelFromPackages(ctx, options, paths, defaultDir)
}

// Folders of the cache. Only kernels that tcplab has chosen itself are taken by default: one
// that was named once must not become it.
const (
	defaultDir = "kernels/default"
	givenDir   = "kernels/given"
)

// CachedKernel returns the newest Debian kernel in a cache, without any download.
func CachedKernel(cache string) (*Kernel, error) {
	dirs, err := filepath.Glob(filepath.Join(cache, defaultDir, "linux-image-*"))
	if err != nil {
		return nil, err
	}
	if len(dirs) == 0 {
		return nil, fmt.Errorf("%w in %s", ErrNoKernel, cache)
	}
	newest := slices.MaxFunc(dirs, func(a, b string) int { return compareVersions(filepath.Base(a), filepath.Base(b)) })
	return openUnpacked(newest, filepath.Base(newest))
}

// compareVersions orders names by their numbers as numbers, so that 6.1.100 follows 6.1.99.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		if isDigit(a[0]) && isDigit(b[0]) {
			x, y := leadingNumber(a), leadingNumber(b)
			a, b = a[len(x):], b[len(y):]
			x, y = strings.TrimLeft(x, "0"), strings.TrimLeft(y, "0")
			if len(x) != len(y) {
				return len(x) - len(y)
			}
			if order := strings.Compare(x, y); order != 0 {
				return order
			}
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func leadingNumber(s string) string {
	end := 0
	for end < len(s) && isDigit(s[end]) {
		end++
	}
	return s[:end]
}

// kernelFromFile opens a vmlinuz of the user's. Its uncompressed form is cached by content.
func kernelFromFile(options KernelOptions) (*Kernel, error) {
	image, err := os.ReadFile(options.Name)
	if err != nil {
		return nil, fmt.Errorf("kernel: %w", err)
	}
	release, err := kernelRelease(image)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", options.Name, err)
	}
	modules, err := findModules(options.Name, release)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", options.Name, err)
	}
	sum := sha256.Sum256(image)
	dir := filepath.Join(options.Cache, givenDir, "file-"+hex.EncodeToString(sum[:8]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("kernel cache: %w", err)
	}
	path := filepath.Join(dir, "vmlinux")
	hash, err := storeUnpacked(path, image)
	if err != nil {
		return nil, fmt.Errorf("kernel %s: %w", options.Name, err)
	}
	return &Kernel{Release: release, Source: options.Name, SHA256: hash, image: path, modules: modules}, nil
}

func findModules(path, release string) (string, error) {
	candidates := []string{
		filepath.Join(filepath.Dir(path), "..", "lib", "modules", release),
		filepath.Join(filepath.Dir(path), "..", "usr", "lib", "modules", release),
		filepath.Join("/lib/modules", release),
	}
	for _, dir := range candidates {
		if _, err := os.Stat(filepath.Join(dir, "modules.builtin")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no modules of release %s in %s", release, strings.Join(candidates, " or "))
}

// storeUnpacked writes the uncompressed kernel and its hash, unless they are there.
func storeUnpacked(path string, image []byte) (hash string, err error) {
	if text, err := os.ReadFile(path + ".sha256"); err == nil {
		return string(text), nil
	}
	kernel, err := unpackKernel(image)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(kernel)
	hash = hex.EncodeToString(sum[:])
	if err := renameio.WriteFile(path, kernel, 0o644); err != nil {
		return "", err
	}
	return hash, renameio.WriteFile(path+".sha256", []byte(hash), 0o644)
}

// findImage finds the image in an unpacked package, and its release: boot/vmlinuz-RELEASE, or
// usr/lib/modules/RELEASE/vmlinuz.
func findImage(dir string) (path, release string, err error) {
	images, err := filepath.Glob(filepath.Join(dir, "boot", "vmlinuz-*"))
	if err != nil {
		return "", "", err
	}
	if len(images) == 1 {
		return images[0], strings.TrimPrefix(filepath.Base(images[0]), "vmlinuz-"), nil
	}
	for _, pattern := range []string{"lib/modules/*/vmlinuz", "usr/lib/modules/*/vmlinuz"} {
		beside, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return "", "", err
		}
		images = append(images, beside...)
	}
	if len(images) != 1 {
		return "", "", fmt.Errorf("%d files boot/vmlinuz-* or lib/modules/*/vmlinuz, expected one", len(images))
	}
	return images[0], filepath.Base(filepath.Dir(images[0])), nil
}

// openUnpacked opens what kernelFromPackages made.
func openUnpacked(dir, source string) (*Kernel, error) {
	_, release, err := findImage(dir)
	if err != nil {
		return nil, fmt.Errorf("kernel package in %s: %w", dir, err)
	}
	modules, err := findModules(filepath.Join(dir, "boot", "vmlinuz"), release)
	if err != nil {
		return nil, fmt.Errorf("kernel package in %s: %w", dir, err)
	}
	path := filepath.Join(dir, "vmlinux")
	hash, err := os.ReadFile(path + ".sha256")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("kernel package in %s is not complete: remove that folder and try again", dir)
	} else if err != nil {
		return nil, err
	}
	return &Kernel{Release: release, Source: source, SHA256: string(hash), image: path, modules: modules}, nil
}
