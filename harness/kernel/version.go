package kernel

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Version is a kernel's version as uname -r has it, to decide what to expect of
// a kernel.
//
// Distributions patch their kernels, and do not all count the patches there:
// Debian's 6.1.0-18-amd64 is upstream's 6.1.76. Rely on Major and Minor, and
// prefer trying a feature to asking for the version.
type Version struct {
	Major, Minor, Patch int
	Release             string // all of it, such as "6.1.0-18-amd64"
}

// RunningVersion returns the version of the running kernel.
func RunningVersion() (Version, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Version{}, fmt.Errorf("kernel version: uname: %w", err)
	}
	return ParseVersion(unix.ByteSliceToString(u.Release[:]))
}

// ParseVersion parses a release such as "6.1.0-18-amd64", "5.15.167.4-microsoft-standard-WSL2",
// "6.13-rc3" or "6.12". What follows the third number does not count.
func ParseVersion(release string) (Version, error) {
	v := Version{Release: release}
	parts, err := parseNumbers(release)
	if err != nil || len(parts) < 2 {
		return Version{}, fmt.Errorf("kernel version %q: want major.minor or major.minor.patch in front", release)
	}
	v.Major, v.Minor = parts[0], parts[1]
	if len(parts) > 2 {
		v.Patch = parts[2]
	}
	return v, nil
}

// parseNumbers returns the numbers, up to three, with dots between them in front
// of s.
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

// Compare returns -1, 0 or 1 for an older, equal or newer version than w, by
// major, minor and patch.
func (v Version) Compare(w Version) int {
	return cmp.Or(cmp.Compare(v.Major, w.Major), cmp.Compare(v.Minor, w.Minor), cmp.Compare(v.Patch, w.Patch))
}

// AtLeast reports whether v is major.minor or newer.
func (v Version) AtLeast(major, minor int) bool {
	return v.Compare(Version{Major: major, Minor: minor}) >= 0
}

// String returns major.minor.patch, which is a semantic version.
func (v Version) String() string {
	return fmt.Sprintf("%d.%d.%d", v.Major, v.Minor, v.Patch)
}

// Satisfies reports whether v meets all of the conditions in a list such as
// ">= 6.5" or ">= 5.15, < 6.8". A condition is one of <, <=, =, >= and > with a
// version of one to three numbers. Only the numbers that it names are compared,
// so "= 6.1" and "<= 6.1" hold for 6.1.76.
func (v Version) Satisfies(conditions string) (bool, error) {
	all := true
	for condition := range strings.SplitSeq(conditions, ",") {
		ok, err := v.satisfies(strings.TrimSpace(condition))
		if err != nil {
			return false, fmt.Errorf("kernel condition %q: %w", conditions, err)
		}
		all = all && ok
	}
	return all, nil
}

func (v Version) satisfies(condition string) (bool, error) {
	number := strings.TrimLeft(condition, "<=>")
	operator := strings.TrimSuffix(condition, number)
	number = strings.TrimSpace(number)
	want := strings.Split(number, ".")
	if len(want) > 3 {
		return false, fmt.Errorf("version %q: want one to three numbers", number)
	}
	have := []int{v.Major, v.Minor, v.Patch}
	order := 0
	for i, s := range want {
		n, err := strconv.ParseUint(s, 10, 31)
		if err != nil {
			return false, fmt.Errorf("version %q: want one to three numbers", number)
		}
		order = cmp.Or(order, cmp.Compare(have[i], int(n)))
	}
	switch operator {
	case "<":
		return order < 0, nil
	case "<=":
		return order <= 0, nil
	case "=":
		return order == 0, nil
	case ">=":
		return order >= 0, nil
	case ">":
		return order > 0, nil
	default:
		return false, fmt.Errorf("operator %q: allowed are <, <=, =, >= and >", operator)
	}
}
