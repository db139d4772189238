package results

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// A Behaviour is how TCP behaved differently in two runs, on another kernel or with another seed. Compare checks that
// every byte is the same; this compares what a reader would call a difference.
type Behaviour struct {
	KernelA, KernelB string // releases
	SeedA, SeedB     uint64
	Scenarios        int // that either run has
	Changes          []ScenarioChange

	all bool // Table leaves no counter out
}

// A ScenarioChange is one scenario that did not come to the same in both runs.
type ScenarioChange struct {
	Suite, Scenario    string
	VerdictA, VerdictB Verdict // empty where a run does not have the scenario
	ReasonA, ReasonB   string  // why it was skipped

	// Of a scenario that ran in both, what differs: metrics in the scenario's order, and counters, the
	// relatively largest difference first.
	Metrics  []Change
	Counters []Change
}

// A Change is a number that is not the same in both runs.
type Change struct {
	Host string // of a counter
	Name string
	Unit string
	A, B float64
	// Of a metric that only one of the runs has. A counter that is absent is 0.
	Missing, Extra bool
}

// relative is the difference as a share of A, with its sign: 0.5 is half as much again. From zero it is
// infinite, and it is not a number for what only one run has.
func (c Change) relative() float64 {
	if c.Missing || c.Extra {
		return math.NaN()
	}
	return (c.B - c.A) / math.Abs(c.A)
}

// slight tells whether both runs have the metric, with much the same value.
func (c Change) slight() bool { return math.Abs(c.relative()) < slight }

// weight orders changes: from nothing to something, or back, is 1, and nothing is more.
func (c Change) weight() float64 {
	return math.Abs(c.B-c.A) / max(math.Abs(c.A), math.Abs(c.B))
}

// CompareBehaviour lists what is not the same in two runs of the same scenarios: verdicts, metrics, and the counters
// of TCP, or of all layers. What the layers below count follows from the segments, and kernels do not agree on
// how to count it. Two runs without any record cannot be compared.
func CompareBehaviour(a, b *Run, allCounters bool) (Behaviour, error) {
	recordsA, errA := a.Records()
	recordsB, errB := b.Records()
	if err := errors.Join(errA, errB); err != nil {
		return Behaviour{}, fmt.Errorf("compare runs: %w", err)
	}
	if len(recordsA) == 0 && len(recordsB) == 0 {
		return Behaviour{}, fmt.Errorf("compare runs: neither %s nor %s has a record", a.path, b.path)
	}
	result := Behaviour{all: allCounters}
	fromA, fromB := comesFrom(recordsA), comesFrom(recordsB)
	result.KernelA, result.SeedA = fromA.Kernel, fromA.Seed
	result.KernelB, result.SeedB = fromB.Kernel, fromB.Seed
	type key struct{ suite, scenario string }
	pairs := map[key][2]*Record{}
	var order []key
	for side, records := range [][]*Record{recordsA, recordsB} {
		for _, r := range records {
			k := key{r.Suite, r.Scenario}
			pair, known := pairs[k]
			if !known {
				order = append(order, k)
			}
			pair[side] = r
			pairs[k] = pair
		}
	}
	slices.SortFunc(order, func(x, y key) int {
		return cmp.Or(strings.Compare(x.suite, y.suite), strings.Compare(x.scenario, y.scenario))
	})
	result.Scenarios = len(order)
	for _, k := range order {
		change := ScenarioChange{Suite: k.suite, Scenario: k.scenario}
		if change.compare(pairs[k][0], pairs[k][1], allCounters) {
			result.Changes = append(result.Changes, change)
		}
	}
	return result, nil
}

// comesFrom is where the records of a run are from, or nothing where there are none.
func comesFrom(records []*Record) Origin {
	if len(records) == 0 {
		return Origin{}
	}
	return records[0].Origin()
}

