package figure

import (
	"fmt"
	"math"
	"time"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/internal/text"
)

const (
	mostRows   = 150 // of a ladder: more are no figure
	ladderRow  = 19
	ladderHead = 26
	ladderLeft = 70
	slope      = 7 // of an arrow, between neighbouring hosts
)

var (
	lifelinePen = pen{colour: grey, width: 0.8}
	arrowPen    = pen{colour: black, width: 0.9}
	unseenPen   = pen{colour: black, width: 0.9, dash: []float64{4, 2.5}}
)

// ladder draws packets between hosts, one below the other: its vertical axis is an order and no scale.
func (d *drawing) ladder() error {
	var arrows []picture.Arrow
	for _, a := range d.Ladder(d.Connection, d.place) {
		if at := d.Packets[a.Packet].At; at >= d.From && at <= d.To {
			arrows = append(arrows, a)
		}
	}
	if len(arrows) == 0 {
		return fmt.Errorf("%w: no packet is in that time", ErrNothing)
	}
	rows := d.Fold(arrows, 0)
	if len(rows) > mostRows {
		return fmt.Errorf("a ladder of %d rows is no figure: up to %d are drawn, so choose a shorter time than %v to %v", len(rows), mostRows, d.From, d.To)
	}
	if d.Height == 0 {
		d.height = ladderHead + ladderRow*float64(len(rows)) + 14
	}
	row := (d.height - ladderHead - 14) / float64(len(rows))
	if row < fontSize+2 {
		return fmt.Errorf("%d rows do not fit into %v mm: leave the height to the ladder, or choose a shorter time", len(rows), d.Height)
	}
	d.begin(d.Format, d.Title)
	names := d.Columns(d.Connection)
	x := func(column int) float64 {
		return ladderLeft + (d.width-ladderLeft-34)*float64(column)/float64(max(1, len(names)-1))
	}
	for i, name := range names {
		d.text(point{x(i), 14}, fontSize, 0.5, text.Cut(text.Printable(name), 24), black)
		d.stroke([][]point{{{x(i), 20}, {x(i), d.height - 6}}}, lifelinePen)
	}
	for n, r := range rows {
		y := ladderHead + row*float64(n) + 9
		packet := &d.Packets[r.Packet]
		if r.Folded > 0 {
			d.text(point{(x(0) + x(len(names)-1)) / 2, y + 4}, smallSize, 0.5, fmt.Sprintf("... %d packets like these ...", r.Folded), grey)
			continue
		}
		d.text(point{margin, y + 3}, smallSize, 0, fmt.Sprintf("%.3f ms", float64(packet.At)/float64(time.Millisecond)), black)
		d.arrow(r.Arrow, y, x, len(names))
	}
	return nil
}

// arrow draws one packet from its sender to where it was last seen; one that died ends in a cross.
func (d *drawing) arrow(a picture.Arrow, y float64, x func(int) float64, columns int) {
	packet := &d.Packets[a.Packet]
	step := 1.0
	if a.To < a.From {
		step = -1
	}
	p := arrowPen
	from, end := point{x(a.From), y}, point{x(a.To), y + slope}
	last := a.From
	if n := len(a.Seen); n > 0 {
		last = a.Seen[n-1].Column
	}
	switch a.Fate {
	case picture.Dropped:
		end.x, end.y = x(max(a.End, 0))+12*step, y+slope/2
	case picture.Lost:
		end.x, end.y = (x(last)+x(min(max(last+int(step), 0), columns-1)))/2, y+slope/2
	default:
		if last != a.To || len(a.Seen) < 2 && columns > 1 {
			p = unseenPen
		}
	}
	p.colour = black
	if packet.Cause != picture.None {
		p.colour, p.width = causeLook[analysis.Cause(packet.Cause)].colour, 1.6 //nolint:gosec // one of a few
	}
	d.stroke([][]point{{from, end}}, p)
	if a.Fate == picture.Lost || a.Fate == picture.Dropped {
		d.cross(end, 3, red)
	} else {
		angle := math.Atan2(end.y-from.y, end.x-from.x)
		side := func(turn float64) point {
			return point{end.x - 5*math.Cos(angle+turn), end.y - 5*math.Sin(angle+turn)}
		}
		d.fill([][]point{{end, side(0.4), side(-0.4)}}, p.colour)
	}
	label := packet.Label()
	if remark := d.Remark(a); remark != "" {
		label += "  [" + text.Printable(remark) + "]"
	}
	if step > 0 {
		d.text(point{from.x + 5, y - 1.5}, smallSize, 0, fitting(label, smallSize, d.width-2-from.x-5), black)
	} else {
		d.text(point{from.x - 5, y - 1.5}, smallSize, 1, fitting(label, smallSize, from.x-5-2), black)
	}
}
