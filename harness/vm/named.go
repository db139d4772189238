package vm

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// A Stored is a kernel in the cache.
type Stored struct {
	*Kernel
	Name    string // the shortest that [KernelOptions].Name takes for it
	Default bool   // it is the one that is taken without a name
	Bytes   int64  // on disk
}

// StoredKernels lists the kernels of a cache, unpacked from packages: the default first, then by
// version. Of a vmlinuz that was named by its path there is only a copy, and no name: it is not
// among them.
func StoredKernels(cache string) ([]Stored, error) {
	var stored []Stored
	for _, folder := range []string{defaultDir, givenDir} {
		dirs, err := filepath.Glob(filepath.Join(cache, folder, "linux-image-*"))
		if err != nil {
			return nil, err
		}
		slices.SortFunc(dirs, func(a, b string) int { return compareVersions(filepath.Base(b), filepath.Base(a)) })
		for i, dir := range dirs {
			kernel, err := openUnpacked(dir, filepath.Base(dir))
			if err != nil {
				return nil, err
			}
			size, err := diskUsage(dir)
			if err != nil {
				return nil, err
			}
			stored = append(stored, Stored{Kernel: kernel, Default: folder == defaultDir && i == 0, Bytes: size})
		}
	}
	for i := range stored {
		stored[i].Name = stored[i].Release
		if series := Series(stored[i].Release); newest(stored, series) == &stored[i] {
			stored[i].Name = series
		}
	}
	return stored, nil
}

// Series is a kernel's major and minor version: "6.1" of "6.1.0-56-amd64".
func Series(release string) string { return seriesOf.FindString(release) }

var seriesOf = regexp.MustCompile(`^[0-9]+\.[0-9]+`)

// newest is the newest kernel that a name means, or nil.
func newest(stored []Stored, name string) *Stored {
	var found *Stored
	for i := range stored {
		kernel := &stored[i]
		if isPrefix(name, kernel.Release) && (found == nil || compareVersions(kernel.Source, found.Source) > 0) {
			found = kernel
		}
	}
	return found
}

// isPrefix tells whether a version begins a release, up to the end of a number: 6.1 does begin
// 6.1.0-56-amd64, and not 6.12.95.
func isPrefix(name, release string) bool {
	rest, found := strings.CutPrefix(release, name)
	return found && (rest == "" || !isDigit(rest[0]))
}