// compare fills in what differs, and tells whether anything does.
func (c *ScenarioChange) compare(a, b *Record, allCounters bool) bool {
	if a != nil {
		c.VerdictA, c.ReasonA = a.Verdict, a.Reason
	}
	if b != nil {
		c.VerdictB, c.ReasonB = b.Verdict, b.Reason
	}
	if a != nil && b != nil && ran(a) && ran(b) {
		c.Metrics = compareMetrics(a.Metrics, b.Metrics)
		c.Counters = compareCounters(a.Counters, b.Counters, allCounters)
	}
	return c.VerdictA != c.VerdictB || len(c.Metrics)+len(c.Counters) > 0
}

func ran(r *Record) bool { return r.Verdict != Skipped && r.Verdict != Pending }

// compareMetrics matches metrics by their name and, where a scenario has several of one name, by their order.
func compareMetrics(a, b []Metric) []Change {
	named := func(metrics []Metric) ([]string, map[string]Metric) {
		var names []string
		byName := map[string]Metric{}
		for _, f := range metrics {
			name := f.Name
			for n := 2; ; n++ {
				if _, taken := byName[name]; !taken {
					break
				}
				name = fmt.Sprintf("%s (%d)", f.Name, n)
			}
			names = append(names, name)
			byName[name] = f
		}
		return names, byName
	}
	namesA, figuresA := named(a)
	namesB, figuresB := named(b)
	var changes []Change
	for _, name := range namesA {
		before := figuresA[name]
		after, ok := figuresB[name]
		if !ok || before.Unit != after.Unit {
			changes = append(changes, Change{Name: name, Unit: before.Unit, A: before.Value, Missing: true})
		} else if before.Value != after.Value {
			changes = append(changes, Change{Name: name, Unit: before.Unit, A: before.Value, B: after.Value})
		}
	}
	for _, name := range namesB {
		after := figuresB[name]
		if before, ok := figuresA[name]; !ok || before.Unit != after.Unit {
			changes = append(changes, Change{Name: name, Unit: after.Unit, B: after.Value, Extra: true})
		}
	}
	return changes
}

func compareCounters(a, b []CounterDiff, all bool) []Change {
	var hosts []string
	values := map[string][2]map[string]int64{}
	for side, counters := range [][]CounterDiff{a, b} {
		for _, c := range counters {
			pair, known := values[c.Host]
			if !known {
				hosts = append(hosts, c.Host)
			}
			pair[side] = c.Diff
			values[c.Host] = pair
		}
	}
	var changes []Change
	for _, host := range hosts {
		before, after := values[host][0], values[host][1]
		for _, name := range union(keys(before), keys(after)) {
			if before[name] != after[name] && (all || strings.HasPrefix(name, "Tcp")) {
				changes = append(changes, Change{Host: host, Name: name, A: float64(before[name]), B: float64(after[name])})
			}
		}
	}
	slices.SortStableFunc(changes, func(x, y Change) int { return cmp.Compare(y.weight(), x.weight()) })
	return changes
}

func keys(m map[string]int64) []string {
	list := make([]string, 0, len(m))
	for name := range m {
		list = append(list, name)
	}
	return list // union sorts them
}

// counterLines is how many counters of a scenario are printed unless all are asked for.
const counterLines = 6

// slight is a difference that is not printed unless all are asked for: a share of the metric. Kernels differ by as
// much in what a timer or an interrupt adds to a time.
const slight = 0.01

// Table prints the changes for a terminal: scenarios of which the verdict or a metric differs, and of
// their counters those that differ most, relatively. If the counters of all layers were compared, it has every
// scenario and every counter.
func (b Behaviour) Table(w io.Writer, o TableOptions) error {
	t := newTable(o)
	hidden := 0
	for _, change := range b.Changes {
		if !b.all {
			change.Metrics = slices.DeleteFunc(slices.Clone(change.Metrics), Change.slight)
			if change.VerdictA == change.VerdictB && len(change.Metrics) == 0 {
				hidden++
				continue
			}
		}
		t.change(change, b.all)
	}
	t.line(b.summary())
	if hidden > 0 {
		t.line(fmt.Sprintf("(%d of them only in counters, or in metrics by less than %g %%, and not listed; --all does)", hidden, 100*slight))
	}
	_, err := w.Write(t.out.Bytes())
	return err
}

