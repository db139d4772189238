package results

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"sync"
)

// ByKernel is what is expected of TCP, and what it did, as far as it is not the same on several kernels.
type ByKernel struct {
	Kernels []string // releases, in the runs' order
	Rows    []KernelRow
}

// A KernelRow is one thing that differs.
type KernelRow struct {
	Suite, Scenario string
	Metric          string   // empty: whether the scenario ran at all
	Cells           []string // one for each kernel
	Source          string   // of a metric's bounds
}

// CompareKernels lists what differs by kernel in runs of the same scenarios, one for each kernel: scenarios that are for some
// kernels only, and metrics of which no value could be right on all of them. That a metric's value differs within bounds that
// overlap is no behaviour.
func CompareKernels(runs []*Run) (ByKernel, error) {
	type key struct{ suite, scenario string }
	var by ByKernel
	records := map[key][]*Record{}
	for i, run := range runs {
		of, err := run.Records()
		if err != nil {
			return ByKernel{}, fmt.Errorf("compare kernels: %w", err)
		}
		if len(of) == 0 {
			return ByKernel{}, fmt.Errorf("compare kernels: %s has no record", run.path)
		}
		release := of[0].Kernel.Release
		if slices.Contains(by.Kernels, release) {
			return ByKernel{}, fmt.Errorf("compare kernels: two runs are of kernel %s: give one of each", release)
		}
		by.Kernels = append(by.Kernels, release)
		for _, r := range of {
			k := key{r.Suite, r.Scenario}
			if records[k] == nil {
				records[k] = make([]*Record, len(runs))
			}
			records[k][i] = r
		}
	}
	keys := make([]key, 0, len(records))
	for k := range records {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b key) int {
		return cmp.Or(strings.Compare(a.suite, b.suite), strings.Compare(a.scenario, b.scenario))
	})
	for _, k := range keys {
		by.Rows = append(by.Rows, rowsOf(records[k])...)
	}
	return by, nil
}

// rowsOf are the rows of one scenario, which some runs may not have.
func rowsOf(records []*Record) []KernelRow {
	i := slices.IndexFunc(records, func(r *Record) bool { return r != nil })
	row := KernelRow{Suite: records[i].Suite, Scenario: records[i].Scenario}
	for _, r := range records {
		row.Cells = append(row.Cells, ranText(r))
	}
	if slices.ContainsFunc(row.Cells, func(cell string) bool { return cell != row.Cells[0] }) {
		return []KernelRow{row}
	}
	if slices.ContainsFunc(records, func(r *Record) bool { return r == nil || !ran(r) }) {
		return nil
	}
	var rows []KernelRow
	for _, f := range records[0].Metrics {
		row := KernelRow{Suite: row.Suite, Scenario: row.Scenario, Metric: f.Name}
		differs := false
		for _, r := range records {
			j := slices.IndexFunc(r.Metrics, func(of Metric) bool { return of.Name == f.Name && of.Unit == f.Unit })
			if j < 0 {
				row.Cells = append(row.Cells, absent)
				differs = true
				continue
			}
			of := r.Metrics[j]
			row.Cells = append(row.Cells, of.cell())
			differs = differs || !f.sameBounds(of)
			if of.Bounds != nil {
				row.Source = cmp.Or(row.Source, of.Bounds.Source)
			}
		}
		if differs {
			rows = append(rows, row)
		}
	}
	return rows
}

// constraint is what a reason says of the kernels that a scenario is for.
var constraint = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`[<>]=? ?[0-9][0-9.]*`) })

func ranText(r *Record) string {
	switch {
	case r == nil:
		return absent
	case ran(r):
		return string(r.Verdict)
	}
	if of := constraint().FindString(r.Reason); of != "" {
		return "is for " + of
	}
	return string(r.Verdict)
}

// cell is a metric and what is expected of it, without the source.
func (f Metric) cell() string {
	text := quantity(f.Value, f.Unit)
	if f.Bounds == nil {
		return text
	}
	bounds := *f.Bounds
	bounds.Source = ""
	f.Bounds = &bounds
	if expected := f.expectation(); expected != text {
		text += " (" + expected + ")"
	}
	return text
}

// sameBounds reports whether one value could be right for both metrics: bounds can have a part that was measured.
func (f Metric) sameBounds(g Metric) bool {
	if f.Bounds == nil || g.Bounds == nil {
		return f.Bounds == g.Bounds
	}
	above := func(lower, upper *float64) bool { return lower != nil && upper != nil && *lower > *upper }
	return !above(f.Bounds.Lower, g.Bounds.Upper) && !above(g.Bounds.Lower, f.Bounds.Upper)
}

// Markdown writes the rows as a table, the longest column last.
func (b ByKernel) Markdown(w io.Writer) error {
	var page markdownPage
	page.head(slices.Concat([]string{"Suite", "Scenario", "Metric"}, b.Kernels, []string{"Source"})...)
	suite, scenario := "", ""
	for _, r := range b.Rows {
		shown := []string{r.Suite, r.Scenario}
		if r.Suite == suite && r.Scenario == scenario {
			shown = []string{"", ""}
		}
		suite, scenario = r.Suite, r.Scenario
		cells := slices.Concat(shown, []string{r.Metric}, r.Cells, []string{r.Source})
		for i, cell := range cells {
			cells[i] = markdownText(cell)
		}
		page.row(cells...)
	}
	_, err := io.WriteString(w, page.String())
	return err
}
