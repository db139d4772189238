package figure

import (
	"fmt"
	"html"
	"image/color"
	"io"
	"strconv"
	"strings"
)

type svgCanvas struct {
	width, height float64
	title         string
	body          strings.Builder
}

// number has three digits behind the point: a thousandth of a point is nothing to see.
func number(v float64) string {
	s := strconv.FormatFloat(v, 'f', 3, 64)
	s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	if s == "-0" {
		return "0"
	}
	return s
}

func hexColour(c color.RGBA) string { return fmt.Sprintf("#%02x%02x%02x", c.R, c.G, c.B) }

func svgPath(lines [][]point, end string) string {
	var b strings.Builder
	for _, line := range lines {
		for i, p := range line {
			command := "L"
			if i == 0 {
				command = "M"
			}
			b.WriteString(command + number(p.x) + " " + number(p.y))
		}
		b.WriteString(end)
	}
	return b.String()
}

func (s *svgCanvas) stroke(lines [][]point, p pen) {
	if len(lines) == 0 {
		return
	}
	dash := ""
	if len(p.dash) > 0 {
		var lengths []string
		for _, d := range p.dash {
			lengths = append(lengths, number(d))
		}
		dash = ` stroke-dasharray="` + strings.Join(lengths, " ") + `"`
	}
	fmt.Fprintf(&s.body, "<path d=%q fill=\"none\" stroke=%q stroke-width=%q%s/>\n", svgPath(lines, ""), hexColour(p.colour), number(p.width), dash)
}

func (s *svgCanvas) fill(shapes [][]point, c color.RGBA) {
	if len(shapes) > 0 {
		fmt.Fprintf(&s.body, "<path d=%q fill=%q/>\n", svgPath(shapes, "Z"), hexColour(c))
	}
}

func (s *svgCanvas) text(at point, size, align float64, text string, c color.RGBA) {
	anchor := ""
	switch align {
	case 0.5:
		anchor = ` text-anchor="middle"`
	case 1:
		anchor = ` text-anchor="end"`
	}
	fmt.Fprintf(&s.body, "<text x=%q y=%q font-size=%q fill=%q%s>%s</text>\n", number(at.x), number(at.y), number(size), hexColour(c), anchor, html.EscapeString(text))
}

func (s *svgCanvas) write(w io.Writer) error {
	_, err := fmt.Fprintf(w, `<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" width="%spt" height="%spt" viewBox="0 0 %s %s" font-family="Go, Helvetica, Arial, sans-serif" role="img">
<title>%s</title>
<rect width="100%%" height="100%%" fill="#ffffff"/>
%s</svg>
`, number(s.width), number(s.height), number(s.width), number(s.height), html.EscapeString(s.title), s.body.String())
	return err
}
