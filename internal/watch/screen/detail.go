package screen

import (
	"fmt"
	"strings"
	"time"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/internal/watch"
)

// drawOpened draws one connection: what it is, what is wrong, how its figures went over time, and TCP_INFO as the kernel tells it.
func (m *model) drawOpened(c *canvas) {
	points := m.open.points[:m.open.drawn]
	if len(points) == 0 {
		return
	}
	last := &points[len(points)-1]
	c.add(bold, "%v  %s  %s  %s", last.State, watch.Address(last.Local, last.Family), watch.Address(last.Remote, last.Family), last.Owner)
	if m.open.gone {
		c.add(yellow, "It is gone, or is another socket now: these are the last values.")
	}
	for _, t := range last.Troubles {
		c.add(connectionStyle(last), "! %s", t.Text)
	}
	timer := "no timer"
	if last.Timer.Kind != kernel.TimerOff {
		timer = fmt.Sprintf("timer %s in %s", last.Timer.Kind, watch.Short(last.Timer.Expires))
	}
	c.add(plain, "in %v for %s%s  RTO %s  backed off %d  %s  %s", last.State, map[bool]string{true: "at least "}[last.AtLeast],
		watch.Short(last.InState), watch.Short(last.RTO), last.BackOff, timer, last.Congestion)
	c.add(plain, "")
	m.drawCharts(c, points)
	if m.open.last == nil {
		return
	}
	c.add(plain, "")
	details := strings.Join(strings.Fields(m.open.last.Socket.Details()), " ")
	for _, line := range text.Wrap(details, c.width) {
		c.add(faint, "%s", line)
	}
}

// drawCharts draws a line for each figure: its name, its value now, its course, and the greatest value that is drawn.
func (m *model) drawCharts(c *canvas, points []watch.Connection) {
	const name, value, most = 16, 9, 14
	columns := c.width - name - value - most - 3
	duration := func(v float64) string { return watch.Short(time.Duration(v)) }
	count := func(v float64) string { return fmt.Sprintf("%.0f", v) }
	bytes := func(v float64) string {
		if v == 0 {
			return "0"
		}
		return size(v)
	}
	for _, figure := range []struct {
		name string
		of   func(*watch.Connection) float64
		text func(float64) string
	}{
		{"RTT", func(p *watch.Connection) float64 { return float64(p.RTT) }, duration},
		{"cwnd, segments", func(p *watch.Connection) float64 { return float64(p.Cwnd) }, count},
		{"in flight", func(p *watch.Connection) float64 { return float64(p.InFlight) }, count},
		{"peer's window", func(p *watch.Connection) float64 { return float64(p.PeerWindow) }, bytes},
		{"send queue", func(p *watch.Connection) float64 { return float64(p.SendQueue) }, bytes},
		{"receive queue", func(p *watch.Connection) float64 { return float64(p.ReceiveQueue) }, bytes},
		{"out, bytes/s", func(p *watch.Connection) float64 { return p.SendRate }, bytes},
		{"in, bytes/s", func(p *watch.Connection) float64 { return p.ReceiveRate }, bytes},
	} {
		values := make([]float64, len(points))
		for i := range points {
			values[i] = figure.of(&points[i])
		}
		m.drawChart(c, figure.name, values, columns, figure.text)
	}
	// Retransmits are a sum: what is drawn is what came with each reading.
	grown := make([]float64, len(points))
	for i := 1; i < len(points); i++ {
		grown[i] = float64(points[i].Retransmits - min(points[i].Retransmits, points[i-1].Retransmits))
	}
	m.drawChart(c, "new retransmits", grown, columns, count)
}

func (m *model) drawChart(c *canvas, name string, values []float64, columns int, show func(float64) string) {
	drawn := values[max(0, len(values)-max(1, columns)):]
	most := 0.0
	for _, v := range drawn {
		most = max(most, v)
	}
	c.add(plain, "%-16s %9s %s  most %s", name, show(values[len(values)-1]), pad(chart(drawn, columns, m.bars()), columns, false), show(most))
}
