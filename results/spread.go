package results

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Spread is what became of one scenario in several runs, with other seeds and on other kernels.
type Spread struct {
	Suite, Scenario string
	Passed, Skipped int
	Failed          []Origin // the runs in which it failed
	Metrics, Checks []MetricSpread
}

// A MetricSpread is the range of a metric, and the value of it that came nearest to an edge of what was expected.
type MetricSpread struct {
	Name, Unit string
	Min, Max   float64
	Nearest    Metric
	At         Origin // of Nearest
}

// Spreads brings the records of several runs together, sorted by suite and scenario.
func Spreads(records []*Record) []Spread {
	type key struct{ suite, scenario string }
	byKey := map[key][]*Record{}
	for _, r := range records {
		k := key{r.Suite, r.Scenario}
		byKey[k] = append(byKey[k], r)
	}
	spreads := make([]Spread, 0, len(byKey))
	for k, of := range byKey {
		s := Spread{Suite: k.suite, Scenario: k.scenario}
		for _, r := range of {
			s.add(r)
		}
		spreads = append(spreads, s)
	}
	slices.SortFunc(spreads, func(a, b Spread) int {
		return cmp.Or(strings.Compare(a.Suite, b.Suite), strings.Compare(a.Scenario, b.Scenario))
	})
	return spreads
}

func (s *Spread) add(r *Record) {
	origin := r.Origin()
	switch {
	case r.Verdict.Failed():
		s.Failed = append(s.Failed, origin)
	case r.Verdict == Passed:
		s.Passed++
	default:
		s.Skipped++
	}
	s.Metrics = addFigures(s.Metrics, r.Metrics, origin)
	s.Checks = addFigures(s.Checks, r.Checks, origin)
}

func addFigures(spreads []MetricSpread, metrics []Metric, at Origin) []MetricSpread {
	for _, f := range metrics {
		i := slices.IndexFunc(spreads, func(of MetricSpread) bool { return of.Name == f.Name && of.Unit == f.Unit })
		if i < 0 {
			spreads = append(spreads, MetricSpread{Name: f.Name, Unit: f.Unit, Min: f.Value, Max: f.Value, Nearest: f, At: at})
			continue
		}
		s := &spreads[i]
		s.Min, s.Max = min(s.Min, f.Value), max(s.Max, f.Value)
		if f.NearerThan(s.Nearest) {
			s.Nearest, s.At = f, at
		}
	}
	return spreads
}

// A Margin is a check of a scenario, and how near to an edge a value of it came.
type Margin struct {
	Suite, Scenario string
	Metric          Metric
	At              Origin
}

// Margins lists the least margin of each metric and check that has bounds, the smallest share first.
func Margins(spreads []Spread) []Margin {
	var margins []Margin
	for _, s := range spreads {
		for _, f := range slices.Concat(s.Metrics, s.Checks) {
			if f.Nearest.Bounds != nil {
				margins = append(margins, Margin{s.Suite, s.Scenario, f.Nearest, f.At})
			}
		}
	}
	slices.SortStableFunc(margins, func(a, b Margin) int { return cmp.Compare(a.Metric.Bounds.Share, b.Metric.Bounds.Share) })
	return margins
}

// Near returns those of the margins that are below a limit, a share of the width between the bounds.
func Near(margins []Margin, limit float64) []Margin {
	var near []Margin
	for _, m := range margins {
		if m.Metric.near(limit) {
			near = append(near, m)
		}
	}
	return near
}

// verdict is how often a scenario passed of the times that it ran.
func (s Spread) verdict() string {
	total := s.Passed + len(s.Failed)
	if total == 0 {
		return "skipped"
	}
	return fmt.Sprintf("%d of %d", s.Passed, total)
}

