// Package show shows a scenario, or a capture, in a terminal: what it claims and measured, small plots over time, and the ladder of its
// packets. What to draw is package picture's; docs/report.md says how to read it.
//
// It needs nothing. Its tests:
//
//	go test ./internal/show
//	go test ./internal/show -run Golden -update
package show

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/results"
)

// Options say what is shown.
type Options struct {
	Columns    int  // of the terminal; 0 is 100
	Connection int  // of the picture
	View       int  // of the connection: where it was captured, 0 is the sender's side
	Around     int  // a frame, to show the ladder around; 0: from its beginning
	All        bool // all of the ladder, and nothing folded
	Colour     bool
}

const (
	minColumns  = 60
	defaultRows = 60 // of a ladder
	aroundRows  = 15 // on either side of a frame
	red, off    = "\x1b[31m", "\x1b[0m"
)

type writer struct {
	strings.Builder
	Options
	*picture.Picture
}

func (w *writer) line(format string, args ...any) {
	w.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

// Record shows a scenario.
func Record(out io.Writer, record *results.Record, p *picture.Picture, o Options) error {
	w := newWriter(p, o)
	w.line("%s  %s: %s", strings.ToUpper(string(record.Verdict)), text.Printable(record.Suite), text.Printable(record.Scenario))
	w.line("%v; %v", record.Origin(), record.Duration.Round(time.Microsecond))
	if f := record.Failure; f != nil {
		w.line("")
		for line := range strings.Lines(text.PrintableLines(f.Message)) { // below the first column, no line looks like one of ours
			w.line("    %s", strings.TrimSuffix(line, "\n"))
		}
	}
	if len(record.Metrics)+len(record.Checks) > 0 {
		w.line("")
	}
	for _, m := range record.Metrics {
		w.metric(m)
	}
	for _, m := range record.Checks {
		w.metric(m)
	}
	return w.pictures(out)
}

// Capture shows a capture of somebody else.
func Capture(out io.Writer, name string, p *picture.Picture, o Options) error {
	w := newWriter(p, o)
	w.line("%s", text.Printable(name))
	return w.pictures(out)
}

// Ladder shows the ladder of one connection, and nothing else.
func Ladder(out io.Writer, p *picture.Picture, o Options) error {
	w := newWriter(p, o)
	w.ladder()
	_, err := io.WriteString(out, w.String())
	return err
}

// Plots shows the plots of one connection, and nothing else.
func Plots(out io.Writer, p *picture.Picture, o Options) error {
	w := newWriter(p, o)
	w.plots(&p.Connections[o.Connection])
	_, err := io.WriteString(out, w.String())
	return err
}

func newWriter(p *picture.Picture, o Options) *writer {
	o.Columns = max(minColumns, cmp.Or(o.Columns, 100))
	return &writer{Options: o, Picture: p}
}

func (w *writer) pictures(out io.Writer) error {
	for _, note := range w.Notes {
		w.line("! %s", text.Printable(note))
	}
	switch {
	case len(w.Connections) == 0:
		w.line("\nThere are no TCP packets.")
	case w.Connection < 0 || w.Connection >= len(w.Connections):
		return fmt.Errorf("connection %d: there are %d, from 0", w.Connection, len(w.Connections))
	default:
		k := &w.Connections[w.Connection]
		w.line("\n%v > %v, %s", k.Client, k.Server, counted(k.Packets, "packet"))
		if n := len(w.Connections); n > 1 {
			w.line("(connection %d of %d, from 0; --connection N shows another)", w.Connection, n)
		}
		w.findings(k)
		w.plots(k)
		w.ladder()
	}
	_, err := io.WriteString(out, w.String())
	return err
}

// barWidth is how many columns the bounds of a metric have.
const barWidth = 11

// metric is a line with a bar: the bounds, and in them the value.
func (w *writer) metric(m results.Metric) {
	for i, line := range text.Wrap(text.Printable(m.String()), w.Options.Columns-barWidth-7) {
		bar := ""
		if i == 0 {
			bar = barOf(m)
		}
		w.line("  %s  %s", bar+strings.Repeat(" ", barWidth+4-text.Width(bar)), line)
	}
}

// barOf is such as " |---o-----| ": with one bound only, it is open on the other side. A value that is outside is beside it.
func barOf(m results.Metric) string {
	b := m.Bounds
	if b == nil {
		return ""
	}
	lower, upper := m.Value, m.Value
	left, right := "<", ">"
	if b.Lower != nil {
		lower, left = *b.Lower, "|"
	}
	if b.Upper != nil {
		upper, right = *b.Upper, "|"
	}
	bar := []byte(strings.Repeat("-", barWidth))
	before, behind := " ", " "
	switch {
	case b.Lower != nil && m.Value < lower:
		before = "x"
	case b.Upper != nil && m.Value > upper:
		behind = "x"
	case lower == upper:
		bar[barWidth/2] = 'o'
	default:
		bar[int(math.Round((m.Value-lower)/(upper-lower)*(barWidth-1)))] = 'o'
	}
	return before + left + string(bar) + right + behind
}

func (w *writer) findings(k *picture.Connection) {
	for _, f := range k.Views[0].Summary.Findings {
		for i, line := range text.Wrap(string(f.Kind)+": "+f.Seen, w.Options.Columns-4) {
			mark := "  ! "
			if i > 0 {
				mark = "    "
			}
			w.line("%s%s", mark, line)
		}
	}
}

// plots are of what there is: windows, round trips, goodput, queues.
func (w *writer) plots(k *picture.Connection) {
	var all []picture.Series
	for _, s := range w.SeriesOf(w.Connection, k.Views[w.View].Place, k.Busier()) {
		if slices.Contains([]string{picture.SeriesRTT, "goodput", "cwnd", "queue"}, s.Name) {
			all = append(all, s)
		}
	}
	// What the capture has is first: it is there of any scenario.
	slices.SortStableFunc(all, func(a, b picture.Series) int { return cmp.Compare(rank(a), rank(b)) })
	for _, s := range all {
		if len(s.Times) < 2 {
			continue
		}
		const rows, label = 4, 14
		low, high := s.Values[0], s.Values[0]
		for _, v := range s.Values {
			low, high = min(low, v), max(high, v)
		}
		w.line("\n  %s%s: %s to %s", s.Name, of(s), quantity(low, s.Unit), quantity(high, s.Unit))
		for i, line := range braille(s, k.First, k.Last, high, min(w.Options.Columns-label-2, 100), rows) {
			beside := ""
			switch i {
			case 0:
				beside = quantity(high, s.Unit)
			case rows - 1:
				beside = "0"
			}
			w.line("%*s %s", label-1, beside, line)
		}
		w.line("%*s %v to %v", label-1, "", k.First.Round(time.Microsecond), k.Last.Round(time.Microsecond))
	}
}

func rank(s picture.Series) int {
	at := slices.Index([]string{picture.SeriesRTT, "goodput"}, s.Name)
	if at < 0 {
		at = 2
	}
	return at
}

func of(s picture.Series) string {
	if s.Of == "" {
		return ""
	}
	return " (" + text.Printable(s.Of) + ")"
}

// quantity is a value for people.
func quantity(v float64, unit string) string {
	switch unit {
	case "s":
		d := time.Duration(v * float64(time.Second))
		return d.Round(max(1, d/1000)).String()
	case "bit/s":
		for _, prefix := range []struct {
			size float64
			name string
		}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
			if v >= prefix.size {
				return fmt.Sprintf("%.4g %sbit/s", v/prefix.size, prefix.name)
			}
		}
	}
	return fmt.Sprintf("%.6g %s", v, unit)
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// ladder has a line for each packet.
func (w *writer) ladder() {
	arrows := w.Ladder(w.Connection, w.Connections[w.Connection].Views[w.View].Place)
	names := w.Picture.Columns(w.Connection)
	var rows []picture.Row
	if w.All {
		for _, a := range arrows {
			rows = append(rows, picture.Row{Arrow: a})
		}
	} else {
		rows = w.Fold(arrows, w.Around)
	}
	first, last := w.part(rows)
	const timeWidth = 12
	width := min(40, max(24, (w.Options.Columns-timeWidth)/3))
	w.line("\n%*s %s", timeWidth, "", heads(names, width))
	if first > 0 {
		w.line("%*s %d rows above", timeWidth, "", first)
	}
	for _, row := range rows[first:last] {
		packet := &w.Packets[row.Packet]
		if row.Folded > 0 {
			w.line("%*s %s  %d packets like these", timeWidth, "...", lifelines(len(names), width), row.Folded)
			continue
		}
		label := fmt.Sprintf("#%d %s%s", packet.Frame, packet.Label(), w.what(row.Arrow))
		line := fmt.Sprintf("%*.3f %s  %s", timeWidth, float64(packet.At)/float64(time.Millisecond), arrow(row.Arrow, len(names), width), text.Printable(label))
		if w.Colour && (row.Fate == picture.Lost || row.Fate == picture.Dropped) {
			line = red + line + off
		}
		w.line("%s", line)
	}
	if rest := len(rows) - last; rest > 0 {
		w.line("%*s %d rows below: --all, or --around FRAME", timeWidth, "", rest)
	}
}

// part is which rows are shown.
func (w *writer) part(rows []picture.Row) (first, last int) {
	if w.All {
		return 0, len(rows)
	}
	if w.Around > 0 {
		for i, row := range rows {
			if w.Packets[row.Packet].Frame >= w.Around {
				return max(0, i-aroundRows), min(len(rows), i+aroundRows+1)
			}
		}
	}
	return 0, min(len(rows), defaultRows)
}

// what is why a packet is remarkable.
func (w *writer) what(a picture.Arrow) string {
	if remark := w.Remark(a); remark != "" {
		return "  [" + remark + "]"
	}
	return ""
}
