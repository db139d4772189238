package sweep

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/figure"
)

// parts are a result in as many shards.
func parts(t *testing.T, of int) []Result {
	t.Helper()
	g := NewWithT(t)
	cells, err := grid().Cells()
	g.Expect(err).NotTo(HaveOccurred())
	names, hash := hashOf(cells)
	var all []Result
	for n := range of {
		shard := Shard{n + 1, of}
		r := Result{Kernel: "6.1", Seeds: []uint64{1}, Grid: hash, Shard: &shard}
		for _, c := range shard.of(cells) {
			for i, name := range names {
				if name == c.String() {
					r.Points = append(r.Points, Point{Cell: c, Name: name, Index: i, Figures: map[string]Figure{cell.Goodput: figureOf([]float64{float64(i)}, "Mbit/s")}})
				}
			}
		}
		var written bytes.Buffer // what it is on its way
		g.Expect(json.NewEncoder(&written).Encode(r)).To(Succeed())
		read, err := ReadResult(&written)
		g.Expect(err).NotTo(HaveOccurred())
		all = append(all, read)
	}
	return all
}

func TestMerge(t *testing.T) {
	g := NewWithT(t)
	all := parts(t, 3)
	merged, err := Merge([]Result{all[2], all[0], all[1]})
	g.Expect(err).NotTo(HaveOccurred())
	whole := parts(t, 1)[0]
	g.Expect(merged.Points).To(Equal(whole.Points))
	g.Expect(merged.Shard).To(BeNil())

	for want, parts := range map[string][]Result{
		"nothing to merge":             nil,
		"shards are missing: 2/3, 3/3": {all[0]},
		"shard 2/3 is there twice":     {all[0], all[1], all[2], all[1]},
		"no shard":                     {merged},
		"another number of shards":     {all[0], parts(t, 2)[1]},
		"another kernel":               {all[0], func() Result { r := all[1]; r.Kernel = "6.12"; return r }()},
		"another grid":                 {all[0], func() Result { r := all[1]; r.Grid = "x"; return r }()},
		"shard 2/3 lacks 7 measurem":   {all[0], func() Result { r := all[1]; r.Missing = 7; return r }()},
		"another seeds":                {all[0], func() Result { r := all[1]; r.Seeds = []uint64{2}; return r }()},
	} {
		_, err := Merge(parts)
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
}

func TestParseShard(t *testing.T) {
	g := NewWithT(t)
	g.Expect(ParseShard("3/16")).To(Equal(Shard{3, 16}))
	for _, text := range []string{"", "3", "0/3", "4/3", "-1/3", "1/x", "1/1000000", "1/2/3"} {
		_, err := ParseShard(text)
		g.Expect(err).To(HaveOccurred(), text)
	}
}

func FuzzReadResult(f *testing.F) {
	f.Add([]byte(`{"seeds": [1], "points": [{"name": "x", "figures": {"goodput": {"values": [1]}}}]}`))
	f.Add([]byte(`{"seeds": [1], "points": [
		{"rate_bit_per_s": 1000000, "rtt_ns": 1000, "duration_ns": 1000000000, "flows": [{"congestion": "bbr"}, {"congestion": "cubic"}],
			"figures": {"bbr: goodput": {"values": [1], "median": 1e300, "low": -5, "high": 1}}},
		{"rate_bit_per_s": 2000000, "rtt_ns": 1000, "duration_ns": 1000000000, "flows": [{"congestion": "bbr"}, {"congestion": "cubic"}],
			"figures": {"cubic: goodput": {"values": [1], "median": 1, "high": 2}}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := ReadResult(bytes.NewReader(data))
		if err != nil {
			return
		}
		_ = r.Table(&bytes.Buffer{})
		if graph, err := r.Figure(); err == nil {
			_ = figure.WriteGraph(&bytes.Buffer{}, graph, "svg")
		}
		if c, err := Compare(r, r); err == nil {
			_ = c.Table(&bytes.Buffer{}, true)
		}
		_, _ = Merge([]Result{r})
	})
}

func sweepOf(values map[string][]float64) Result {
	r := Result{Kernel: "6.1"}
	for range 10 {
		r.Seeds = append(r.Seeds, uint64(len(r.Seeds)+1))
	}
	p := Point{Name: "a cell", Figures: map[string]Figure{}}
	for name, v := range values {
		p.Figures[name] = figureOf(v, "")
	}
	r.Points = []Point{p}
	return r
}

// What is above all that was before is a change, what overlaps is none, and what has no noise is compared as it is.
func TestCompare(t *testing.T) {
	g := NewWithT(t)
	low, high := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, []float64{11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	mixed := []float64{1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7.5, 8.5, 9.5, 10.5}
	constant, other := []float64{3, 3, 3, 3, 3, 3, 3, 3, 3, 3}, []float64{4, 4, 4, 4, 4, 4, 4, 4, 4, 4}
	c, err := Compare(sweepOf(map[string][]float64{"up": low, "noise": low, "same": constant, "moved": constant}),
		sweepOf(map[string][]float64{"up": high, "noise": mixed, "same": constant, "moved": other}))
	g.Expect(err).NotTo(HaveOccurred())
	by := map[string]Change{}
	for _, ch := range c.Changes {
		by[ch.Figure] = ch
	}
	// All of one above all of the other: 2 of 20!/(10! 10!) = 184756 orders.
	g.Expect(by["up"].P).To(BeNumerically("~", 2./184756, 1e-6))
	g.Expect(by["up"].Significant()).To(BeTrue())
	g.Expect(by["noise"].Significant()).To(BeFalse())
	g.Expect(by["same"]).To(And(HaveField("P", 1.), HaveField("Exact", true), HaveField("Significant()", false)))
	g.Expect(by["moved"]).To(And(HaveField("P", 0.), HaveField("Exact", true), HaveField("Significant()", true)))
	// Holm: of four figures the least has four times its P, the next three times.
	g.Expect(by["up"].Corrected).To(BeNumerically("~", 3*by["up"].P, 1e-12))

	var out bytes.Buffer
	g.Expect(c.Table(&out, false)).To(Succeed())
	g.Expect(out.String()).To(ContainSubstring("2 of 4 figures changed by more than noise"))
	g.Expect(out.String()).NotTo(ContainSubstring("a cell  noise"))
	g.Expect(out.String()).To(ContainSubstring("+33.3 %"))
	out.Reset()
	g.Expect(c.Table(&out, true)).To(Succeed())
	g.Expect(out.String()).To(ContainSubstring("a cell  noise"))

	_, err = Compare(sweepOf(map[string][]float64{"a": low}), sweepOf(map[string][]float64{"b": low}))
	g.Expect(err).To(HaveOccurred())
}

// What only one of two sweeps has is a difference, be it a cell, a figure of one, or a failure.
func TestCompareOfWhatIsGone(t *testing.T) {
	both := map[string][]float64{"goodput": {1, 1, 1, 1}}
	filled := map[string][]float64{"goodput": {1, 1, 1, 1}, "fill time": {2, 2, 2, 2}}
	ended, failed, more := sweepOf(both), sweepOf(both), sweepOf(both)
	ended.Missing = 3
	failed.Failed = []string{"a cell, seed 4: panic"}
	more.Points = append(more.Points, Point{Name: "another cell", Figures: more.Points[0].Figures})
	for _, c := range []struct {
		before, after Result
		says          string
	}{
		{sweepOf(both), sweepOf(both), ""},
		{sweepOf(filled), sweepOf(both), "fill time of a cell: only before"},
		{sweepOf(both), sweepOf(filled), "fill time of a cell: only after"},
		{sweepOf(map[string][]float64{"goodput": {1, 1, 1, 1}, "fill time": {2}}), sweepOf(both), ""}, // now and then
		{sweepOf(both), more, "another cell: only after"},
		{more, sweepOf(both), "another cell: only before"},
		{sweepOf(both), failed, "FAILED a cell, seed 4: panic: only after"},
		{failed, failed, ""},
		{ended, sweepOf(both), "3 measurements before: that sweep was ended before its time"},
	} {
		g := NewWithT(t)
		compared, err := Compare(c.before, c.after)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(compared.Differs()).To(Equal(c.says != ""))
		var out bytes.Buffer
		g.Expect(compared.Table(&out, false)).To(Succeed())
		if c.says != "" {
			g.Expect(out.String()).To(ContainSubstring("MISSING  " + c.says))
		}
	}
}

func TestHolm(t *testing.T) {
	g := NewWithT(t)
	// The example of Holm's method as it is usually given: 0.01, 0.03, 0.04, 0.005 of four.
	changes := []Change{{P: 0.005}, {P: 0.01}, {P: 0.03}, {P: 0.04}}
	correct(changes)
	for i, want := range []float64{0.02, 0.03, 0.06, 0.06} {
		g.Expect(changes[i].Corrected).To(BeNumerically("~", want, 1e-12))
	}
}

func TestSeedsFor(t *testing.T) {
	g := NewWithT(t)
	g.Expect(seedsFor(1)).To(Equal(4))       // 2/70 = 0.029
	g.Expect(seedsFor(2)).To(Equal(5))       // 2/252*2 = 0.016
	g.Expect(seedsFor(100)).To(Equal(8))     // 2/12870*100 = 0.016; with 7 it is 0.058
	g.Expect(seedsFor(10_000)).To(Equal(11)) // 2/705432*10000 = 0.028; with 10 it is 0.108
}

func TestFewSeedsSayNothing(t *testing.T) {
	g := NewWithT(t)
	a, b := sweepOf(map[string][]float64{"x": {1, 2, 3}}), sweepOf(map[string][]float64{"x": {11, 12, 13}})
	a.Seeds, b.Seeds = a.Seeds[:3], b.Seeds[:3]
	c, err := Compare(a, b)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(c.Differs()).To(BeFalse())
	var out bytes.Buffer
	g.Expect(c.Table(&out, false)).To(Succeed())
	g.Expect(strings.Split(out.String(), "\n")[1]).To(Equal("Of 3 seeds and 1 figures no change of one that varies can be told from chance: 4 seeds each are needed."))
}