func diskUsage(dir string) (total int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// isVersion tells a version or release from a path. A file of the working directory that looks
// like a version is named with ./ before it.
func isVersion(name string) bool {
	return seriesOf.MatchString(name) && !strings.ContainsRune(name, filepath.Separator)
}

// namedKernel finds a kernel by its version in the cache, or fetches it.
func namedKernel(ctx context.Context, options KernelOptions) (*Kernel, error) {
	stored, err := StoredKernels(options.Cache)
	if err != nil {
		return nil, err
	}
	if found := newest(stored, options.Name); found != nil {
		return found.Kernel, nil
	}
	if _, offered := offerOf(options.Name); offered {
		options.Progress("kernel " + options.Name + " is not in the cache: fetching it")
		return FetchKernel(ctx, options)
	}
	return nil, fmt.Errorf("%w %s in %s, %s; name the path of one (a vmlinuz with its modules, or a .deb)",
		ErrNoKernel, options.Name, options.Cache, alternatives(stored))
}

// alternatives says what can be named instead.
func alternatives(stored []Stored) string {
	text := "which is empty"
	if len(stored) > 0 {
		var names []string
		for _, kernel := range stored {
			names = append(names, kernel.Name)
		}
		text = "which has " + strings.Join(names, ", ")
	}
	var names []string
	for _, offer := range Offers() {
		names = append(names, "tcplab kernels fetch "+offer.Name)
	}
	return text + "; " + strings.Join(names, " and ") + " download Debian's"
}

// An Offer is a kernel of Debian's that can be fetched.
type Offer struct {
	Name  string // its major and minor version
	Suite string // of Debian's archive
	// Default says that it is that of the Debian release that tcplab is tested on.
	Default bool
}

// Offers lists the kernels that [FetchKernel] knows of: that of Debian 12, and the newer one in
// its backports.
func Offers() []Offer {
	return []Offer{
		{Name: "6.1", Suite: "bookworm", Default: true},
		{Name: "6.12", Suite: "bookworm-backports"},
		{Name: "7.3", Suite: "trixie-backports"},
	}
}

func offerOf(name string) (Offer, bool) {
	for _, offer := range Offers() {
		if offer.Name == name {
			return offer, true
		}
	}
	return Offer{}, false
}

// FetchKernel downloads the newest kernel of an offer, unless the cache has it. It needs apt-get
// with an archive of Debian's among its sources, of whatever release, and no root: the system's
// package lists and sources stay as they are.
func FetchKernel(ctx context.Context, options KernelOptions) (*Kernel, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	offer, known := offerOf(options.Name)
	if !known {
		stored, err := StoredKernels(options.Cache)
		if err != nil {
			return nil, err
		}
		return nil, fmt.Errorf("fetch kernel %q: %w of that name is offered; the cache is %s, %s",
			options.Name, ErrNoKernel, options.Cache, alternatives(stored))
	}
	kernel, err := fetch(ctx, options, offer)
	if err != nil {
		return nil, fmt.Errorf("fetch kernel %s from %s: %w; a package that was downloaded elsewhere can be named by its path: --kernel PATH.deb",
			offer.Name, offer.Suite, err)
	}
	return kernel, nil
}

func fetch(ctx context.Context, options KernelOptions, offer Offer) (*Kernel, error) {
	dir, err := downloadDir(options.Cache)
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	client, folder, err := offerClient(ctx, options, dir, offer)
	if err != nil {
		return nil, err
	}
	name, err := client.kernelPackage(ctx, debianKernel)
	if err != nil {
		return nil, err
	}
	version, err := client.version(ctx, name)
	if err != nil {
		return nil, err
	}
	if !isPrefix(offer.Name, version) {
		return nil, fmt.Errorf("its kernel is %s now (%s)", version, name)
	}
	unpacked := filepath.Join(options.Cache, folder, packageFolder(name, version))
	if kernel, err := openUnpacked(unpacked, filepath.Base(unpacked)); err == nil {
		options.Progress(kernel.Source + " is there already")
		return kernel, nil
	}
	options.Progress("downloading " + name + " " + version)
	parts, err := client.kernelParts(ctx, name)
	if err != nil {
		return nil, err
	}
	paths, err := client.download(ctx, parts...)
	if err != nil {
		return nil, err
	}
	return kernelFromPackages(ctx, options, paths, folder)
}

// offerClient finds where a kernel can be downloaded from, and the folder of the cache that it
// belongs into. Where the system itself is of that release, its kernel, security updates
// included, is the one that is taken by default; otherwise the suite is looked at alone.
func offerClient(ctx context.Context, options KernelOptions, dir string, offer Offer) (aptClient, string, error) {
	if codename, err := debianCodename(); err != nil || codename != offer.Suite {
		options.Progress("fetching the package lists of " + offer.Suite)
		client, err := debianSuite(ctx, dir, offer.Suite)
		return client, givenDir, err
	}
	client := aptClient{dir: dir}
	if _, err := client.kernelPackage(ctx, debianKernel); err == nil {
		return client, defaultDir, nil
	}
	options.Progress("fetching package lists, since the system's have no " + debianKernel)
	client.ownLists = true
	return client, defaultDir, client.update(ctx)
}

// debianSuite is a client for one suite of Debian's archive, whose address is taken from the
// system's sources. Where the system has no package lists, as in a container, it is found with
// lists of our own.
func debianSuite(ctx context.Context, dir, suite string) (aptClient, error) {
	client, err := aptClient{dir: dir}.onlySuite(ctx, suite)
	if !errors.Is(err, errNoArchive) {
		return client, err
	}
	own := aptClient{dir: dir, ownLists: true}
	if err := own.update(ctx); err != nil {
		return own, err
	}
	return own.onlySuite(ctx, suite)
}
