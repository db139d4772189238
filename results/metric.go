package results

import (
	"fmt"
	"math"
	"strings"
)

// A Metric is a number that a scenario is about, or one that it checks, with what was expected of it.
type Metric struct {
	Name   string  `json:"name"` // for example "goodput"
	Value  float64 `json:"value"`
	Unit   string  `json:"unit,omitempty"`   // for example "Mbit/s"; times are in "s"
	Whole  bool    `json:"whole,omitempty"`  // it counts something
	Of     int     `json:"of,omitempty"`     // it is the one of so many values that was nearest to an edge; 0 is the only one
	Bounds *Bounds `json:"bounds,omitempty"` // nil: anything was allowed
}

// Bounds are what was expected of a metric, and how near to that it came.
type Bounds struct {
	Lower *float64 `json:"lower,omitempty"` // in the metric's unit, itself allowed; nil is none
	Upper *float64 `json:"upper,omitempty"` // likewise

	// Margin is the distance to what is no longer allowed, in the metric's unit: negative where the metric is outside. Of
	// whole numbers it is counted to the nearest one that is not allowed.
	Margin float64 `json:"margin"`
	// Share is the same as a share of the width between the bounds, 0.5 at most; with one bound only, of the greater of
	// bound and value.
	Share float64 `json:"share"`

	Source string `json:"source,omitempty"` // an RFC, a sysctl, a kernel constant, a formula
}

// near reports whether a metric is so near to an edge that another kernel, compiler or machine could bring it out of
// its bounds: by less than a share of their width. A time that is half a millisecond away from an edge is not: that is
// more than a host does to a packet beyond what the edge allows for already.
func (f Metric) near(share float64) bool {
	return f.Bounds != nil && f.Bounds.Share < share && !f.far()
}

// far reports whether a metric is too far from an edge for its share to matter.
func (f Metric) far() bool {
	const far = 0.0005 // s
	return f.Unit == secondsUnit && f.Bounds.Margin >= far
}

// NearerThan reports whether a metric came nearer to an edge of its bounds than another did to one of its own. A time that is
// half a millisecond away from an edge is farther than what is not, whatever the width of the bounds; else it is the share of
// the width that counts. What has no bounds is the farthest.
func (f Metric) NearerThan(other Metric) bool {
	switch {
	case f.Bounds == nil || other.Bounds == nil:
		return f.Bounds != nil && other.Bounds == nil
	case f.far() != other.far():
		return other.far()
	default:
		return f.Bounds.Share < other.Bounds.Share
	}
}

// secondsUnit is the unit of all times in a record. People are shown smaller ones where they read better.
const secondsUnit = "s"

// String is such as "probe after 45.2 ms, expected 43 to 53 ms: RFC 8985, 7.2".
func (f Metric) String() string {
	p := parts(f)
	text := p.name + " " + p.value
	if p.expected != "" {
		text += ", " + p.expected
	}
	return text
}

// expectation is such as "43 to 53 ms: RFC 8985, 7.2", or empty.
func (f Metric) expectation() string {
	b := f.Bounds
	if b == nil {
		return ""
	}
	var text string
	switch {
	case b.Lower != nil && b.Upper != nil && *b.Lower == *b.Upper:
		text = quantity(*b.Lower, f.Unit)
	case b.Lower != nil && b.Upper != nil:
		scale, unit := unitOf(max(math.Abs(*b.Lower), math.Abs(*b.Upper)), f.Unit)
		text = number(*b.Lower*scale) + " to " + withUnit(*b.Upper*scale, unit)
	case b.Lower != nil:
		text = "at least " + quantity(*b.Lower, f.Unit)
	case b.Upper != nil:
		text = "at most " + quantity(*b.Upper, f.Unit)
	}
	if source := printable(b.Source); source != "" {
		text = strings.TrimPrefix(text+": "+source, ": ")
	}
	return text
}

// quantity is a number with its unit, for a person: a time below a second in milliseconds or microseconds.
func quantity(value float64, unit string) string {
	scale, unit := unitOf(math.Abs(value), unit)
	return withUnit(value*scale, unit)
}

func withUnit(value float64, unit string) string {
	return strings.TrimSpace(number(value) + " " + printable(unit))
}

// unitOf chooses the unit in which a value of that size is shown, and what to multiply it by.
func unitOf(size float64, unit string) (scale float64, shown string) {
	switch {
	case unit != secondsUnit || size == 0 || size >= 1:
		return 1, unit
	case size >= 1e-3:
		return 1e3, "ms"
	default:
		return 1e6, "us"
	}
}

// validate returns the first fault of the metric. The text begins with the field's name, for Record.Validate.
func (f Metric) validate() error {
	type field struct {
		name  string
		value *float64
	}
	fields := []field{{"value", &f.Value}}
	if b := f.Bounds; b != nil {
		fields = append(fields, field{"bounds.lower", b.Lower}, field{"bounds.upper", b.Upper},
			field{"bounds.margin", &b.Margin}, field{"bounds.share", &b.Share})
	}
	for _, field := range fields {
		if v := field.value; v != nil && (math.IsNaN(*v) || math.IsInf(*v, 0)) {
			return fmt.Errorf(".%s (%s) is %v: must be a finite number", field.name, f.Name, *v)
		}
	}
	switch b := f.Bounds; {
	case f.Of < 0:
		return fmt.Errorf(".of (%s) is %d: must not be negative", f.Name, f.Of)
	case b != nil && b.Lower != nil && b.Upper != nil && *b.Lower > *b.Upper:
		return fmt.Errorf(".bounds (%s): lower %v is above upper %v", f.Name, *b.Lower, *b.Upper)
	}
	return nil
}
