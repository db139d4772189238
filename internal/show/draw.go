package show

import (
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/internal/text"
)

// column is where the lifeline of a host is.
func column(host, hosts, width int) int { return host * (width - 1) / max(1, hosts-1) }

// heads are the names of hosts, as near to their lifelines as there is room.
func heads(names []string, width int) string {
	line := ""
	for i, name := range names {
		name = text.Printable(name)
		at := column(i, len(names), width) - text.Width(name)/2
		if i == len(names)-1 {
			at = max(at, width-text.Width(name))
		}
		if gap := at - text.Width(line); gap > 0 {
			line += strings.Repeat(" ", gap)
		} else if line != "" {
			line += " "
		}
		line += name
	}
	return line
}

func lifelines(hosts, width int) string {
	line := []rune(strings.Repeat(" ", width))
	for i := range hosts {
		line[column(i, hosts, width)] = '│'
	}
	return string(line)
}

// arrow is a packet between lifelines: one that died ends in a cross, behind the host where it did.
func arrow(a picture.Arrow, hosts, width int) string {
	line := []rune(lifelines(hosts, width))
	from, to := column(a.From, hosts, width), column(a.To, hosts, width)
	step, head := 1, '▶'
	if to < from {
		step, head = -1, '◀'
	}
	end := to - step
	if a.Fate == picture.Lost || a.Fate == picture.Dropped {
		head = '✕'
		end = column(a.End, hosts, width) + 2*step
		if a.Fate == picture.Lost { // somewhere on its way
			end = (from + to) / 2
		}
		end = min(max(end, 0), width-1)
	}
	for at := from + step; at != end && at >= 0 && at < width; at += step {
		line[at] = '─'
	}
	line[end] = head
	return string(line)
}

// braille draws a series in so many characters, each of which has two by four dots.
func braille(s picture.Series, from, to time.Duration, high float64, columns, rows int) []string {
	const wide, tall = 2, 4
	dots := [tall][wide]rune{{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}} // U+2800 and these
	cells := make([][]rune, rows)
	for i := range cells {
		cells[i] = []rune(strings.Repeat("\u2800", columns))
	}
	set := func(x, y int) {
		y = rows*tall - 1 - y
		if x >= 0 && x < columns*wide && y >= 0 && y < rows*tall {
			cells[y/tall][x/wide] |= dots[y%tall][x%wide]
		}
	}
	last := -1
	for i, at := range s.Times {
		x := int(float64(at-from) / float64(max(1, to-from)) * float64(columns*wide-1))
		y := 0
		if high > 0 {
			y = int(s.Values[i] / high * float64(rows*tall-1))
		}
		if last >= 0 && s.Name != "RTT" { // a line from the one before; measurements of their own stay dots
			before := int(float64(s.Times[i-1]-from) / float64(max(1, to-from)) * float64(columns*wide-1))
			for between := before; between < x; between++ {
				set(between, last)
			}
			for between := min(last, y); between < max(last, y); between++ {
				set(x, between)
			}
		}
		set(x, y)
		last = y
	}
	lines := make([]string, rows)
	for i := range cells {
		lines[i] = strings.TrimRight(string(cells[i]), "\u2800")
	}
	return lines
}
