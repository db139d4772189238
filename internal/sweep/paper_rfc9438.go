package sweep

import (
	"fmt"
	"math"
	"time"

	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/figure"
)

// rfc9438 leaves out a loss of 1e-4 at 10 ms: that is 140 Mbit/s. A cell lasts for some tens of losses, of which the second half is measured: slow start is not of
// the model.
var rfc9438 = Paper{
	Name:  "rfc9438",
	Title: "Xu, Ha, Rhee, Goel, Eggert: CUBIC for Fast and Long-Distance Networks. RFC 9438, tables 1 and 2: the average window by the loss",
	About: "CUBIC and Reno over 100 Mbit/s x 100 ms and 200 Mbit/s x 10 ms, which no window fills. The RFC's model loses one segment in 1/p; here each is lost with p, " +
		"so that there are long and short times between losses: for Reno that gives 1.31/sqrt(p) in place of 1.22 (Mathis and others, 1997).",
	Grids: []Grid{
		windowGrid(100e6, 100*time.Millisecond, 2*time.Minute, 0.01, 1e-3),
		windowGrid(100e6, 100*time.Millisecond, 4*time.Minute, 1e-4),
		windowGrid(200e6, 10*time.Millisecond, 30*time.Second, 0.01, 1e-3),
	},
	Memory: 1024,
	columns: []column{
		{"RTT", func(p Point) string { return p.RTT.String() }}, {"loss", lossText}, {"flow", flowText},
		{"window, here", func(p Point) string { return number(window(p)) }},
		{"RFC's table", func(p Point) string {
			v, ok := rfcWindows[p.RTT][p.Loss]
			if !ok || p.Flows[0].Congestion != "cubic" {
				return "-"
			}
			return fmt.Sprintf("%.0f", v)
		}},
		{"by its formula", byRFC.text("%.3g")}, {"random losses", renoRandom.text("%.3g")},
	},
	plot: func() plot {
		d := overLoss(figure.Axis{Title: "window (segments), mean", Log: true})
		d.group = func(p Point) string { return fmt.Sprintf("%s, %v", FlowsText(p.Flows), p.RTT) }
		d.here = window
		d.models = []model{byRFC}
		return d
	}(),
}

func windowGrid(rate int64, rtt, duration time.Duration, losses ...float64) Grid {
	return Grid{
		Flows: [][]cell.Flow{flows("cubic"), flows("reno")}, Rates: []int64{rate}, RTTs: []time.Duration{rtt}, Losses: losses,
		Buffers: []Buffer{{BDPs: 2}}, Duration: duration, Sysctls: []map[string]string{large},
	}
}

// rfcWindows are of the RFC's tables, with C = 0.4.
var rfcWindows = map[time.Duration]map[float64]float64{
	100 * time.Millisecond: {0.01: 12, 1e-3: 38, 1e-4: 187},
	10 * time.Millisecond:  {0.01: 12, 1e-3: 38, 1e-4: 120},
}

// window is the average window in segments, by the goodput of the second half. Nothing queues but in slow start, so that the RTT is the path's.
func window(p Point) Figure { return p.Figures[cell.Later].times(1e6 / goodputOfWindow(1, p.RTT)) }

// times is a figure in another unit.
func (f Figure) times(factor float64) Figure {
	values := f.Values
	f.Values = nil
	for _, v := range values {
		f.Values = append(f.Values, v*factor)
	}
	f.Median, f.Low, f.High = f.Median*factor, f.Low*factor, f.High*factor
	return f
}

var byRFC = model{"RFC 9438", func(p Point) (float64, bool) { return oracle.ResponseByRFC(p.Flows[0].Congestion, p.Loss, p.RTT), true }}

// renoRandom is Reno's with random losses, which the RFC does not say.
var renoRandom = model{"random losses", func(p Point) (float64, bool) {
	return oracle.MathisRandom / math.Sqrt(p.Loss), p.Flows[0].Congestion == "reno"
}}
