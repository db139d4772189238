package vm

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A GuestKernel is one that a guest can boot, with its modules.
type GuestKernel struct {
	Release string // uname -r
	Source  string // where it is from, in words: a package's name and version, or a path
	SHA256  string // of the uncompressed image, computed from the file
	image   string // path of the uncompressed ELF image
	file    os.FileInfo
	modules string // path of lib/modules/RELEASE
}

// unchanged fails if the image is no longer the file that was hashed: a run's record would name another kernel than
// the one that its guests booted.
func (k *GuestKernel) unchanged() error {
	now, err := os.Stat(k.image)
	if err != nil {
		return fmt.Errorf("kernel image: %w", err)
	}
	if !sameFile(now, k.file) {
		return fmt.Errorf("kernel image %s has changed since this run began: run again", k.image)
	}
	return nil
}

// sameFile tells whether a file is, as far as its inode says, as it was.
func sameFile(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// KernelOptions say which kernel to find.
type KernelOptions struct {
	// Name is one of
	//   - a version ("6.1", "6.12.95"): the newest that begins with it, of the flavour that the distribution
	//     calls amd64 or generic;
	//   - a release ("6.1.0-48-cloud-amd64");
	//   - [NewestKernel], the newest that Debian has: as of the last [FetchKernel] of that name;
	//   - a package that apt knows ("linux-image-cloud-amd64");
	//   - the path of a kernel of one's own, see [FindKernel].
	//
	// What is not in the cache is downloaded. Empty: $TCPLAB_KERNEL, else [DefaultKernel].
	Name string
	// Cache is where kernels are kept; empty for [CacheDir].
	Cache string
	// Progress is told, in one line, about what takes long, and about a damaged cache. May be nil.
	Progress func(string)

	apt aptSetup // what tests have instead of the system's
}

const (
	// DefaultKernel is the kernel of the machine's own distribution (linux-image-amd64 or linux-image-generic), downloaded
	// once: 6.1 on Debian 12.
	DefaultKernel = "default"
	// NewestKernel is the newest kernel in Debian's archive.
	NewestKernel = "newest"
)

// kernelVariable names what is taken without a name.
const kernelVariable = "TCPLAB_KERNEL"

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
	if o.Name == "" {
		o.Name = os.Getenv(kernelVariable)
	}
	if o.Name == "" {
		o.Name = DefaultKernel
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

func (o KernelOptions) store() store { return openStore(o.Cache, o.Progress) }

// FindKernel finds a kernel, or downloads it if it is not there yet. A cached one that is damaged is removed, which
// Progress is told, and downloaded or unpacked again.
//
// The path of a kernel of one's own is that of
//   - packages (.deb, .rpm): several with colons between them, or a folder that has nothing but one kernel's;
//   - a folder that packages were unpacked into;
//   - an image: a vmlinuz, or a vmlinux. Its modules are expected where packages have them: in lib/modules/RELEASE
//     of the folder above it, beside it, or of this machine. Or in a folder that is named after a colon.
func FindKernel(ctx context.Context, options KernelOptions) (*GuestKernel, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	options.store().sweep()
	if !isName(options.Name) {
		return ownKernel(ctx, options.store(), options.Name)
	}
	kernel, err := options.store().named(options.Name)
	if err != nil || kernel != nil {
		return kernel, err
	}
	if options.Name != DefaultKernel {
		options.Progress("kernel " + options.Name + " is not in the cache: fetching it")
	}
	return fetchKernel(ctx, options)
}

// FetchKernel downloads the newest kernel of a name, unless the cache has that very package. It needs apt-get, and for
// all but the distribution's own an archive of Debian's, of whatever release, among its sources; no root: the system's
// package lists and sources stay as they are.
func FetchKernel(ctx context.Context, options KernelOptions) (*GuestKernel, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	if !isName(options.Name) {
		return nil, fmt.Errorf("fetch kernel %s: that is no name but a path, which needs no fetching; %s", options.Name, namesAre)
	}
	return fetchKernel(ctx, options)
}

// isName tells a name from a path. A file of the working directory that looks like a name is meant with ./ before it.
func isName(name string) bool {
	if strings.ContainsRune(name, filepath.Separator) || isPackageFile(name) {
		return false
	}
	return name == DefaultKernel || name == NewestKernel || isPackageName(name) || Series(name) != ""
}

// namesAre says what is one.
const namesAre = "a name is a version (6.12), a release, " + DefaultKernel + ", " + NewestKernel + " or " + imagePackage + "*: tcplab kernels lists some"

func isPackageName(name string) bool { return strings.HasPrefix(name, imagePackage) }

func isPackageFile(name string) bool {
	return strings.HasSuffix(name, ".deb") || strings.HasSuffix(name, ".rpm")
}

// CachedKernel tells which kernel is taken without a name, if it is here. It downloads nothing.
func CachedKernel(cache string) (Stored, error) {
	options, err := KernelOptions{Cache: cache}.complete()
	if err != nil {
		return Stored{}, err
	}
	if !isName(options.Name) {
		return Stored{Name: options.Name, Release: options.Name, Source: kernelVariable}, nil
	}
	stored, err := StoredKernels(cache)
	if err != nil {
		return Stored{}, err
	}
	if found := stored.find(options.Name); found != nil {
		return *found, nil
	}
	return Stored{}, fmt.Errorf("%w %s in %s", ErrNoKernel, options.Name, cache)
}
