package screen

import (
	"fmt"
	"strings"

	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/internal/watch"
)

// A style is how text looks (ECMA-48, SGR).
type style string

const (
	plain  style = ""
	bold   style = "\x1b[1m"
	red    style = "\x1b[31m"
	yellow style = "\x1b[33m"
	faint  style = "\x1b[2m"
	cursor style = "\x1b[7m"
	reset        = "\x1b[0m"
)

// A row is one line of the screen.
type row struct {
	text  string
	style style
}

// canvas is what is drawn, from above, until it is full.
type canvas struct {
	width, height int
	rows          []row
}

func (c *canvas) left() int { return c.height - len(c.rows) }

// add draws a line. Whatever it is from, it is harmless then, and as wide as there is room.
func (c *canvas) add(s style, format string, args ...any) {
	if c.left() > 0 {
		c.rows = append(c.rows, row{fit(fmt.Sprintf(format, args...), c.width), s})
	}
}

// fit makes text harmless, and cuts it to so many columns.
func fit(s string, columns int) string {
	s = text.Printable(s)
	if text.Width(s) <= columns {
		return s
	}
	if columns <= len(text.Ellipsis) {
		return strings.Repeat(".", max(0, columns))
	}
	return text.Cut(s, columns)
}

// pad makes text harmless and exactly so many columns wide.
func pad(s string, columns int, right bool) string {
	s = fit(s, columns)
	blanks := strings.Repeat(" ", max(0, columns-text.Width(s)))
	if right {
		return blanks + s
	}
	return s + blanks
}

// The least that is drawn on.
const (
	leastWidth  = 40
	leastHeight = 10
)

// draw returns the screen, line by line.
func (m *model) draw() string {
	if m.width < leastWidth || m.height < leastHeight {
		if m.width == 0 {
			return ""
		}
		return fit(fmt.Sprintf("%dx%d: too small", m.width, m.height), m.width)
	}
	c := &canvas{width: m.width, height: m.height - 1}
	switch {
	case m.help:
		m.drawHelp(c)
	case m.shown == nil:
		m.drawTitle(c)
	case m.open != nil:
		m.drawTitle(c)
		m.drawOpened(c)
	default:
		m.drawTitle(c)
		m.drawStates(c)
		m.drawSummaries(c)
		m.drawPane(c)
	}
	c.rows = append(c.rows, make([]row, max(0, c.left()))...)
	c.height++
	m.drawFoot(c)
	lines := make([]string, len(c.rows))
	for i, r := range c.rows {
		lines[i] = m.paint(r)
	}
	return strings.Join(lines, "\n")
}

func (m *model) paint(r row) string {
	if r.style == plain || !m.o.Colour || r.text == "" {
		return r.text
	}
	return string(r.style) + r.text + reset
}

