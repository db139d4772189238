package oracle

import (
	"fmt"
	"strings"
	"time"

	"github.com/tcplab/tcplab/harness/bounds"
)

// Span is a range of times, both ends in it, by the kernel's own clock. It is a Gomega matcher of a [time.Duration], and a
// bounds.Expectation, both of which allow for [Grain]:
//
//	lab.Measure("connect", connection.ConnectTime, syns.End)
type Span struct {
	Earliest time.Duration `json:"earliest_ns"` // itself in the span
	Latest   time.Duration `json:"latest_ns"`   // itself in the span
	Source   string        `json:"-"`           // where the rule stands: an RFC, a function of the kernel; empty where it is the caller's
}

// Grain is by how much evidence can be earlier than a rule of the kernel's allows. No edge of what is seen is exact:
//
//   - The kernel counts jiffies, and a tick that is due is counted only when its interrupt comes; on an idle CPU, when the next
//     interrupt of any kind comes (tick_irq_enter). What then runs in one soft interrupt, such as a packet that passes a
//     router and the host after it, goes on with the jiffy of its start: a timer that it sets past the edge of a tick fires
//     by as much too early.
//   - A time is seen from packet to packet, or from one system call's return to another's, and the kernel's work lies between
//     those and its clock: of the first event, it makes what is seen longer, of the second, shorter. Timers that fire in one
//     tick are worked off one after the other.
//
// Each is some 10 us to 200 us in a guest at 500 million instructions a second; none is more than a host takes for all that a
// tick or a packet causes, which the latest end of a [Kernel.Timer] allows for, too.
const Grain = dispatch

// Exactly is the span that is one point in time.
func Exactly(d time.Duration) Span { return Span{Earliest: d, Latest: d} }

// Between is the span from one time to another.
func Between(earliest, latest time.Duration) Span { return Span{Earliest: earliest, Latest: latest} }

// PollTimeout is how long epoll_wait(2), poll(2) or select(2) wait with that time-out where nothing comes: they may be late by a thousandth of
// it, 100 ms at most, so that timers can go off together (fs/select.c: select_estimate_accuracy). A Go program's deadlines and timers are
// such waits.
func PollTimeout(d time.Duration) Span {
	return Between(d, d+min(d/1000, 100*time.Millisecond)).From("select_estimate_accuracy")
}

// contains reports whether d, as it was seen, lies in the span. It may be by a grain early.
func (s Span) contains(d time.Duration) bool { return s.Earliest-Grain <= d && d <= s.Latest }

// Range is the span as bounds of what is seen.
func (s Span) Range() bounds.Range { return bounds.Between(s.Earliest-Grain, s.Latest).From(s.Source) }

// Plus is the span of one thing that follows another.
func (s Span) Plus(t Span) Span {
	source := s.Source
	switch {
	case source == "":
		source = t.Source
	case t.Source != "" && t.Source != source:
		source += "; " + t.Source
	}
	return Span{s.Earliest + t.Earliest, s.Latest + t.Latest, source}
}

// LateBy is the span with a later end, for what takes up to d to show: a round trip, a program that has to wake up.
func (s Span) LateBy(d time.Duration) Span {
	s.Latest += d
	return s
}

// From is the span with its source.
func (s Span) From(source string) Span {
	s.Source = source
	return s
}

// String is like "1s to 1.032s", or "1s".
func (s Span) String() string {
	if s.Earliest == s.Latest {
		return s.Earliest.String()
	}
	return fmt.Sprintf("%v to %v", s.Earliest, s.Latest)
}

// Match is for Gomega: it reports whether a [time.Duration] lies in the span.
func (s Span) Match(actual any) (bool, error) {
	d, ok := actual.(time.Duration)
	if !ok {
		return false, fmt.Errorf("a span takes a time.Duration, not a %T", actual)
	}
	return s.contains(d), nil
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

// By is how many of these things are seen by a time that is known as a span: at least those that are over before it, at most
// those that can have begun.
func (s Spans) By(then Span) bounds.Range {
	fewest, most := 0, 0
	source := ""
	for _, span := range s {
		source = span.Source
		if span.Latest <= then.Earliest-Grain {
			fewest++
		}
		if span.Earliest-Grain <= then.Latest {
			most++
		}
	}
	return bounds.Between(fewest, most).From(source)
}

// Match is for Gomega: it reports whether each duration of a []time.Duration lies in its span.
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
		if !s[i].contains(list[i]) {
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
