package vm

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/scratch"
)

// An Offer is a kernel that can be fetched.
type Offer struct {
	Release string    `json:"release"` // uname -r
	Version string    `json:"version"` // of its package
	Suite   string    `json:"suite"`   // of Debian's archive, or [SystemSuite]
	Bytes   int64     `json:"bytes"`   // to download
	Seen    time.Time `json:"seen"`

	parts []aptPackage // the first one has the kernel's name
	extra []aptPackage // more modules, if those are not enough
}

// SystemSuite stands for what the system's own sources have.
const SystemSuite = "this system's archive"

// kernelPackages are those that a kernel can consist of: Debian's linux-image-* was one package until 6.17, and depends
// on linux-base-* (6.18), linux-binary-* and linux-modules-* (6.19) since. Ubuntu's has linux-modules-* and
// linux-modules-extra-*.
var kernelPackages = regexp.MustCompile(`^linux-(image|binary|modules|base)-`)

// imagePackage begins the names of packages and metapackages that stand for a kernel.
const imagePackage = "linux-image-"

// metapackages depend on the newest kernel of a release: Debian's, and Ubuntu's.
var metapackages = []string{"linux-image-amd64", "linux-image-generic"}

// releasePackage finds the release of a kernel in the name of its package. (Packages of Ubuntu's are signed and, with another
// name, unsigned.)
var releasePackage = regexp.MustCompile(`^linux-image-(?:unsigned-)?([0-9].*)$`)

// newest is the newest version of a package, or nil.
func (p *place) newest(name string) *aptPackage {
	var found *aptPackage
	for i := range p.packages {
		candidate := &p.packages[i]
		if candidate.Name == name && (found == nil || compareVersions(candidate.Version, found.Version) > 0) {
			found = candidate
		}
	}
	return found
}

// offers lists the kernels of a place, each release once.
func (p *place) offers() (offers []Offer) {
	seen := map[string]bool{}
	for _, candidate := range p.packages {
		release, _ := candidate.release()
		own := releasePackage.FindStringSubmatch(candidate.Name)
		if own == nil || own[1] != release || seen[release] || strings.HasSuffix(release, "-dbg") || strings.HasSuffix(release, "-unsigned") {
			continue
		}
		seen[release] = true
		if offer, whole := p.offer(release); whole {
			offers = append(offers, offer)
		}
	}
	return offers
}

// offer puts together the packages of a release: that of its image, and those that it depends on which are of the same
// release. It is not whole if one of them is gone: of Debian's backports some packages stay longer than others.
func (p *place) offer(release string) (offer Offer, whole bool) {
	image := p.newest(imagePackage + release)
	if image == nil {
		image = p.newest(imagePackage + "unsigned-" + release)
	}
	offer = Offer{Release: release, Version: image.Version, Suite: p.suite, parts: []aptPackage{*image}, Seen: time.Now()}
	for _, name := range image.Depends {
		if !kernelPackages.MatchString(name) || !strings.HasSuffix(name, "-"+release) {
			continue
		}
		part := p.newest(name)
		if part == nil {
			return Offer{}, false
		}
		offer.parts = append(offer.parts, *part)
	}
	if extra := p.newest("linux-modules-extra-" + release); extra != nil {
		offer.extra = []aptPackage{*extra}
	}
	for _, part := range offer.parts {
		offer.Bytes += part.Bytes
	}
	return offer, true
}

// find returns the newest kernel that a name means here.
func (p *place) find(name string) (found Offer, ok bool) {
	switch {
	case name == DefaultKernel:
		for _, meta := range metapackages {
			if offer, ok := p.find(meta); ok {
				return offer, true
			}
		}
		return Offer{}, false
	case isPackageName(name):
		release, known := p.releaseOf(name)
		if !known {
			return Offer{}, false
		}
		name = release
	}
	for _, offer := range p.offers() {
		fits := means(name, offer.Release, offer.Version)
		if name == NewestKernel {
			fits = standardRelease.MatchString(offer.Release)
		}
		if fits && (!ok || compareVersions(offer.Version, found.Version) > 0) {
			found, ok = offer, true
		}
	}
	return found, ok
}

