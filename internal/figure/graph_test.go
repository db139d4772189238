package figure

import (
	"bytes"
	"errors"
	"io"
	"math"
	"reflect"
	"strings"
	"testing"

	"github.com/tcplab/tcplab/internal/golden"
)

// lossGraph is made up: two groups, each measured with intervals, with a model, and one with what others have measured.
func lossGraph() Graph {
	return Graph{
		Title: "goodput over loss", Across: Axis{Title: "loss (%)", Log: true}, Up: Axis{Title: "goodput (Mbit/s)", Log: true},
		Series: []Series{
			{Name: "bbr", Values: []Value{{0.01, 19, 18, 19.5}, {1, 18.5, 18.5, 18.5}, {50, 0.2, 0.05, 0.4}}},
			{Name: "bbr: rate (1 - p)", Kind: Model, Values: []Value{{0.01, 19.1, 0, 0}, {1, 18.9, 0, 0}, {20, 15, 0, 0}}},
			{Name: "cubic", Group: 1, Values: []Value{{1, 1.4, 1.3, 1.5}, {0.01, 15, 12, 19}, {50, 0, 0, 0}}},
			{Name: "cubic: RFC 9438", Kind: Model, Group: 1, Values: []Value{{0.01, 19, 0, 0}, {1, 1.44, 0, 0}}},
			{Name: "cubic: others", Kind: Others, Group: 1, Values: []Value{{0.01, 18, 0, 0}, {1, 1.62, 0, 0}, {2, 1, 0, 0}}},
		},
	}
}

func graphAs(t testing.TB, g Graph, format string) []byte {
	t.Helper()
	var out bytes.Buffer
	if err := WriteGraph(&out, g, format); err != nil {
		t.Fatalf("%s: %v", format, err)
	}
	return out.Bytes()
}

func TestGoldenGraph(t *testing.T) {
	golden.Compare(t, "graph.svg", graphAs(t, lossGraph(), "svg"))
	linear := Graph{Across: Axis{Title: "buffer (BDP)", Log: true, Ticks: []float64{1, 2, 4, 8}}, Up: Axis{Title: "share (%)"}, Series: []Series{
		{Name: "here", Values: []Value{{1, 97, 0, 0}, {2, 58, 50, 61}, {4, 45, 44, 46}, {8, 40, 40, 40}}},
		{Name: "model", Kind: Model, Values: []Value{{1, 97, 0, 0}, {2, 78, 0, 0}, {4, 63, 0, 0}, {8, 55, 0, 0}}},
	}}
	golden.Compare(t, "graph-linear.svg", graphAs(t, linear, "svg"))
}

func TestGraphFormats(t *testing.T) {
	checkSVG(t, graphAs(t, lossGraph(), "svg"))
	checkPDF(t, graphAs(t, lossGraph(), "pdf"))
	if png := graphAs(t, lossGraph(), "png"); !bytes.Equal(png, graphAs(t, lossGraph(), "png")) {
		t.Error("a PNG is not the same twice")
	}
}

// Without colours groups differ in their marks, and models in their dashes.
func TestGraphBlackAndWhite(t *testing.T) {
	for i, a := range groupLooks {
		for _, b := range groupLooks[:i] {
			if reflect.DeepEqual(a.shape(point{}, 1), b.shape(point{}, 1)) {
				t.Errorf("two groups have the shape %v", a.shape(point{}, 1))
			}
		}
	}
	for i, a := range modelDashes {
		for _, b := range modelDashes[:i] {
			if len(a) == 0 || reflect.DeepEqual(a, b) {
				t.Errorf("two models have the dashes %v", a)
			}
		}
	}
	if svg := string(graphAs(t, lossGraph(), "svg")); !strings.Contains(svg, `stroke-dasharray="6 2.5"`) || !strings.Contains(svg, `stroke-dasharray="1.5 1.5"`) {
		t.Error("models have the same dashes")
	}
}