// drawTitle says what is watched, and when.
func (m *model) drawTitle(c *canvas) {
	words := []string{"tcplab watch"}
	if r := m.shown; r != nil {
		words = append(words, r.At.Format("15:04:05"))
		if m.frozen {
			words = append(words, "FROZEN")
		}
		words = append(words, fmt.Sprintf("%s, %d sick", plural(r.Sockets, "socket"), r.Sick))
		if r.Filter != "" {
			words = append(words, fmt.Sprintf("filter: %s (%s)", r.Filter, plural(r.Others, "other")))
		}
		words = append(words, "every "+watch.Short(m.o.Interval))
	} else if m.err == nil {
		words = append(words, "reading ...")
	}
	if m.o.Title != "" {
		words = append(words, m.o.Title)
	}
	c.add(bold, "%s", strings.Join(words, "  "))
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// drawStates shows the counts of all states, with their history.
func (m *model) drawStates(c *canvas) {
	const (
		name, number, gap = 10, 6, 2
		leastColumn       = 38
	)
	states := m.shown.States
	columns := max(1, min(3, (c.width+gap)/(leastColumn+gap)))
	width := (c.width+gap)/columns - gap
	rows := (len(states) + columns - 1) / columns
	for i := range rows {
		var cells []string
		for j := i; j < len(states); j += rows { // downwards first
			history := make([]float64, len(states[j].History))
			for k, n := range states[j].History {
				history[k] = float64(n)
			}
			cells = append(cells, pad(fmt.Sprintf("%-*s %*d %s", name, states[j].State, number, states[j].Count,
				chart(history, width-name-number-2, m.bars())), width, false))
		}
		c.add(plain, "%s", strings.TrimRight(strings.Join(cells, strings.Repeat(" ", gap)), " "))
	}
}

func (m *model) bars() []rune {
	if m.o.ASCII {
		return ascii
	}
	return blocks
}

// tall is from which height on all panes are shown at once.
const tall = 36

// drawSummaries shows of the panes that are not chosen as much as there is room for: a line, or some.
func (m *model) drawSummaries(c *canvas) {
	const some = 8
	for p := range panes {
		switch {
		case p == m.pane || p == connections: // which is too much for a summary
		case m.height >= tall:
			c.add(plain, "")
			m.drawList(c, p, some, -1)
		case p == listeners:
			var words []string
			for i := range m.shown.Listeners {
				l := &m.shown.Listeners[i]
				word := fmt.Sprintf("%s %d/%d", watch.Address(l.Local, l.Family), l.Waiting, l.Backlog)
				for _, t := range l.Troubles {
					word += " " + strings.ToUpper(string(t.Kind))
				}
				words = append(words, word)
			}
			c.add(m.summaryStyle(p), "listeners %d: %s", len(m.shown.Listeners), strings.Join(words, "  "))
		case p == counters:
			var words []string
			for _, moved := range m.shown.Moved {
				words = append(words, fmt.Sprintf("%s %+d", moved.Name, moved.By))
			}
			c.add(plain, "moved %d: %s", len(m.shown.Moved), strings.Join(words, "  "))
		}
	}
}

func (m *model) summaryStyle(p pane) style {
	if p == listeners && len(m.shown.Listeners) > 0 && len(m.shown.Listeners[0].Troubles) > 0 { // they are first
		return red
	}
	return plain
}

// drawPane draws the chosen pane in full, with the cursor.
func (m *model) drawPane(c *canvas) {
	c.add(plain, "")
	if m.pane == connections {
		m.drawConnections(c)
		return
	}
	m.drawList(c, m.pane, c.left(), m.cursor)
}

// drawList draws listeners or counters, in up to so many lines; at is the row with the cursor, -1 if there is none.
func (m *model) drawList(c *canvas, p pane, lines, at int) {
	r := m.shown
	if p == listeners {
		c.add(bold, "%s", plural(len(r.Listeners), "listener"))
		m.drawTable(c, listenerTable(r.Listeners), lines-1, at)
		return
	}
	c.add(bold, "%s moved in %s", plural(len(r.Moved), "counter"), watch.Short(r.Since))
	m.drawTable(c, counterTable(r.Moved), lines-1, at)
}

// drawConnections draws the list of connections.
func (m *model) drawConnections(c *canvas) {
	r := m.shown
	total := r.Sockets - len(r.Listeners)
	order := m.query.Order.String()
	if m.query.Reverse {
		order += ", reversed"
	}
	title := fmt.Sprintf("%s by %s", plural(total, "connection"), order)
	if len(r.Connections) < total {
		title += fmt.Sprintf(", the first %d", len(r.Connections))
	}
	switch {
	case r.Searching:
		title += " (looking for owners)"
	case r.Hidden:
		title += " (owners of other users' sockets need root)"
	}
	c.add(bold, "%s", title)
	// Of a thousand it draws those at the cursor, and none is as wide as one that is not seen.
	lines := c.left()
	from := max(0, min(m.offset, m.cursor), m.cursor-lines)
	seen := r.Connections[from:min(len(r.Connections), from+2*lines)]
	m.offset -= from
	m.drawTable(c, connectionTable(seen, c.width < wide), lines, m.cursor-from)
	m.offset += from
}

// wide is from which width on local addresses are shown where they differ, and not their ports only.
const wide = 110

// leastReason is how much room beside a row is enough to say there what is wrong.
const leastReason = 50

// drawTable draws a table in up to so many lines, with its heads. What is wrong with a row is beside it where there is room, and below
// it otherwise. With a cursor the rows around it are drawn; without, the first ones, and how many there are more.
func (m *model) drawTable(c *canvas, t table, lines, at int) {
	lines = min(lines, c.left())
	if len(t.cells) == 0 || lines < 2 {
		return
	}
	t.layOut(c.width - 2)
	beside := c.width - 2 - t.width() - 2
	height := func(i int) int {
		if t.why[i] != "" && beside < leastReason {
			return 2
		}
		return 1
	}
	c.add(faint, "  %s", t.line(t.heads()))
	lines--
	from := 0
	if at >= 0 {
		m.offset = scroll(m.offset, at, lines, height)
		from = m.offset
	}
	for i := from; i < len(t.cells) && lines > 0; i++ {
		if rest := len(t.cells) - i; at < 0 && rest > 1 && lines <= height(i) {
			c.add(faint, "  and %d more", rest)
			return
		}
		lines -= height(i)
		line := t.line(t.cells[i])
		if height(i) == 1 && t.why[i] != "" {
			line += "  " + fit(t.why[i], beside)
		}
		c.add(t.styleOf(i, at), "%s %s", mark(i == at), line)
		if height(i) == 2 {
			c.add(t.styles[i], "    %s", t.why[i])
		}
	}
}

func mark(at bool) string {
	if at {
		return ">"
	}
	return " "
}

// scroll returns the first row to draw, so that the cursor's is among those that fit into so many lines.
func scroll(offset, at, lines int, height func(int) int) int {
	offset = max(0, min(offset, at))
	used := 0
	for i := at; i >= offset; i-- {
		if used += height(i); used > lines {
			return min(i+1, at)
		}
	}
	return offset
}

func reasons(troubles []watch.Trouble) string {
	var all []string
	for _, t := range troubles {
		all = append(all, "! "+t.Text)
	}
	return strings.Join(all, " ")
}

// drawFoot draws the last line: what is typed, what is wrong, or the keys.
func (m *model) drawFoot(c *canvas) {
	switch {
	case m.typing:
		c.add(bold, "filter: %s_", m.typed)
	case m.complain != "":
		c.add(red, "%s", m.complain)
	case m.err != nil:
		c.add(red, "%s", m.err)
	case m.help:
		c.add(faint, "q quit  esc back")
	case m.open != nil:
		c.add(faint, "q quit  esc back  space freeze  ? help")
	default:
		c.add(faint, "q quit  space freeze  s sort  / filter  enter open  tab %s  ? help", (m.pane+1)%panes)
	}
}
