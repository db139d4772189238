package figure

import (
	"cmp"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/tcplab/tcplab/internal/text"
)

// A Graph is values over others: what was measured, and what a model or somebody else says of it.
type Graph struct {
	Title      string // of the document; it is not drawn, for a paper says it below
	Across, Up Axis
	Series     []Series
}

// An Axis is one of a graph.
type Axis struct {
	Title string    // with the unit
	Log   bool      // each power of ten takes the same room: a value of 0 or less has no place
	Ticks []float64 // where the numbers are; nil: where they are round
}

// A Series is values of one kind.
type Series struct {
	Name   string
	Kind   Kind
	Values []Value
	// Group is less than MostGroups. Series of one group have the same colour, and the same shape where they have marks: what was measured, and
	// what others say of it.
	Group int
}

// A Kind says where values are from, and so how they are drawn.
type Kind int

// The kinds of series.
const (
	Measured Kind = iota // marks, with a bar for their interval, and a thin line between them
	Model                // a dashed line
	Others               // open marks: somebody else has measured them
)

// A Value is where a series is. Low and High are its interval; none if both are 0.
type Value struct {
	X, Y      float64
	Low, High float64
}

// groupLooks are how groups are told apart: also without their colours, by the shape of their marks.
var groupLooks = []struct {
	colour color.RGBA
	shape  shape
}{
	{blue, squareShape}, {red, discShape}, {green, triangleShape}, {ochre, diamondShape}, {violet, fallenShape}, {black, hourglassShape},
}

// modelDashes are how models are told apart.
var modelDashes = [][]float64{{6, 2.5}, {1.5, 1.5}, {8, 2, 1.5, 2}, {12, 3}, {3, 4}, {8, 2, 1.5, 2, 1.5, 2}}

// MostGroups is how many groups can be told apart.
var MostGroups = len(groupLooks)

const (
	markRadius  = 2.4
	intervalCap = 2
)

// CheckFormat refuses a format that no figure is in.
func CheckFormat(format string) error {
	if !slices.Contains(Formats, format) {
		return fmt.Errorf("format %q: there are %s", format, strings.Join(Formats, ", "))
	}
	return nil
}

// WriteGraph draws a graph in one of Formats. What cannot be drawn, since it is no number or has no place on a logarithmic axis, is left out, and the legend
// says of how many values that is so. It returns ErrNothing where there is nothing left.
func WriteGraph(w io.Writer, g Graph, format string) error {
	if err := CheckFormat(format); err != nil {
		return err
	}
	for _, s := range g.Series {
		if s.Group < 0 || s.Group >= MostGroups {
			return fmt.Errorf("%s: group %d of a graph: %d can be told apart", text.Printable(s.Name), s.Group, MostGroups)
		}
	}
	d := &graph{Graph: g, plane: &plane{on: &page{width: defaultWidth * millimetre, height: defaultHeight * millimetre}}}
	d.left()
	if !slices.ContainsFunc(d.Series, func(s Series) bool { return len(s.Values) > 0 }) {
		return fmt.Errorf("%w: there are no values", ErrNothing)
	}
	d.on.begin(format, g.Title)
	d.plane.across, d.plane.up = d.axis(d.Across, func(v Value) []float64 { return []float64{v.X} }), d.axis(d.Up, Value.reach)
	model := 0
	for i, s := range d.Series {
		if s.Kind == Model {
			d.dashes[i] = modelDashes[model%len(modelDashes)]
			model++
		}
		d.legend = append(d.legend, entry{d.sample(i), fitting(s.Name, fontSize, d.on.width-2*margin-sampleSize-4)})
	}
	d.lay()
	d.plane.across.ticks = d.plane.across.numbers(d.Across.Ticks)
	d.plane.up.ticks = d.plane.up.numbers(d.Up.Ticks)
	d.grid()
	order := []Kind{Model, Others, Measured} // what was measured is above all
	for _, kind := range order {
		for i, s := range d.Series {
			if s.Kind == kind {
				d.draw(i)
			}
		}
	}
	d.legendRows(true)
	return d.on.write(w)
}

// graph is one while it is drawn.
type graph struct {
	Graph
	*plane
	dashes [][]float64 // of each series
}

