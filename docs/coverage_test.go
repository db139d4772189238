// Package docs has the longer documentation, and the tests that compare it with the code.
package docs

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/tcplab/tcplab/internal/runner"
)

// A row of coverage.md: a behaviour, and the specs that show it or the reason why none can.
type row struct {
	suite, behaviour string
	specs            []string
	reason           string
}

// readCoverage reads the tables of coverage.md. A spec's cell holds full texts, separated by
// <br>, or "none:" and a reason.
func readCoverage(t *testing.T) []row {
	t.Helper()
	file, err := os.Open("coverage.md")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var rows []row
	suite := ""
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		line := lines.Text()
		if title, isTitle := strings.CutPrefix(line, "## "); isTitle {
			suite = title
			continue
		}
		cells := strings.Split(strings.Trim(line, "| "), "|")
		if !strings.HasPrefix(line, "|") || strings.HasPrefix(line, "|---") || cells[0] == "behaviour " {
			continue
		}
		r := row{suite: suite, behaviour: strings.TrimSpace(cells[0])}
		if len(cells) > 1 {
			content := strings.TrimSpace(cells[1])
			if reason, isReason := strings.CutPrefix(content, "none:"); isReason {
				r.reason = strings.TrimSpace(reason)
			} else if content != "" {
				for _, text := range strings.Split(content, "<br>") {
					r.specs = append(r.specs, strings.TrimSpace(text))
				}
			}
		}
		rows = append(rows, r)
	}
	if err := lines.Err(); err != nil {
		t.Fatal(err)
	}
	return rows
}

// scenarios are all suites, compiled once for all tests.
var scenarios = sync.OnceValues(func() ([]*runner.Suite, error) {
	return runner.List(context.Background(), []string{"../scenarios/..."}, runner.Filter{})
})

func listScenarios(t *testing.T) []*runner.Suite {
	t.Helper()
	if testing.Short() {
		t.Skip("compiles all suites")
	}
	suites, err := scenarios()
	if err != nil {
		t.Fatal(err)
	}
	return suites
}

func TestCoverageNamesEachSpecAndEachBehaviour(t *testing.T) {
	unnamed := map[string]string{} // specs that no row names, and where they are
	for _, suite := range listScenarios(t) {
		for _, spec := range suite.Specs {
			unnamed[suite.Name+": "+spec.Text] = spec.Location
		}
	}
	known := maps.Clone(unnamed)
	for _, r := range readCoverage(t) {
		if len(r.specs) == 0 && r.reason == "" {
			t.Errorf("%s, %s: neither a spec nor a reason", r.suite, r.behaviour)
		}
		for _, text := range r.specs {
			name := r.suite + ": " + text
			if _, isKnown := known[name]; !isKnown {
				t.Errorf("%s, %s: no spec has the text %q", r.suite, r.behaviour, text)
			}
			delete(unnamed, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unnamed)) {
		t.Errorf("%s (%s) is in no row", name, unnamed[name])
	}
}

var source = regexp.MustCompile(`^(rfc[0-9]+|linux)$`)

// Labels are what users select by: each spec says what it costs, and where its expectation is
// from. Its subject is its suite, whose name is a label of all its specs.
func TestSpecsHaveTheLabelsThatAreDocumented(t *testing.T) {
	for _, suite := range listScenarios(t) {
		for _, spec := range suite.Specs {
			where := fmt.Sprintf("%s: %s (%s) %v", suite.Name, spec.Text, spec.Location, spec.Labels)
			if slices.Contains(spec.Labels, "quick") == slices.Contains(spec.Labels, "long") {
				t.Errorf("%s: needs one of quick and long", where)
			}
			if !slices.ContainsFunc(spec.Labels, source.MatchString) {
				t.Errorf("%s: needs an rfc label, or linux where only the kernel's source says so", where)
			}
		}
	}
}
