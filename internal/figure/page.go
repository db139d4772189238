package figure

import (
	"image/color"
	"math"

	"github.com/tcplab/tcplab/internal/text"
)

// A page is what is drawn on. It has a canvas once its size is known: see begin.
type page struct {
	canvas
	width, height float64 // in points
}

// begin makes the canvas. The title is the document's.
func (p *page) begin(format, title string) {
	title = text.Printable(title)
	switch format {
	case "svg":
		p.canvas = &svgCanvas{width: p.width, height: p.height, title: title}
	case "pdf":
		p.canvas = &pdfCanvas{width: p.width, height: p.height, title: title}
	default:
		p.canvas = newPNG(p.width, p.height)
	}
}

// sampleLine is the sample of a line.
func (p *page) sampleLine(with pen) func(point) {
	return func(at point) { p.stroke([][]point{{{at.x, at.y}, {at.x + sampleSize, at.y}}}, with) }
}

// Marks, each of another shape.

func (p *page) cross(at point, r float64, c color.RGBA) {
	p.stroke([][]point{{{at.x - r, at.y - r}, {at.x + r, at.y + r}}, {{at.x - r, at.y + r}, {at.x + r, at.y - r}}}, pen{colour: c, width: 1.3})
}

func (p *page) ring(at point, r float64, c color.RGBA) {
	p.stroke([][]point{closed(discShape(at, r))}, pen{colour: c, width: 0.7})
}

func (p *page) diamond(at point, r float64, c color.RGBA) { p.fill([][]point{diamondShape(at, r)}, c) }
func (p *page) square(at point, r float64, c color.RGBA)  { p.fill([][]point{squareShape(at, r)}, c) }

// A shape is the corners of a mark about a point.
type shape func(at point, r float64) []point

func discShape(at point, r float64) []point {
	const corners = 16
	var line []point
	for i := range corners {
		angle := 2 * math.Pi * float64(i) / corners
		line = append(line, point{at.x + r*math.Cos(angle), at.y + r*math.Sin(angle)})
	}
	return line
}

func diamondShape(at point, r float64) []point {
	return []point{{at.x, at.y - r}, {at.x + r, at.y}, {at.x, at.y + r}, {at.x - r, at.y}}
}

func squareShape(at point, r float64) []point {
	return []point{{at.x - r, at.y - r}, {at.x + r, at.y - r}, {at.x + r, at.y + r}, {at.x - r, at.y + r}}
}

func triangleShape(at point, r float64) []point {
	return []point{{at.x, at.y - r}, {at.x + r, at.y + r}, {at.x - r, at.y + r}}
}

func fallenShape(at point, r float64) []point {
	return []point{{at.x, at.y + r}, {at.x + r, at.y - r}, {at.x - r, at.y - r}}
}

func hourglassShape(at point, r float64) []point {
	return []point{{at.x - r, at.y - r}, {at.x + r, at.y - r}, {at.x - r, at.y + r}, {at.x + r, at.y + r}}
}

// closed is the line about a shape.
func closed(corners []point) []point { return append(corners[:len(corners):len(corners)], corners[0]) }
