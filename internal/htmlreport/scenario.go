package htmlreport

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/results"
)

// What a person wants to know of one side of a conversation.
type sideSummary struct {
	Segments   int             `json:"segments"`
	Data       int             `json:"data_segments"`
	Bytes      int64           `json:"bytes"`
	BytesAgain int64           `json:"bytes_again,omitempty"`
	Goodput    int64           `json:"goodput_bps,omitempty"`
	RTT        *analysis.Times `json:"rtt,omitempty"`
	Causes     map[string]int  `json:"causes,omitempty"`
	Closed     time.Duration   `json:"window_closed_ns,omitempty"`
	Stalled    time.Duration   `json:"stalled_ns,omitempty"`
}

type viewSummary struct {
	Place      int                `json:"place"`
	Stream     int                `json:"stream"`
	First      int                `json:"first_frame"`
	Last       int                `json:"last_frame"`
	Client     sideSummary        `json:"client"`
	Server     sideSummary        `json:"server"`
	InitialRTT time.Duration      `json:"handshake_rtt_ns,omitempty"`
	Close      analysis.Close     `json:"close"`
	Findings   []analysis.Finding `json:"findings,omitempty"`
}

type connectionSummary struct {
	Client  string        `json:"client"`
	Server  string        `json:"server"`
	Path    []int         `json:"path"`
	First   time.Duration `json:"first_ns"`
	Last    time.Duration `json:"last_ns"`
	Packets int           `json:"packets"`
	Views   []viewSummary `json:"views"`
}

func summarize(d *analysis.Side) sideSummary {
	s := sideSummary{
		Segments: d.Segments, Data: d.DataSegments, Bytes: d.Bytes, BytesAgain: d.BytesAgain, Goodput: d.Goodput,
		Closed: d.WindowClosed, Stalled: d.Stalled,
	}
	if d.RTT.Count > 0 {
		s.RTT = &d.RTT
	}
	for cause, frames := range d.Causes {
		if frames.Count > 0 {
			if s.Causes == nil {
				s.Causes = map[string]int{}
			}
			s.Causes[analysis.Cause(cause).String()] = frames.Count //nolint:gosec // one of a few
		}
	}
	return s
}

func connections(p *picture.Picture) []connectionSummary {
	all := make([]connectionSummary, len(p.Connections))
	for i := range p.Connections {
		k := &p.Connections[i]
		c := connectionSummary{Client: k.Client.String(), Server: k.Server.String(), Path: present(k.Path), First: k.First, Last: k.Last, Packets: k.Packets}
		for v := range k.Views {
			s := &k.Views[v].Summary
			c.Views = append(c.Views, viewSummary{
				Place: k.Views[v].Place, Stream: s.Stream, First: s.FirstFrame, Last: s.LastFrame,
				Client: summarize(&s.Client), Server: summarize(&s.Server), InitialRTT: s.InitialRTT, Close: s.Close, Findings: s.Findings,
			})
		}
		all[i] = c
	}
	return all
}

// detail is how much of a picture is kept.
type detail struct {
	packets int // see picture.Reduce
	decoded int // packets whose fields the page has; of the others it names the command that shows them
}

// draw is what changes with the detail of a picture: its packets and the points of its series.
func draw(p *picture.Picture, files []string, d detail, known *shapes) *drawing {
	small := p.Reduce(d.packets)
	b := &drawing{}
	addPackets(b, small)
	for _, s := range seriesOf(small) {
		addSeries(b, s)
	}
	b.decoded = decode(small, files, d.decoded, known)
	return b
}

// described is all else of a picture.
func described(p *picture.Picture) map[string]any {
	return map[string]any{
		"hosts": present(p.Hosts), "places": places(p), "captures": present(p.Captures), "connections": connections(p),
		"rules": present(p.Rules), "bands": bands(p), "steps": present(p.Steps), "notes": present(p.Notes),
		"end_ns": p.End, "series": seriesSummaries(p),
	}
}

