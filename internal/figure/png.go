package figure

import (
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"io"
	"math"

	"golang.org/x/image/vector"
)

// dots are how many pixels a point has: 300 dpi.
const dots = 300.0 / 72

// pngCanvas draws pixels.
type pngCanvas struct{ image *image.RGBA }

func newPNG(width, height float64) *pngCanvas {
	c := &pngCanvas{image.NewRGBA(image.Rect(0, 0, int(math.Ceil(width*dots)), int(math.Ceil(height*dots))))}
	draw.Draw(c.image, c.image.Bounds(), image.White, image.Point{}, draw.Src)
	return c
}

// stroke makes areas of lines: a rectangle for each part, longer than it by half its width, so that corners have no gaps.
func (c *pngCanvas) stroke(lines [][]point, p pen) {
	var shapes [][]point
	half := p.width / 2
	for _, line := range lines {
		for _, part := range dashed(line, p.dash) {
			for i := 1; i < len(part); i++ {
				from, to := part[i-1], part[i]
				length := math.Hypot(to.x-from.x, to.y-from.y)
				if length == 0 {
					continue
				}
				ux, uy := (to.x-from.x)/length*half, (to.y-from.y)/length*half
				var before, behind float64
				if i > 1 {
					before = 1
				}
				if i < len(part)-1 {
					behind = 1
				}
				from, to = point{from.x - before*ux, from.y - before*uy}, point{to.x + behind*ux, to.y + behind*uy}
				shapes = append(shapes, []point{{from.x - uy, from.y + ux}, {to.x - uy, to.y + ux}, {to.x + uy, to.y - ux}, {from.x + uy, from.y - ux}})
			}
		}
	}
	c.fill(shapes, p.colour)
}

// fill draws areas one by one, each within its bounds: a raster of the whole page for each would take long.
func (c *pngCanvas) fill(shapes [][]point, colour color.RGBA) {
	for _, shape := range shapes {
		area := &pngOutline{}
		for i, p := range shape {
			if i == 0 {
				area.moveTo(p)
			} else {
				area.lineTo(p)
			}
		}
		area.close()
		area.draw(c.image, colour)
	}
}

func (c *pngCanvas) text(at point, size, align float64, text string, colour color.RGBA) {
	at.x -= align * textWidth(text, size)
	area := &pngOutline{}
	outlineText(area, at, size, text)
	area.draw(c.image, colour)
}

func (c *pngCanvas) write(w io.Writer) error { return png.Encode(w, c.image) }

// pngOutline collects curves, to know their bounds before they are drawn.
type pngOutline struct {
	steps  []func(r *vector.Rasterizer, shift image.Point)
	bounds image.Rectangle
}

func (o *pngOutline) add(points []point, do func(r *vector.Rasterizer, at [][2]float32)) {
	for _, p := range points {
		x, y := int(math.Floor(p.x*dots)), int(math.Floor(p.y*dots))
		o.bounds = o.bounds.Union(image.Rect(x-1, y-1, x+2, y+2))
	}
	o.steps = append(o.steps, func(r *vector.Rasterizer, shift image.Point) {
		var at [][2]float32
		for _, p := range points {
			at = append(at, [2]float32{float32(p.x*dots - float64(shift.X)), float32(p.y*dots - float64(shift.Y))})
		}
		do(r, at)
	})
}

func (o *pngOutline) moveTo(p point) {
	o.add([]point{p}, func(r *vector.Rasterizer, at [][2]float32) { r.MoveTo(at[0][0], at[0][1]) })
}

func (o *pngOutline) lineTo(p point) {
	o.add([]point{p}, func(r *vector.Rasterizer, at [][2]float32) { r.LineTo(at[0][0], at[0][1]) })
}

func (o *pngOutline) quadTo(c, p point) {
	o.add([]point{c, p}, func(r *vector.Rasterizer, at [][2]float32) { r.QuadTo(at[0][0], at[0][1], at[1][0], at[1][1]) })
}

func (o *pngOutline) cubeTo(a, b, p point) {
	o.add([]point{a, b, p}, func(r *vector.Rasterizer, at [][2]float32) {
		r.CubeTo(at[0][0], at[0][1], at[1][0], at[1][1], at[2][0], at[2][1])
	})
}

func (o *pngOutline) close() {
	o.add(nil, func(r *vector.Rasterizer, _ [][2]float32) { r.ClosePath() })
}

// draw draws what is on the image: by a mask, which can be partly beside it.
func (o *pngOutline) draw(onto *image.RGBA, c color.RGBA) {
	if o.bounds.Intersect(onto.Bounds()).Empty() || o.bounds.Dx() > 2*onto.Bounds().Dx() || o.bounds.Dy() > 2*onto.Bounds().Dy() {
		return
	}
	r := vector.NewRasterizer(o.bounds.Dx(), o.bounds.Dy())
	for _, step := range o.steps {
		step(r, o.bounds.Min)
	}
	mask := image.NewAlpha(r.Bounds())
	r.Draw(mask, mask.Bounds(), image.Opaque, image.Point{})
	draw.DrawMask(onto, o.bounds, image.NewUniform(c), image.Point{}, mask, image.Point{}, draw.Over)
}
