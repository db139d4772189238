package header

import (
	"fmt"
	"io"
	"strings"

	"github.com/tcplab/tcplab/internal/text"
)

// The drawing's measures, as in RFCs: a row has 32 bits, each of two columns.
const (
	rowBits    = 32
	rowColumns = 2*rowBits + 1
)

// shortNames are of fields with a bit or two, which are drawn downwards.
var shortNames = map[string]string{"Don't Fragment": "DF", "More Fragments": "MF", "Reserved": "", "Drop Eligible": "DEI"}

// A piece is the part of a field in one row.
type piece struct {
	field      int
	from, bits int // within the row
	lines      []string
}

// Drawing draws a header as an RFC does, with what is in its fields.
func (h Header) Drawing() string {
	rows := h.rows()
	if len(rows) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString(" 0                   1                   2                   3\n")
	b.WriteString(" " + strings.TrimSuffix(strings.Repeat("0 1 2 3 4 5 6 7 8 9 ", 4)[:2*rowBits], " ") + "\n")
	for i, row := range rows {
		var above []piece
		if i > 0 {
			above = rows[i-1]
		}
		b.WriteString(separator(above, row) + "\n")
		height := 1
		for _, p := range row {
			height = max(height, len(p.lines))
		}
		for line := range height {
			for _, p := range row {
				content := ""
				if line < len(p.lines) {
					content = p.lines[line]
				}
				b.WriteString("|" + centre(content, 2*p.bits-1))
			}
			b.WriteString("|\n")
		}
	}
	b.WriteString(separator(rows[len(rows)-1], nil) + "\n")
	return b.String()
}

// rows puts the fields into rows, and names and values into their widest pieces.
func (h Header) rows() [][]piece {
	var rows [][]piece
	add := func(row int, p piece) {
		for len(rows) <= row {
			rows = append(rows, nil)
		}
		rows[row] = append(rows[row], p)
	}
	at := 0
	for i, f := range h.Fields {
		widest, row := -1, -1
		for bit := at; bit < f.Bit+f.Bits; {
			p := piece{field: i, from: bit % rowBits, bits: min(rowBits-bit%rowBits, f.Bit+f.Bits-bit)}
			if p.bits > widest {
				widest, row = p.bits, bit/rowBits
			}
			add(bit/rowBits, p)
			bit += p.bits
		}
		at = f.Bit + f.Bits
		if row >= 0 {
			p := &rows[row][len(rows[row])-1]
			if p.field != i || p.bits != widest {
				p = &rows[row][0]
			}
			p.lines = cellLines(f, 2*p.bits-1)
		}
	}
	if n := len(rows); n > 0 { // the last row may be short
		last := rows[n-1][len(rows[n-1])-1]
		if end := last.from + last.bits; end < rowBits {
			rows[n-1] = append(rows[n-1], piece{field: -1, from: end, bits: rowBits - end})
		}
	}
	return rows
}

// cellLines are a field's name and value in so many columns: downwards, where there is one.
func cellLines(f Field, columns int) []string {
	name := f.Name
	if short, ok := shortNames[name]; ok && columns < 2*4-1 {
		name = short
	}
	if columns == 1 {
		lines := strings.Split(name, "")
		return append(lines, f.Value)
	}
	lines := text.Wrap(name, columns)
	if text.Width(f.Value) <= columns {
		return append(lines, f.Value)
	}
	if value := text.Wrap(f.Value, columns); len(value) <= 3 {
		return append(lines, value...)
	}
	return append(lines, text.Cut(f.Value, columns))
}

// separator is the line between two rows: open where a field goes on.
func separator(above, below []piece) string {
	at := func(row []piece, bit int) int {
		for _, p := range row {
			if bit >= p.from && bit < p.from+p.bits {
				return p.field
			}
		}
		return -2
	}
	var b strings.Builder
	for bit := range rowBits {
		goesOn := above != nil && below != nil && at(above, bit) == at(below, bit) && at(above, bit) >= 0
		if goesOn {
			b.WriteString("+ ")
		} else {
			b.WriteString("+-")
		}
	}
	return b.String() + "+"
}

func centre(s string, columns int) string {
	s = text.Cut(s, columns)
	left := (columns - text.Width(s)) / 2
	return strings.Repeat(" ", left) + s + strings.Repeat(" ", columns-left-text.Width(s))
}

// Text writes headers for people: each drawn, and then its fields, in so many columns.
func Text(w io.Writer, headers []Header, columns int) error {
	var b strings.Builder
	for _, h := range headers {
		fmt.Fprintf(&b, "\n%s: bytes %d to %d", strings.ToUpper(h.Name[:1])+h.Name[1:], h.Offset, h.Offset+h.Length-1)
		if h.Source != "" {
			fmt.Fprintf(&b, " (%s)", h.Source)
		}
		b.WriteString("\n")
		if drawing := h.Drawing(); drawing != "" && columns >= rowColumns {
			b.WriteString("\n" + drawing + "\n")
		}
		for _, f := range h.Fields {
			position := fmt.Sprintf("%d", h.Offset+f.Bit/8)
			if f.Bit%8 != 0 || f.Bits%8 != 0 {
				position += fmt.Sprintf(".%d", f.Bit%8)
			}
			line := fmt.Sprintf("%6s %4d  %-22s ", position, f.Bits, f.Name)
			said := text.Printable(f.Value)
			switch {
			case f.Meaning != "" && said != "":
				said += " (" + text.Printable(f.Meaning) + ")"
			case f.Meaning != "":
				said = text.Printable(f.Meaning)
			}
			for i, part := range text.Wrap(said, max(20, columns-len(line))) {
				if i > 0 {
					line = strings.Repeat(" ", len(line))
				}
				fmt.Fprintln(&b, line+part)
			}
		}
		for _, wrong := range h.Wrong {
			fmt.Fprintf(&b, "  ! %s\n", text.Printable(wrong))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
