package screen

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/internal/watch"
)

// A column of a table. Where there is no room for all, the cells of a column become shorter, down to its least, and then columns are
// left out; those of the lowest rank are first at both.
type column struct {
	head  string
	right bool
	least int // columns of the terminal; 0: as wide as the widest cell
	rank  int

	cut func(s string, columns int) string // nil: at the end

	width int // 0: it is left out
}

type table struct {
	columns []column
	cells   [][]string
	styles  []style  // of each row
	why     []string // what is wrong with it
}

func (t *table) heads() []string {
	var heads []string
	for _, c := range t.columns {
		heads = append(heads, c.head)
	}
	return heads
}

// layOut gives each column its width.
func (t *table) layOut(room int) {
	for i := range t.columns {
		c := &t.columns[i]
		c.width = text.Width(c.head)
		for _, row := range t.cells {
			c.width = max(c.width, text.Width(text.Printable(row[i])))
		}
	}
	byRank := make([]*column, len(t.columns))
	for i := range t.columns {
		byRank[i] = &t.columns[i]
	}
	slices.SortStableFunc(byRank, func(a, b *column) int { return a.rank - b.rank })
	for _, c := range byRank {
		if over := t.width() - room; over > 0 && c.least > 0 {
			c.width = max(min(c.least, c.width), c.width-over)
		}
	}
	for _, c := range byRank {
		if t.width() > room {
			c.width = 0
		}
	}
}

// width is that of a line.
func (t *table) width() int {
	width := -1
	for _, c := range t.columns {
		if c.width > 0 {
			width += c.width + 1
		}
	}
	return width
}

func (t *table) line(cells []string) string {
	var parts []string
	for i, c := range t.columns {
		if c.width > 0 {
			cell := cells[i]
			if c.cut != nil {
				cell = c.cut(cell, c.width)
			}
			parts = append(parts, pad(cell, c.width, c.right))
		}
	}
	return strings.TrimRight(strings.Join(parts, " "), " ")
}

func (t *table) styleOf(i, at int) style {
	if i == at {
		return cursor
	}
	return t.styles[i]
}

// cutOwner shortens a process's name, and not its number; cutAddress an address, and not its port.
func cutOwner(s string, columns int) string   { return cutBefore(s, '/', columns) }
func cutAddress(s string, columns int) string { return cutBefore(s, ':', columns) }

func cutBefore(s string, last byte, columns int) string {
	at := strings.LastIndexByte(s, last)
	if at < 0 || text.Width(text.Printable(s)) <= columns {
		return s
	}
	return fit(s[:at], columns-len(s[at:])) + s[at:]
}

// connectionTable lists connections; of local addresses it has the ports only, if told so or if there is one address.
func connectionTable(list []watch.Connection, ports bool) table {
	t := table{columns: []column{
		{head: "STATE", rank: 20},
		{head: "LOCAL", rank: 13},
		{head: "REMOTE", least: 21, rank: 19, cut: cutAddress},
		{head: "OWNER", least: 12, rank: 18, cut: cutOwner},
		{head: "RTT", right: true, rank: 15},
		{head: "CWND", right: true, rank: 12},
		{head: "FLY", right: true, rank: 9},
		{head: "RCVQ", right: true, rank: 16},
		{head: "SNDQ", right: true, rank: 17},
		{head: "RETR", right: true, rank: 14},
		{head: "OUT/s", right: true, rank: 8},
		{head: "IN/s", right: true, rank: 7},
		{head: "AGE", right: true, rank: 6},
	}}
	for i := range list {
		c := &list[i]
		t.cells = append(t.cells, []string{
			c.State.String(), watch.Address(c.Local, c.Family), watch.Address(c.Remote, c.Family), c.Owner.String(), orDash(c.RTT > 0, watch.Short(c.RTT)),
			orDash(c.Cwnd > 0, strconv.FormatUint(uint64(c.Cwnd), 10)), orDash(c.InFlight > 0, strconv.FormatUint(uint64(c.InFlight), 10)),
			size(float64(c.ReceiveQueue)), size(float64(c.SendQueue)), orDash(c.Retransmits > 0, strconv.FormatUint(uint64(c.Retransmits), 10)),
			size(c.SendRate), size(c.ReceiveRate), age(c),
		})
		t.styles, t.why = append(t.styles, connectionStyle(c)), append(t.why, reasons(c.Troubles))
	}
	const local = 1
	ports = ports || !slices.ContainsFunc(list, func(c watch.Connection) bool { return c.Local.Addr() != list[0].Local.Addr() })
	for i := range t.cells {
		if ports {
			t.cells[i][local] = fmt.Sprintf(":%d", list[i].Local.Port())
		}
	}
	return t
}

// connectionStyle is red where nothing moves, and yellow for other troubles.
func connectionStyle(c *watch.Connection) style {
	if len(c.Troubles) == 0 {
		return plain
	}
	switch c.Troubles[0].Kind {
	case watch.BackedOff, watch.ZeroWindow, watch.Retransmitting:
		return red
	}
	return yellow
}

func age(c *watch.Connection) string {
	const month = 3
	s := watch.Short(c.InState.Truncate(1e9))
	if c.AtLeast {
		s = ">" + s
	}
	return s[:min(len(s), 2*month)]
}

func listenerTable(list []watch.Listener) table {
	t := table{columns: []column{
		{head: "LISTENS AT", least: 21, rank: 9, cut: cutAddress},
		{head: "OWNER", least: 12, rank: 8, cut: cutOwner},
		{head: "WAIT", right: true, rank: 7},
		{head: "BACKLOG", right: true, rank: 6},
		{head: "HALF OPEN", right: true, rank: 4},
		{head: "DROPS", right: true, rank: 5},
	}}
	for i := range list {
		l := &list[i]
		t.cells = append(t.cells, []string{
			watch.Address(l.Local, l.Family), l.Owner.String(), fmt.Sprint(l.Waiting), fmt.Sprint(l.Backlog), fmt.Sprint(l.HalfOpen), fmt.Sprint(l.Drops),
		})
		s := plain
		if len(l.Troubles) > 0 {
			s = red
		}
		t.styles, t.why = append(t.styles, s), append(t.why, reasons(l.Troubles))
	}
	return t
}

func counterTable(list []watch.Moved) table {
	t := table{columns: []column{{head: "COUNTER", rank: 3}, {head: "BY", right: true, rank: 2}, {head: "TOTAL", right: true, rank: 1}, {head: "MEANING", least: 10}}}
	for _, m := range list {
		t.cells = append(t.cells, []string{m.Name, fmt.Sprintf("%+d", m.By), fmt.Sprint(m.Total), m.Meaning})
		s := plain
		if m.Meaning != "" {
			s = yellow
		}
		t.styles, t.why = append(t.styles, s), append(t.why, "")
	}
	return t
}

func orDash(there bool, s string) string {
	if there {
		return s
	}
	return "-"
}

// size is a number of bytes in four columns: "-", "512", "14k", "1.2M".
func size(n float64) string {
	if n < 0.5 {
		return "-"
	}
	if n < 999.5 {
		return strconv.FormatFloat(n, 'f', 0, 64)
	}
	for _, unit := range "kMGT" {
		n /= 1000
		switch {
		case n < 9.95:
			return strconv.FormatFloat(n, 'f', 1, 64) + string(unit)
		case n < 999.5:
			return strconv.FormatFloat(n, 'f', 0, 64) + string(unit)
		}
	}
	return ">1P"
}
