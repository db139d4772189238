package figure

import (
	"fmt"
	"image/color"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/picture"
)

// causeLook is how a retransmission is told from others: by its letter, which the page has, too. The colour is for who sees it.
var causeLook = map[analysis.Cause]struct {
	letter string
	colour color.RGBA
}{
	analysis.CauseSYN: {"S", blue}, analysis.CauseFast: {"F", orange}, analysis.CauseTLP: {"P", violet}, analysis.CauseRTO: {"T", red},
	analysis.CauseRecovery: {"R", ochre}, analysis.CauseSpurious: {"X", pink}, analysis.CauseFastOpen: {"O", blue}, analysis.CausePathMTU: {"M", blue},
	analysis.CauseUnknown: {"?", grey},
}

// mostLetters are as many as can be read.
const mostLetters = 120

var (
	ackPen    = pen{colour: green, width: 1}
	edgePen   = pen{colour: ochre, width: 0.8, dash: []float64{5, 2.5}}
	firstPen  = pen{colour: black, width: 1.1}
	againPen  = pen{colour: black, width: 2.2}
	thinPen   = pen{colour: grey, width: 0.4}
	sackPen   = pen{colour: violet, width: 1.8, dash: []float64{1.5, 1}}
	dsackPen  = pen{colour: pink, width: 1.8, dash: []float64{4, 1, 1, 1}}
	stepPen   = pen{colour: grey, width: 0.8, dash: []float64{1, 2}}
	markSizes = map[picture.MarkKind]float64{picture.MarkDropped: 3, picture.MarkLost: 2.6, picture.MarkActed: 2.8}
)

// sequence draws the time-sequence plot.
func (d *drawing) sequence() error {
	var marks []picture.SequenceMark
	count := map[picture.MarkKind]int{}
	causes := map[analysis.Cause]int{}
	highest := map[picture.MarkKind]float64{}
	for _, m := range d.Sequence(d.Connection, d.place, d.fromServer) {
		k := &d.Packets[m.Packet]
		if k.At > d.To {
			continue
		}
		marks = append(marks, m)
		if k.At < d.From {
			continue
		}
		count[m.Kind]++
		highest[m.Kind] = max(highest[m.Kind], m.To)
		if m.Kind == picture.MarkSegment && k.Cause != picture.None {
			causes[analysis.Cause(k.Cause)]++ //nolint:gosec // one of a few
		}
	}
	if count[picture.MarkSegment]+count[picture.MarkACK] == 0 {
		return fmt.Errorf("%w: no packet of that direction is in that time", ErrNothing)
	}
	high := max(highest[picture.MarkSegment], highest[picture.MarkACK])
	edges := highest[picture.MarkEdge] <= 4*max(1, high) // above that, it would press all others to the ground
	if edges {
		high = max(high, highest[picture.MarkEdge])
	}
	c := d.axes("sequence number", high, "bytes", func(*chart) []entry { return d.sequenceLegend(count, causes, edges) })
	c.steps()
	if edges {
		c.stairs(marks, picture.MarkEdge, edgePen)
	}
	c.stairs(marks, picture.MarkACK, ackPen)
	c.segments(marks, count)
	c.otherMarks(marks, count)
	c.legendRows(true)
	return nil
}

// stairs draws the ACK line, or the window's edge: it stays where it is until the next packet.
func (c *chart) stairs(marks []picture.SequenceMark, kind picture.MarkKind, p pen) {
	var line []point
	high := 0.0
	for _, m := range marks {
		if m.Kind != kind {
			continue
		}
		value := m.To
		if high = max(high, value); kind == picture.MarkACK {
			value = high
		}
		x, y := c.x(c.Packets[m.Packet].At), c.y(value)
		if n := len(line); n > 0 {
			if line[n-1].y == y {
				continue
			}
			line = append(line, point{x, line[n-1].y})
		}
		line = append(line, point{x, y})
	}
	if n := len(line); n > 0 {
		c.line(append(line, point{c.right, line[n-1].y}), p)
	}
}

// segments draws data: bars with caps.
func (c *chart) segments(marks []picture.SequenceMark, count map[picture.MarkKind]int) {
	const cap, lowest = 1.6, 1.5
	var first, thin [][]point
	before := -1
	letters := count[picture.MarkSegment] > 0
	again := map[analysis.Cause][][]point{}
	var texts []func()
	for i, m := range marks {
		if m.Kind != picture.MarkSegment {
			continue
		}
		k := &c.Packets[m.Packet]
		x, low := c.x(k.At), c.y(m.From)
		top := min(c.y(m.To), low-lowest)
		if k.LeftOut > 0 && before >= 0 {
			thin = append(thin, c.clipLine([]point{{c.x(c.Packets[marks[before].Packet].At), c.y(marks[before].To)}, {x, low}})...)
		}
		before = i
		if !c.has(point{x, low}) {
			continue
		}
		bar := [][]point{{{x, low}, {x, top}}, {{x - cap, low}, {x + cap, low}}, {{x - cap, top}, {x + cap, top}}}
		if k.Cause == picture.None {
			first = append(first, bar...)
			continue
		}
		cause := analysis.Cause(k.Cause) //nolint:gosec // one of a few
		again[cause] = append(again[cause], bar...)
		texts = append(texts, func() {
			c.text(point{x + 3, (low+top)/2 + 3}, smallSize, 0, causeLook[cause].letter, causeLook[cause].colour)
		})
	}
	c.stroke(thin, thinPen)
	c.stroke(first, firstPen)
	for cause := range analysis.CauseUnknown + 1 {
		p := againPen
		p.colour = causeLook[cause].colour
		c.stroke(again[cause], p)
	}
	if letters && len(texts) <= mostLetters {
		for _, draw := range texts {
			draw()
		}
	}
}

