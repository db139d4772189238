package sweep

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/figure"
	"github.com/tcplab/tcplab/internal/golden"
)

// made is a result of a paper's cells, with figures that are made up.
func made(t *testing.T, paper Paper, seeds int, value func(i, seed int) float64) Result {
	t.Helper()
	cells, err := paper.Cells()
	if err != nil {
		t.Fatal(err)
	}
	names, hash := hashOf(cells)
	r := Result{Kernel: "6.1", Grid: hash}
	for seed := range seeds {
		r.Seeds = append(r.Seeds, uint64(seed+1))
	}
	for i, c := range cells {
		var goodput, bbr []float64
		for seed := range seeds {
			v := value(i, seed)
			goodput, bbr = append(goodput, 10*v), append(bbr, 10*v*v)
		}
		r.Points = append(r.Points, Point{Cell: c, Name: names[i], Index: i, Figures: map[string]Figure{
			cell.Goodput: figureOf(goodput, "Mbit/s"), cell.Later: figureOf(goodput, "Mbit/s"), "bbr: " + cell.Goodput: figureOf(bbr, "Mbit/s"),
			cell.QueueMedian: figureOf(goodput, "s").times(1e-3), cell.Queue95: figureOf(goodput, "s").times(2e-3),
		}})
	}
	return r
}

func constant(v float64) func(int, int) float64 { return func(int, int) float64 { return v } }

func drawn(t *testing.T, g figure.Graph, err error) string {
	t.Helper()
	var svg bytes.Buffer
	if err == nil {
		err = figure.WriteGraph(&svg, g, "svg")
	}
	if err != nil {
		t.Fatal(err)
	}
	return svg.String()
}

// Each paper has a table with a row for each cell, and a figure with all that was measured.
func TestPapers(t *testing.T) {
	g := NewWithT(t)
	for _, paper := range Papers {
		r := made(t, paper, 1, constant(0.5))
		var out bytes.Buffer
		g.Expect(r.PaperTable(&out, paper)).To(Succeed())
		g.Expect(strings.Count(out.String(), "\n")).To(BeNumerically(">", len(r.Points)+4), out.String())
		g.Expect(out.String()).NotTo(ContainSubstring("NaN"), paper.Name)
		graph, err := r.PaperFigure(paper)
		svg := drawn(t, graph, err)
		g.Expect(svg).NotTo(ContainSubstring("not drawn"), paper.Name)
		values, models := 0, 0
		for _, s := range graph.Series {
			switch {
			case s.Kind == figure.Measured:
				values += len(s.Values)
			case s.Kind == figure.Model && len(s.Values) > 0:
				models++
			}
		}
		g.Expect(values).To(Equal(len(r.Points)), paper.Name)
		g.Expect(models).To(BeNumerically(">=", 1), paper.Name)
		// Before anything is measured there is nothing that speaks against the figure.
		cells, err := paper.Cells()
		g.Expect(err).NotTo(HaveOccurred())
		_, err = Unmeasured(cells, nil).PaperFigure(paper)
		g.Expect(err).NotTo(HaveOccurred())
	}
}

// Of seven kernels no figure can be read.
func TestPaperOfManyKernels(t *testing.T) {
	g := NewWithT(t)
	cells, err := ware.Cells()
	g.Expect(err).NotTo(HaveOccurred())
	_, err = Unmeasured(cells, []string{"1", "2", "3", "4", "5", "6", "7"}).PaperFigure(ware)
	g.Expect(err).To(MatchError(ContainSubstring("a figure of 7 series: 6 can be told apart")))
	two := Unmeasured(cells, []string{"6.1", "6.12"})
	for i := range two.Points {
		two.Points[i].Figures = map[string]Figure{cell.Goodput: figureOf([]float64{9}, ""), "bbr: goodput": figureOf([]float64{4}, "")}
	}
	two.Kernel = "6.1, 6.12"
	graph, err := two.PaperFigure(ware)
	svg := drawn(t, graph, err)
	g.Expect(svg).To(And(ContainSubstring(">bbr beside cubic, 6.1, here<"), ContainSubstring(">bbr beside cubic, 6.12, here<")))
	g.Expect(strings.Count(svg, "Ware&#39;s model<")).To(Equal(1), "a model says the same of both")
	var out bytes.Buffer
	g.Expect(two.PaperTable(&out, ware)).To(Succeed())
	g.Expect(out.String()).To(MatchRegexp(`(?m)^6\.12 +1 BDP`))
}

