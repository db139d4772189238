package figure

import (
	"bytes"
	"compress/zlib"
	"fmt"
	"image/color"
	"io"
	"strings"
	"unicode/utf16"
)

// pdfCanvas writes a PDF of one page (ISO 32000-1): one stream of lines and areas, no font, no time, so that the same picture gives the
// same bytes.
type pdfCanvas struct {
	width, height float64
	title         string
	body          strings.Builder
}

func (d *pdfCanvas) at(p point) string { return number(p.x) + " " + number(d.height-p.y) }

func (d *pdfCanvas) colour(c color.RGBA, operator string) {
	fmt.Fprintf(&d.body, "%s %s %s %s\n", number(float64(c.R)/255), number(float64(c.G)/255), number(float64(c.B)/255), operator)
}

func (d *pdfCanvas) path(lines [][]point, end string) {
	for _, line := range lines {
		for i, p := range line {
			operator := "l"
			if i == 0 {
				operator = "m"
			}
			fmt.Fprintf(&d.body, "%s %s\n", d.at(p), operator)
		}
		d.body.WriteString(end)
	}
}

func (d *pdfCanvas) stroke(lines [][]point, p pen) {
	if len(lines) == 0 {
		return
	}
	var lengths []string
	for _, l := range p.dash {
		lengths = append(lengths, number(l))
	}
	d.colour(p.colour, "RG")
	fmt.Fprintf(&d.body, "%s w [%s] 0 d\n", number(p.width), strings.Join(lengths, " "))
	d.path(lines, "")
	d.body.WriteString("S\n")
}

func (d *pdfCanvas) fill(shapes [][]point, c color.RGBA) {
	if len(shapes) == 0 {
		return
	}
	d.colour(c, "rg")
	d.path(shapes, "h\n")
	d.body.WriteString("f\n")
}

func (d *pdfCanvas) text(at point, size, align float64, text string, c color.RGBA) {
	d.colour(c, "rg")
	at.x -= align * textWidth(text, size)
	outlineText(&pdfOutline{pdfCanvas: d}, at, size, text)
	d.body.WriteString("f\n")
}

// pdfOutline is the outlines of a text.
type pdfOutline struct {
	*pdfCanvas
	last point
}

func (o *pdfOutline) moveTo(p point) { o.last = p; fmt.Fprintf(&o.body, "%s m\n", o.at(p)) }
func (o *pdfOutline) lineTo(p point) { o.last = p; fmt.Fprintf(&o.body, "%s l\n", o.at(p)) }
func (o *pdfOutline) close()         { o.body.WriteString("h\n") }

// quadTo is a cubic curve: PDF has no quadratic ones.
func (o *pdfOutline) quadTo(c, p point) {
	third := func(from, to point) point { return point{from.x + (to.x-from.x)*2/3, from.y + (to.y-from.y)*2/3} }
	o.cubeTo(third(o.last, c), third(p, c), p)
}

func (o *pdfOutline) cubeTo(a, b, p point) {
	o.last = p
	fmt.Fprintf(&o.body, "%s %s %s c\n", o.at(a), o.at(b), o.at(p))
}

func (d *pdfCanvas) write(w io.Writer) error {
	var packed bytes.Buffer
	z := zlib.NewWriter(&packed)
	if _, err := io.WriteString(z, d.body.String()); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	var b bytes.Buffer
	b.WriteString("%PDF-1.4\n%\xe2\xe3\xcf\xd3\n") // bytes that tell programs that it is no text
	var offsets []int
	object := func(content string) {
		offsets = append(offsets, b.Len())
		fmt.Fprintf(&b, "%d 0 obj\n%s\nendobj\n", len(offsets), content)
	}
	object("<< /Type /Catalog /Pages 2 0 R >>")
	object("<< /Type /Pages /Kids [3 0 R] /Count 1 >>")
	object(fmt.Sprintf("<< /Type /Page /Parent 2 0 R /MediaBox [0 0 %s %s] /Resources << >> /Contents 4 0 R >>", number(d.width), number(d.height)))
	object(fmt.Sprintf("<< /Length %d /Filter /FlateDecode >>\nstream\n%s\nendstream", packed.Len(), packed.String()))
	object("<< /Title <" + utf16Text(d.title) + "> >>")
	start := b.Len()
	fmt.Fprintf(&b, "xref\n0 %d\n0000000000 65535 f \n", len(offsets)+1)
	for _, offset := range offsets {
		fmt.Fprintf(&b, "%010d 00000 n \n", offset)
	}
	fmt.Fprintf(&b, "trailer\n<< /Size %d /Root 1 0 R /Info 5 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(offsets)+1, start)
	_, err := w.Write(b.Bytes())
	return err
}

// utf16Text is text as PDF has it, in hexadecimal.
func utf16Text(s string) string {
	out := "FEFF"
	for _, unit := range utf16.Encode([]rune(s)) {
		out += fmt.Sprintf("%04X", unit)
	}
	return out
}
