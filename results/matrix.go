package results

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
)

// A Matrix has the metrics of scenarios whose texts say in which row and which column they are: a table over two things that a suite
// varies.
type Matrix struct {
	Rows, Columns []string              // in alphabetical order
	Cells         map[[2]string]*Record // by row and column; some may be missing
}

// NewMatrix takes the scenarios whose text matches a pattern with the groups row and column:
//
//	noticing that (?P<column>.*?): (?P<row>.*)
//
// It is an error if none does, or if two scenarios, or the records of several kernels or seeds, are in the same place.
func NewMatrix(report Report, pattern *regexp.Regexp) (*Matrix, error) {
	row, column := pattern.SubexpIndex("row"), pattern.SubexpIndex("column")
	if row < 0 || column < 0 {
		return nil, fmt.Errorf("%q has no groups (?P<row>...) and (?P<column>...)", pattern)
	}
	m := &Matrix{Cells: map[[2]string]*Record{}}
	for _, r := range report.Records {
		groups := pattern.FindStringSubmatch(r.Scenario)
		if groups == nil {
			continue
		}
		place := [2]string{groups[row], groups[column]}
		if other := m.Cells[place]; other != nil {
			return nil, fmt.Errorf("row %q, column %q: %q and %q are both there (of several runs, give one; or let the pattern tell them apart)",
				place[0], place[1], other.Scenario, r.Scenario)
		}
		m.Cells[place] = r
		m.Rows, m.Columns = append(m.Rows, place[0]), append(m.Columns, place[1])
	}
	if len(m.Cells) == 0 {
		return nil, errors.New("no scenario of the run matches " + pattern.String())
	}
	m.Rows, m.Columns = sortedSet(m.Rows), sortedSet(m.Columns)
	return m, nil
}

func sortedSet(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// Markdown writes the table: each cell has the metrics of its scenario, or its verdict if that is not passed.
func (m *Matrix) Markdown(w io.Writer) error {
	var page markdownPage
	page.head(append([]string{""}, m.Columns...)...)
	for _, row := range m.Rows {
		cells := []string{markdownText(row)}
		for _, column := range m.Columns {
			cells = append(cells, matrixCell(m.Cells[[2]string{row, column}]))
		}
		page.row(cells...)
	}
	_, err := io.WriteString(w, page.String())
	return err
}

func matrixCell(r *Record) string {
	switch {
	case r != nil && r.Verdict.Failed():
		return "**" + markdownText(string(r.Verdict)) + "**"
	case r == nil || !ran(r):
		return markdownText(ranText(r))
	}
	var metrics []string
	for _, f := range r.Metrics {
		f.Bounds = nil
		metrics = append(metrics, markdownText(f.String()))
	}
	return strings.Join(metrics, "<br>")
}