func TestPaperGolden(t *testing.T) {
	spread := func(i, seed int) float64 { return 0.9 - 0.09*float64(i%6) + 0.01*float64(seed) }
	for _, paper := range []Paper{ware, bbrLoss, codel} {
		graph, err := made(t, paper, 6, spread).PaperFigure(paper)
		golden.Compare(t, paper.Name+".svg", []byte(drawn(t, graph, err)))
	}
}

// The closing lines have the median error over the grid, and each cell that misses by more than the model's authors state.
func TestWareClosing(t *testing.T) {
	g := NewWithT(t)
	// The model says 0.972, 0.784, 0.629, 0.545, 0.491, 0.440.
	shares := []float64{0.972, 0.734, 0.629, 0.445, 0.431, 0.450}
	var out bytes.Buffer
	r := made(t, ware, 1, func(i, _ int) float64 { return shares[i] })
	g.Expect(r.PaperTable(&out, ware)).To(Succeed())
	// Errors of 0, 5, 0, 10, 6 and 1 %: their median is between 1 and 5. With 2 BDP it is 5.06 %.
	g.Expect(out.String()).To(MatchRegexp(`Ware's model: median error 3\.\d % of the link, stated 5 %; 3 of 6 cells miss by more: 2 BDP by -5 %, 8 BDP by -10 %, 16 BDP by -6 %\.`))
	g.Expect(out.String()).To(ContainSubstring("By CUBIC's least window: median error 12.1 % of the link, stated 5 %; 5 of 6 cells miss by more: 2 BDP by +15 %,"))

	exact := made(t, ware, 1, func(i, _ int) float64 { return []float64{0.972, 0.784, 0.629, 0.545, 0.491, 0.440}[i] })
	out.Reset()
	g.Expect(exact.PaperTable(&out, ware)).To(Succeed())
	g.Expect(out.String()).To(MatchRegexp(`Ware's model: median error 0\.\d % of the link, stated 5 %; none misses by more\.`))

	out.Reset()
	g.Expect(Result{Kernel: "6.1", Failed: []string{"all"}}.PaperTable(&out, ware)).To(Succeed())
	g.Expect(out.String()).NotTo(ContainSubstring("% of the link, stated"))
}

// RFC 8289: 5 ms of 100 ms give 78.5 %, and a BDP all; of four flows it says nothing. RFC 9438's tables are what its formula comes to.
func TestPapersFormulas(t *testing.T) {
	g := NewWithT(t)
	p := Point{Cell: cell.Cell{Rate: 10e6, RTT: 100 * time.Millisecond, Flows: flows("reno"), Queue: &queue.Queue{Discipline: queue.CoDel{}}}}
	text := model{of: renoByQueue}.text("%.1f %%")
	g.Expect(text(p)).To(Equal("78.5 %"))
	p.Queue = &queue.Queue{Discipline: queue.DropTail{Packets: 83}}
	g.Expect(text(p)).To(Equal("100.0 %"))
	p.Flows = flows("4*cubic")
	g.Expect(text(p)).To(Equal("-"))
	for rtt, byLoss := range rfcWindows {
		for loss, want := range byLoss {
			v, _ := byRFC.of(Point{Cell: cell.Cell{RTT: rtt, Loss: loss, Flows: flows("cubic")}})
			// The table has whole numbers, and 1.2 for the square root of 3/2.
			g.Expect(v).To(BeNumerically("~", want, 0.5+0.021*want), "%v, %v", rtt, loss)
		}
	}
	g.Expect(window(Point{Cell: cell.Cell{RTT: 100 * time.Millisecond}, Figures: map[string]Figure{cell.Later: figureOf([]float64{11.584}, "")}}).Median).To(
		BeNumerically("~", 100, 1e-9)) // 100 x 1448 x 8 bits in 100 ms
}

