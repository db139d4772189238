package figure

import (
	"fmt"
	"math"
	"strconv"
)

// A plane is a box on a page with an axis across and one up, and a legend below.
type plane struct {
	on *page
	box
	across, up axis
	legend     []entry
}

// An axis has values from low to high at places of the page.
type axis struct {
	title     string
	low, high float64
	log       bool // each power of ten takes the same room
	ticks     []tick

	from, to float64 // on the page
}

// A tick is a value that has its number at the axis.
type tick struct {
	value float64
	text  string
}

// An entry of the legend has a sample, drawn from the left at a point, and a text.
type entry struct {
	sample func(at point)
	text   string
}

// at is where a value is.
func (a axis) at(v float64) float64 {
	low, high := a.low, a.high
	if a.log {
		v, low, high = math.Log10(v), math.Log10(low), math.Log10(high)
	}
	return a.from + (a.to-a.from)*(v-low)/(high-low)
}

// lay gives the box what the legend and the numbers leave of the page.
func (p *plane) lay() {
	rows := p.legendRows(false)
	p.box = box{leftMargin, 20, p.on.width - margin - 4, p.on.height - 30 - rowHeight*float64(rows)}
	p.across.from, p.across.to = p.left, p.right
	p.up.from, p.up.to = p.bottom, p.top
}

// grid draws the axes with their numbers.
func (p *plane) grid() {
	var lines [][]point
	for _, t := range p.up.ticks {
		y := p.up.at(t.value)
		lines = append(lines, []point{{p.left, y}, {p.right, y}})
		p.on.text(point{p.left - 4, y + 3}, fontSize, 1, t.text, black)
	}
	for _, t := range p.across.ticks {
		x := p.across.at(t.value)
		lines = append(lines, []point{{x, p.top}, {x, p.bottom}})
		p.on.text(point{x, p.bottom + 11}, fontSize, 0.5, t.text, black)
	}
	p.on.stroke(lines, pen{colour: faint, width: 0.5})
	p.on.stroke([][]point{{{p.left, p.top}, {p.left, p.bottom}, {p.right, p.bottom}}}, pen{colour: black, width: 0.8})
	p.on.text(point{margin, 12}, fontSize, 0, p.up.title, black)
	p.on.text(point{p.right, p.bottom + 22}, fontSize, 1, p.across.title, black)
}

// line draws what of a line is in the box.
func (p *plane) line(line []point, with pen) { p.on.stroke(p.clipLine(line), with) }

// legendRows draws the legend, or only says how many rows it has.
func (p *plane) legendRows(draw bool) int {
	if len(p.legend) == 0 {
		return 0
	}
	rows, x := 1, float64(margin)
	for _, e := range p.legend {
		width := sampleSize + 4 + textWidth(e.text, fontSize) + 14
		if x > margin && x+width > p.on.width-margin+14 {
			rows, x = rows+1, margin
		}
		if draw {
			at := point{x, p.bottom + 22 + rowHeight*float64(rows)}
			e.sample(at)
			p.on.text(point{x + sampleSize + 4, at.y + 3}, fontSize, 0, e.text, black)
		}
		x += width
	}
	return rows
}

// linearTicks are at each step, in a unit that is so much of the values' own.
func linearTicks(low, high, unit, step float64) []tick {
	var ticks []tick
	for v := math.Ceil(low/unit/step) * step; v <= high/unit; v += step {
		ticks = append(ticks, tick{v * unit, tickText(v, step)})
	}
	return ticks
}

// logTicks are at 1, 2 and 5 times the powers of ten, or at the powers alone, or at some of these: as many as fit.
func logTicks(low, high float64, fit func([]tick) bool) []tick {
	first, last := int(math.Floor(math.Log10(low))), int(math.Ceil(math.Log10(high)))
	for _, choice := range []struct {
		digits []float64
		step   int
	}{{[]float64{1, 2, 5}, 1}, {[]float64{1}, 1}, {[]float64{1}, 2}, {[]float64{1}, 5}, {[]float64{1}, 20}} {
		var ticks []tick
		for power := first; power <= last; power += choice.step {
			for _, digit := range choice.digits {
				if v := digit * math.Pow10(power); v >= low && v <= high {
					ticks = append(ticks, tick{v, valueText(v)})
				}
			}
		}
		if fit(ticks) {
			return ticks
		}
	}
	return nil
}

// fits tells whether numbers have room beside each other, or above.
func (a axis) fits(ticks []tick) bool {
	const gap, line = 5, fontSize + 4
	for i := 1; i < len(ticks); i++ {
		need := float64(line)
		if a.to > a.from { // across: up, the page counts down
			need = (textWidth(ticks[i-1].text, fontSize)+textWidth(ticks[i].text, fontSize))/2 + gap
		}
		if math.Abs(a.at(ticks[i].value)-a.at(ticks[i-1].value)) < need {
			return false
		}
	}
	return true
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

// valueText writes a number as short as it can be read.
func valueText(v float64) string {
	if v >= 1e-4 && v < 1e6 {
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// counted is such as "dropped by a rule (3)".
func counted(text string, n int) string { return fmt.Sprintf("%s (%d)", text, n) }