// left leaves out what cannot be drawn.
func (d *graph) left() {
	all := d.Series
	d.Series = nil
	can := func(v float64, a Axis) bool {
		const tiny, huge = 1e-100, 1e100 // beyond these differences and numbers on the axis overflow
		size := math.Abs(v)
		return v == 0 && !a.Log || size > tiny && size < huge && (v > 0 || !a.Log)
	}
	for _, s := range all {
		var values []Value
		for _, v := range s.Values {
			if !can(v.X, d.Across) || !can(v.Y, d.Up) {
				continue
			}
			if !can(v.Low, d.Up) || !can(v.High, d.Up) {
				v.Low, v.High = 0, 0
			}
			values = append(values, v)
		}
		if len(s.Values) == 0 {
			continue
		}
		s.Name = legible(s.Name)
		if n := len(s.Values) - len(values); n > 0 {
			s.Name += fmt.Sprintf(" (%d not drawn)", n)
		}
		slices.SortStableFunc(values, func(a, b Value) int { return cmp.Compare(a.X, b.X) })
		s.Values = values
		d.Series = append(d.Series, s)
	}
	d.dashes = make([][]float64, len(d.Series))
}

// legible is a text of somebody, of which no more than a page has room for is looked at.
func legible(s string) string {
	const most = 200
	return text.Cut(text.Printable(s), most)
}

// reach is what of the axis up a value needs.
func (v Value) reach() []float64 {
	if v.Low == 0 && v.High == 0 {
		return []float64{v.Y}
	}
	return []float64{v.Y, v.Low, v.High}
}

// axis has room for all values, and a little more; a linear one begins at 0 where no value is less.
func (d *graph) axis(of Axis, values func(Value) []float64) axis {
	a := axis{title: legible(of.Title), log: of.Log, low: math.Inf(1), high: math.Inf(-1)}
	for _, s := range d.Series {
		for _, v := range s.Values {
			a.low, a.high = min(a.low, slices.Min(values(v))), max(a.high, slices.Max(values(v)))
		}
	}
	const beside = 0.04 // marks at the ends are whole
	if of.Log {
		more := math.Pow(max(a.high/a.low, 1.5), beside)
		a.low, a.high = max(a.low/more, math.SmallestNonzeroFloat64), min(a.high*more, math.MaxFloat64)
		return a
	}
	a.low = min(a.low, 0)
	if a.high == a.low {
		a.high = a.low + 1
	}
	more := (a.high - a.low) * beside
	if a.low < 0 {
		a.low -= more
	}
	a.high += more
	return a
}

// numbers are those that are asked for, or as many round ones as there is room for.
func (a axis) numbers(asked []float64) []tick {
	var ticks []tick
	for _, v := range asked {
		if v >= a.low && v <= a.high {
			ticks = append(ticks, tick{v, valueText(v)})
		}
	}
	if len(ticks) > 0 && a.fits(ticks) {
		return ticks
	}
	if a.log {
		return logTicks(a.low, a.high, a.fits)
	}
	const most, least = 10, 2
	for n := most; n > least; n-- {
		if ticks = linearTicks(a.low, a.high, 1, nice((a.high-a.low)/float64(n))); a.fits(ticks) {
			break
		}
	}
	return ticks
}

// sample is a series in the legend.
func (d *graph) sample(i int) func(point) {
	s := d.Series[i]
	return func(at point) {
		middle := point{at.x + sampleSize/2, at.y}
		switch s.Kind {
		case Model:
			d.on.sampleLine(d.pen(i))(at)
		case Others:
			d.mark(i, middle)
		default:
			d.on.sampleLine(d.pen(i))(at)
			d.mark(i, middle)
		}
	}
}

func (d *graph) pen(i int) pen {
	p := pen{colour: groupLooks[d.Series[i].Group].colour, width: 0.6, dash: d.dashes[i]}
	if d.Series[i].Kind == Model {
		p.width = 1.2
	}
	return p
}

func (d *graph) mark(i int, at point) {
	look := groupLooks[d.Series[i].Group]
	corners := look.shape(at, markRadius)
	if d.Series[i].Kind == Others {
		d.on.stroke([][]point{closed(corners)}, pen{colour: look.colour, width: 0.9})
		return
	}
	d.on.fill([][]point{corners}, look.colour)
}

func (d *graph) draw(i int) {
	s := d.Series[i]
	var line []point
	var bars [][]point
	for _, v := range s.Values {
		at := point{d.plane.across.at(v.X), d.plane.up.at(v.Y)}
		line = append(line, at)
		if low, high := d.plane.up.at(v.Low), d.plane.up.at(v.High); len(v.reach()) > 1 && high < low {
			bars = append(bars, []point{{at.x, low}, {at.x, high}}, []point{{at.x - intervalCap, low}, {at.x + intervalCap, low}},
				[]point{{at.x - intervalCap, high}, {at.x + intervalCap, high}})
		}
	}
	if s.Kind != Others {
		d.line(line, d.pen(i))
	}
	d.on.stroke(bars, pen{colour: groupLooks[s.Group].colour, width: 0.9})
	if s.Kind == Model {
		return
	}
	for _, at := range line {
		d.mark(i, at)
	}
}
