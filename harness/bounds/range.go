package bounds

import (
	"fmt"
	"math"
)

// A Range is the values that are expected, both edges among them.
type Range struct {
	Lower, Upper float64 // -Inf and +Inf where there is no edge
	Unit         string  // as in Value; where it is empty, the value's
	Whole        bool    // edges are counts
	Source       string  // where it is from: an RFC, a sysctl, a kernel constant, a formula
}

// Expectation is what can say between which values something must lie: a Range, and an oracle.Span.
type Expectation interface{ Range() Range }

// Range makes a Range an Expectation.
func (r Range) Range() Range { return r }

// Between is the range from one value to another.
func Between[T Number](lower, upper T) Range {
	low, high := valueOf(lower), valueOf(upper)
	return Range{Lower: low.Number, Upper: high.Number, Unit: low.Unit, Whole: low.Whole}
}

// Around is the range of what is no further from a value than the tolerance.
func Around[T Number](value, tolerance T) Range {
	v, t := valueOf(value), valueOf(tolerance)
	return Range{Lower: v.Number - t.Number, Upper: v.Number + t.Number, Unit: v.Unit, Whole: v.Whole}
}

// Exactly is one value.
func Exactly[T Number](value T) Range { return Between(value, value) }

// AtLeast is a value and what is greater.
func AtLeast[T Number](lower T) Range {
	r := Between(lower, lower)
	r.Upper = math.Inf(1)
	return r
}

// AtMost is a value and what is less.
func AtMost[T Number](upper T) Range {
	r := Between(upper, upper)
	r.Lower = math.Inf(-1)
	return r
}

// In is the same range in a unit, for bounds of a value that has one.
func (r Range) In(unit string) Range {
	r.Unit = unit
	return r
}

// From is the same range with its source.
func (r Range) From(source string) Range {
	r.Source = source
	return r
}

// Fits is an error if a value cannot be compared with the range: it has another unit, or the range is empty.
func (r Range) Fits(v Value) error {
	if r.Unit != "" && r.Unit != v.Unit {
		return fmt.Errorf("a value in %q cannot be compared with bounds in %q", v.Unit, r.Unit)
	}
	if !(r.Lower <= r.Upper) { // or one of them is not a number
		return fmt.Errorf("nothing lies between %v and %v", r.Lower, r.Upper)
	}
	return nil
}

// Contains reports whether a value lies in the range.
func (r Range) Contains(v Value) bool { return r.Lower <= v.Number && v.Number <= r.Upper }

// Match is for Gomega.
func (r Range) Match(actual any) (bool, error) {
	v, err := Of(actual)
	if err != nil {
		return false, err
	}
	return r.Contains(v), r.Fits(v)
}

// FailureMessage is for Gomega.
func (r Range) FailureMessage(actual any) string { return r.message(actual, "to be") }

// NegatedFailureMessage is for Gomega.
func (r Range) NegatedFailureMessage(actual any) string { return r.message(actual, "not to be") }

func (r Range) message(actual any, verb string) string {
	text := fmt.Sprintf("Expected %v %s within %v to %v", actual, verb, r.Lower, r.Upper)
	if r.Unit != "" {
		text += " " + r.Unit
	}
	if r.Source != "" {
		text += " (" + r.Source + ")"
	}
	return text
}