// A value without a place is not drawn, and the legend says so.
func TestGraphLeavesOut(t *testing.T) {
	svg := string(graphAs(t, lossGraph(), "svg"))
	if !strings.Contains(svg, ">cubic (1 not drawn)<") {
		t.Error("the legend does not say that a goodput of 0 has no place")
	}
	g := lossGraph()
	g.Series = append(g.Series, Series{Name: "nothing came", Values: []Value{{X: 1}, {X: 2}}})
	if svg := string(graphAs(t, g, "svg")); !strings.Contains(svg, ">nothing came (2 not drawn)<") {
		t.Error("a series of which nothing can be drawn is not in the legend")
	}
	if err := WriteGraph(io.Discard, Graph{Up: Axis{Log: true}, Series: g.Series[5:]}, "svg"); !errors.Is(err, ErrNothing) {
		t.Errorf("zeros on a logarithmic axis give %v", err)
	}
	g.Series = g.Series[:5]
	g.Series[0].Values = append(g.Series[0].Values, Value{X: math.NaN(), Y: 1}, Value{X: 1, Y: math.Inf(1)}, Value{X: 2, Y: 3, Low: math.Inf(-1), High: 4}, Value{X: 1e300, Y: 1})
	if svg := string(graphAs(t, g, "svg")); strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") || !strings.Contains(svg, ">bbr (3 not drawn)<") {
		t.Errorf("what is no number is drawn: %s", svg)
	}
}

func TestGraphRefuses(t *testing.T) {
	if err := WriteGraph(io.Discard, lossGraph(), "gif"); err == nil || !strings.Contains(err.Error(), `format "gif": there are svg, png, pdf`) {
		t.Errorf("a GIF gives %v", err)
	}
	if err := WriteGraph(io.Discard, Graph{Series: []Series{{Name: "none"}}}, "svg"); !errors.Is(err, ErrNothing) {
		t.Errorf("no values give %v", err)
	}
	g := lossGraph()
	g.Series[0].Group = MostGroups
	if err := WriteGraph(io.Discard, g, "svg"); err == nil || !strings.Contains(err.Error(), "6 can be told apart") {
		t.Errorf("too many groups give %v", err)
	}
}

func TestHostileGraph(t *testing.T) {
	const attack = "</text><script>alert(1)</script>]]>\x1b[31m"
	g := lossGraph()
	g.Title, g.Across.Title, g.Up.Title, g.Series[0].Name = attack, attack, attack, strings.Repeat(attack, 100)
	svg := graphAs(t, g, "svg")
	checkSVG(t, svg)
	if bytes.Contains(svg, []byte("<script")) || bytes.ContainsRune(svg, 0x1b) {
		t.Error("what is no text is in the SVG")
	}
}

func TestLogTicks(t *testing.T) {
	texts := func(ticks []tick) (all string) {
		for _, t := range ticks {
			all += " " + t.text
		}
		return all
	}
	for _, c := range []struct {
		low, high float64
		most      int
		want      string
	}{
		{0.9, 60, 10, " 1 2 5 10 20 50"}, {0.9, 60, 5, " 1 10"}, {1e-4, 1, 5, " 0.0001 0.001 0.01 0.1 1"}, {1e-4, 1, 4, " 0.0001 0.01 1"}, {1e-300, 1e300, 2, ""},
		{1e5, 1.1e6, 5, " 100000 200000 500000 1e+06"},
	} {
		if got := texts(logTicks(c.low, c.high, func(ticks []tick) bool { return len(ticks) <= c.most })); got != c.want {
			t.Errorf("%v to %v, %d at most, are%s, want%s", c.low, c.high, c.most, got, c.want)
		}
	}
}

// Numbers on an axis have room between them.
func TestNumbersHaveRoom(t *testing.T) {
	across := axis{low: 7e-4, high: 70, log: true, from: 50, to: 415}
	ticks := across.numbers(nil)
	if len(ticks) < 5 || !across.fits(ticks) {
		t.Errorf("the numbers are %v", ticks)
	}
	if across.fits(logTicks(across.low, across.high, func([]tick) bool { return true })) {
		t.Error("0.001 and 0.002 fit into 23 points")
	}
	up := axis{low: 0, high: 1.04, from: 230, to: 20}
	if ticks := up.numbers([]float64{0, 0.5, 1}); len(ticks) != 3 {
		t.Errorf("the numbers that were asked for are %v", ticks)
	}
	if ticks := up.numbers([]float64{0, 0.01}); len(ticks) < 5 {
		t.Errorf("where they do not fit the numbers are %v", ticks)
	}
}
