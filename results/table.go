package results

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// TableOptions say how Table prints. The zero value is 80 columns without colour.
type TableOptions struct {
	Width  int  // columns; 0 is 80; what is outside 60 to 160 is brought to the nearest of the two
	Colour bool // ANSI colours
}

const (
	defaultWidth = 80
	minWidth     = 60  // below, columns of a few letters would be left
	maxWidth     = 160 // above, the eye loses the row

	wideWidth = 120 // from here on, metrics have a column of their own

	scenarioLines = 3 // of a spec's text, before it is cut
	figureLines   = 4 // of what was expected
	messageLines  = 8 // of a failure's message
	noteLines     = 10
)

// Terminal returns the options for printing to f: the width and colours of a terminal, and without colour where f is
// something else, NO_COLOR is set or TERM is dumb. Where f is no terminal, the environment's COLUMNS gives the width.
func Terminal(f *os.File) TableOptions {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		columns, _ := strconv.Atoi(os.Getenv("COLUMNS")) // 0 where it is no number: the default
		return TableOptions{Width: columns}
	}
	return TableOptions{
		Width:  int(size.Col),
		Colour: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
	}
}

// A Tally counts verdicts.
type Tally struct{ Passed, Failed, Skipped int }

// Count counts each record once: pending as skipped, since neither ran, and whatever else is not passed as failed.
func Count(records []*Record) Tally {
	var t Tally
	for _, r := range records {
		switch {
		case r.Verdict.Failed():
			t.Failed++
		case ran(r):
			t.Passed++
		default:
			t.Skipped++
		}
	}
	return t
}

// String returns the last line of the table: "8 passed, 1 failed, 2 skipped".
func (t Tally) String() string {
	return fmt.Sprintf("%d passed, %d failed, %d skipped", t.Passed, t.Failed, t.Skipped)
}

// Table makes a reporter that prints one row a record: suite, scenario, verdict, metrics, the virtual time that it took
// and the wall time. Then come the failures, each with the first lines of its message and the folder that holds the
// evidence (of records that were read), why scenarios were skipped, which kept their guest too busy, alone on a line the
// [Tally], and why the report is not one of a run that passed: how many scenarios are missing, which suites have focused
// specs. Records of several kernels or seeds have a table each.
func Table(o TableOptions) Reporter {
	return func(w io.Writer, report Report) error {
		t := newTable(o)
		all := sections(report.Records)
		for _, s := range all {
			if len(all) > 1 {
				for _, line := range wrap(capital(s.String()), t.width, scenarioLines) {
					t.line(t.paint(line, bold))
				}
			}
			t.section(s.records)
		}
		t.tally(Count(report.Records))
		for _, d := range report.doubts() {
			for _, line := range wrap(d.text, t.width, messageLines) {
				t.line(line)
			}
		}
		_, err := w.Write(t.out.Bytes())
		return err
	}
}

// section prints the records of one kernel and seed.
func (t *table) section(records []*Record) {
	t.rows(records)
	t.failures(records)
	for _, s := range skips(records) {
		t.note("SKIPPED", s.String())
	}
	for _, r := range records {
		if busy := tooBusy(r); busy != "" {
			t.note("BUSY", r.Suite+": "+r.Scenario+": "+busy)
		}
	}
	t.line("")
}

func (t *table) tally(count Tally) {
	style := green
	switch {
	case count.Failed > 0:
		style = red
	case count.Passed == 0:
		style = yellow
	}
	t.line(t.paint(count.String(), style))
}

type table struct {
	out    bytes.Buffer
	width  int
	colour bool
}

// newTable begins a table of the width that was asked for, as far as one can read it.
func newTable(o TableOptions) table {
	return table{colour: o.Colour, width: min(max(cmp.Or(o.Width, defaultWidth), minWidth), maxWidth)}
}

// ANSI colours, as parameters of SGR.
const (
	plain  = ""
	bold   = "1"
	red    = "31"
	green  = "32"
	yellow = "33"
)

func (t *table) paint(s, style string) string {
	if !t.colour || style == plain || s == "" {
		return s
	}
	return "\x1b[" + style + "m" + s + "\x1b[0m"
}

func (t *table) line(s string) {
	t.out.WriteString(strings.TrimRight(s, " "))
	t.out.WriteByte('\n')
}

const gap = "  " // between two columns

// A column is as wide as its widest cell, or narrower when it wraps.
type column struct {
	width int
	right bool
}

// A cell is the lines of one column in one row.
type cell struct {
	lines []string
	style string
}

