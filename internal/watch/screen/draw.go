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
	if m.o.Title != "" {
		words = append(words, m.o.Title)
	}
	if r := m.shown; r != nil {
		words = append(words, r.At.Format("15:04:05"), "every "+watch.Short(m.o.Interval), plural(r.Sockets, "socket"))
		if r.Filter != "" {
			words = append(words, fmt.Sprintf("filter %s (%s)", r.Filter, plural(r.Others, "other")))
		}
		words = append(words, fmt.Sprintf("%d sick", r.Sick))
	} else if m.err == nil {
		words = append(words, "reading ...")
	}
	if m.frozen {
		words = append(words, "FROZEN")
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

// drawList draws listeners or counters, in up to so many lines.
func (m *model) drawList(c *canvas, p pane, lines, at int) {
	var t table
	var title string
	r := m.shown
	if p == listeners {
		title = plural(len(r.Listeners), "listener")
		t = listenerTable(r.Listeners)
	} else {
		title = fmt.Sprintf("%s moved in %s", plural(len(r.Moved), "counter"), watch.Short(r.Since))
		t = counterTable(r.Moved)
	}
	t.layOut(c.width - 2)
	c.add(bold, "%s", strings.ToUpper(title[:1])+title[1:])
	if lines--; len(t.cells) == 0 {
		return
	}
	c.add(faint, "  %s", t.line(t.heads()))
	lines--
	lines = min(lines, c.left())
	if at < 0 {
		m.drawRows(c, &t, 0, lines, -1)
		return
	}
	m.offset = scroll(m.offset, at, lines)
	m.drawRows(c, &t, m.offset, lines, at)
}

// drawRows draws so many rows of a table from one on, and, where they do not fit, says how many there are more.
func (m *model) drawRows(c *canvas, t *table, from, lines, at int) {
	for i := from; i < len(t.cells) && lines > 0; i++ {
		if lines == 1 && i+1 < len(t.cells) && at < 0 {
			c.add(faint, "  and %d more", len(t.cells)-i)
			return
		}
		lines--
		c.add(t.styleOf(i, at), "%s %s", mark(i == at), t.line(t.cells[i]))
	}
}

func mark(at bool) string {
	if at {
		return ">"
	}
	return " "
}

// scroll returns the first row to draw, so that the cursor is among so many.
func scroll(offset, at, lines int) int {
	return max(min(offset, at), at-max(1, lines)+1, 0)
}

// drawConnections draws the list of connections. What is wrong with one is beside it if there is room, and below it otherwise.
func (m *model) drawConnections(c *canvas) {
	r := m.shown
	total := 0
	for _, s := range r.States {
		total += s.Count
	}
	order := m.query.Order.String()
	if m.query.Reverse {
		order += ", reversed"
	}
	title := fmt.Sprintf("%s by %s", plural(total-len(r.Listeners), "connection"), order)
	if len(r.Connections) < total-len(r.Listeners) {
		title += fmt.Sprintf(", the first %d", len(r.Connections))
	}
	c.add(bold, "%s", title)
	if len(r.Connections) == 0 {
		return
	}
	lines := c.left() - 1
	m.offset = scroll(m.offset, m.cursor, lines)
	// Two lines each at worst: so those at the cursor are drawn, whichever have a second one.
	for m.offset < m.cursor && rowsOf(r.Connections[m.offset:m.cursor+1]) > lines {
		m.offset++
	}
	shown := r.Connections[m.offset:min(len(r.Connections), m.offset+max(1, lines))]
	t := connectionTable(shown)
	t.layOut(c.width - 2)
	c.add(faint, "  %s", t.line(t.heads()))
	beside := c.width - 2 - t.width() - 2
	for i := range shown {
		if c.left() == 0 {
			return
		}
		s := t.styleOf(i, m.cursor-m.offset)
		why := reasons(shown[i].Troubles)
		line := t.line(t.cells[i])
		if why != "" && beside >= leastReason {
			line += "  " + fit(why, beside)
			why = ""
		}
		c.add(s, "%s %s", mark(i == m.cursor-m.offset), line)
		if why != "" {
			c.add(t.styles[i], "    %s", why)
		}
	}
}

// leastReason is how much room beside a connection is enough to say there what is wrong.
const leastReason = 50

func rowsOf(list []watch.Connection) int {
	n := len(list)
	for i := range list {
		n += min(1, len(list[i].Troubles))
	}
	return n
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
		next := (m.pane + 1) % panes
		note := ""
		switch {
		case m.shown != nil && m.shown.Searching:
			note = "  (looking for owners)"
		case m.shown != nil && m.shown.Hidden:
			note = "  (owners of other users' sockets need root)"
		}
		c.add(faint, "q quit  space freeze  s sort  / filter  enter open  tab %s  ? help%s", next, note)
	}
}