// summary is the last line: what was compared, and how much of it differs.
func (b Behaviour) summary() string {
	name := func(kernel string, seed uint64) string {
		if kernel == "" {
			return "nothing"
		}
		return fmt.Sprintf("%s with seed %d", printable(kernel), seed)
	}
	return fmt.Sprintf("%d of %d scenarios differ from %s to %s",
		len(b.Changes), b.Scenarios, name(b.KernelA, b.SeedA), name(b.KernelB, b.SeedB))
}

func (t *table) change(c ScenarioChange, all bool) {
	const indent = "    "
	for i, line := range wrap(c.Suite+": "+c.Scenario, t.width-len(indent), scenarioLines) {
		if i > 0 {
			line = indent + line
		}
		t.line(t.paint(line, bold))
	}
	if c.VerdictA != c.VerdictB {
		text := "verdict  " + verdictText(c.VerdictA, c.ReasonA) + " -> " + verdictText(c.VerdictB, c.ReasonB)
		for _, line := range wrap(text, t.width-len(indent), scenarioLines) {
			t.line(indent + line)
		}
	}
	counters, more := c.Counters, 0
	if !all && len(counters) > counterLines {
		counters, more = counters[:counterLines], len(counters)-counterLines
	}
	rows := append(slices.Clone(c.Metrics), counters...)
	columns := []column{{}, {right: true}, {}, {}, {right: true}}
	var cells [][]cell
	for _, row := range rows {
		texts := row.texts()
		line := make([]cell, len(texts))
		for i, text := range texts {
			line[i] = cell{lines: []string{text}}
			columns[i].width = max(columns[i].width, displayWidth(text))
		}
		cells = append(cells, line)
	}
	// A long name makes room for the numbers.
	others := len(indent) + 4*len(gap)
	for _, column := range columns[1:] {
		others += column.width
	}
	columns[0].width = min(columns[0].width, max(t.width-others, len(indent)))
	for _, line := range cells {
		line[0].lines = wrap(line[0].lines[0], columns[0].width, figureLines)
		t.indented(indent, func() { t.row(columns, line) })
	}
	if more > 0 {
		t.line(fmt.Sprintf("%s%d more counters", indent, more))
	}
	t.line("")
}

// indented prints what print prints, further to the right.
func (t *table) indented(indent string, print func()) {
	start := t.out.Len()
	print()
	text := string(t.out.Bytes()[start:])
	t.out.Truncate(start)
	for line := range strings.Lines(text) {
		t.out.WriteString(indent + line)
	}
}

func verdictText(v Verdict, reason string) string {
	switch {
	case v == "":
		return "absent"
	case reason != "":
		return fmt.Sprintf("%s (%s)", v, reason)
	}
	return string(v)
}

// texts are a change's columns: name, before, arrow, after with its unit, and the relative difference.
func (c Change) texts() []string {
	name := printable(strings.TrimSpace(c.Host + " " + c.Name))
	scale, unit := unitOf(max(math.Abs(c.A), math.Abs(c.B)), c.Unit)
	before, after := number(c.A*scale), number(c.B*scale)
	if before == after { // they differ beyond the digits that are shown otherwise
		before, after = fmt.Sprint(c.A*scale), fmt.Sprint(c.B*scale)
	}
	after = strings.TrimSpace(after + " " + printable(unit))
	switch {
	case c.Missing:
		return []string{name, before, "->", "absent", ""}
	case c.Extra:
		return []string{name, "absent", "->", after, ""}
	}
	return []string{name, before, "->", after, percent(c.relative())}
}

func percent(relative float64) string {
	switch size := math.Abs(100 * relative); {
	case math.IsInf(relative, 0):
		return "" // from zero
	case size < 10:
		return fmt.Sprintf("%+.2g %%", 100*relative)
	default:
		return fmt.Sprintf("%+.0f %%", 100*relative)
	}
}