// row prints cells side by side.
func (t *table) row(columns []column, cells []cell) {
	height := 0
	for _, c := range cells {
		height = max(height, len(c.lines))
	}
	for i := range height {
		var b strings.Builder
		pending := 0 // spaces that are printed only if something follows
		for j, c := range cells {
			if j > 0 {
				pending += len(gap)
			}
			text := ""
			if i < len(c.lines) {
				text = c.lines[i]
			}
			fill := max(0, columns[j].width-displayWidth(text))
			if text == "" {
				pending += fill
				continue
			}
			if columns[j].right {
				pending += fill
				fill = 0
			}
			b.WriteString(strings.Repeat(" ", pending))
			b.WriteString(t.paint(text, c.style))
			pending = fill
		}
		t.line(b.String())
	}
}

func (t *table) rows(records []*Record) {
	suite := column{width: len("SUITE")}
	verdict := column{width: len("VERDICT")}
	virtual := column{width: len("VIRTUAL"), right: true}
	wall := column{width: len("WALL"), right: true}
	text, metrics := len("SCENARIO"), 0 // the widest scenario, the widest list of metrics
	for _, r := range records {
		text = max(text, displayWidth(printable(r.Scenario)))
		suite.width = max(suite.width, min(displayWidth(printable(r.Suite)), t.width/5))
		verdict.width = max(verdict.width, displayWidth(string(r.Verdict)))
		virtual.width = max(virtual.width, displayWidth(virtualTime(r)))
		wall.width = max(wall.width, displayWidth(wallTime(r)))
		metrics = max(metrics, figuresWidth(r.Metrics))
	}
	rest := t.width - suite.width - verdict.width - virtual.width - wall.width - 4*len(gap)
	scenario := column{width: min(text, rest)}
	columns := []column{suite, scenario, verdict, virtual, wall}
	titles := []string{"SUITE", "SCENARIO", "VERDICT", "VIRTUAL", "WALL"}

	wide := t.width >= wideWidth && metrics > 0
	var metric column
	if wide {
		// The scenario gets two fifths, or more where the metrics leave it over.
		rest -= len(gap)
		scenario.width = min(text, max(rest*2/5, rest-metrics))
		metric.width = max(min(metrics, rest-scenario.width), len("FIGURES"))
		columns = []column{suite, scenario, verdict, metric, virtual, wall}
		titles = []string{"SUITE", "SCENARIO", "VERDICT", "FIGURES", "VIRTUAL", "WALL"}
	}
	head := make([]cell, len(titles))
	for i, title := range titles {
		head[i] = cell{[]string{title}, bold}
	}
	t.row(columns, head)

	previous := ""
	for i, r := range records {
		name := wrap(r.Suite, suite.width, scenarioLines)
		if i > 0 && r.Suite == previous {
			name = nil
		}
		previous = r.Suite
		first := cell{name, plain}
		text := cell{wrap(r.Scenario, scenario.width, scenarioLines), plain}
		how := cell{[]string{printable(string(r.Verdict))}, verdictStyle(r.Verdict)}
		times := []cell{{[]string{virtualTime(r)}, plain}, {[]string{wallTime(r)}, plain}}
		if wide {
			t.row(columns, append([]cell{first, text, how, {figureText(allParts(r.Metrics), metric.width), plain}}, times...))
			continue
		}
		t.row(columns, append([]cell{first, text, how}, times...))
		indent := strings.Repeat(" ", suite.width+2*len(gap))
		for _, line := range figureText(allParts(r.Metrics), t.width-len(indent)) {
			t.line(indent + line)
		}
	}
}

func verdictStyle(v Verdict) string {
	switch {
	case v.Failed():
		return red
	case v == Passed:
		return green
	}
	return yellow
}

// A metric's parts, ready to print.
type figureParts struct{ name, value, expected string }

func parts(f Metric) figureParts {
	p := figureParts{name: printable(f.Name), value: quantity(f.Value, f.Unit)}
	if expected := f.expectation(); expected != "" {
		p.expected = "expected " + expected
	}
	return p
}

func allParts(metrics []Metric) []figureParts {
	var list []figureParts
	for _, f := range metrics {
		list = append(list, parts(f))
	}
	return list
}

// figuresWidth returns how many columns the metrics take when nothing is wrapped.
func figuresWidth(metrics []Metric) int {
	name, value, expected := figureColumns(allParts(metrics))
	if expected > 0 {
		expected += len(gap)
	}
	if len(metrics) == 0 {
		return 0
	}
	return name + len(gap) + value + expected
}

