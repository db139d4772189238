package sweep

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/profiles"
	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/figure"
)

// A Paper is a published figure: what it measured, so that it can be measured again, and what it says.
type Paper struct {
	Name   string
	Title  string // authors, title, place, and which figure
	About  string // what is measured here, and in what it differs
	Grids  []Grid // one, or several where cells differ in their duration
	Memory int    // of a guest, in MiB; 0 is the default

	columns []column
	plot    plot
	closing func(Result) []string // lines below the table; nil: none
}

// Papers are those that can be measured again.
var Papers = []Paper{bbrLoss, ware, rfc9438, mathis, codel}

// Cells are those of all its grids.
func (p Paper) Cells() ([]cell.Cell, error) {
	var all []cell.Cell
	for _, g := range p.Grids {
		cells, err := g.Cells()
		if err != nil {
			return nil, err
		}
		all = append(all, cells...)
	}
	return all, nil
}

// A column has a value of each cell beside the others.
type column struct {
	title string
	text  func(Point) string
}

// A plot says how a paper's figure is drawn.
type plot struct {
	across, up figure.Axis
	group      func(Point) string         // what is told apart: by its flows, if nil
	x          func(Point) float64        // across
	move       func(p *Point, to float64) // gives a point another place across, for the line of a model
	here       func(Point) Figure         // up
	models     []model
	others     func(Point) (v float64, ok bool) // somebody else has measured it; nil: nobody
}

// A model says a value of a cell, or that it has none to say.
type model struct {
	name string
	of   func(Point) (v float64, ok bool)
}

// modelSteps are how many values the line of a model has.
const modelSteps = 60

// PaperFigure is the figure of a paper: what was measured, the paper's model, and what others have measured.
func (r Result) PaperFigure(paper Paper) (figure.Graph, error) {
	plot := paper.plot
	graph := figure.Graph{Title: paper.Title, Across: plot.across, Up: plot.up}
	groups := r.grouped(plot.group)
	if err := groups.check(); err != nil {
		return graph, err
	}
	for n, name := range groups.names {
		measured := figure.Series{Name: name + ", here", Group: n}
		others := figure.Series{Name: name + ", others", Group: n, Kind: figure.Others}
		for _, p := range groups.points[n] {
			measured.Values = withFigure(measured.Values, plot.x(p), plot.here(p))
			if plot.others == nil || !groups.first[n] {
				continue
			}
			if v, ok := plot.others(p); ok {
				others.Values = append(others.Values, figure.Value{X: plot.x(p), Y: v})
			}
		}
		graph.Series = append(graph.Series, measured)
		for _, m := range plot.models {
			if groups.first[n] {
				graph.Series = append(graph.Series, figure.Series{Name: m.name, Group: n, Kind: figure.Model, Values: plot.line(m, groups.points[n])})
			}
		}
		graph.Series = append(graph.Series, others)
	}
	prefixed(graph.Series, groups.names)
	return graph, nil
}

// prefixed names the group of a model that several groups have.
func prefixed(series []figure.Series, groups []string) {
	count := map[string]int{}
	for _, s := range series {
		if len(s.Values) > 0 {
			count[s.Name]++
		}
	}
	for i := range series {
		if s := &series[i]; count[s.Name] > 1 {
			s.Name = groups[s.Group] + ", " + s.Name
		}
	}
}

// line is a model over the range that points have: by the same factor from one value to the next.
func (d plot) line(m model, points []Point) []figure.Value {
	low, high := math.Inf(1), math.Inf(-1)
	for _, p := range points {
		low, high = min(low, d.x(p)), max(high, d.x(p))
	}
	var values []figure.Value
	for i := range modelSteps + 1 {
		p := points[0]
		d.move(&p, low*math.Pow(high/low, float64(i)/modelSteps))
		if v, ok := m.of(p); ok {
			values = append(values, figure.Value{X: d.x(p), Y: v})
		}
	}
	return values
}

// withFigure appends a figure with its interval; none if nothing was measured.
func withFigure(values []figure.Value, x float64, f Figure) []figure.Value {
	if len(f.Values) == 0 {
		return values
	}
	return append(values, figure.Value{X: x, Y: f.Median, Low: f.Low, High: f.High})
}

// text is a model's value in a table.
func (m model) text(format string) func(Point) string {
	return func(p Point) string {
		if v, ok := m.of(p); ok {
			return fmt.Sprintf(format, v)
		}
		return "-"
	}
}

