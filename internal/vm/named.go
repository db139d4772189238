package vm

import (
	"regexp"
	"strings"

	"pault.ag/go/debian/version"
)

// Series is a kernel's major and minor version: "6.1" of "6.1.0-56-amd64".
func Series(release string) string { return seriesOf.FindString(release) }

var seriesOf = regexp.MustCompile(`^[0-9]+\.[0-9]+`)

// standardRelease is a release of the flavour that a distribution has for ordinary machines. Debian's cloud and rt, or Ubuntu's
// lowlatency and azure, are asked for by their whole release: 6.12 must not be one thing on one machine and another
// on the next.
var standardRelease = regexp.MustCompile(`^[0-9.]+(-rc[0-9]+)?(\+deb[0-9]+)?(-[0-9]+)?-(amd64|generic)$` + // Debian, Ubuntu
	`|^[0-9][^+]*\.x86_64$`) // Fedora, whose other flavours end in +debug and the like

// means tells whether a version or release that somebody named means a release, whose package has a version: Debian's
// 6.1.172 is the release 6.1.0-48-amd64.
func means(name, release, version string) bool {
	return name == release || (isPrefix(name, release) || isPrefix(name, version)) && standardRelease.MatchString(release)
}

// isPrefix tells whether a version begins a release, up to the end of a number: 6.1 does begin
// 6.1.0-56-amd64, and not 6.12.95.
func isPrefix(name, release string) bool {
	rest, found := strings.CutPrefix(release, name)
	return found && (rest == "" || !isDigit(rest[0]))
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// compareVersions orders versions and releases as Debian does: numbers as numbers, so that 6.1.100 follows 6.1.99,
// and what begins with a tilde before what ends there, so that 7.3~rc7 comes before 7.3.
func compareVersions(a, b string) int {
	return version.Compare(splitVersion(a), splitVersion(b))
}

// splitVersion takes what is no version of Debian's as a whole.
func splitVersion(text string) version.Version {
	if parsed, err := version.Parse(text); err == nil {
		return parsed
	}
	return version.Version{Version: text}
}

// find returns the kernel that a name means, or nil.
func (l storedList) find(name string) *Stored {
	var found *Stored
	for i := range l {
		kernel := &l[i]
		if !kernel.Links[name].IsZero() {
			return kernel
		}
		if means(strings.TrimPrefix(name, imagePackage), kernel.Release, kernel.version) && (found == nil || kernel.compare(*found) > 0) {
			found = kernel
		}
	}
	return found
}

// named finds a kernel by its name, or none. One that is damaged is removed: the same name is then fetched anew, and
// does not quietly become an older kernel.
func (s store) named(name string) (*GuestKernel, error) {
	stored, err := s.list()
	if err != nil {
		return nil, err
	}
	found := stored.find(name)
	if found == nil {
		return nil, nil
	}
	return s.take(found.folder)
}
