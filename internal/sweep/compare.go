package sweep

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"golang.org/x/perf/benchmath"
)

// A Change is one figure of a cell in two sweeps.
type Change struct {
	Cell   string  `json:"cell"`
	Figure string  `json:"figure"`
	Unit   string  `json:"unit,omitempty"`
	Before Figure  `json:"before"`
	After  Figure  `json:"after"`
	P      float64 `json:"p"` // of the two being drawn from one distribution: 1 where all values are the same, and where nothing can be said
	// Corrected is P after Holm's correction for all figures that were compared.
	Corrected float64 `json:"p_corrected"`
	// Exact: each side's values are all the same, so that there is no noise in either, as far as is known.
	Exact bool `json:"exact,omitempty"`
}

// A Comparison is of two sweeps.
type Comparison struct {
	Kernels  [2]string `json:"kernels"`
	Changes  []Change  `json:"changes"`           // all figures that were compared, the most certain ones first
	Missing  []string  `json:"missing,omitempty"` // cells and figures that only one of them has, and measurements that failed in one only
	Seeds    [2]int    `json:"seeds"`             // how many
	Compared int       `json:"compared"`
}

// alpha is the probability of a change that is none, of all figures together.
const alpha = 0.05

// Significant tells whether a change is more than noise.
func (c Change) Significant() bool { return c.Corrected < alpha }

// leastValues is how many of each side a test needs to say anything: of fewer no order of them is rare enough.
const leastValues = 4

// Compare compares the figures of the cells that two sweeps share, each by a test that assumes nothing of how its values are distributed
// (Mann and Whitney's U, of golang.org/x/perf/benchmath). Where all values of a side are the same there is no noise, and the test is exact:
// they are the same or not. Several figures are corrected for by Holm's method (1979).
func Compare(before, after Result) (Comparison, error) {
	c := Comparison{Kernels: [2]string{before.Kernel, after.Kernel}, Seeds: [2]int{len(before.Seeds), len(after.Seeds)}}
	earlier, later := byKey(before), byKey(after)
	c.Missing = slices.Concat(before.lackedBy(after, later, "before"), after.lackedBy(before, earlier, "after"))
	for _, p := range before.Points {
		q := later[p.key()] // without figures, if it is not there
		for name, f := range p.Figures {
			if g, there := q.Figures[name]; there {
				c.Changes = append(c.Changes, changeOf(p.key(), name, f, g))
			}
		}
	}
	if len(c.Changes) == 0 {
		return c, errors.New("the two sweeps have no figure of a cell in common")
	}
	c.Compared = len(c.Changes)
	slices.SortFunc(c.Changes, func(a, b Change) int {
		return cmp.Or(cmp.Compare(a.P, b.P), cmp.Compare(a.Cell, b.Cell), cmp.Compare(a.Figure, b.Figure))
	})
	correct(c.Changes)
	return c, nil
}

// lackedBy lists what only this of two sweeps has, the one of before or after. The points are the other's.
func (r Result) lackedBy(other Result, points map[string]Point, when string) []string {
	var list []string
	only := func(what string) { list = append(list, what+": only "+when) }
	for _, p := range r.Points {
		q, both := points[p.key()]
		if !both {
			only(p.key())
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(p.Figures)) {
			if _, there := q.Figures[name]; !there && p.always(name) {
				only(name + " of " + p.key())
			}
		}
	}
	for _, failed := range r.Failed {
		if !slices.Contains(other.Failed, failed) {
			only("FAILED " + failed)
		}
	}
	if r.Missing > 0 {
		list = append(list, fmt.Sprintf("%d measurements %s: that sweep was ended before its time", r.Missing, when))
	}
	return list
}

// always tells whether each measurement of a point has a figure. Some come now and then, such as the time until a pipe was filled:
// that one side has none is chance, then.
func (p Point) always(figure string) bool {
	for _, f := range p.Figures {
		if len(f.Values) > len(p.Figures[figure].Values) {
			return false
		}
	}
	return true
}

// byKey are the points by what they are compared by.
func byKey(r Result) map[string]Point {
	points := map[string]Point{}
	for _, p := range r.Points {
		points[p.key()] = p
	}
	return points
}

