package sweep

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/perf/benchmath"

	"github.com/tcplab/tcplab/impair/profiles"
	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/results"
)

// A Figure is one metric of a cell over all seeds.
type Figure struct {
	Values []float64 `json:"values"` // in the order of the seeds
	Unit   string    `json:"unit,omitempty"`
	Median float64   `json:"median"`
	// Low and High are the 95 % confidence interval of the median, without an assumption on how the values are distributed. It needs six
	// values; of fewer, or where all are the same, they are the least and the greatest, and Confidence says how sure that is.
	Low        float64 `json:"low"`
	High       float64 `json:"high"`
	Confidence float64 `json:"confidence"`
}

// A Point is a cell with what came of it.
type Point struct {
	cell.Cell
	Name    string            `json:"name"`
	Index   int               `json:"index"`            // in the grid
	Kernel  string            `json:"kernel,omitempty"` // of a sweep over several
	Figures map[string]Figure `json:"figures"`          // by the names of package cell
	// Busy: a guest's processor was too busy, with one seed or more, so that figures may be the machine's.
	Busy bool `json:"busy,omitempty"`
}

// A Result is a sweep's.
type Result struct {
	Kernel string   `json:"kernel"` // its release; of several all, with commas between them
	Seeds  []uint64 `json:"seeds"`
	Grid   string   `json:"grid,omitempty"`  // a hash of what its cells are
	Shard  *Shard   `json:"shard,omitempty"` // of the grid; nil is all of it
	Points []Point  `json:"points"`
	Failed []string `json:"failed,omitempty"` // cells that failed with some seed, and why
	// Missing counts the measurements, of a cell with a seed on a kernel, that the sweep was to make and did not, since it was ended.
	Missing int `json:"missing,omitempty"`
}

// Run measures the shard of cells with each seed. Options.Seed is not used.
func Run(ctx context.Context, common runner.SessionOptions, options runner.RunOptions, cells []cell.Cell, shard Shard, seeds []uint64) (Result, error) {
	names, hash := hashOf(cells)
	result := Result{Seeds: seeds, Grid: hash}
	if shard != (Shard{}) {
		result.Shard = &shard
	}
	part := shard.of(cells)
	if len(part) == 0 {
		return result, fmt.Errorf("shard %v has none of the %d cells: there are fewer than shards", shard, len(cells))
	}
	byName, kernel, err := Measure(ctx, common, options, part, seeds)
	result.Kernel = kernel
	result = result.with(part, byName) // what there is, in any case
	result.Missing = len(part) * len(seeds) * max(1, len(common.Kernels))
	for _, records := range byName {
		result.Missing -= len(records)
	}
	for i, p := range result.Points {
		result.Points[i].Index = slices.Index(names, p.Name)
	}
	return result, err
}

// Measure makes measurements on each of the session's kernels with each seed. It returns the records by the measurement's name, and the kernels'
// releases; those that there are also beside an error.
func Measure[M cell.Measurement](ctx context.Context, common runner.SessionOptions, options runner.RunOptions, all []M, seeds []uint64) (byName map[string][]*results.Record, kernel string, err error) {
	if err := options.Check(); err != nil {
		return nil, "", err
	}
	if common.Made, err = cell.Suite(all); err != nil {
		return nil, "", err
	}
	session, err := runner.Open(ctx, common)
	if err != nil {
		return nil, "", err
	}
	defer session.Close()
	byName = map[string][]*results.Record{}
	var kernels []string
	id := options.ID
	for n, name := range session.Kernels() {
		options.Kernel = name
		for _, seed := range seeds {
			options.Seed = seed
			if id != "" {
				options.ID = fmt.Sprintf("%s-seed%d", id, seed)
				if n > 0 {
					options.ID += fmt.Sprintf("-kernel%d", n+1)
				}
			}
			summary, err := session.Run(ctx, options)
			for _, r := range summary.Records {
				byName[r.Scenario] = append(byName[r.Scenario], r)
			}
			if summary.Kernel != "" && !slices.Contains(kernels, summary.Kernel) {
				kernels = append(kernels, summary.Kernel)
			}
			if err != nil {
				return byName, strings.Join(kernels, kernelSeparator), err
			}
		}
	}
	return byName, strings.Join(kernels, kernelSeparator), nil
}

const kernelSeparator = ", "

