package sweep

import (
	"fmt"
	"math"
	"time"

	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/figure"
)

var mathis = Paper{
	Name:  "mathis",
	Title: "Mathis, Semke, Mahdavi, Ott: The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm. CCR 27(3), 1997",
	About: "Reno over 20 Mbit/s and 100 ms with random loss: bandwidth = C MSS / (RTT sqrt(p)). The paper's table 1 has C = 1.31 for random losses where each " +
		"segment is acknowledged, and 0.93 where every other one is. Linux counts what is acknowledged (RFC 3465), not ACKs: it should have the first.",
	Grids: []Grid{{
		Flows: [][]cell.Flow{flows("reno")}, Rates: []int64{20e6}, RTTs: []time.Duration{100 * time.Millisecond},
		Losses: []float64{1e-3, 2e-3, 5e-3, 0.01}, Buffers: []Buffer{{BDPs: 4}}, Duration: 2 * time.Minute, Sysctls: []map[string]string{large},
	}},
	columns: []column{
		{"loss", lossText}, {"here", goodputText},
		{"C, here", func(p Point) string {
			return fmt.Sprintf("%.2f", p.Figures[cell.Goodput].Median*1e6/goodputOfWindow(1, p.RTT)*math.Sqrt(p.Loss))
		}},
		{"C = 1.31", mathisEach.text("%.3g")}, {"C = 0.93", mathisDelayed.text("%.3g")},
	},
	plot: func() plot {
		d := overLoss(figure.Axis{Title: "goodput (Mbit/s)", Log: true})
		d.here = goodput
		d.models = []model{mathisEach, mathisDelayed}
		return d
	}(),
}

// The paper's random losses: each segment is acknowledged, or every other one.
var (
	mathisEach    = mathisLaw(oracle.MathisRandom)
	mathisDelayed = mathisLaw(0.93)
)

func mathisLaw(c float64) model {
	return model{fmt.Sprintf("C = %.3g", c), func(p Point) (float64, bool) {
		return goodputOfWindow(c/math.Sqrt(p.Loss), p.RTT) / 1e6, true
	}}
}
