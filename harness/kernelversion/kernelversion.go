// Package kernelversion reads the version of a kernel from its release, as uname -r prints it.
//
//	version, err := kernelversion.Running()
//	if version.AtLeast(6, 5) { ... }
//
// It imports nothing of tcplab.
package kernelversion

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Version is a kernel's version, to decide what to expect of it.
//
// Distributions backport patches, and not all of them count these in the release: Debian's 6.1.0-18-amd64 is
// upstream's 6.1.76. Rely on Major and Minor, and try a feature rather than ask for the version.
type Version struct {
	Major, Minor, Patch int
	Release             string // all of it, such as "6.1.0-18-amd64"
}

// Running returns the version of the kernel that this process runs on.
func Running() (Version, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Version{}, fmt.Errorf("kernel version: uname: %w", err)
	}
	return Parse(unix.ByteSliceToString(u.Release[:]))
}

// Parse reads a release such as "6.1.0-18-amd64", "5.15.167.4-microsoft-standard-WSL2", "6.13-rc3" or "6.12". What
// follows the third number is kept in Release only; a missing third number is 0. A text that does not begin with two
// numbers is an error.
func Parse(release string) (Version, error) {
	v := Version{Release: release}
	parts, err := parseNumbers(release)
	if err != nil || len(parts) < 2 {
		return Version{}, fmt.Errorf("kernel version %q: want it to begin with major.minor or major.minor.patch", release)
	}
	v.Major, v.Minor = parts[0], parts[1]
	if len(parts) > 2 {
		v.Patch = parts[2]
	}
	return v, nil
}

// parseNumbers returns the up to three numbers, with dots between them, that s begins with.
func parseNumbers(s string) ([]int, error) {
	var numbers []int
	for len(numbers) < 3 {
		end := 0
		for end < len(s) && s[end] >= '0' && s[end] <= '9' {
			end++
		}
		n, err := strconv.Atoi(s[:end])
		if err != nil {
			return nil, err
		}
		numbers = append(numbers, n)
		rest, more := strings.CutPrefix(s[end:], ".")
		if !more {
			break
		}
		s = rest
	}
	return numbers, nil
}

// compare returns -1, 0 or 1 where v is older than w, equal, or newer, by major, minor and patch.
func (v Version) compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

// AtLeast reports whether v is major.minor or newer.
func (v Version) AtLeast(major, minor int) bool {
	return v.compare(Version{Major: major, Minor: minor}) >= 0
}

// String returns major.minor.patch, which is a semantic version.
func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}
