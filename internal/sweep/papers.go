package sweep

import (
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair/profiles"
	"github.com/tcplab/tcplab/internal/cell"
)

// A Paper is a published figure: what it measured, so that it can be measured again, and what it says.
type Paper struct {
	Name   string
	Title  string // authors, title, place, and which figure
	About  string // what is measured here, and in what it differs
	Grid   Grid
	Memory int // of a guest, in MiB; 0 is the default

	columns []column
}

// A column has a value of each cell beside the others.
type column struct {
	title string
	text  func(Point) string
}

// mss is a segment's payload on Ethernet, with time stamps.
const mss = 1448

// large lets neither side's buffer limit a flow. The receive buffer begins large: the kernel's own tuning stays at twice what the program
// reads in a round trip, which is too little for a window with a hole in it.
var large = map[string]string{"net.ipv4.tcp_wmem": "4096 16384 16777216", "net.ipv4.tcp_rmem": "4096 4194304 16777216"}

func flows(text string) []cell.Flow {
	f, err := ParseFlows(text)
	if err != nil {
		panic(err) // a constant
	}
	return f
}

// Papers are those that can be measured again.
var Papers = []Paper{
	{
		Name:  "bbr-loss",
		Title: "Cardwell, Cheng, Gunn, Yeganeh, Jacobson: BBR: Congestion-Based Congestion Control. ACM Queue 14(5), 2016, figure 8",
		About: "Flows of 60 s over 100 ms with random loss. The paper has 100 Mbit/s, here it is 20: what CUBIC gets does not depend on the rate as long as " +
			"it is below it, and BBR is compared by its share. The others' figures are of an emulated path of 100 Mbit/s.",
		Grid: Grid{
			Flows: [][]cell.Flow{flows("bbr"), flows("cubic")}, Rates: []int64{20e6}, RTTs: []time.Duration{100 * time.Millisecond},
			Losses: []float64{1e-5, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5}, Buffers: []Buffer{{BDPs: 4}},
			Duration: time.Minute, Sysctls: []map[string]string{large},
		},
		Memory: 1024,
		columns: []column{
			{"loss", func(p Point) string { return cell.Percent(p.Loss) }},
			{"flow", func(p Point) string { return FlowsText(p.Flows) }},
			{"here", func(p Point) string { return number(p.Figures[cell.Goodput]) }},
			{"of the link", shareOf},
			{"model", bbrLossModel},
			{"others", bbrLossOthers},
		},
	},
	{
		Name:  "ware",
		Title: "Ware, Mukerjee, Seshan, Sherry: Modeling BBR's Interactions with Loss-Based Congestion Control. IMC 2019",
		About: "One BBR flow beside one CUBIC flow for 240 s, 10 Mbit/s and 40 ms, over the buffer. The model's stated median error is 5 %.",
		Grid: Grid{
			Flows: [][]cell.Flow{flows("bbr+cubic")}, Rates: []int64{10e6}, RTTs: []time.Duration{40 * time.Millisecond}, Losses: []float64{0},
			Buffers:  []Buffer{{BDPs: 1}, {BDPs: 2}, {BDPs: 4}, {BDPs: 8}, {BDPs: 16}, {BDPs: 32}},
			Duration: 240 * time.Second, Sysctls: []map[string]string{large},
		},
		Memory: 1024,
		columns: []column{
			{"buffer", func(p Point) string { return fmt.Sprintf("%.3g BDP", float64(p.Buffer)/p.BDP()) }},
			{"BBR's share, here", func(p Point) string {
				return fmt.Sprintf("%.3f", shareOfFlow(p, "bbr"))
			}},
			{"model", func(p Point) string { return fmt.Sprintf("%.3f", wareShare(p)) }},
			{"apart", func(p Point) string { return fmt.Sprintf("%+.0f %%", 100*(shareOfFlow(p, "bbr")/wareShare(p)-1)) }},
			{"queue 50 %", func(p Point) string { return duration(p.Figures[cell.QueueMedian]) }},
		},
	},
	{
		Name:  "mathis",
		Title: "Mathis, Semke, Mahdavi, Ott: The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm. CCR 27(3), 1997",
		About: "Reno over 20 Mbit/s and 100 ms with random loss: bandwidth = C MSS / (RTT sqrt(p)), with C = 0.93 for random losses that are acknowledged " +
			"one by one, and 0.66 where an ACK comes for each second segment (1.22/0.87 less).",
		Grid: Grid{
			Flows: [][]cell.Flow{flows("reno")}, Rates: []int64{20e6}, RTTs: []time.Duration{100 * time.Millisecond},
			Losses: []float64{1e-3, 2e-3, 5e-3, 0.01}, Buffers: []Buffer{{BDPs: 4}}, Duration: 2 * time.Minute, Sysctls: []map[string]string{large},
		},
		columns: []column{
			{"loss", func(p Point) string { return cell.Percent(p.Loss) }},
			{"here", func(p Point) string { return number(p.Figures[cell.Goodput]) }},
			{"C, here", func(p Point) string {
				return fmt.Sprintf("%.2f", p.Figures[cell.Goodput].Median*1e6/(mss*8)*p.RTT.Seconds()*math.Sqrt(p.Loss))
			}},
			{"C = 0.66", func(p Point) string { return fmt.Sprintf("%.3g", mathis(p, 0.66)/1e6) }},
			{"C = 0.93", func(p Point) string { return fmt.Sprintf("%.3g", mathis(p, 0.93)/1e6) }},
		},
	},
}

