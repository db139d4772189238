package sweep

import (
	"fmt"
	"math"
	"time"

	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/figure"
)

var ware = Paper{
	Name:  "ware",
	Title: "Ware, Mukerjee, Seshan, Sherry: Modeling BBR's Interactions with Loss-Based Congestion Control. IMC 2019",
	About: "One BBR flow beside one CUBIC flow for 240 s, 10 Mbit/s and 40 ms, over the buffer. The model's authors state a median error of 5 %. Beside it is one in which " +
		"BBR sees CUBIC's least window: docs/congestion.md.",
	Grids: []Grid{{
		Flows: [][]cell.Flow{flows("bbr+cubic")}, Rates: []int64{10e6}, RTTs: []time.Duration{40 * time.Millisecond}, Losses: []float64{0},
		Buffers:  []Buffer{{BDPs: 1}, {BDPs: 2}, {BDPs: 4}, {BDPs: 8}, {BDPs: 16}, {BDPs: 32}},
		Duration: 240 * time.Second, Sysctls: []map[string]string{large},
	}},
	Memory: 1024,
	columns: []column{
		{"buffer", bdpText},
		{"BBR's share, here", func(p Point) string {
			return ranged(bbrShare(p), func(v float64) string { return fmt.Sprintf("%.3f", v) })
		}},
		{"Ware's model", wareModel.text("%.3f")}, {"apart", apart(wareModel)},
		{"by CUBIC's least window", leastWindow.text("%.3f")}, {"apart", apart(leastWindow)},
		{"queue 50 %", func(p Point) string { return duration(p.Figures[cell.QueueMedian]) }},
	},
	plot: plot{
		across: figure.Axis{Title: "buffer (BDP)", Log: true, Ticks: []float64{1, 2, 4, 8, 16, 32}}, up: figure.Axis{Title: "BBR's share of the goodput"},
		group: func(Point) string { return "bbr beside cubic" }, x: buffers, here: bbrShare, models: []model{wareModel, leastWindow},
		move: func(p *Point, to float64) { p.Buffer = int(math.Round(to * p.BDP())) },
	},
	closing: func(r Result) []string {
		return append(missed(r.Points, bbrShare, wareModel, oracle.WareMedianError, bdpText), missed(r.Points, bbrShare, leastWindow, oracle.WareMedianError, bdpText)...)
	},
}

// wareModel is the paper's.
var wareModel = model{"Ware's model", func(p Point) (float64, bool) { return oracle.Ware(bottleneck(p), buffers(p), 1), true }}

// leastWindow takes the error that its authors state for theirs: 5 %, too.
var leastWindow = model{"By CUBIC's least window", func(p Point) (float64, bool) { return oracle.BBRByLeastWindow(bottleneck(p), buffers(p)), true }}

// buffers is the buffer in bandwidth-delay products.
func buffers(p Point) float64 { return float64(p.Buffer) / p.BDP() }

func bdpText(p Point) string { return fmt.Sprintf("%.2g BDP", buffers(p)) }

// bbrShare is BBR's share of the goodput, with each seed.
func bbrShare(p Point) Figure {
	return ratio(p.Figures["bbr: "+cell.Goodput], p.Figures[cell.Goodput])
}

// ratio is a figure by another, of each seed. It is empty if one of them was not measured.
func ratio(a, b Figure) Figure {
	var values []float64
	for i := range min(len(a.Values), len(b.Values)) {
		values = append(values, a.Values[i]/b.Values[i])
	}
	if len(values) == 0 {
		return Figure{}
	}
	return figureOf(values, "")
}

// apart is by how much BBR's share is above a model, in percent of the link.
func apart(m model) func(Point) string {
	return func(p Point) string {
		v, _ := m.of(p)
		return fmt.Sprintf("%+.0f %%", 100*(bbrShare(p).Median-v))
	}
}
