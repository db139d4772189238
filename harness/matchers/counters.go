package matchers

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness/kernel"
)

// HaveGrown succeeds if a counter of a difference ([kernel.Counters.Since]) has the value, or
// satisfies the matcher. A name that the kernel does not have is an error, not zero. [HaveCounters] is the same of several.
func HaveGrown(name string, growth any) types.GomegaMatcher {
	return &matcher{
		claim: "have grown in " + name + by(growth, " by %v", ""),
		judge: func(actual any) (finding, error) {
			counters, isCounters := actual.(kernel.Counters)
			if !isCounters {
				return finding{}, fmt.Errorf("HaveGrown takes kernel.Counters, not a %T", actual)
			}
			value, err := counters.Get(name)
			if err != nil {
				return finding{}, err
			}
			ok, seen, err := quantity(name, value, growth)
			return finding{ok: ok, seen: seen, evidence: grown(counters)}, err
		},
	}
}

// HaveCounters succeeds if each counter that it names has grown by the value beside it, or by what satisfies the matcher. It takes
// a difference ([kernel.Counters.Since]); 0 stands for a counter that is unchanged:
//
//	Expect(client.Counters()).To(HaveCounters{"TcpRetransSegs": 2, "TcpExtTCPTimeouts": 0})
//
// A failure names each counter that differs. A name that the kernel does not have is an error, not zero; so is a claim about no
// counter at all.
type HaveCounters map[string]any

// Match is for Gomega.
func (h HaveCounters) Match(actual any) (bool, error) { return h.matcher().Match(actual) }

// FailureMessage is for Gomega.
func (h HaveCounters) FailureMessage(actual any) string {
	return h.asked(actual).FailureMessage(actual)
}

// NegatedFailureMessage is for Gomega.
func (h HaveCounters) NegatedFailureMessage(actual any) string {
	return h.asked(actual).NegatedFailureMessage(actual)
}

func (h HaveCounters) matcher() *matcher { return &matcher{claim: h.claim(), judge: h.judge} }

// asked is a matcher that was asked about actual: a map cannot keep what it saw.
func (h HaveCounters) asked(actual any) *matcher {
	m := h.matcher()
	_, _ = m.Match(actual) // of an error Gomega has heard before
	return m
}

func (h HaveCounters) claim() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(h)) {
		parts = append(parts, name+by(h[name], " %v", " as its matcher says"))
	}
	return "have counters grown by " + strings.Join(parts, ", ")
}

// judge compares all of the counters: what differs beside the first is evidence as well.
func (h HaveCounters) judge(actual any) (finding, error) {
	counters, isCounters := actual.(kernel.Counters)
	if !isCounters {
		return finding{}, fmt.Errorf("HaveCounters takes kernel.Counters, not a %T", actual)
	}
	if len(h) == 0 {
		return finding{}, errors.New("HaveCounters names no counter")
	}
	var differs []string
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(h)) {
		value, err := counters.Get(name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		ok, seen, err := quantity(name, value, h[name])
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		} else if !ok {
			differs = append(differs, seen)
		}
	}
	found := finding{ok: len(differs) == 0, seen: strings.Join(differs, "; "), evidence: grown(counters)}
	if found.ok {
		found.seen = "all of them"
	}
	return found, errors.Join(errs...)
}

// grown lists what has grown, since what one counter does not have is often in another.
func grown(counters kernel.Counters) string {
	var text strings.Builder
	text.WriteString("All that changed:")
	for _, name := range counters.Nonzero() {
		fmt.Fprintf(&text, "\n    %-32s %d", name, counters[name])
	}
	return text.String()
}