func mathis(p Point, c float64) float64 { return c * mss * 8 / (p.RTT.Seconds() * math.Sqrt(p.Loss)) }

// payload is the share of a rate that is payload.
const payload = mss / 1514.

func shareOf(p Point) string {
	return fmt.Sprintf("%.1f %%", 100*p.Figures[cell.Goodput].Median*1e6/(float64(p.Rate)*payload))
}

func shareOfFlow(p Point, congestion string) float64 {
	return p.Figures[congestion+": "+cell.Goodput].Median / p.Figures[cell.Goodput].Median
}

// bbrLossModel is rate x (1 - p) for BBR, up to the fifth of losses that it bears, and RFC 9438's response function for CUBIC.
func bbrLossModel(p Point) string {
	if p.Flows[0].Congestion == "bbr" {
		if p.Loss >= 0.2 {
			return "-"
		}
		return fmt.Sprintf("%.3g", float64(p.Rate)*payload*(1-p.Loss)/1e6)
	}
	if p.Loss > 0.02 {
		return "-" // timeouts decide, which the function does not know
	}
	got := oracle.CubicResponse(p.Loss, p.RTT) * mss * 8 / p.RTT.Seconds()
	return fmt.Sprintf("%.3g", min(got, float64(p.Rate)*payload)/1e6)
}

// bbrLossMeasured are others' figures on an emulated path of 100 Mbit/s and 100 ms, in Mbit/s.
var bbrLossMeasured = map[string]map[float64]float64{
	"cubic": {1e-5: 98.81, 1e-4: 34.14, 1e-3: 5.92, 0.01: 1.62, 0.02: 1.00, 0.05: 0.61, 0.1: 0.34, 0.5: 0.02},
	"bbr":   {1e-5: 95.36, 1e-4: 95.19, 1e-3: 94.94, 0.01: 85.37, 0.02: 84.10, 0.05: 76.89, 0.1: 74.56, 0.5: 17.40},
}

func bbrLossOthers(p Point) string {
	v, ok := bbrLossMeasured[p.Flows[0].Congestion][p.Loss]
	switch {
	case !ok:
		return "-"
	case p.Flows[0].Congestion == "bbr":
		return fmt.Sprintf("%.1f %% of the link", v)
	case v > float64(p.Rate)/1e6:
		return "-" // more than the link of here carries
	default:
		return fmt.Sprintf("%.3g", v)
	}
}

// wareShare is the share of one BBR flow beside loss-based ones by the paper's formula, for c packets a second and a buffer of q packets.
func wareShare(p Point) float64 {
	const n, probeRTT = 1, 0.2
	c := float64(p.Rate) / 8 / 1514
	q := float64(p.Buffer)
	x := q / p.BDP()
	d := p.Duration.Seconds()
	rest := max(0, 0.5-1/(2*x)-4*n/q)
	probing := (q/c + probeRTT + p.RTT.Seconds()) * d / 10
	return (1 - rest) * (d - probing) / d
}

// PaperTable writes a paper's figures beside those of here.
func (r Result) PaperTable(w io.Writer, paper Paper) error {
	fmt.Fprintf(w, "%s\n%s\n\n", paper.Title, paper.About)
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	var titles []string
	for _, c := range paper.columns {
		titles = append(titles, c.title)
	}
	fmt.Fprintln(table, strings.Join(titles, "\t"))
	for _, p := range r.Points {
		var row []string
		for _, c := range paper.columns {
			row = append(row, c.text(p))
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	rate := profiles.Rate(paper.Grid.Rates[0])
	fmt.Fprintf(w, "\nMbit/s of payload; the link carries %s with headers. Medians of %d seeds. Kernel %s.\n", rate, len(r.Seeds), r.Kernel)
	for _, text := range r.Failed {
		fmt.Fprintf(w, "FAILED  %s\n", text)
	}
	return nil
}
