package picture

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
)

// A SeriesRow is what was measured at one time of the data that one side of a conversation sent. What was not measured then is absent.
type SeriesRow struct {
	File   string `json:"file"`
	Stream int    `json:"stream"` // as Wireshark and tcplab analyze number it
	From   string `json:"from"`   // whose data
	To     string `json:"to"`
	At     int64  `json:"at_ns"` // since the first packet of the capture

	InFlight   *int   `json:"in_flight_bytes,omitempty"` // sent and not acknowledged, as the capture point saw it
	RTT        *int64 `json:"rtt_ns,omitempty"`          // a measurement, by Karn's algorithm
	Window     *int   `json:"window_bytes,omitempty"`    // what the receiver offers
	Throughput *int64 `json:"throughput_bps,omitempty"`  // sent, with retransmissions: in steps of a 200th of the conversation, of a millisecond or more
	Goodput    *int64 `json:"goodput_bps,omitempty"`     // acknowledged, in the same steps
}

// seriesColumns are the names of a SeriesRow's fields, and cells their values.
var seriesColumns = []string{"file", "stream", "from", "to", "at_ns", "in_flight_bytes", "rtt_ns", "window_bytes", "throughput_bps", "goodput_bps"}

func (r *SeriesRow) cells() []string {
	return []string{
		r.File, strconv.Itoa(r.Stream), r.From, r.To, strconv.FormatInt(r.At, 10), cell(r.InFlight), cell(r.RTT), cell(r.Window), cell(r.Throughput), cell(r.Goodput),
	}
}

func cell[T int | int64](v *T) string {
	if v == nil {
		return ""
	}
	return strconv.FormatInt(int64(*v), 10)
}

// SeriesRows are the values over time of each conversation that is chosen: for each side that sent data, in the order of their times.
func (p *Picture) SeriesRows(chosen func(*analysis.Conversation) bool) iter.Seq[[]SeriesRow] {
	return func(yield func([]SeriesRow) bool) {
		for connection, packets := range p.byConnection() {
			k := &p.Connections[connection]
			for v := range k.Views {
				if !chosen(&k.Views[v].Summary) {
					continue
				}
				for _, fromServer := range []bool{false, true} {
					if rows := p.seriesRows(packets, k, &k.Views[v], fromServer); len(rows) > 0 && !yield(rows) {
						return
					}
				}
			}
		}
	}
}

func (p *Picture) seriesRows(packets []int, k *Connection, view *View, fromServer bool) []SeriesRow {
	f := p.flowOf(packets, k, view.Place, fromServer)
	if f.data == 0 {
		return nil
	}
	from, to := k.Client.String(), k.Server.String()
	if fromServer {
		from, to = to, from
	}
	var rows []SeriesRow
	row := func(at time.Duration) *SeriesRow {
		rows = append(rows, SeriesRow{File: p.Captures[p.Places[view.Place].Capture].File, Stream: view.Summary.Stream, From: from, To: to, At: int64(at)})
		return &rows[len(rows)-1]
	}
	for _, i := range packets {
		packet := &p.Packets[i]
		switch {
		case packet.Place != view.Place:
		case packet.FromServer == fromServer:
			row(packet.At).InFlight = &packet.InFlight
		case packet.Flags&analysis.FlagACK != 0:
			r := row(packet.At)
			r.Window = &packet.Window
			if rtt := int64(packet.RTT); rtt > 0 {
				r.RTT = &rtt
			}
		}
	}
	for n := range f.sent {
		sent, acked := int64(f.sent[n]*8/f.step.Seconds()), int64(f.acked[n]*8/f.step.Seconds())
		r := row(f.middle(n))
		r.Throughput, r.Goodput = &sent, &acked
	}
	slices.SortStableFunc(rows, func(a, b SeriesRow) int { return cmp.Compare(a.At, b.At) })
	return rows
}

// WriteSeries writes rows as CSV, with a head, or as an array of JSON. Rows come in parts: all may be many.
func WriteSeries(w io.Writer, format string, parts iter.Seq[[]SeriesRow]) error {
	out := bufio.NewWriter(w)
	if format == "csv" {
		fmt.Fprintln(out, strings.Join(seriesColumns, ","))
	}
	first := true
	var failed error
	parts(func(rows []SeriesRow) bool {
		for i := range rows {
			if format == "csv" {
				cells := rows[i].cells()
				cells[0] = csvText(cells[0])
				fmt.Fprintln(out, strings.Join(cells, ","))
				continue
			}
			text, err := json.Marshal(&rows[i])
			if err != nil {
				failed = err
				return false
			}
			begin := ",\n"
			if first {
				begin, first = "[\n", false
			}
			fmt.Fprintf(out, "%s%s", begin, text)
		}
		return true
	})
	if failed != nil {
		return failed
	}
	if format != "csv" {
		if first {
			fmt.Fprint(out, "[")
		}
		fmt.Fprintln(out, "\n]")
	}
	return out.Flush()
}

// csvText is a cell as RFC 4180 has it. A program for tables would calculate what begins with one of these signs: a blank stands before it.
func csvText(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		s = " " + s
	}
	if strings.ContainsAny(s, ",\"\r\n") {
		return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	return s
}
