package sweep

import (
	"fmt"
	"time"

	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/figure"
)

var codel = Paper{
	Name:  "codel",
	Title: "Nichols, Jacobson: Controlling Queue Delay. ACM Queue 10(5), 2012; RFC 8289, 3.2: the queue's delay over the link's rate",
	About: "A Reno flow, and four CUBIC flows, for 60 s over 100 ms, with CoDel and with a drop-tail queue in a buffer of one BDP. CoDel should keep its target of 5 ms " +
		"whatever the rate. RFC 8289 has the goodput of a Reno flow by the queue that it may have: for 5 % of the RTT 78.5 % of the link, for all of it 100 %. " +
		"The article has 3 to 100 Mbit/s and a mix of many flows in a simulator.",
	Grids: []Grid{{
		Flows: [][]cell.Flow{flows("reno"), flows("4*cubic")}, Rates: []int64{2e6, 5e6, 10e6, 20e6}, RTTs: []time.Duration{100 * time.Millisecond},
		Queues: []queue.Discipline{queue.CoDel{}, queue.DropTail{}}, Buffers: []Buffer{{BDPs: 1}}, Duration: time.Minute, Sysctls: []map[string]string{large},
	}},
	Memory: 1024,
	columns: []column{
		{"flows", flowText}, {"queue", kindText}, {"rate", func(p Point) string { return fmt.Sprintf("%g Mbit/s", megabits(p)) }},
		{"queue 50 %", func(p Point) string { return duration(p.Figures[cell.QueueMedian]) }},
		{"95 %", func(p Point) string { return duration(p.Figures[cell.Queue95]) }},
		{"of the link, later half", func(p Point) string { return percent(laterShare(p)) }},
		{"RFC 8289", model{of: renoByQueue}.text("%.1f %%")},
	},
	plot: plot{
		across: figure.Axis{Title: "rate of the link (Mbit/s)", Log: true, Ticks: []float64{2, 5, 10, 20}}, up: figure.Axis{Title: "queue's delay (ms), median"},
		group: func(p Point) string { return FlowsText(p.Flows) + ", " + kindText(p) }, x: megabits,
		move: func(p *Point, to float64) { p.Rate = int64(to * 1e6) },
		here: func(p Point) Figure { return p.Figures[cell.QueueMedian].times(1e3) },
		models: []model{{"CoDel's target", func(p Point) (float64, bool) {
			return oracle.CoDelTarget.Seconds() * 1e3, isCoDel(p) && p.Flows[0].Congestion == "reno" // once is enough
		}}},
	},
}

func megabits(p Point) float64 { return float64(p.Rate) / 1e6 }

func isCoDel(p Point) bool {
	_, ok := p.Queue.Discipline.(queue.CoDel)
	return ok
}

func kindText(p Point) string { return p.Queue.Discipline.Kind() }

// laterShare is the goodput of the second half in percent of what the link carries of payload.
func laterShare(p Point) Figure { return p.Figures[cell.Later].times(100 * 1e6 / mostGoodput(p)) }

// renoByQueue is RFC 8289's goodput of one Reno flow, in percent of the link. Of a drop-tail queue the part of the RTT is the buffer in bandwidth-delay products.
func renoByQueue(p Point) (float64, bool) {
	part := 1.
	if isCoDel(p) {
		part = oracle.CoDelTarget.Seconds() / p.RTT.Seconds()
	}
	return 100 * oracle.RenoOverQueue(part), p.Flows[0].Congestion == "reno"
}