// otherMarks draws SACK blocks, what the link did, resets and closed windows.
func (c *chart) otherMarks(marks []picture.SequenceMark, count map[picture.MarkKind]int) {
	many := count[picture.MarkDropped]+count[picture.MarkLost] > 60
	blocks := map[picture.MarkKind][][]point{}
	for _, m := range marks {
		at := point{c.x(c.Packets[m.Packet].At), c.y(m.From)}
		if !c.has(at) {
			continue
		}
		size := markSizes[m.Kind]
		if many {
			size *= 0.6
		}
		switch m.Kind {
		case picture.MarkSACK, picture.MarkDSACK:
			blocks[m.Kind] = append(blocks[m.Kind], []point{at, {at.x, min(c.y(m.To), at.y-1)}})
		default:
			c.mark(m.Kind, at, size)
		}
	}
	c.stroke(blocks[picture.MarkSACK], sackPen)
	c.stroke(blocks[picture.MarkDSACK], dsackPen)
}

func (d *drawing) mark(kind picture.MarkKind, at point, size float64) {
	switch kind {
	case picture.MarkDropped:
		d.cross(at, size, red)
	case picture.MarkLost:
		d.cross(at, size, red)
		d.ring(at, 1.5*size, red)
	case picture.MarkActed:
		d.diamond(at, size, orange)
	case picture.MarkReset:
		d.text(point{at.x, at.y - 2}, smallSize, 0.5, "RST", red)
	case picture.MarkZero:
		d.text(point{at.x, at.y - 2}, smallSize, 0.5, "Z", red)
	}
}

// steps draws changes of links.
func (c *chart) steps() {
	var lines [][]point
	for _, s := range c.Steps {
		if s.At > c.From && s.At < c.To {
			lines = append(lines, []point{{c.x(s.At), c.top}, {c.x(s.At), c.bottom}})
		}
	}
	c.stroke(lines, stepPen)
}

// changes is the legend of steps.
func (d *drawing) changes() []entry {
	n := 0
	for _, s := range d.Steps {
		if s.At > d.From && s.At < d.To {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	return []entry{{d.sampleLine(stepPen), counted("a link was changed", n)}}
}

func (d *drawing) sequenceLegend(count map[picture.MarkKind]int, causes map[analysis.Cause]int, edges bool) []entry {
	again := 0
	for _, n := range causes {
		again += n
	}
	bar := func(p pen, letter string) func(point) {
		return func(at point) {
			x := at.x + sampleSize/2
			d.stroke([][]point{{{x, at.y - 4}, {x, at.y + 4}}}, p)
			d.text(point{x + 3, at.y + 3}, smallSize, 0, letter, p.colour)
		}
	}
	all := []entry{{bar(firstPen, ""), counted("segments sent", count[picture.MarkSegment]-again)}}
	for cause := range analysis.CauseUnknown + 1 {
		if causes[cause] > 0 {
			p := againPen
			p.colour = causeLook[cause].colour
			all = append(all, entry{bar(p, causeLook[cause].letter), counted("retransmitted: "+cause.String(), causes[cause])})
		}
	}
	if count[picture.MarkACK] > 0 {
		all = append(all, entry{d.sampleLine(ackPen), counted("ACKs", count[picture.MarkACK])})
		if edges {
			all = append(all, entry{d.sampleLine(edgePen), "edge of the window"})
		}
	}
	for _, m := range []struct {
		kind   picture.MarkKind
		text   string
		sample func(point)
	}{
		{picture.MarkSACK, "SACK blocks", bar(sackPen, "")},
		{picture.MarkDSACK, "DSACK blocks", bar(dsackPen, "")},
		{picture.MarkDropped, "dropped by a rule", nil},
		{picture.MarkLost, "lost on the way", nil},
		{picture.MarkActed, "a rule acted on it", nil},
		{picture.MarkZero, "window closed", nil},
		{picture.MarkReset, "reset", nil},
	} {
		if count[m.kind] == 0 {
			continue
		}
		sample := m.sample
		if sample == nil {
			sample = func(at point) {
				down := 0.0
				if m.kind == picture.MarkZero || m.kind == picture.MarkReset {
					down = 5
				}
				d.mark(m.kind, point{at.x + sampleSize/2, at.y + down}, markSizes[m.kind])
			}
		}
		all = append(all, entry{sample, counted(m.text, count[m.kind])})
	}
	return append(all, d.changes()...)
}