func figureColumns(metrics []figureParts) (name, value, expected int) {
	for _, p := range metrics {
		name = max(name, displayWidth(p.name))
		value = max(value, displayWidth(p.value))
		expected = max(expected, displayWidth(p.expected))
	}
	return name, value, expected
}

// figureText lays the metrics out in three columns. Where that leaves no room for what was expected, it comes below.
func figureText(metrics []figureParts, width int) []string {
	name, value, expected := figureColumns(metrics)
	name = min(name, width*2/5)
	value = min(value, width*2/5)
	beside := width - name - value - 2*len(gap)
	below := expected > beside && beside < 20
	var lines []string
	for _, p := range metrics {
		cells := [][]string{wrap(p.name, name, figureLines), wrap(p.value, value, figureLines), nil}
		if !below {
			cells[2] = wrap(p.expected, beside, figureLines)
		}
		for i := range max(len(cells[0]), len(cells[1]), len(cells[2])) {
			at := func(j int) string {
				if i < len(cells[j]) {
					return cells[j][i]
				}
				return ""
			}
			line := pad(at(0), name, false) + gap + pad(at(1), value, false) + gap + at(2)
			lines = append(lines, strings.TrimRight(line, " "))
		}
		if below && p.expected != "" {
			for _, line := range wrap(p.expected, width-len(gap), figureLines) {
				lines = append(lines, gap+line)
			}
		}
	}
	return lines
}

// number prints integers in full and other values with four significant digits; the record has all of them.
func number(v float64) string {
	switch size := math.Abs(v); {
	case v == math.Trunc(v) && size < 1e15:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case size >= 1000 && size < 1e15:
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 4, 64)
}

// short prints a duration with three digits or so: "1.23s", "2m7s", "120ms", "250h".
func short(d time.Duration) string {
	size := d.Abs()
	if size >= 100*time.Hour {
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	unit := time.Second
	for size < 100*unit && unit > 1 {
		unit /= 10
	}
	return d.Round(unit).String()
}

func virtualTime(r *Record) string {
	if r.Clock != ClockVirtual || r.Duration == 0 { // 0 where it did not run
		return "-"
	}
	return short(r.Duration)
}

func wallTime(r *Record) string {
	if took := r.wall(); took > 0 {
		return short(took)
	}
	return "-"
}

func (t *table) failures(records []*Record) {
	for _, r := range records {
		if !r.Verdict.Failed() {
			continue
		}
		t.line("")
		head := strings.ToUpper(printable(string(r.Verdict)))
		const indent = "  "
		for i, line := range wrap(head+" "+r.Suite+": "+r.Scenario, t.width-len(indent), scenarioLines) {
			if i == 0 {
				t.line(t.paint(head, red) + strings.TrimPrefix(line, head))
			} else {
				t.line(indent + line)
			}
		}
		if r.Failure != nil {
			t.message(r.Failure.Message, indent)
			if r.Failure.Location != "" {
				t.line(indent + "at " + printable(r.Failure.Location)) // not wrapped: it is for clicking on
			}
		}
		if r.dir != "" {
			t.line(indent + "evidence: " + printable(r.dir)) // not wrapped: it is for copying
		}
	}
}

// message prints the first lines of a failure's message with their own indentation, which Gomega gives meaning.
func (t *table) message(text, indent string) {
	var lines []string
	for line := range strings.Lines(strings.ReplaceAll(text, "\t", "    ")) {
		if strings.TrimSpace(line) != "" {
			lines = append(lines, strings.TrimRight(line, " \r\n"))
		}
	}
	for i, line := range lines {
		if i == messageLines {
			t.line(fmt.Sprintf("%s%s %d more lines in %s", indent, ellipsis, len(lines)-i, FileName))
			return
		}
		text := strings.TrimLeft(line, " ")
		lead := indent + strings.Repeat(" ", min(len(line)-len(text), t.width/4))
		if room := t.width - len(lead); displayWidth(printable(text)) > room {
			for _, part := range wrap(text, room, scenarioLines) {
				t.line(lead + part)
			}
			continue
		}
		t.line(lead + printable(text)) // as it is, with its columns
	}
}

// note prints a paragraph after a word that says what it is about.
func (t *table) note(head, text string) {
	t.line("")
	for i, line := range wrap(head+" "+text, t.width-2, noteLines) {
		if i == 0 {
			t.line(t.paint(head, yellow) + strings.TrimPrefix(line, head))
		} else {
			t.line("  " + line)
		}
	}
}
