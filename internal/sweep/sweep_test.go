package sweep

import (
	"bytes"
	"cmp"
	"os"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/internal/vm/vmtest"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/results"
)

func TestMain(m *testing.M) {
	guest.Main()
	peers.Main()
	cell.Main()
	os.Exit(m.Run())
}

// A confidence interval is one of order statistics; where there are too few values it says so, and where all are the same it is exact.
func TestFigures(t *testing.T) {
	g := NewWithT(t)
	one := figureOf([]float64{3}, "")
	g.Expect([]float64{one.Median, one.Low, one.High}).To(Equal([]float64{3, 3, 3}))
	g.Expect(one.Confidence).To(BeZero())
	three := figureOf([]float64{3, 1, 2}, "")
	g.Expect([]float64{three.Median, three.Low, three.High}).To(Equal([]float64{2, 1, 3}))
	g.Expect(three.Confidence).To(Equal(0.75)) // 1 - 2/8: that all are on one side
	g.Expect(three.Values).To(Equal([]float64{3, 1, 2}), "in the order of the seeds")
	six := figureOf([]float64{6, 5, 4, 3, 2, 1}, "")
	g.Expect([]float64{six.Low, six.High}).To(Equal([]float64{1, 6}))
	g.Expect(six.Confidence).To(BeNumerically(">=", 0.95)) // 1 - 2/64
}

func TestTable(t *testing.T) {
	g := NewWithT(t)
	cells, err := grid().Cells()
	g.Expect(err).NotTo(HaveOccurred())
	r := Result{Kernel: "6.1", Seeds: []uint64{1, 2}, Failed: []string{"x, seed 2: it fell over"}}
	for i, c := range cells {
		r.Points = append(r.Points, Point{Cell: c, Busy: i == 3, Figures: map[string]Figure{
			cell.Goodput: figureOf([]float64{1, 2 + float64(i)}, "Mbit/s"), cell.QueueMedian: figureOf([]float64{0.0123456, 0.0123456}, "s"),
		}})
	}
	var out bytes.Buffer
	g.Expect(r.Table(&out)).To(Succeed())
	g.Expect(out.String()).To(HavePrefix("flows  loss  goodput Mbit/s"))
	g.Expect(out.String()).To(MatchRegexp(`(?m)^cubic  0 %   1\.5 \(1\.\.2\) .* 12\.3ms +-$`))
	g.Expect(out.String()).To(MatchRegexp(`(?m)^bbr    1 %   3 \(1\.\.5\) .*BUSY$`))
	g.Expect(out.String()).To(HaveSuffix("\nFAILED  x, seed 2: it fell over\n"))
	g.Expect(out.String()).NotTo(ContainSubstring("10 Mbit/s "), "all have that")
}

// Each kernel has a point of its own, of which the kernel is a column.
func TestKernels(t *testing.T) {
	g := NewWithT(t)
	cells, err := grid().Cells()
	g.Expect(err).NotTo(HaveOccurred())
	record := func(kernel string, value float64) *results.Record {
		return &results.Record{
			Scenario: cells[0].String(), Verdict: results.Passed, Kernel: results.Uname{Release: kernel}, Metrics: []results.Metric{{Name: cell.Goodput, Value: value}},
			Busy: &results.Busy{Share: 12},
		}
	}
	r := Result{Kernel: "6.1, 6.12", Seeds: []uint64{1, 2}}.with(cells[:1], map[string][]*results.Record{
		cells[0].String(): {record("6.1", 1), record("6.1", 2), record("6.12", 8), {Verdict: results.Failed, Kernel: results.Uname{Release: "6.12"}, Seed: 2}},
	})
	g.Expect(r.Points).To(HaveLen(2))
	g.Expect(r.Points[0].Figures[cell.Goodput].Values).To(Equal([]float64{1, 2}))
	g.Expect(r.Points[1].Figures[cell.Goodput].Values).To(Equal([]float64{8}))
	g.Expect(r.Points[1].Figures[cell.CPU].Median).To(Equal(12.))
	g.Expect(r.Failed).To(HaveLen(1))
	var out bytes.Buffer
	g.Expect(r.Table(&out)).To(Succeed())
	g.Expect(out.String()).To(MatchRegexp(`(?m)^flows +kernel +goodput.*\ncubic +6\.1 +1\.5`))
	one := Result{Kernel: "6.1", Seeds: []uint64{1}}.with(cells[:1], map[string][]*results.Record{cells[0].String(): {record("6.1", 1)}})
	g.Expect(one.Points[0].Kernel).To(BeEmpty(), "so that it is compared with another kernel's")
}

