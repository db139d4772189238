package results

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
)

// A Spread is what became of one scenario in several runs, which differ in their seeds.
type Spread struct {
	Suite, Scenario string
	Passed, Skipped int
	Failed          []uint64 // the seeds with which it failed
	Figures         []FigureSpread
}

// A FigureSpread is the range of a figure.
type FigureSpread struct {
	Name, Unit string
	Min, Max   float64
	Expected   string // of the first run that has it
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
	switch tally := Count([]*Record{r}); {
	case tally.Failed > 0:
		s.Failed = append(s.Failed, r.Seed)
	case tally.Skipped > 0:
		s.Skipped++
	default:
		s.Passed++
	}
	for _, f := range r.Figures {
		i := slices.IndexFunc(s.Figures, func(of FigureSpread) bool { return of.Name == f.Name && of.Unit == f.Unit })
		if i < 0 {
			s.Figures = append(s.Figures, FigureSpread{Name: f.Name, Unit: f.Unit, Min: f.Value, Max: f.Value, Expected: f.Expected})
			continue
		}
		s.Figures[i].Min, s.Figures[i].Max = min(s.Figures[i].Min, f.Value), max(s.Figures[i].Max, f.Value)
	}
}

// verdict is how often a scenario passed of the times that it ran.
func (s Spread) verdict() string {
	total := s.Passed + len(s.Failed)
	if total == 0 {
		return "skipped"
	}
	return fmt.Sprintf("%d of %d", s.Passed, total)
}

// SpreadTable prints how often each scenario passed, and the range of its figures. Its last line counts the runs of
// scenarios, as Table's does.
func SpreadTable(w io.Writer, spreads []Spread, o TableOptions) error {
	t := table{colour: o.Colour, width: min(max(cmp.Or(o.Width, defaultWidth), minWidth), maxWidth)}
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
	var figures []figureParts
	for _, f := range s.Figures {
		figures = append(figures, f.parts())
	}
	if len(s.Failed) > 0 {
		for _, line := range wrap("failed with seed "+seedList(s.Failed), t.width-len(indent), figureLines) {
			t.line(indent + t.paint(line, red))
		}
	}
	for _, line := range figureText(figures, t.width-len(indent)) {
		t.line(indent + line)
	}
}

// parts are the figure's, ready to print: "7", or "3.5 to 3.75 Mbit/s".
func (f FigureSpread) parts() figureParts {
	p := parts(Figure{Name: f.Name, Value: f.Max, Unit: f.Unit, Expected: f.Expected})
	if f.Min != f.Max {
		p.value = number(f.Min) + " to " + p.value
	}
	return p
}

func seedList(seeds []uint64) string {
	var list []string
	for _, seed := range seeds {
		list = append(list, fmt.Sprint(seed))
	}
	return strings.Join(list, ", ")
}
