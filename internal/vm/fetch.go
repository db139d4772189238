package vm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"

	"github.com/dustin/go-humanize"
)

// fetchKernel downloads and unpacks the kernel that a name means now, unless the store has it.
func fetchKernel(ctx context.Context, options KernelOptions) (*GuestKernel, error) {
	kernel, err := withPlaces(options, func(a *places) (*GuestKernel, error) {
		place, offer, err := a.look(ctx, options.Name)
		if err != nil {
			return nil, err
		}
		kernel, err := a.fetch(ctx, place, offer)
		if err != nil && place.suite == SystemSuite && !place.client.ownLists {
			// Its lists may be old, and name what is no longer there.
			if place, err = a.openSystem(ctx, true); err != nil {
				return nil, err
			}
			a.opened[SystemSuite] = place
			if offer, found := place.find(options.Name); found {
				return a.fetch(ctx, place, offer)
			}
			return nil, a.notFound(options.Name, nil)
		}
		return kernel, err
	})
	if err != nil {
		return nil, fmt.Errorf("fetch kernel %s: %w; packages that were downloaded elsewhere can be named by their path (--kernel FOLDER)",
			options.Name, err)
	}
	return kernel, nil
}

// withPlaces gives places a directory in the store, as long as they are needed, and keeps what was seen in them.
func withPlaces[T any](options KernelOptions, use func(*places) (T, error)) (result T, err error) {
	for _, program := range []string{"apt-get", "apt-cache"} {
		if _, err := exec.LookPath(program); err != nil {
			return result, fmt.Errorf("%w in %s, and this machine has no %s to download one with. With dnf: dnf download kernel-core "+
				"kernel-modules-core kernel-modules kernel-modules-extra, in a folder of its own", ErrNoKernel, options.Cache, program)
		}
	}
	dir, cleanup, err := options.store().temporary()
	if err != nil {
		return result, err
	}
	defer cleanup()
	a := &places{options: options, dir: dir, opened: map[string]*place{}}
	result, err = use(a)
	return result, errors.Join(err, a.remember())
}

// fetch downloads a kernel and lets names mean it.
func (p *places) fetch(ctx context.Context, place *place, offer Offer) (*GuestKernel, error) {
	s := p.options.store()
	source := imagePackage + offer.Release + "_" + offer.Version
	kernel, folder, err := p.stored(s, offer)
	if err != nil {
		return nil, err
	}
	if kernel != nil {
		p.options.Progress(source + " is there already")
	} else if kernel, folder, err = p.download(ctx, s, place, offer, source); err != nil {
		return nil, err
	}
	var names []string
	if name := p.options.Name; name == DefaultKernel || name == NewestKernel || isPackageName(name) {
		names = append(names, name)
	}
	// By whatever name it was fetched: it may be the distribution's own of today.
	if own, found := place.find(DefaultKernel); found && place.suite == SystemSuite && own.Release == offer.Release {
		names = append(names, DefaultKernel)
	}
	for _, name := range slices.Compact(names) {
		if err := s.point(name, folder); err != nil {
			return nil, err
		}
	}
	return kernel, nil
}

// stored finds a kernel that has been unpacked from the very packages of an offer, with more modules or without.
func (p *places) stored(s store, offer Offer) (*GuestKernel, string, error) {
	for _, parts := range [][]aptPackage{offer.parts, slices.Concat(offer.parts, offer.extra)} {
		var hashes []string
		for _, part := range parts {
			hashes = append(hashes, part.SHA256)
		}
		folder := packagesFolder(hashes)
		if kernel, err := s.take(folder); err != nil || kernel != nil {
			return kernel, folder, err
		}
	}
	return nil, "", nil
}

// download downloads a kernel's packages and unpacks them. Ubuntu's flavours differ in where they have netem: if the modules
// are not enough, the package with more of them is taken as well.
func (p *places) download(ctx context.Context, s store, place *place, offer Offer, source string) (*GuestKernel, string, error) {
	dir, err := os.MkdirTemp(p.dir, "packages-")
	if err != nil {
		return nil, "", fmt.Errorf("kernel cache: %w", err)
	}
	p.options.Progress(fmt.Sprintf("downloading %s from %s (%s)", source, offer.Suite, humanize.Bytes(uint64(offer.Bytes))))
	paths, err := place.client.download(ctx, offer.parts, dir)
	if err != nil {
		return nil, "", err
	}
	kernel, folder, err := s.addPackages(ctx, paths, source)
	if !errors.Is(err, ErrNoModule) || len(offer.extra) == 0 {
		return kernel, folder, err
	}
	p.options.Progress(fmt.Sprintf("downloading %s (%s) too, since %v", offer.extra[0].Name, humanize.Bytes(uint64(offer.extra[0].Bytes)), err))
	more, err := place.client.download(ctx, offer.extra, dir)
	if err != nil {
		return nil, "", err
	}
	return s.addPackages(ctx, append(paths, more...), source)
}
