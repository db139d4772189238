package vm

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/vm/guest"
)

// An aptSetup says where packages are looked for. The zero value is what the system is configured for.
type aptSetup struct {
	sources string // a directory of sources instead of the system's
	archive string // the address of Debian's archive
}

// A place is where packages are: a suite of Debian's archive, or all that the system is configured for.
type place struct {
	suite    string
	client   aptClient
	packages []aptPackage
}

// places are opened when they are needed.
type places struct {
	options KernelOptions
	dir     string // for lists and packages
	opened  map[string]*place
	address string   // of Debian's archive, when it has been found
	suites  []string // of that archive
}

// releaseOf names the suite that is known to have a series, so that the others need not be looked at.
var releaseOf = map[string]string{"6.1": "bookworm"}

// open opens a place by the name of its suite.
func (p *places) open(ctx context.Context, suite string) (*place, error) {
	if found, ok := p.opened[suite]; ok {
		return found, nil
	}
	var opened *place
	var err error
	if suite == SystemSuite {
		opened, err = p.openSystem(ctx, false)
	} else {
		opened, err = p.openSuite(ctx, suite)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", suite, err)
	}
	p.opened[suite] = opened
	return opened, nil
}

// client makes a client with a directory of its own.
func (p *places) client(name string) (aptClient, error) {
	dir := filepath.Join(p.dir, strings.ReplaceAll(name, " ", "-"))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return aptClient{}, fmt.Errorf("kernel cache: %w", err)
	}
	client := aptClient{dir: dir, guests: runtime.GOARCH != guest.Arch}
	if setup := p.options.apt; setup.sources != "" {
		client.sources, client.alone, client.insecure = setup.sources, true, true
	}
	return client, nil
}

// openSystem looks at the archives that the system is configured for, in its own lists if they have a kernel. They may be
// missing (a container) or old (the package that they name is gone): then lists of our own are fetched from the
// same sources, so that neither root nor a change of the system is needed.
func (p *places) openSystem(ctx context.Context, fresh bool) (*place, error) {
	client, err := p.client("system")
	if err != nil {
		return nil, err
	}
	if !fresh && !client.guests && !client.alone {
		if system, err := readPlace(ctx, SystemSuite, client); err == nil && len(system.offers()) > 0 {
			return system, nil
		}
	}
	p.options.Progress("fetching package lists")
	client.ownLists = true
	if err := client.update(ctx); err != nil {
		return nil, err
	}
	return readPlace(ctx, SystemSuite, client)
}

func (p *places) openSuite(ctx context.Context, suite string) (*place, error) {
	address, err := p.debian(ctx)
	if err != nil {
		return nil, err
	}
	client, err := p.client(suite)
	if err != nil {
		return nil, err
	}
	p.options.Progress("fetching the package list of Debian's " + suite)
	if client, err = client.onlySuite(ctx, address, suite); err != nil {
		return nil, err
	}
	return readPlace(ctx, suite, client)
}

// debian finds the address of Debian's archive. Where the system has no package lists, as in a container, it is found with
// lists of our own.
func (p *places) debian(ctx context.Context) (string, error) {
	if p.address != "" {
		return p.address, nil
	}
	if p.address = p.options.apt.archive; p.address != "" {
		return p.address, nil
	}
	client, err := p.client("sources")
	if err != nil {
		return "", err
	}
	p.address, err = client.debianArchive(ctx)
	if errors.Is(err, errNoArchive) && !client.guests {
		client.ownLists = true
		if err := client.update(ctx); err != nil {
			return "", err
		}
		p.address, err = client.debianArchive(ctx)
	}
	return p.address, err
}

// debianSuites are those of Debian's archive that can have a kernel, small lists first. Which releases are the
// current ones only the archive knows.
func (p *places) debianSuites(ctx context.Context) ([]string, error) {
	if p.suites != nil {
		return p.suites, nil
	}
	address, err := p.debian(ctx)
	if err != nil {
		return nil, err
	}
	client, err := p.client("releases")
	if err != nil {
		return nil, err
	}
	stable, err := client.codename(ctx, address, "stable")
	if err != nil {
		return nil, err
	}
	p.suites = []string{stable + "-backports", newestDebian, stable}
	if before, err := client.codename(ctx, address, "oldstable"); err == nil { // it is gone some years after its successor has come
		p.suites = []string{stable + "-backports", before + "-backports", newestDebian, stable, before}
	}
	return p.suites, nil
}

// newestDebian is the suite that new packages come to first.
const newestDebian = "sid"

func readPlace(ctx context.Context, suite string, client aptClient) (*place, error) {
	packages, err := client.packages(ctx, "linux-", kernelPackages)
	if err != nil {
		return nil, err
	}
	return &place{suite: suite, client: client, packages: packages}, nil
}

// look finds the kernel that a name means: where it is first found, or, if it is the newest, among all that is new.
func (p *places) look(ctx context.Context, name string) (*place, Offer, error) {
	var failures []error
	try := func(suites ...string) (at *place, found Offer) {
		for _, suite := range suites {
			place, err := p.open(ctx, suite)
			if err != nil {
				failures = append(failures, err)
			} else if offer, ok := place.find(name); ok {
				return place, offer
			}
		}
		return nil, Offer{}
	}
	if name != NewestKernel {
		places := []string{SystemSuite}
		if suite, known := releaseOf[Series(name)]; known {
			places = append(places, suite)
		}
		if at, found := try(places...); at != nil {
			return at, found, nil
		}
		if name == DefaultKernel {
			return nil, Offer{}, p.notFound(name, failures)
		}
	}
	suites, err := p.debianSuites(ctx)
	if err != nil {
		return nil, Offer{}, p.notFound(name, append(failures, err))
	}
	if name == NewestKernel {
		return p.lookAtAll(ctx, []string{suites[0], newestDebian}, name)
	}
	if at, found := try(suites...); at != nil {
		return at, found, nil
	}
	return nil, Offer{}, p.notFound(name, failures)
}

// lookAtAll finds the newest kernel of several places. One that cannot be looked at might have had it.
func (p *places) lookAtAll(ctx context.Context, suites []string, name string) (at *place, found Offer, err error) {
	for _, suite := range suites {
		place, err := p.open(ctx, suite)
		if err != nil {
			return nil, Offer{}, err
		}
		if offer, ok := place.find(name); ok && (at == nil || compareVersions(offer.Version, found.Version) > 0) {
			at, found = place, offer
		}
	}
	if at == nil {
		return nil, Offer{}, p.notFound(name, nil)
	}
	return at, found, nil
}

func (p *places) notFound(name string, failures []error) error {
	var looked []string
	var offers []Offer
	for suite, place := range p.opened {
		looked = append(looked, suite)
		offers = append(offers, place.offers()...)
	}
	slices.Sort(looked)
	err := fmt.Errorf("%w %s in %s", ErrNoKernel, name, cmp.Or(strings.Join(looked, ", "), "any archive"))
	if series := seriesNames(offers); len(series) > 0 {
		err = fmt.Errorf("%w, which have %s", err, strings.Join(series, ", "))
	}
	return errors.Join(append([]error{err}, failures...)...)
}
