package sweep

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/figure"
)

// Unmeasured is the result of cells of which nothing has come yet: to find out whether there is a figure of them before they are measured.
func Unmeasured(cells []cell.Cell, kernels []string) Result {
	var r Result
	_, r.Grid = hashOf(cells)
	for _, c := range cells {
		for i := range max(1, len(kernels)) {
			p := Point{Cell: c, Name: c.String()}
			if len(kernels) > 1 {
				p.Kernel = kernels[i]
			}
			r.Points = append(r.Points, p)
		}
	}
	return r
}

// Figure is goodput over a dimension that has numbers: the one of which the grid has most values. For all else there are series, of cells with several kinds of
// flows one for each kind. It is an error if there is no such dimension, or if there are more series than can be told apart.
func (r Result) Figure() (figure.Graph, error) {
	across, err := r.across()
	if err != nil {
		return figure.Graph{}, err
	}
	graph := figure.Graph{Title: "goodput over " + across.name, Across: across.axis(r.Points), Up: figure.Axis{Title: "goodput (Mbit/s)"}}
	groups := r.grouped(func(p Point) string { return r.besides(p, across) })
	for n, name := range groups.names {
		for _, kind := range kindsOf(groups.points[n][0]) {
			s := figure.Series{Name: name, Group: len(graph.Series)}
			metric := cell.Goodput
			if kind != "" {
				s.Name, metric = kind+" of "+name, kind+": "+metric
			}
			for _, p := range groups.points[n] {
				s.Values = withFigure(s.Values, across.value(p), p.Figures[metric])
			}
			graph.Series = append(graph.Series, s)
		}
	}
	graph.Up.Log = wide(graph.Series)
	return graph, told(len(graph.Series))
}

// wide tells whether goodputs are so far apart that the small ones could not be seen on a linear axis.
func wide(series []figure.Series) bool {
	const far = 50
	least, most := math.Inf(1), 0.
	for _, s := range series {
		for _, v := range s.Values {
			least, most = min(least, v.Y), max(most, v.Y)
		}
	}
	return least > 0 && most > far*least
}

func told(series int) error {
	if series > figure.MostGroups {
		return fmt.Errorf("a figure of %d series: %d can be told apart: measure fewer congestion controls, queues or kernels in one", series, figure.MostGroups)
	}
	return nil
}

// A numeric is a dimension of numbers.
type numeric struct {
	name, unit string
	value      func(Point) float64
}

func (n numeric) axis(points []Point) figure.Axis {
	least, most := math.Inf(1), math.Inf(-1)
	for _, p := range points {
		least, most = min(least, n.value(p)), max(most, n.value(p))
	}
	const far = 8
	return figure.Axis{Title: fmt.Sprintf("%s (%s)", n.name, n.unit), Log: least > 0 && most >= far*least}
}

// numerics are named as in dimensions.
var numerics = []numeric{
	{"loss", "%", func(p Point) float64 { return 100 * p.Loss }},
	{"buffer", "packets", func(p Point) float64 {
		if p.Queue != nil {
			return 0 // its discipline says it
		}
		return float64(p.Buffer)
	}},
	{"rate", "Mbit/s", megabits},
	{"RTT", "ms", func(p Point) float64 { return p.RTT.Seconds() * 1e3 }},
	{"jitter", "ms", func(p Point) float64 { return p.Jitter.Seconds() * 1e3 }},
	{"in bursts of", "packets", func(p Point) float64 { return max(1, p.LossBurst) }},
	{"bottlenecks", "in a row", func(p Point) float64 { return float64(max(1, p.Bottlenecks)) }},
}

// across is the dimension with most values, and 2 at least.
func (r Result) across() (numeric, error) {
	var found numeric
	var names []string
	most := 1
	for _, n := range numerics {
		values := map[float64]bool{}
		for _, p := range r.Points {
			values[n.value(p)] = true
		}
		if len(values) > most {
			found, most = n, len(values)
		}
		names = append(names, n.name)
	}
	if most == 1 {
		return found, errors.New("there is no figure of one value: give two or more of one of " + strings.Join(names, ", "))
	}
	return found, nil
}

// besides is what a point is called by all dimensions that differ but one.
func (r Result) besides(p Point, across numeric) string {
	var parts []string
	for _, d := range r.dimensions() {
		switch {
		case d.name == across.name || d.name == "kernel": // which grouped has
		case d.name == "flows" || d.name == "queue":
			parts = append(parts, d.of(p))
		default:
			parts = append(parts, d.name+" "+d.of(p))
		}
	}
	return strings.Join(parts, ", ")
}

// kindsOf are the kinds of bulk flows of a cell, each of which has a goodput of its own; one empty name where all is one kind.
func kindsOf(p Point) []string {
	var kinds []string
	for _, f := range p.Flows {
		if f.Traffic != cell.Bulk {
			continue
		}
		kind := f.Kind()
		if slices.Contains(kinds, kind) { // two have one name, such as of flows of different RTT
			return []string{""}
		}
		kinds = append(kinds, kind)
	}
	if len(kinds) < 2 {
		return []string{""}
	}
	return kinds
}

// A grouping has points by what they are called.
type grouping struct {
	names  []string
	points [][]Point
	first  []bool // of the first kernel: a model says the same of all
}

// grouped puts points together by their names, with the kernel if there are several; by their flows if name is nil.
func (r Result) grouped(name func(Point) string) grouping {
	if name == nil {
		name = flowText
	}
	var g grouping
	for _, p := range r.Points {
		called := name(p)
		if p.Kernel != "" {
			called += ", " + p.Kernel
		}
		i := slices.Index(g.names, called)
		if i < 0 {
			i = len(g.names)
			g.names, g.points, g.first = append(g.names, called), append(g.points, nil), append(g.first, p.Kernel == r.Points[0].Kernel)
		}
		g.points[i] = append(g.points[i], p)
	}
	return g
}

func (g grouping) check() error { return told(len(g.names)) }