// SpreadTable prints how often each scenario passed, and the range of its metrics with their least margin. Then come the
// checks whose margin is below a limit, a share of the width between their bounds. The last line counts the runs of
// scenarios, as Table's does.
func SpreadTable(w io.Writer, spreads []Spread, limit float64, o TableOptions) error {
	t := newTable(o)
	columns := []column{{width: len("SUITE")}, {width: len("SCENARIO")}, {width: len("PASSED"), right: true}}
	for _, s := range spreads {
		columns[0].width = max(columns[0].width, min(displayWidth(printable(s.Suite)), t.width/5))
		columns[1].width = max(columns[1].width, displayWidth(printable(s.Scenario)))
		columns[2].width = max(columns[2].width, len(s.verdict()))
	}
	columns[1].width = min(columns[1].width, t.width-columns[0].width-columns[2].width-2*len(gap))
	t.row(columns, []cell{{[]string{"SUITE"}, bold}, {[]string{"SCENARIO"}, bold}, {[]string{"PASSED"}, bold}})
	var tally Tally
	previous := ""
	for _, s := range spreads {
		t.spread(s, columns, s.Suite != previous)
		previous = s.Suite
		tally.Passed += s.Passed
		tally.Failed += len(s.Failed)
		tally.Skipped += s.Skipped
	}
	t.line("")
	t.margins(Margins(spreads), limit)
	style := green
	if tally.Failed > 0 {
		style = red
	}
	t.line(t.paint(tally.String(), style))
	_, err := w.Write(t.out.Bytes())
	return err
}

func (t *table) spread(s Spread, columns []column, first bool) {
	style := green
	switch {
	case len(s.Failed) > 0:
		style = red
	case s.Passed == 0:
		style = yellow
	}
	suite := cell{}
	if first {
		suite.lines = wrap(s.Suite, columns[0].width, scenarioLines)
	}
	t.row(columns, []cell{suite, {lines: wrap(s.Scenario, columns[1].width, scenarioLines)}, {[]string{s.verdict()}, style}})
	indent := strings.Repeat(" ", columns[0].width+2*len(gap))
	var metrics []figureParts
	for _, f := range s.Metrics {
		metrics = append(metrics, f.parts())
	}
	if len(s.Failed) > 0 {
		for _, line := range wrap("failed with "+originList(s.Failed), t.width-len(indent), figureLines) {
			t.line(indent + t.paint(line, red))
		}
	}
	for _, line := range figureText(metrics, t.width-len(indent)) {
		t.line(indent + line)
	}
}

// margins prints which checks came near to an edge, and how many did not.
func (t *table) margins(margins []Margin, limit float64) {
	if len(margins) == 0 {
		return
	}
	near := Near(margins, limit)
	const indent = "  "
	if len(near) > 0 {
		t.line(t.paint(fmt.Sprintf("NEAR AN EDGE, by less than %g %% of the width between the bounds:", 100*limit), yellow))
	}
	for _, m := range near {
		text := fmt.Sprintf("%s: %s: %s; margin %s, %s of the width, %s", m.Suite, m.Scenario, m.Metric,
			quantity(m.Metric.Bounds.Margin, m.Metric.Unit), shareText(m.Metric.Bounds.Share), originList([]Origin{m.At}))
		for i, line := range wrap(text, t.width-2*len(indent), messageLines) {
			if i > 0 {
				line = indent + line
			}
			t.line(indent + line)
		}
	}
	t.line(fmt.Sprintf("%d of %d checks with bounds came nearer to an edge than %g %%", len(near), len(margins), 100*limit))
	t.line("")
}

func shareText(share float64) string { return number(100*share) + " %" }

// parts are the metric's, ready to print: "7", or "3.5 to 3.75 Mbit/s".
func (f MetricSpread) parts() figureParts {
	p := parts(f.Nearest)
	scale, unit := unitOf(max(f.Min, f.Max), f.Unit)
	p.value = withUnit(f.Max*scale, unit)
	if f.Min != f.Max {
		p.value = number(f.Min*scale) + " to " + p.value
	}
	if b := f.Nearest.Bounds; b != nil && (b.Lower == nil || b.Upper == nil || *b.Lower != *b.Upper) {
		p.expected += ", least margin " + shareText(b.Share)
	}
	return p
}

// originList names runs, grouped by kernel.
func originList(origins []Origin) string {
	var kernels []string
	seeds := map[string][]string{}
	for _, o := range origins {
		if seeds[o.Kernel] == nil {
			kernels = append(kernels, o.Kernel)
		}
		seeds[o.Kernel] = append(seeds[o.Kernel], fmt.Sprint(o.Seed))
	}
	for i, kernel := range kernels {
		kernels[i] = "seed " + strings.Join(seeds[kernel], ", ")
		if kernel != "" {
			kernels[i] += " on " + printable(kernel)
		}
	}
	return strings.Join(kernels, "; ")
}