func (r Result) with(cells []cell.Cell, byName map[string][]*results.Record) Result {
	kernels := strings.Split(r.Kernel, kernelSeparator)
	for _, c := range cells {
		name := c.String()
		for i, kernel := range kernels {
			var measured []*results.Record
			for _, record := range byName[name] {
				unknown := !slices.Contains(kernels, record.Kernel.Release) // of a guest that did not come so far as to say it
				switch {
				case len(kernels) > 1 && record.Kernel.Release != kernel && !(unknown && i == 0):
				case record.Verdict != results.Passed:
					r.Failed = append(r.Failed, fmt.Sprintf("%s, seed %d: %s", name, record.Seed, Reason(record)))
				default:
					measured = append(measured, record)
				}
			}
			if len(measured) == 0 {
				continue
			}
			p := pointOf(c, measured)
			if len(kernels) > 1 {
				p.Kernel = kernel
			}
			r.Points = append(r.Points, p)
		}
	}
	return r
}

// pointOf is what came of a cell on one kernel.
func pointOf(c cell.Cell, measured []*results.Record) Point {
	p := Point{Cell: c, Name: c.String(), Figures: map[string]Figure{}}
	values := map[string][]float64{}
	units := map[string]string{}
	for _, record := range measured {
		for _, m := range record.Metrics {
			values[m.Name] = append(values[m.Name], m.Value)
			units[m.Name] = m.Unit
		}
		p.Busy = p.Busy || record.TooBusy()
		if record.Busy != nil {
			values[cell.CPU] = append(values[cell.CPU], record.Busy.Share)
			units[cell.CPU] = "%"
		}
	}
	for name, all := range values {
		p.Figures[name] = figureOf(all, units[name])
	}
	return p
}

// Reason says in one line why there is nothing measured in a record.
func Reason(r *results.Record) string {
	if r.Failure != nil {
		first, _, _ := strings.Cut(r.Failure.Message, "\n")
		return first
	}
	return string(r.Verdict) + " " + r.Reason
}

const confidence = 0.95

func figureOf(values []float64, unit string) Figure {
	f := Figure{Values: values, Unit: unit}
	// The sample is sorted in place.
	summary := benchmath.AssumeNothing.Summary(benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds), confidence)
	f.Median, f.Low, f.High, f.Confidence = summary.Center, summary.Lo, summary.Hi, summary.Confidence
	if math.IsInf(f.Low, 0) || math.IsInf(f.High, 0) || math.IsNaN(f.Low) {
		f.Low, f.High = slices.Min(values), slices.Max(values)
		// That the median lies between the least and the greatest of n values is certain but for all of them on one side.
		f.Confidence = 1 - math.Pow(0.5, float64(len(values)-1))
	}
	return f
}

