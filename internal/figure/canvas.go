package figure

import (
	"image/color"
	"io"
	"math"
)

// A point is in points of 1/72 inch, from the upper left corner.
type point struct{ x, y float64 }

type pen struct {
	colour color.RGBA
	width  float64
	dash   []float64 // lengths of lines and gaps in turn; empty: it is solid
}

// A canvas is a format.
type canvas interface {
	stroke(lines [][]point, p pen)
	fill(shapes [][]point, colour color.RGBA)
	// text is at its base line: to the right of a point, centred on it (0.5), or to its left (1).
	text(at point, size, align float64, text string, colour color.RGBA)
	write(w io.Writer) error
}

// The colours have different brightness, too. They are those of the page's light theme.
var (
	black  = color.RGBA{0x22, 0x30, 0x3a, 0xff}
	grey   = color.RGBA{0x7a, 0x87, 0x90, 0xff}
	faint  = color.RGBA{0xe3, 0xe8, 0xec, 0xff}
	blue   = color.RGBA{0x0b, 0x57, 0xa4, 0xff}
	red    = color.RGBA{0xd1, 0x10, 0x1d, 0xff}
	green  = color.RGBA{0x1a, 0x7f, 0x37, 0xff}
	ochre  = color.RGBA{0x8a, 0x6d, 0x00, 0xff}
	violet = color.RGBA{0x7b, 0x3f, 0xb5, 0xff}
	pink   = color.RGBA{0xc2, 0x30, 0x7f, 0xff}
	orange = color.RGBA{0xb8, 0x5c, 0x00, 0xff}
)

// dashed are the parts of a line that its pen draws.
func dashed(line []point, dash []float64) [][]point {
	if len(dash) == 0 || len(line) < 2 {
		return [][]point{line}
	}
	var parts [][]point
	n, left := 0, dash[0]
	part := []point{line[0]}
	for i := 1; i < len(line); i++ {
		from, to := line[i-1], line[i]
		length := math.Hypot(to.x-from.x, to.y-from.y)
		for done := 0.0; done < length; {
			step := min(left, length-done)
			done, left = done+step, left-step
			at := point{from.x + (to.x-from.x)*done/length, from.y + (to.y-from.y)*done/length}
			if n%2 == 0 {
				part = append(part, at)
			}
			if left > 0 {
				continue
			}
			if n%2 == 0 {
				parts = append(parts, part)
			}
			n++
			left, part = dash[n%len(dash)], []point{at}
		}
	}
	if n%2 == 0 && len(part) > 1 {
		parts = append(parts, part)
	}
	return parts
}

// box is a rectangle.
type box struct{ left, top, right, bottom float64 }

func (b box) has(p point) bool {
	const little = 1e-6
	return p.x >= b.left-little && p.x <= b.right+little && p.y >= b.top-little && p.y <= b.bottom+little
}

// clip is the part of a line from a to b that is in the box (Liang and Barsky).
func (b box) clip(from, to point) (point, point, bool) {
	dx, dy := to.x-from.x, to.y-from.y
	first, last := 0.0, 1.0
	for _, side := range [][2]float64{{-dx, from.x - b.left}, {dx, b.right - from.x}, {-dy, from.y - b.top}, {dy, b.bottom - from.y}} {
		switch t := side[1] / side[0]; {
		case side[0] == 0:
			if side[1] < 0 {
				return from, to, false
			}
		case side[0] < 0:
			first = max(first, t)
		default:
			last = min(last, t)
		}
	}
	if first > last {
		return from, to, false
	}
	return point{from.x + first*dx, from.y + first*dy}, point{from.x + last*dx, from.y + last*dy}, true
}

// clipLine are the parts of a line that are in the box.
func (b box) clipLine(line []point) [][]point {
	var parts [][]point
	var part []point
	for i := 1; i < len(line); i++ {
		from, to, inside := b.clip(line[i-1], line[i])
		if !inside {
			continue
		}
		if len(part) == 0 || part[len(part)-1] != from {
			if len(part) > 1 {
				parts = append(parts, part)
			}
			part = []point{from}
		}
		part = append(part, to)
	}
	if len(part) > 1 {
		parts = append(parts, part)
	}
	return parts
}
