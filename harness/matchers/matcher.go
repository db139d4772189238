package matchers

import (
	"fmt"
	"strings"

	"github.com/onsi/gomega"
	"github.com/onsi/gomega/types"
)

// A finding is what a matcher made of its evidence.
type finding struct {
	ok       bool
	seen     string // in words
	evidence string // lines to show beside it
}

// A matcher judges evidence and can say what it saw.
type matcher struct {
	claim string // completes "expected to"
	judge func(actual any) (finding, error)
	last  finding
}

func (m *matcher) Match(actual any) (bool, error) {
	found, err := m.judge(actual)
	m.last = found
	return found.ok, err
}

func (m *matcher) FailureMessage(any) string { return m.message("Expected to " + m.claim) }

func (m *matcher) NegatedFailureMessage(any) string { return m.message("Expected not to " + m.claim) }

func (m *matcher) message(expected string) string {
	parts := []string{expected, "Seen: " + m.last.seen}
	if m.last.evidence != "" {
		parts = append(parts, m.last.evidence)
	}
	return strings.Join(parts, "\n")
}

// quantity judges a number of something: expected is a number, or a matcher. It also
// returns what was seen in words.
func quantity(what string, value any, expected any) (ok bool, seen string, err error) {
	m, isMatcher := expected.(types.GomegaMatcher)
	if !isMatcher {
		ok, err = gomega.BeNumerically("==", expected).Match(value)
		seen = fmt.Sprintf("%s: %v", what, value)
		if !ok {
			seen += fmt.Sprintf(", expected %v", expected)
		}
		return ok, seen, err
	}
	if ok, err = m.Match(value); err != nil {
		return false, "", err
	}
	// The matcher knows best how to say what it wants, once it has been asked.
	message := m.FailureMessage
	if ok {
		message = m.NegatedFailureMessage
	}
	return ok, fmt.Sprintf("%s: %s", what, strings.Join(strings.Fields(message(value)), " ")), nil
}

// times says how often something is claimed: for the end of a claim.
func times(count []any) string {
	if len(count) == 0 {
		return ""
	}
	return by(count[0], ", %v of them", "")
}

// by says a number in a claim, or something else for a matcher, which speaks for itself.
func by(expected any, format, otherwise string) string {
	if _, isMatcher := expected.(types.GomegaMatcher); isMatcher {
		return otherwise
	}
	return fmt.Sprintf(format, expected)
}

// atLeastOne is what is expected where no count, or just one, is given.
func atLeastOne(count []any) any {
	switch len(count) {
	case 0:
		return gomega.BeNumerically(">=", 1)
	case 1:
		return count[0]
	default:
		return tooMany(len(count))
	}
}

// tooMany refuses several counts: what they should mean together nobody can know.
func tooMany(n int) types.GomegaMatcher {
	return gomega.WithTransform(func(any) (int, error) {
		return 0, fmt.Errorf("%d counts: at most one makes sense, And(...) makes one of several matchers", n)
	}, gomega.Equal(0))
}
