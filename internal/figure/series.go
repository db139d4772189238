package figure

import (
	"fmt"
	"image/color"
	"slices"
	"time"

	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/internal/text"
)

// groups are the series that a plot has.
var groups = map[string]struct {
	title string
	names []string
	lack  string // what records them
}{
	"cwnd":    {"congestion window", []string{"cwnd", "ssthresh", "in flight"}, "host.Sample and lab.Events record it"},
	"rtt":     {"round trips", []string{picture.SeriesRTT, "srtt", "rto", "BBR's min RTT"}, "no segment of that direction was acknowledged"},
	"queue":   {"queue", []string{"queue"}, "end.SampleQueue records it"},
	"goodput": {"throughput", []string{"goodput", "pacing rate", "delivery rate", "BBR's bandwidth"}, "nothing of that direction was acknowledged"},
}

// looks are how series are told apart, without their colours: by dashes and marks.
var looks = []struct {
	colour color.RGBA
	dash   []float64
	mark   func(*page, point, float64, color.RGBA)
}{
	{blue, nil, nil},
	{red, []float64{6, 2.5}, nil},
	{green, []float64{1.5, 1.5}, nil},
	{ochre, []float64{8, 2, 1.5, 2}, nil},
	{violet, nil, (*page).square},
	{black, []float64{6, 2.5}, (*page).diamond},
	{grey, []float64{1.5, 1.5}, (*page).cross},
}

// series draws values over time.
func (d *drawing) series() error {
	group := groups[d.What]
	var some []picture.Series
	for _, name := range group.names { // the order tells the looks
		for _, s := range d.SeriesOf(d.Connection, d.place, d.fromServer) {
			if s.Name == name && len(s.Times) > 0 && (len(some) == 0 || s.Unit == some[0].Unit) {
				some = append(some, s)
			}
		}
	}
	high := 0.0
	for _, s := range some {
		for i, at := range s.Times {
			if at >= d.From && at <= d.To {
				high = max(high, s.Values[i])
			}
		}
	}
	if len(some) == 0 {
		return fmt.Errorf("%w: no %s was recorded (%s)", ErrNothing, group.title, group.lack)
	}
	c := d.axes(group.title, high, some[0].Unit, func(*chart) []entry {
		var legend []entry
		for i, s := range some {
			legend = append(legend, entry{d.sampleSeries(s, i), seriesText(s)})
		}
		return append(legend, d.changes()...)
	})
	c.steps()
	for i, s := range slices.Backward(some) { // the first is above all
		c.draw(s, i)
	}
	c.legendRows(true)
	return nil
}

func seriesText(s picture.Series) string {
	if s.Of == "" {
		return s.Name
	}
	return s.Name + " (" + text.Printable(s.Of) + ")"
}

// scattered reports whether values are measurements of their own, without a line between them.
func scattered(s picture.Series) bool { return s.Name == picture.SeriesRTT || len(s.Times) == 1 }

const dotSize, marks = 1.1, 12

func (d *drawing) sampleSeries(s picture.Series, i int) func(point) {
	look := looks[i%len(looks)]
	return func(at point) {
		middle := point{at.x + sampleSize/2, at.y}
		if scattered(s) {
			d.square(middle, dotSize, look.colour)
			return
		}
		d.sampleLine(pen{colour: look.colour, width: 1.2, dash: look.dash})(at)
		if look.mark != nil {
			look.mark(&d.page, middle, 2.2, look.colour)
		}
	}
}

func (c *chart) draw(s picture.Series, i int) {
	look := looks[i%len(looks)]
	var line []point
	var spread time.Duration
	for n, at := range s.Times {
		p := point{c.x(at), c.y(s.Values[n])}
		if scattered(s) {
			if c.has(p) {
				c.square(p, dotSize, look.colour)
			}
			continue
		}
		if last := len(line); last > 0 && s.Name != "goodput" && s.Name != "srtt" { // a value holds until the next one
			line = append(line, point{p.x, line[last-1].y})
		}
		line = append(line, p)
		if every := (c.To - c.From) / marks; look.mark != nil && c.has(p) && at >= spread {
			look.mark(&c.page, p, 2.2, look.colour)
			spread = at + every
		}
	}
	c.line(line, pen{colour: look.colour, width: 1.2, dash: look.dash})
}
