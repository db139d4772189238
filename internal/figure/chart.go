package figure

import (
	"fmt"
	"image/color"
	"math"
	"strconv"
	"time"
)

// chart is a plot over time with its axes and its legend.
type chart struct {
	*drawing
	box
	high   float64 // of the values: they begin at 0
	legend []entry
}

// An entry of the legend has a sample, drawn from the left at a point, and a text.
type entry struct {
	sample func(at point)
	text   string
}

// axes begins a chart whose values are up to high, and draws its axes. How a value is written, unit says.
func (d *drawing) axes(title string, high float64, unit string, legend func(c *chart) []entry) *chart {
	d.begin()
	c := &chart{drawing: d, high: max(high, 1e-12) * 1.05}
	c.legend = legend(c)
	rows := c.legendRows(false)
	c.box = box{leftMargin, 20, d.width - margin - 4, d.height - 30 - rowHeight*float64(rows)}
	c.grid(title, unit)
	return c
}

// x and y are where a time and a value are.
func (c *chart) x(at time.Duration) float64 {
	return c.left + (c.right-c.left)*float64(at-c.From)/float64(c.To-c.From)
}
func (c *chart) y(value float64) float64 { return c.bottom - (c.bottom-c.top)*value/c.high }

// grid draws axes with their numbers.
func (c *chart) grid(title, unit string) {
	value, name := scaled(c.high, unit)
	step := nice(c.high / value / 5)
	var lines [][]point
	for v := 0.0; v <= c.high/value; v += step {
		y := c.y(v * value)
		lines = append(lines, []point{{c.left, y}, {c.right, y}})
		c.text(point{c.left - 4, y + 3}, fontSize, 1, tickText(v, step), black)
	}
	span := (c.To - c.From).Seconds()
	second, timeName := 1.0, "s"
	if span < 2 {
		second, timeName = 1e-3, "ms"
	}
	timeStep := nice(span / second / max(2, (c.right-c.left)/60))
	for v := math.Ceil(c.From.Seconds()/second/timeStep) * timeStep; v <= c.To.Seconds()/second; v += timeStep {
		x := c.x(time.Duration(v * second * float64(time.Second)))
		lines = append(lines, []point{{x, c.top}, {x, c.bottom}})
		c.text(point{x, c.bottom + 11}, fontSize, 0.5, tickText(v, timeStep), black)
	}
	c.stroke(lines, pen{colour: faint, width: 0.5})
	c.stroke([][]point{{{c.left, c.top}, {c.left, c.bottom}, {c.right, c.bottom}}}, pen{colour: black, width: 0.8})
	if name != "" {
		title += " (" + name + ")"
	}
	c.text(point{margin, 12}, fontSize, 0, title, black)
	c.text(point{c.right, c.bottom + 22}, fontSize, 1, "time ("+timeName+")", black)
}

// scaled is the unit that a value of this size is written in: how much of the value's own that is, and its name.
func scaled(high float64, unit string) (value float64, name string) {
	switch {
	case unit == "s" && high < 1e-3:
		return 1e-6, "µs"
	case unit == "s" && high < 2:
		return 1e-3, "ms"
	case unit == "bit/s" && high >= 2e9:
		return 1e9, "Gbit/s"
	case unit == "bit/s" && high >= 2e6:
		return 1e6, "Mbit/s"
	case unit == "bit/s" && high >= 2e3:
		return 1e3, "kbit/s"
	case unit == "bytes" && high >= 2e6:
		return 1e6, "MB"
	case unit == "bytes" && high >= 2e4:
		return 1e3, "kB"
	}
	return 1, unit
}

// nice is 1, 2 or 5 times a power of ten, and no less than v.
func nice(v float64) float64 {
	if !(v > 0) {
		return 1
	}
	power := math.Pow(10, math.Floor(math.Log10(v)))
	for _, digit := range []float64{1, 2, 5} {
		if v <= digit*power*(1+1e-9) {
			return digit * power
		}
	}
	return 10 * power
}

// tickText has as many digits as tell neighbours apart.
func tickText(v, step float64) string {
	return strconv.FormatFloat(v, 'f', max(0, -int(math.Floor(math.Log10(step)+1e-9))), 64)
}

// legendRows draws the legend, or only says how many rows it has.
func (c *chart) legendRows(draw bool) int {
	if len(c.legend) == 0 {
		return 0
	}
	rows, x := 1, float64(margin)
	for _, e := range c.legend {
		width := sampleSize + 4 + textWidth(e.text, fontSize) + 14
		if x > margin && x+width > c.width-margin+14 {
			rows, x = rows+1, margin
		}
		if draw {
			at := point{x, c.bottom + 22 + rowHeight*float64(rows)}
			e.sample(at)
			c.text(point{x + sampleSize + 4, at.y + 3}, fontSize, 0, e.text, black)
		}
		x += width
	}
	return rows
}

// line draws what of a line is in the box.
func (c *chart) line(line []point, p pen) { c.stroke(c.clipLine(line), p) }

// sampleLine is the sample of a line.
func (d *drawing) sampleLine(p pen) func(point) {
	return func(at point) { d.stroke([][]point{{{at.x, at.y}, {at.x + sampleSize, at.y}}}, p) }
}

// Marks, each of another shape.

func (d *drawing) cross(at point, r float64, c color.RGBA) {
	d.stroke([][]point{{{at.x - r, at.y - r}, {at.x + r, at.y + r}}, {{at.x - r, at.y + r}, {at.x + r, at.y - r}}}, pen{colour: c, width: 1.3})
}

func (d *drawing) ring(at point, r float64, c color.RGBA) {
	const corners = 16
	var line []point
	for i := range corners + 1 {
		angle := 2 * math.Pi * float64(i) / corners
		line = append(line, point{at.x + r*math.Cos(angle), at.y + r*math.Sin(angle)})
	}
	d.stroke([][]point{line}, pen{colour: c, width: 0.7})
}

func (d *drawing) diamond(at point, r float64, c color.RGBA) {
	d.fill([][]point{{{at.x, at.y - r}, {at.x + r, at.y}, {at.x, at.y + r}, {at.x - r, at.y}}}, c)
}

func (d *drawing) square(at point, r float64, c color.RGBA) {
	d.fill([][]point{{{at.x - r, at.y - r}, {at.x + r, at.y - r}, {at.x + r, at.y + r}, {at.x - r, at.y + r}}}, c)
}

// counted is such as "dropped by a rule (3)".
func counted(text string, n int) string { return fmt.Sprintf("%s (%d)", text, n) }