// releaseOf finds the release that a package, or what a metapackage depends on, is of.
func (p *place) releaseOf(name string) (string, bool) {
	named := p.newest(name)
	if named == nil {
		return "", false
	}
	return named.release()
}

// release is that of the kernel that a package has, or depends on. What it depends on comes first: Debian has metapackages that are named
// like a release (linux-image-6.12-amd64 in bookworm).
func (p *aptPackage) release() (release string, known bool) {
	for _, name := range append(slices.Clone(p.Depends), p.Name) {
		if match := releasePackage.FindStringSubmatch(name); match != nil {
			return match[1], true
		}
	}
	return "", false
}

// seriesNames are the series of the standard kernels among some, in order.
func seriesNames(offers []Offer) (names []string) {
	for _, offer := range NewestOfEachSeries(offers) {
		names = append(names, Series(offer.Release))
	}
	return names
}

// NewestOfEachSeries leaves of several kernels the newest of each series, in order, and none that a series does not mean.
func NewestOfEachSeries(offers []Offer) []Offer {
	newest := map[string]Offer{}
	for _, offer := range offers {
		series := Series(offer.Release)
		if !means(series, offer.Release, offer.Version) {
			continue
		}
		if other, ok := newest[series]; !ok || compareVersions(offer.Version, other.Version) > 0 {
			newest[series] = offer
		}
	}
	var list []Offer
	for _, offer := range newest {
		list = append(list, offer)
	}
	slices.SortFunc(list, func(a, b Offer) int { return compareVersions(a.Release, b.Release) })
	return list
}

// offersFile has what was last seen in each place.
const offersFile = "offers.json"

// KnownOffers lists the kernels that were seen in archives when one was last fetched, or looked for ([LookForKernels]). It asks
// nobody.
func KnownOffers(cache string) ([]Offer, error) {
	text, err := os.ReadFile(openStore(cache, nil).path(offersFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var offers []Offer
	if json.Unmarshal(text, &offers) != nil {
		return nil, nil // it is written anew with the next look
	}
	return offers, nil
}

// remember keeps what was seen, instead of what had been seen in the same places, and in those that are no more.
func (p *places) remember() error {
	known, err := KnownOffers(p.options.Cache)
	if err != nil {
		return err
	}
	known = slices.DeleteFunc(known, func(offer Offer) bool {
		gone := p.suites != nil && offer.Suite != SystemSuite && !slices.Contains(p.suites, offer.Suite)
		return gone || p.opened[offer.Suite] != nil
	})
	for _, place := range p.opened {
		known = append(known, place.offers()...)
	}
	slices.SortFunc(known, func(a, b Offer) int {
		return cmp.Or(compareVersions(a.Release, b.Release), cmp.Compare(a.Suite, b.Suite))
	})
	text, err := json.MarshalIndent(known, "", " ")
	if err != nil {
		return err
	}
	if err := scratch.WriteFile(p.options.store().path(offersFile), append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("kernel cache: %w", err)
	}
	return nil
}

// LookForKernels looks at all archives that kernels can be fetched from: the system's, and Debian's. An archive that cannot
// be looked at is no error: Progress is told.
func LookForKernels(ctx context.Context, options KernelOptions) ([]Offer, error) {
	options, err := options.complete()
	if err != nil {
		return nil, err
	}
	return withPlaces(options, func(a *places) ([]Offer, error) {
		var offers []Offer
		suites, err := a.debianSuites(ctx)
		if err != nil {
			options.Progress(err.Error())
		}
		for _, suite := range append([]string{SystemSuite}, suites...) {
			place, err := a.open(ctx, suite)
			if err != nil {
				options.Progress(err.Error())
				continue
			}
			offers = append(offers, place.offers()...)
		}
		return offers, nil
	})
}