// missed says by how much a model misses what was measured over the grid, in parts of the whole, and where it misses by more than its authors state.
func missed(points []Point, here func(Point) Figure, m model, stated float64, where func(Point) string) []string {
	var errs []float64
	var cells []string
	for _, p := range points {
		v, ok := m.of(p)
		if got := here(p); ok && len(got.Values) > 0 {
			errs = append(errs, math.Abs(got.Median-v))
			if math.Abs(got.Median-v) > stated {
				cells = append(cells, fmt.Sprintf("%s by %+.0f %%", strings.TrimSpace(where(p)+" "+p.Kernel), 100*(got.Median-v)))
			}
		}
	}
	if len(errs) == 0 {
		return nil
	}
	which := "none misses by more"
	if len(cells) > 0 {
		which = fmt.Sprintf("%d of %d cells miss by more: %s", len(cells), len(errs), strings.Join(cells, ", "))
	}
	return []string{fmt.Sprintf("%s: median error %.1f %% of the link, stated %.0f %%; %s.", m.name, 100*figureOf(errs, "").Median, 100*stated, which)}
}

// PaperTable writes a paper's figures beside those of here.
func (r Result) PaperTable(w io.Writer, paper Paper) error {
	fmt.Fprintf(w, "%s\n%s\n\n", paper.Title, paper.About)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	several := strings.Contains(r.Kernel, kernelSeparator)
	var titles []string
	if several {
		titles = append(titles, "kernel")
	}
	for _, c := range paper.columns {
		titles = append(titles, c.title)
	}
	fmt.Fprintln(table, strings.Join(titles, "\t"))
	for _, p := range r.Points {
		var row []string
		if several {
			row = append(row, p.Kernel)
		}
		for _, c := range paper.columns {
			row = append(row, c.text(p))
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	if paper.closing != nil {
		for _, line := range paper.closing(r) {
			fmt.Fprintln(w, line)
		}
	}
	fmt.Fprintf(w, "Mbit/s are of payload; the link carries %s with headers. Medians of %d seeds. Kernel %s.\n", paper.rates(), len(r.Seeds), r.Kernel)
	for _, text := range r.Failed {
		fmt.Fprintf(w, "FAILED  %s\n", text)
	}
	return nil
}

// rates are those of its links.
func (p Paper) rates() string {
	var all []string
	for _, g := range p.Grids {
		for _, rate := range g.Rates {
			if text := profiles.Rate(rate); !slices.Contains(all, text) {
				all = append(all, text)
			}
		}
	}
	return strings.Join(all, ", ")
}

// PaperResult is a result that --json has printed, if it is of this paper.
func PaperResult(in io.Reader, paper Paper) (Result, error) {
	r, err := ReadResult(in)
	if err != nil {
		return Result{}, err
	}
	cells, err := paper.Cells()
	if err != nil {
		return Result{}, err
	}
	names, hash := hashOf(cells)
	for _, p := range r.Points {
		if r.Grid != hash || !slices.Contains(names, p.Cell.String()) {
			return Result{}, fmt.Errorf("it is no result of %s as it is measured now: measure it again", paper.Name)
		}
	}
	return r, nil
}

// mss is a segment's payload on Ethernet, with time stamps, and payload the share of a rate that is payload.
const (
	mss     = 1448
	payload = mss / 1514.
)

// large lets neither side's buffer limit a flow. The receive buffer begins large: the kernel's own tuning stays at twice what the program
// reads in a round trip, which is too little for a window with a hole in it.
var large = map[string]string{"net.ipv4.tcp_wmem": "4096 16384 16777216", "net.ipv4.tcp_rmem": "4096 4194304 16777216"}

func flows(text string) []cell.Flow {
	f, err := ParseFlows(text)
	if err != nil {
		panic(err) // a constant
	}
	return f
}

// bottleneck is a cell's for package oracle.
func bottleneck(p Point) oracle.Bottleneck { return oracle.Bottleneck{Rate: p.Rate, RTT: p.RTT} }

// mostGoodput is what a link carries of payload, in bit/s.
func mostGoodput(p Point) float64 { return float64(p.Rate) * payload }

// goodputOfWindow is that of a window in segments, in bit/s.
func goodputOfWindow(window float64, rtt time.Duration) float64 {
	return oracle.Throughput(mss, rtt) * window
}

func lossText(p Point) string    { return cell.Percent(p.Loss) }
func flowText(p Point) string    { return FlowsText(p.Flows) }
func goodputText(p Point) string { return number(goodput(p)) }

// goodput is 0 where less than a segment was acknowledged: the byte that a SYN counts.
func goodput(p Point) Figure {
	f := p.Figures[cell.Goodput]
	if p.Duration == 0 || len(f.Values) == 0 {
		return f
	}
	var values []float64
	for _, v := range f.Values {
		if v*1e6 < oracle.Throughput(mss, p.Duration) {
			v = 0
		}
		values = append(values, v)
	}
	return figureOf(values, f.Unit)
}

// overLoss is a plot over random loss, in percent.
func overLoss(up figure.Axis) plot {
	return plot{
		across: figure.Axis{Title: "random loss (%)", Log: true}, up: up,
		x:    func(p Point) float64 { return 100 * p.Loss },
		move: func(p *Point, to float64) { p.Loss = to / 100 },
	}
}