// key is what a point of another sweep is compared by: of sweeps over several kernels also the kernel.
func (p Point) key() string {
	if p.Kernel == "" {
		return p.Name
	}
	return p.Name + ", kernel " + p.Kernel
}

func changeOf(cellName, figure string, before, after Figure) Change {
	c := Change{Cell: cellName, Figure: figure, Unit: cmp.Or(before.Unit, after.Unit), Before: before, After: after, P: 1}
	a, b := slices.Clone(before.Values), slices.Clone(after.Values) // they are sorted
	switch {
	case same(a) && same(b):
		c.Exact = true
		if a[0] != b[0] {
			c.P = 0
		}
		return c
	case len(a) < leastValues || len(b) < leastValues:
		return c
	}
	p := benchmath.AssumeNothing.Compare(benchmath.NewSample(a, &benchmath.DefaultThresholds), benchmath.NewSample(b, &benchmath.DefaultThresholds)).P
	if !math.IsNaN(p) {
		c.P = p
	}
	return c
}

func same(values []float64) bool {
	return !slices.ContainsFunc(values, func(v float64) bool { return v != values[0] })
}

// correct is Holm's: of m figures in the order of their P, the i-th from 0 has m-i times that, and none less than one before it.
func correct(changes []Change) {
	least := 0.
	for i := range changes {
		least = max(least, min(1, float64(len(changes)-i)*changes[i].P))
		changes[i].Corrected = least
	}
}

// Differs tells whether there is a change that is more than noise, or one of the two has what the other has not: a pipe that is
// never filled any more has no time in which it was.
func (c Comparison) Differs() bool {
	return len(c.Missing) > 0 || slices.ContainsFunc(c.Changes, Change.Significant)
}

// Table writes the changes that are more than noise, or all.
func (c Comparison) Table(w io.Writer, all bool) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	shown := 0
	for _, ch := range c.Changes {
		if !ch.Significant() && !all {
			continue
		}
		if shown++; shown == 1 {
			fmt.Fprintln(table, "cell\tfigure\tbefore\tafter\tchange\tp")
		}
		p := fmt.Sprintf("%.2g", ch.Corrected)
		if ch.Exact {
			p = "exact"
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\n", ch.Cell, ch.Figure, valueText(ch.Before, ch.Unit), valueText(ch.After, ch.Unit), relative(ch), p)
	}
	if err := table.Flush(); err != nil {
		return err
	}
	significant := 0
	for _, ch := range c.Changes {
		if ch.Significant() {
			significant++
		}
	}
	if shown > 0 {
		fmt.Fprintln(w)
	}
	n := min(c.Seeds[0], c.Seeds[1])
	how := "changed by more than noise (5 % for all of them together, Holm)"
	if n == 1 {
		how = "differ"
	}
	fmt.Fprintf(w, "%d of %d figures %s. Kernels %s and %s.\n", significant, c.Compared, how, c.Kernels[0], c.Kernels[1])
	if n == 1 {
		fmt.Fprintln(w, "One seed has no noise that is known: a figure that differs is another one with this seed. --seeds 1-10 tells it from chance.")
	} else if need := seedsFor(c.Compared); n < need {
		fmt.Fprintf(w, "Of %d seeds and %d figures no change of one that varies can be told from chance: %d seeds each are needed.\n", n, c.Compared, need)
	}
	for _, text := range c.Missing {
		fmt.Fprintf(w, "MISSING  %s\n", text)
	}
	return nil
}

// seedsFor is how many values each side needs, so that if all of one are above all of the other (2 of all orders) that is rare enough for the first
// of so many figures.
func seedsFor(figures int) int {
	orders := 1. // of 2n values in two groups of n
	for n := 1; ; n++ {
		orders *= float64(2*(2*n-1)) / float64(n)
		if n >= leastValues && 2/orders*float64(figures) < alpha {
			return n
		}
	}
}

func valueText(f Figure, unit string) string {
	if unit == "s" {
		return duration(f)
	}
	return strings.TrimSpace(number(f) + " " + unit)
}

func relative(c Change) string {
	if c.Before.Median == 0 {
		return "-"
	}
	return fmt.Sprintf("%+.3g %%", 100*(c.After.Median-c.Before.Median)/math.Abs(c.Before.Median))
}
