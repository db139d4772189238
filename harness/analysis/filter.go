package analysis

import (
	"iter"
	"net/netip"
	"strings"
	"time"
)

// Filter chooses segments.
type Filter func(Segment) bool

// Where returns the segments for which all filters hold.
func Where(segments iter.Seq[Segment], filters ...Filter) iter.Seq[Segment] {
	keep := All(filters...)
	return func(yield func(Segment) bool) {
		for s := range segments {
			if keep(s) && !yield(s) {
				return
			}
		}
	}
}

// All holds if all of the filters hold, and if there is none.
func All(filters ...Filter) Filter {
	return func(s Segment) bool {
		for _, f := range filters {
			if !f(s) {
				return false
			}
		}
		return true
	}
}

// Not holds if the filter does not.
func Not(f Filter) Filter { return func(s Segment) bool { return !f(s) } }

// On chooses the segments that passed the interface of that name.
func On(name string) Filter { return func(s Segment) bool { return s.Interface == name } }

// Going chooses the segments that passed their interface in that direction.
func Going(d Direction) Filter { return func(s Segment) bool { return s.Direction == d } }

// From chooses by the source address.
func From(a netip.Addr) Filter {
	a = a.Unmap()
	return func(s Segment) bool { return s.Src.Addr().Unmap() == a }
}

// To chooses by the destination address.
func To(a netip.Addr) Filter {
	a = a.Unmap()
	return func(s Segment) bool { return s.Dst.Addr().Unmap() == a }
}

// FromPort chooses by the source port.
func FromPort(port uint16) Filter { return func(s Segment) bool { return s.Src.Port() == port } }

// Connection chooses both directions of a connection.
func Connection(f Flow) Filter {
	return func(s Segment) bool { return s.Flow() == f || s.Flow() == f.Reverse() }
}

// With chooses the segments that have all of the flags, and maybe others.
func With(flags Flags) Filter { return func(s Segment) bool { return s.Flags&flags == flags } }

// SYNs chooses the segments that ask for a connection: SYN without ACK.
func SYNs(s Segment) bool { return s.Flags&(FlagSYN|FlagACK) == FlagSYN }

// SYNACKs chooses the answers to them: SYN with ACK.
func SYNACKs(s Segment) bool { return s.Flags&(FlagSYN|FlagACK) == FlagSYN|FlagACK }

// RSTs chooses resets.
func RSTs(s Segment) bool { return s.Flags&FlagRST != 0 }

// FINs chooses the segments that end a direction.
func FINs(s Segment) bool { return s.Flags&FlagFIN != 0 }

// WithData chooses the segments that have payload.
func WithData(s Segment) bool { return s.Length > 0 }

// DroppedSuffix ends the name of an interface whose packets were dropped before they were on a
// link: package capture writes such interfaces for what rules dropped.
const DroppedSuffix = " dropped"

// NeverSent chooses the segments that an impairment dropped before they were sent: those on an
// interface with [DroppedSuffix].
func NeverSent(s Segment) bool { return strings.HasSuffix(s.Interface, DroppedSuffix) }

// Count returns the number of segments.
func Count(segments iter.Seq[Segment]) int {
	n := 0
	for range segments {
		n++
	}
	return n
}

// Gaps returns the times between successive segments: one less than there are
// segments.
func Gaps(segments iter.Seq[Segment]) []time.Duration {
	var gaps []time.Duration
	var last time.Duration
	first := true
	for s := range segments {
		if !first {
			gaps = append(gaps, s.At-last)
		}
		last, first = s.At, false
	}
	return gaps
}