// present is a list that is never null.
func present[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

type placeSummary struct {
	Name    string `json:"name"`
	Host    int    `json:"host"`
	Capture int    `json:"capture"`
	Dropped bool   `json:"dropped,omitempty"`
}

func places(p *picture.Picture) []placeSummary {
	all := make([]placeSummary, len(p.Places))
	for i, place := range p.Places {
		all[i] = placeSummary(place)
	}
	return all
}

// waySummary is a picture.Way: who sent, and who received, are indices of places.
type waySummary struct {
	From    int           `json:"from"`
	To      int           `json:"to"`
	Sent    int           `json:"sent"`
	Arrived int           `json:"arrived"`
	Dropped int           `json:"dropped"`
	Least   time.Duration `json:"least_ns"`
	Median  time.Duration `json:"median_ns"`
	Most    time.Duration `json:"most_ns"`
}

func ways(p *picture.Picture) []waySummary {
	all := []waySummary{}
	for _, w := range p.Ways() {
		all = append(all, waySummary(w))
	}
	return all
}

// plainBit is set in the column begins of a packet in which there is nothing to look at.
const plainBit = 2

// packetColumns are the names of the first columns of a drawing.
var packetColumns = []string{
	"packet.frame", "packet.at", "packet.place", "packet.connection", "packet.server", "packet.flags", "packet.seq", "packet.ack", "packet.length",
	"packet.window", "packet.marks", "packet.cause", "packet.inFlight", "packet.rtt", "packet.ecn", "packet.fate", "packet.rule", "packet.sent",
	"packet.leftOut", "packet.dsack", "packet.sacks", "packet.begins", "packet.timer", "sack.left", "sack.right",
}

// addPackets adds a column for each thing that is known of packets. Sequence numbers, acknowledgements and windows are differences
// to what is expected: most are 0. codec.js has the same rules.
func addPackets(b *drawing, p *picture.Picture) {
	columns := map[string][]int64{}
	type lane struct {
		connection, place int
		fromServer        bool
	}
	type last struct{ next, ack, window int64 }
	lanes := map[lane]*last{}
	put := func(name string, v int64) { columns["packet."+name] = append(columns["packet."+name], v) }
	bit := func(b bool) int64 {
		if b {
			return 1
		}
		return 0
	}
	for i := range p.Packets {
		k := &p.Packets[i]
		key := lane{k.Connection, k.Place, k.FromServer}
		l := lanes[key]
		if l == nil {
			l = &last{}
			lanes[key] = l
		}
		put("frame", int64(k.Frame))
		put("at", int64(k.At))
		put("place", int64(k.Place))
		put("connection", int64(k.Connection))
		put("server", bit(k.FromServer))
		put("flags", int64(k.Flags))
		put("seq", int64(k.Seq)-l.next)
		put("ack", int64(k.Ack)-l.ack)
		put("length", int64(k.Length))
		put("window", int64(k.Window)-l.window)
		put("marks", int64(k.Marks))
		put("cause", int64(k.Cause))
		put("inFlight", int64(k.InFlight))
		put("rtt", int64(k.RTT))
		put("ecn", int64(k.ECN))
		put("fate", int64(k.Fate))
		put("rule", int64(k.Rule))
		sent := int64(0)
		if k.Sent != picture.None {
			sent = int64(i - k.Sent + 1)
			if k.Sent >= i { // the clock was set, or both have one time
				sent = int64(i - k.Sent - 1)
			}
		}
		put("sent", sent)
		put("leftOut", int64(k.LeftOut))
		put("dsack", bit(k.DSACK))
		put("sacks", int64(len(k.SACK)))
		begins, plain := p.Begins(i)
		put("begins", int64(begins)|bit(plain)<<plainBit)
		put("timer", int64(k.Timer))
		for _, block := range k.SACK {
			columns["sack.left"] = append(columns["sack.left"], int64(block.Left))
			columns["sack.right"] = append(columns["sack.right"], int64(block.Right))
		}
		*l = last{int64(k.Next()), int64(k.Ack), int64(k.Window)}
	}
	for _, name := range packetColumns {
		b.add(columns[name])
	}
}

type bandSummary struct {
	picture.Band
	State string `json:",omitempty"` // as RFC 9293 writes it
}

func bands(p *picture.Picture) []bandSummary {
	all := make([]bandSummary, len(p.Bands))
	for i, b := range p.Bands {
		all[i].Band = b
		if b.Name == picture.BandState {
			all[i].State = picture.StateName(b.Value)
		}
	}
	return all
}

// seriesSummary is a series; its times and values are columns of a drawing, named after the member column.
type seriesSummary struct {
	Name       string `json:"name"`
	Unit       string `json:"unit"`
	Of         string `json:"of"`
	Connection int    `json:"connection"`
	FromServer bool   `json:"server"`
	Source     string `json:"source"`
	Scale      int64  `json:"scale"` // values are multiples of 1/scale
	Column     string `json:"column"`
}

// scales are for units whose values are no whole numbers.
var scales = map[string]int64{"s": 1e6, "": 256}

func scaleOf(unit string) int64 {
	if scale, known := scales[unit]; known {
		return scale
	}
	return 1
}

// seriesOf are all series: those of a picture, and the goodput of its connections.
func seriesOf(p *picture.Picture) []picture.Series {
	all := slices.Clone(p.Series)
	for i := range p.Connections {
		for _, s := range p.Connections[i].Goodput {
			if len(s.Times) > 0 {
				all = append(all, s)
			}
		}
	}
	return all
}

func seriesSummaries(p *picture.Picture) []seriesSummary {
	all := []seriesSummary{}
	for i, s := range seriesOf(p) {
		all = append(all, seriesSummary{s.Name, s.Unit, s.Of, s.Connection, s.FromServer, s.Source, scaleOf(s.Unit), fmt.Sprint("series", i)})
	}
	return all
}

// addSeries adds times and values.
func addSeries(b *drawing, s picture.Series) {
	scale := float64(scaleOf(s.Unit))
	times, values := make([]int64, len(s.Times)), make([]int64, len(s.Times))
	for k, v := range s.Values {
		times[k] = int64(s.Times[k])
		values[k] = int64(math.Round(min(v*scale, 1<<53)))
	}
	b.add(times)
	b.add(values)
}

// capturePaths are the files of a record's captures.
func capturePaths(record *results.Record) []string {
	var paths []string
	for _, c := range record.Captures {
		paths = append(paths, filepath.Join(record.Dir(), filepath.FromSlash(c.File)))
	}
	return paths
}