// Table writes the figures, a row for each cell, with the dimensions that differ.
func (r Result) Table(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	dimensions := r.dimensions()
	var head []string
	for _, d := range dimensions {
		head = append(head, d.name)
	}
	metrics := r.metrics()
	for _, m := range metrics {
		head = append(head, m.title)
	}
	fmt.Fprintln(table, strings.Join(head, "\t"))
	busy := false
	for _, p := range r.Points {
		var row []string
		for _, d := range dimensions {
			row = append(row, d.of(p))
		}
		for _, m := range metrics {
			row = append(row, m.text(p.Figures[m.name]))
		}
		if p.Busy {
			row[len(row)-1] += "  BUSY"
			busy = true
		}
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	if n := len(r.Seeds); n > 1 {
		fmt.Fprintf(w, "\nMedians of %d seeds, with a 95 %% confidence interval where it is wider than a digit (of fewer than 6: from least to greatest). Kernel %s.\n", n, r.Kernel)
	} else {
		fmt.Fprintf(w, "\nOne seed. Kernel %s.\n", r.Kernel)
	}
	if busy {
		fmt.Fprintln(w, "BUSY: the guest's processor was busy nearly all of the time: the figures may be the machine's. --mips 1000 gives a faster one.")
	}
	for _, text := range r.Failed {
		fmt.Fprintf(w, "FAILED  %s\n", text)
	}
	if r.Missing > 0 {
		fmt.Fprintf(w, "MISSING  %d measurements: the sweep was ended before its time\n", r.Missing)
	}
	return nil
}

type dimension struct {
	name string
	of   func(Point) string
}

// dimensions are those in which points differ; the flows always.
func (r Result) dimensions() []dimension {
	all := []dimension{
		{"flows", func(p Point) string { return FlowsText(p.Flows) }},
		{"kernel", func(p Point) string { return p.Kernel }},
		{"rate", func(p Point) string { return profiles.Rate(p.Rate) }},
		{"RTT", func(p Point) string { return p.RTT.String() }},
		{"bottlenecks", func(p Point) string { return fmt.Sprint(max(1, p.Bottlenecks)) }},
		{"jitter", func(p Point) string { return p.Jitter.String() }},
		{"sysctls", func(p Point) string { return sysctlsText(p.Sysctls) }},
		{"pacing", func(p Point) string {
			if p.Pacing {
				return "fq"
			}
			return "TCP"
		}},
		{"queue", func(p Point) string { return queueText(p.Cell) }},
		{"buffer", func(p Point) string { return bufferText(p.Cell) }},
		{"loss", func(p Point) string { return cell.Percent(p.Loss) }},
		{"in bursts of", func(p Point) string { return fmt.Sprintf("%.3g", max(1, p.LossBurst)) }},
	}
	return slices.DeleteFunc(all, func(d dimension) bool {
		return d.name != "flows" && !slices.ContainsFunc(r.Points, func(p Point) bool { return d.of(p) != d.of(r.Points[0]) })
	})
}

// FlowsText writes flows as ParseFlows reads them.
func FlowsText(flows []cell.Flow) string {
	var parts []string
	for _, f := range flows {
		text := f.Congestion
		if f.Count > 1 {
			text = fmt.Sprintf("%d*%s", f.Count, text)
		}
		if f.Traffic != cell.Bulk {
			text += fmt.Sprintf(":%s=%v:size=%db", f.Traffic, f.Every, f.Size)
		}
		if f.Back {
			text += ":back"
		}
		if f.At > 0 {
			text += fmt.Sprintf(":at=%d", f.At)
		}
		if f.RTT > 0 {
			text += ":rtt=" + f.RTT.String()
		}
		if f.After > 0 {
			text += ":after=" + f.After.String()
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "+")
}

func bufferText(c cell.Cell) string {
	switch {
	case c.Queue != nil:
		return "" // its discipline says it
	case c.Buffer == 0:
		return "1 BDP"
	}
	return fmt.Sprintf("%d", c.Buffer)
}

func queueText(c cell.Cell) string {
	if c.Queue == nil {
		return DropTail
	}
	return c.Queue.Discipline.String()
}

func sysctlsText(settings map[string]string) string {
	var parts []string
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		parts = append(parts, strings.TrimPrefix(key, "net.ipv4.")+"="+settings[key])
	}
	return text.Printable(strings.Join(parts, " "))
}

type metric struct {
	name, title string
	text        func(Figure) string
}

// metrics are what the table shows: of several kinds of flows also each kind's goodput.
func (r Result) metrics() []metric {
	all := []metric{{cell.Goodput, "goodput Mbit/s", number}}
	var kinds []string
	for _, p := range r.Points {
		for name := range p.Figures {
			if strings.HasSuffix(name, ": "+cell.Goodput) && !slices.Contains(kinds, name) {
				kinds = append(kinds, name)
			}
		}
	}
	slices.Sort(kinds)
	for _, k := range kinds {
		all = append(all, metric{k, strings.TrimSuffix(k, ": "+cell.Goodput), number})
	}
	all = append(all,
		metric{cell.Utilisation, "link", percent}, metric{cell.Retransmitted, "retransmitted", percent},
		metric{cell.QueueMedian, "queue 50 %", duration}, metric{cell.Queue95, "95 %", duration})
	for _, rest := range []metric{
		{cell.Marked, "marked", percent}, {cell.Fairness, "Jain", number}, {cell.Limited, "buffers limited", percent},
		{cell.AnswerMedian, "request 50 %", duration}, {cell.Answer95, "95 %", duration}, {cell.RoundTrips, "round trips/min", number},
	} {
		if slices.ContainsFunc(r.Points, func(p Point) bool { return p.Figures[rest.name].High > 0 }) {
			all = append(all, rest)
		}
	}
	return all
}

func number(f Figure) string {
	return ranged(f, func(v float64) string { return fmt.Sprintf("%.3g", v) })
}
func percent(f Figure) string {
	return ranged(f, func(v float64) string { return fmt.Sprintf("%.3g", v) }) + " %"
}
func duration(f Figure) string {
	return ranged(f, func(v float64) string { return fmt.Sprint(roundTime(v)) })
}

// roundTime leaves three digits.
func roundTime(seconds float64) time.Duration {
	if seconds < 1e-9 {
		return 0
	}
	return time.Duration(math.Round(text.Digits(seconds, 3) * float64(time.Second)))
}

// ranged has the interval where its ends read otherwise than the median.
func ranged(f Figure, text func(float64) string) string {
	if len(f.Values) == 0 {
		return "-"
	}
	if low, high := text(f.Low), text(f.High); low != high {
		return fmt.Sprintf("%s (%s..%s)", text(f.Median), low, high)
	}
	return text(f.Median)
}
