package sweep

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/figure"
)

var bbrLoss = Paper{
	Name:  "bbr-loss",
	Title: "Cardwell, Cheng, Gunn, Yeganeh, Jacobson: BBR: Congestion-Based Congestion Control. ACM Queue 14(5), 2016, figure 8",
	About: "Flows of 60 s over 100 ms with random loss. The paper has 100 Mbit/s, here it is 20: what CUBIC gets does not depend on the rate as long as " +
		"it is below it, and BBR is compared by its share. The others' figures are of an emulated path of 100 Mbit/s.",
	Grids: []Grid{{
		Flows: [][]cell.Flow{flows("bbr"), flows("cubic")}, Rates: []int64{20e6}, RTTs: []time.Duration{100 * time.Millisecond},
		Losses: []float64{1e-5, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5}, Buffers: []Buffer{{BDPs: 4}},
		Duration: time.Minute, Sysctls: []map[string]string{large},
	}},
	Memory: 1024,
	columns: []column{
		{"loss", lossText}, {"flow", flowText}, {"here", goodputText}, {"of the link", shareOf},
		{"model", func(p Point) string {
			if p.Flows[0].Congestion == "bbr" {
				return bbrByLoss.text("%.3g")(p)
			}
			return cubicByLoss.text("%.3g")(p)
		}},
		{"others", bbrLossOthers},
	},
	plot: func() plot {
		d := overLoss(figure.Axis{Title: "goodput (Mbit/s)", Log: true})
		d.here = goodput
		d.models = []model{bbrByLoss, cubicByLoss}
		d.others = bbrLossElsewhere
		return d
	}(),
}

func shareOf(p Point) string {
	return fmt.Sprintf("%.1f %%", 100*p.Figures[cell.Goodput].Median*1e6/mostGoodput(p))
}

// bbrByLoss is for up to the fifth of losses that BBR bears.
var bbrByLoss = model{"BBR: rate (1 - p)", func(p Point) (float64, bool) {
	return mostGoodput(p) * (1 - p.Loss) / 1e6, p.Flows[0].Congestion == "bbr" && p.Loss < 0.2
}}

// cubicByLoss is RFC 9438's response function. Above some loss timeouts decide, which it does not know.
var cubicByLoss = model{"CUBIC: RFC 9438", func(p Point) (float64, bool) {
	got := goodputOfWindow(oracle.CubicResponse(p.Loss, p.RTT), p.RTT)
	return min(got, mostGoodput(p)) / 1e6, p.Flows[0].Congestion == "cubic" && p.Loss <= 0.02
}}

// bbrLossMeasured are others' figures on an emulated path of 100 Mbit/s and 100 ms, in Mbit/s.
var bbrLossMeasured = map[string]map[float64]float64{
	"cubic": {1e-5: 98.81, 1e-4: 34.14, 1e-3: 5.92, 0.01: 1.62, 0.02: 1.00, 0.05: 0.61, 0.1: 0.34, 0.5: 0.02},
	"bbr":   {1e-5: 95.36, 1e-4: 95.19, 1e-3: 94.94, 0.01: 85.37, 0.02: 84.10, 0.05: 76.89, 0.1: 74.56, 0.5: 17.40},
}

// bbrLossElsewhere is what others have measured, in Mbit/s of the link of here: for BBR by its share of a link, and for CUBIC where this one carries as much.
func bbrLossElsewhere(p Point) (float64, bool) {
	v, ok := bbrLossMeasured[p.Flows[0].Congestion][p.Loss]
	if p.Flows[0].Congestion == "bbr" {
		return v / 100 * float64(p.Rate) / 1e6, ok
	}
	return v, ok && v <= float64(p.Rate)/1e6
}

func bbrLossOthers(p Point) string {
	v, ok := bbrLossElsewhere(p)
	switch {
	case !ok:
		return "-"
	case p.Flows[0].Congestion == "bbr":
		return fmt.Sprintf("%.1f %% of the link", 100*v*1e6/float64(p.Rate))
	default:
		return fmt.Sprintf("%.3g", v)
	}
}