// What --json has printed is drawn again, and nothing else is.
func TestPaperResult(t *testing.T) {
	g := NewWithT(t)
	written := func(r Result) *bytes.Buffer {
		var out bytes.Buffer
		g.Expect(json.NewEncoder(&out).Encode(r)).To(Succeed())
		return &out
	}
	r := made(t, ware, 2, constant(0.5))
	read, err := PaperResult(written(r), ware)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(read.Points).To(Equal(r.Points))
	_, err = PaperResult(written(r), bbrLoss)
	g.Expect(err).To(MatchError("it is no result of bbr-loss as it is measured now: measure it again"))
	r.Points[0].Rate = 5
	_, err = PaperResult(written(r), ware)
	g.Expect(err).To(HaveOccurred())
	r = made(t, ware, 2, constant(0.5))
	r.Points[0].Buffer = 7 // of a cell that the paper has not, though the hash is the paper's
	_, err = PaperResult(written(r), ware)
	g.Expect(err).To(MatchError(ContainSubstring("no result of ware")))
}

// A sweep's figure is over the dimension of which there are most values; the others name its series.
func TestSweepFigure(t *testing.T) {
	g := NewWithT(t)
	of := func(text Text) Result {
		grid, err := text.Grid("")
		g.Expect(err).NotTo(HaveOccurred())
		cells, err := grid.Cells()
		g.Expect(err).NotTo(HaveOccurred())
		r := Unmeasured(cells, nil)
		for i := range r.Points {
			goodput := figureOf([]float64{1, 1 + float64(i)}, "")
			r.Points[i].Figures = map[string]Figure{cell.Goodput: goodput, "bbr: goodput": goodput.times(0.25), "cubic: goodput": goodput.times(0.75)}
		}
		return r
	}
	text := Text{Flows: Words{"cubic,bbr+cubic"}, Rate: Words{"10mbit"}, RTT: Words{"20ms,40ms"}, Loss: Words{"0.01%,0.1%,1%"}}
	graph, err := of(text).Figure()
	svg := drawn(t, graph, err)
	for _, want := range []string{">loss (%)<", ">cubic, RTT 20ms<", ">cubic, RTT 40ms<", ">bbr of bbr+cubic, RTT 20ms<", ">cubic of bbr+cubic, RTT 40ms<"} {
		g.Expect(svg).To(ContainSubstring(want))
	}
	g.Expect(graph.Series).To(HaveLen(6))
	g.Expect(graph.Across.Log).To(BeTrue())

	text.Loss = Words{"0,1%,2%"} // 0 has no place on a logarithmic axis
	graph, err = of(text).Figure()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(graph.Across.Log).To(BeFalse())

	text.RTT = Words{"20ms,40ms,80ms"}
	_, err = of(text).Figure()
	g.Expect(err).To(MatchError(ContainSubstring("a figure of 9 series")))
	// Flows that pass other bottlenecks are other kinds, as in their metrics.
	parked := text
	parked.Flows, parked.RTT, parked.InARow = Words{"reno+reno:at=1+reno:at=2"}, Words{"20ms"}, Words{"2"}
	graph, err = of(parked).Figure()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(graph.Series).To(HaveLen(3))
	parked.Flows, parked.InARow, parked.Loss = Words{"reno+reno:at=1"}, Words{"1,2,3"}, nil
	graph, err = of(parked).Figure()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(graph.Across.Title).To(Equal("bottlenecks (in a row)"))
	g.Expect(graph.Series).To(HaveLen(2))

	text.RTT, text.Loss = Words{"20ms"}, nil
	_, err = of(text).Figure()
	g.Expect(err).To(MatchError(ContainSubstring("give two or more of one of loss, buffer, rate, RTT")))
}
