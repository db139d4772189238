package figure

import (
	"sync"

	"golang.org/x/image/font"
	"golang.org/x/image/font/gofont/goregular"
	"golang.org/x/image/font/sfnt"
	"golang.org/x/image/math/fixed"

	"github.com/tcplab/tcplab/internal/text"
)

var regular = sync.OnceValue(func() *sfnt.Font {
	f, err := sfnt.Parse(goregular.TTF)
	if err != nil {
		panic(err) // it is compiled in
	}
	return f
})

// em is at which size outlines are read: the finest, so that scaling rounds nothing.
const em = 2048

// A glyph is the outline of a character, in ems, down and to the right of its base point.
type glyph struct {
	segments sfnt.Segments
	advance  float64
}

// glyphs are the outlines of a text. A character that the font has not is its box.
func glyphs(text string) []glyph {
	var b sfnt.Buffer
	var all []glyph
	for _, c := range text {
		index, err := regular().GlyphIndex(&b, c)
		if err != nil {
			index = 0
		}
		segments, err := regular().LoadGlyph(&b, index, fixed.I(em), nil)
		if err != nil {
			continue
		}
		advance, err := regular().GlyphAdvance(&b, index, fixed.I(em), font.HintingNone)
		if err != nil {
			continue
		}
		all = append(all, glyph{append(sfnt.Segments(nil), segments...), inEms(advance)})
	}
	return all
}

func inEms(v fixed.Int26_6) float64 { return float64(v) / 64 / em }

// textWidth is how wide a text is at a size.
func textWidth(text string, size float64) (width float64) {
	for _, g := range glyphs(text) {
		width += g.advance * size
	}
	return width
}

// An outline draws curves.
type outline interface {
	moveTo(p point)
	lineTo(p point)
	quadTo(control, p point)
	cubeTo(first, second, p point)
	close()
}

// outlineText draws a text with its base line's left end at a point.
func outlineText(o outline, at point, size float64, text string) {
	for _, g := range glyphs(text) {
		to := func(p fixed.Point26_6) point { return point{at.x + inEms(p.X)*size, at.y + inEms(p.Y)*size} }
		open := false
		for _, s := range g.segments {
			switch s.Op {
			case sfnt.SegmentOpMoveTo:
				if open {
					o.close()
				}
				open = true
				o.moveTo(to(s.Args[0]))
			case sfnt.SegmentOpLineTo:
				o.lineTo(to(s.Args[0]))
			case sfnt.SegmentOpQuadTo:
				o.quadTo(to(s.Args[0]), to(s.Args[1]))
			case sfnt.SegmentOpCubeTo:
				o.cubeTo(to(s.Args[0]), to(s.Args[1]), to(s.Args[2]))
			}
		}
		if open {
			o.close()
		}
		at.x += g.advance * size
	}
}

// fitting is a text, or as much of it as is no wider than there is room.
func fitting(s string, size, room float64) string {
	if textWidth(s, size) <= room {
		return s
	}
	letters := []rune(s)
	for len(letters) > 0 && textWidth(string(letters)+text.Ellipsis, size) > room {
		letters = letters[:len(letters)-1]
	}
	return string(letters) + text.Ellipsis
}
