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
		return ok, fmt.Sprintf("%s: %v, expected %v", what, value, expected), err
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
