package oracle

import (
	"fmt"
	"strings"
	"time"
)

// Span is a range of times, both ends in it. It is a Gomega matcher of a [time.Duration]:
//
//	Expect(connection.ConnectTime).To(syns.End)
type Span struct {
	Earliest time.Duration `json:"earliest"`
	Latest   time.Duration `json:"latest"`
}

// Exactly is the span that is one point in time.
func Exactly(d time.Duration) Span { return Span{d, d} }

// Between is the span from one time to another.
func Between(earliest, latest time.Duration) Span { return Span{earliest, latest} }

// Contains tells whether d lies in the span.
func (s Span) Contains(d time.Duration) bool { return s.Earliest <= d && d <= s.Latest }

// Plus is the span of one thing that follows another.
func (s Span) Plus(t Span) Span { return Span{s.Earliest + t.Earliest, s.Latest + t.Latest} }

// LateBy is the span with a later end, for what takes up to d to show: a round trip, a program that has to wake up.
func (s Span) LateBy(d time.Duration) Span { return Span{s.Earliest, s.Latest + d} }

// String is like "1s to 1.032s", or "1s".
func (s Span) String() string {
	if s.Earliest == s.Latest {
		return s.Earliest.String()
	}
	return fmt.Sprintf("%v to %v", s.Earliest, s.Latest)
}

// Match is for Gomega: it tells whether a [time.Duration] lies in the span.
func (s Span) Match(actual any) (bool, error) {
	d, ok := actual.(time.Duration)
	if !ok {
		return false, fmt.Errorf("a span takes a time.Duration, not a %T", actual)
	}
	return s.Contains(d), nil
}

// FailureMessage is for Gomega.
func (s Span) FailureMessage(actual any) string {
	return fmt.Sprintf("Expected %v to be within %v", actual, s)
}

// NegatedFailureMessage is for Gomega.
func (s Span) NegatedFailureMessage(actual any) string {
	return fmt.Sprintf("Expected %v not to be within %v", actual, s)
}

// Spans are successive spans. They are a Gomega matcher of as many durations:
//
//	Expect(analysis.Gaps(slices.Values(syns))).To(expected.Gaps[:expected.Most])
type Spans []Span

// Match is for Gomega: it tells whether each duration of a []time.Duration lies in its span.
func (s Spans) Match(actual any) (bool, error) {
	list, ok := actual.([]time.Duration)
	if !ok {
		return false, fmt.Errorf("spans take a []time.Duration, not a %T", actual)
	}
	return len(list) == len(s) && s.outside(list) < 0, nil
}

// outside is the index of the first duration that is not in its span, or -1.
func (s Spans) outside(list []time.Duration) int {
	for i := range min(len(list), len(s)) {
		if !s[i].Contains(list[i]) {
			return i
		}
	}
	return -1
}

// FailureMessage is for Gomega.
func (s Spans) FailureMessage(actual any) string { return s.message(actual, "Expected") }

// NegatedFailureMessage is for Gomega.
func (s Spans) NegatedFailureMessage(actual any) string { return s.message(actual, "Did not expect") }

func (s Spans) message(actual any, verb string) string {
	list, _ := actual.([]time.Duration)
	var text strings.Builder
	fmt.Fprintf(&text, "%s %d durations within %d spans", verb, len(list), len(s))
	if i := s.outside(list); i >= 0 {
		fmt.Fprintf(&text, "; number %d is %v, allowed are %v", i+1, list[i], s[i])
	}
	fmt.Fprintf(&text, "\nSeen:    %v\nAllowed: %v", list, []Span(s))
	return text.String()
}
