package runner

import (
	"bytes"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/results"
)

// groups are the texts of what runs together.
func groups(suite *Suite) [][]string { return textsOf(suite.together()) }

func textsOf(groups [][]*Spec) [][]string {
	var all [][]string
	for _, group := range groups {
		var texts []string
		for _, spec := range group {
			texts = append(texts, spec.Text)
		}
		all = append(all, texts)
	}
	return all
}

var (
	flows = []string{
		"two flows, one after the other, measures BBR", "two flows, one after the other, measures CUBIC",
		"two flows, one after the other, compares them",
	}
	failing = []string{"a failure comes first", "a failure keeps what comes after it from running"}
)

func TestOrderedContainers(t *testing.T) {
	needGo(t)
	for _, c := range []struct {
		name     string
		filter   Filter
		expected [][]string
		added    int
	}{
		{"all", Filter{}, [][]string{
			{"stands alone"}, flows, {"two flows, is beside it"}, failing,
			{"pairs one begins", "pairs one ends"}, {"pairs other begins", "pairs other ends"}, {"pairs are two"},
		}, 0},
		{"the last of one", Filter{Labels: "last"}, [][]string{flows}, 2},
		{"the first of one, and another", Filter{Focus: []string{"BBR", "alone"}}, [][]string{{"stands alone"}, flows}, 2},
		{"without the last", Filter{Focus: []string{"measures"}, Skip: []string{"CUBIC"}}, [][]string{flows}, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			suites, err := List(t.Context(), []string{"./testdata/ordered"}, c.filter)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(groups(suites[0])).To(Equal(c.expected))
			g.Expect(suites[0].completing()).To(Equal(c.added))
		})
	}
}

func TestShare(t *testing.T) {
	spec := func(text string, programs ...string) []*Spec { return []*Spec{{Text: text, Programs: programs}} }
	container := []*Spec{{Text: "c1"}, {Text: "c2"}, {Text: "c3"}}
	shell := []string{"sh"}
	for _, c := range []struct {
		name     string
		groups   [][]*Spec
		most     int
		expected [][]string
	}{
		{"not asked for", [][]*Spec{spec("a"), spec("b")}, 0, [][]string{{"a"}, {"b"}}},
		{"one", [][]*Spec{spec("a"), spec("b")}, 1, [][]string{{"a"}, {"b"}}},
		{"two", [][]*Spec{spec("a"), spec("b"), spec("c")}, 2, [][]string{{"a", "b"}, {"c"}}},
		{"all", [][]*Spec{spec("a"), spec("b"), spec("c")}, 9, [][]string{{"a", "b", "c"}}},
		{"a container is not taken apart", [][]*Spec{spec("a"), container, spec("b")}, 2, [][]string{{"a"}, {"c1", "c2", "c3"}, {"b"}}},
		{"a container with others", [][]*Spec{spec("a"), container, spec("b")}, 4, [][]string{{"a", "c1", "c2", "c3"}, {"b"}}},
		{"a program is packed into the guests that need it", [][]*Spec{spec("a"), spec("b", shell...), spec("c", shell...), spec("d")}, 9,
			[][]string{{"a"}, {"b", "c"}, {"d"}}},
		{"none", nil, 3, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			shared, err := share(c.groups, c.most)
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(textsOf(shared)).To(Equal(c.expected))
		})
	}
	if _, err := share([][]*Spec{spec("a", "no-such-program")}, 2); err == nil {
		t.Error("a program that is not there")
	}
}

// checkOrdered is for both clocks.
func checkOrdered(g *WithT, records []*results.Record) {
	verdicts := map[string]results.Verdict{}
	for _, record := range records {
		verdicts[record.Scenario] = record.Verdict
		switch record.Scenario {
		case flows[0], flows[1], flows[2]:
			g.Expect(record.Together).To(Equal(flows))
		case failing[0], failing[1]:
			g.Expect(record.Together).To(Equal(failing))
		default:
			g.Expect(record.Together).To(BeEmpty())
		}
	}
	g.Expect(verdicts).To(Equal(map[string]results.Verdict{
		"stands alone": results.Passed, flows[0]: results.Passed, flows[1]: results.Passed, flows[2]: results.Passed,
		failing[0]: results.Failed, failing[1]: results.Skipped,
	}))
}

// someOrdered takes containers apart: the runner puts them together again.
var someOrdered = Filter{Focus: []string{"stands alone", "compares them", "comes first"}}

func TestOrderedContainersOnTheRealClock(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	records, err := onReal(t, t.Context(), &logger{to: &out}, []string{"./testdata/ordered"}, RunOptions{Filter: someOrdered})
	g.Expect(err).NotTo(HaveOccurred())
	checkOrdered(g, records)
	g.Expect(out.String()).To(ContainSubstring("ordered: 3 more specs run than the filters select: the rest of their Ordered containers\n"))
}

func TestOrderedContainersInGuests(t *testing.T) {
	needGuests(t)
	g := NewWithT(t)
	all, _ := runInGuests(t, []string{"./testdata/ordered", "./testdata/leaves", "./testdata/exits", "./testdata/lasts"}, RunOptions{
		Filter: Filter{Focus: append([]string{"keepalive"}, someOrdered.Focus...)},
		Args:   []string{"-test.run=^TestOrdered$|^TestLeaves$|^TestExits$|^TestLasts$"},
	})
	var ordered []*results.Record
	for _, record := range all.Records {
		switch record.Suite {
		case "ordered":
			ordered = append(ordered, record)
			g.Expect(paths(record)).To(ContainElements("output.txt", "ginkgo.json"))
		case "lasts":
			g.Expect(record.Verdict).To(Equal(results.Passed))
			g.Expect(record.Duration).To(BeNumerically(">", 2*time.Hour))
		case "leaves":
			g.Expect(record.Verdict).To(Equal(results.Passed))
			g.Expect(paths(record)).To(ContainElements(
				"files/capture.pcapng", "files/other/scenario/record.json", "files/output.txt", "files/record.json", "output.txt"))
		case "exits":
			g.Expect(record.Verdict).To(Equal(results.Failed))
			g.Expect(record.Failure.Message).To(HavePrefix("the test program ended with status 2"))
		}
	}
	checkOrdered(g, ordered)
}