// Cells are measured in guests, each is what its path allows, and none is measured twice.
func TestSweepInGuests(t *testing.T) {
	vmtest.NeedGuests(t)
	g := NewWithT(t)
	small := grid()
	small.Flows = append(small.Flows, []cell.Flow{{Congestion: "bbr"}, {Congestion: "cubic", Count: 2}})
	small.Losses = []float64{0}
	cells, err := small.Cells()
	g.Expect(err).NotTo(HaveOccurred())
	for range 2 {
		var log bytes.Buffer
		result, err := Run(t.Context(), runner.SessionOptions{Clock: runner.Virtual, Log: &log},
			runner.RunOptions{Root: t.TempDir(), Share: 8}, cells, Shard{}, []uint64{1})
		g.Expect(err).NotTo(HaveOccurred(), log.String())
		g.Expect(result.Failed).To(BeEmpty())
		g.Expect(result.Points).To(HaveLen(3))
		for _, p := range result.Points {
			// The link carries 1448 of 1514 bytes: 9.56 Mbit/s. Slow start takes some of 5 s.
			g.Expect(p.Figures[cell.Goodput].Median).To(BeNumerically("~", 9.2, 0.37), p.Name)
			g.Expect(p.Figures[cell.Utilisation].Median).To(BeNumerically("<=", 100), p.Name)
		}
		shared := result.Points[2].Figures
		g.Expect(shared["bbr: goodput"].Median + shared["cubic: goodput"].Median).To(BeNumerically("~", shared[cell.Goodput].Median, 0.001))
		g.Expect(shared[cell.Fairness].Median).To(BeNumerically(">", 1./3))
		if strings.Contains(log.String(), "(cached)") {
			return
		}
	}
	t.Error("the second time nothing comes from the cache")
}

// What a grid can have beside bulk flows and netem's queue: each does what it is there for.
func TestKindsOfCellsInGuests(t *testing.T) {
	vmtest.NeedGuests(t)
	g := NewWithT(t)
	of := func(more Text) (cells []cell.Cell) {
		more.Rate, more.RTT, more.Duration = Words{"10mbit"}, Words{"40ms"}, cmp.Or(more.Duration, "4s")
		grid, err := more.Grid("")
		g.Expect(err).NotTo(HaveOccurred())
		if cells, err = grid.Cells(); err != nil {
			t.Fatal(err)
		}
		return cells
	}
	asked := of(Text{Flows: Words{"cubic+cubic:requests=50ms"}, Queue: Words{"droptail", "fq_codel"}})
	both := of(Text{Flows: Words{"cubic+cubic:back"}})
	paced := of(Text{Flows: Words{"bbr"}, Pacing: Words{"on"}, Jitter: Words{"1ms"}})
	lossy := of(Text{Flows: Words{"cubic:after=1s+reno:bursts=500ms"}, Queue: Words{"cake"}, Loss: Words{"2%"}, LossBurst: Words{"2"}})
	others := of(Text{Flows: Words{"vegas+westwood"}, Buffer: Words{"150kb"}})
	row := of(Text{Flows: Words{"reno+reno:at=1+reno:at=2"}, InARow: Words{"2"}, Duration: "20s"}) // longer than their slow starts
	all := slices.Concat(asked, both, paced, lossy, others, row)
	result, err := Run(t.Context(), runner.SessionOptions{Clock: runner.Virtual, Log: t.Output()}, runner.RunOptions{Root: t.TempDir(), Share: 8}, all, Shard{}, []uint64{1})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(result.Failed).To(BeEmpty())
	figure := func(c cell.Cell, name string) float64 {
		for _, p := range result.Points {
			if p.Name == c.String() {
				g.Expect(p.Figures).To(HaveKey(name), p.Name)
				return p.Figures[name].Median
			}
		}
		t.Fatalf("no point of %v", c)
		return 0
	}
	// A request goes through the bulk flow's queue, but not with fq_codel: there it waits for a packet on its way (1.2 ms) and a round of the other flow.
	alone, packet := 0.040, 1514*8/10e6
	g.Expect(figure(asked[1], cell.AnswerMedian)).To(And(BeNumerically(">=", alone), BeNumerically("<=", alone+3*packet)))
	g.Expect(figure(asked[0], cell.AnswerMedian)).To(BeNumerically(">=", alone+figure(asked[0], cell.QueueMedian)/2))
	g.Expect(figure(asked[1], cell.RoundTrips)).To(BeNumerically(">", figure(asked[0], cell.RoundTrips)))
	// Each way has the rate for itself, of which ACKs take some.
	g.Expect(figure(both[0], "cubic: goodput")).To(BeNumerically(">", 5))
	g.Expect(figure(both[0], "cubic back: goodput")).To(BeNumerically(">", 5))
	for _, c := range []cell.Cell{paced[0], others[0]} {
		g.Expect(figure(c, cell.Goodput)).To(And(BeNumerically(">", 5), BeNumerically("<", 9.57)), c.String())
		g.Expect(figure(c, cell.FillTime)).To(BeNumerically("<", 4), c.String())
	}
	// The loss is behind the queue, which has dropped none of that.
	g.Expect(figure(lossy[0], cell.Retransmitted)).To(BeNumerically(">", figure(lossy[0], cell.Dropped)))
	// A flow that passes both bottlenecks loses packets at either, and has twice the queue.
	for _, other := range []string{"reno at 1: goodput", "reno at 2: goodput"} {
		g.Expect(figure(row[0], "reno: goodput")).To(And(BeNumerically(">", 0), BeNumerically("<", figure(row[0], other))))
	}
	for _, name := range []string{cell.Utilisation, "bottleneck 2: " + cell.Utilisation} {
		g.Expect(figure(row[0], name)).To(BeNumerically(">", 75), name)
	}
	g.Expect(figure(lossy[0], cell.CPU)).To(BeNumerically(">", 0))
}
