package main

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/sweep"
)

// wareResult is a file with what papers ware --json prints, of figures that are made up.
func wareResult(t *testing.T) string {
	t.Helper()
	at := slices.IndexFunc(sweep.Papers, func(p sweep.Paper) bool { return p.Name == "ware" })
	cells, err := sweep.Papers[at].Cells()
	if err != nil {
		t.Fatal(err)
	}
	r := sweep.Unmeasured(cells, nil)
	r.Kernel, r.Seeds = "6.1", []uint64{1}
	for i := range r.Points {
		figure := func(v float64) sweep.Figure { return sweep.Figure{Values: []float64{v}, Median: v, Low: v, High: v} }
		r.Points[i].Figures = map[string]sweep.Figure{cell.Goodput: figure(9.5), "bbr: " + cell.Goodput: figure(9.5 / float64(i+1))}
	}
	return resultFile(t, r)
}

// A figure that cannot be written is refused before anything is measured: nothing is left of a run.
func TestFigureRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	g := NewWithT(t)
	g.Expect(os.Mkdir("folder.svg", 0o755)).To(Succeed())
	path := []string{"sweep", "--cc", "cubic", "--rate", "1mbit", "--rtt", "1ms,2ms"}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"papers", "ware", "-o", "x.gif"}, `name a file that ends in .svg, .png, .pdf: format "gif"`},
		{[]string{"papers", "ware", "-o", "svg"}, "name a file that ends in .svg"},
		{[]string{"papers", "ware", "-o", "none/x.svg"}, "no such file or directory"},
		{[]string{"papers", "ware", "-o", "folder.svg"}, "is a folder"},
		{[]string{"papers", "ware", "-o", "/proc/x.svg"}, "/proc"},
		{[]string{"papers", "ware", "--kernel", "1,2,3,4,5,6,7", "-o", "x.svg"}, "a figure of 7 series"},
		{[]string{"papers", "ware", "--from", wareResult(t), "--seeds", "1-3"}, "none of the others can be"},
		{[]string{"papers", "bbr-loss", "--from", wareResult(t)}, "no result of bbr-loss"},
		{[]string{"papers", "-o", "x.svg"}, "name a paper"},
		{append(path, "-o", "x.jpeg"), `format "jpeg"`},
		{append(path, "-o", "x.svg", "--shard", "1/2"), "none of the others can be"},
		{[]string{"sweep", "--cc", "cubic", "--rate", "1mbit", "--rtt", "1ms", "-o", "x.svg"}, "no figure of one value"},
	} {
		stdout, stderr, err := connected(c.args...)
		g.Expect(err).To(MatchError(ContainSubstring(c.want)), strings.Join(c.args, " "))
		g.Expect(stdout + stderr).NotTo(ContainSubstring("scenarios"))
	}
	entries, err := os.ReadDir(".")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(entries).To(HaveLen(1), "a run has begun")
}

// What was measured is drawn in the format of the file's name; what is printed stays what it is.
func TestFigureOfAPaper(t *testing.T) {
	t.Chdir(t.TempDir())
	g := NewWithT(t)
	result := wareResult(t)
	for name, begins := range map[string]string{"x.svg": "<?xml", "x.PDF": "%PDF", "x.png": "\x89PNG"} {
		stdout, stderr, err := connected("papers", "ware", "--from", result, "-o", name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(stdout).To(ContainSubstring("Ware's model: median error"))
		g.Expect(stderr).To(HavePrefix("figure: " + name + " ("))
		content, err := os.ReadFile(name)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(string(content)).To(HavePrefix(begins))
	}
	stdout, _, err := connected("papers", "ware", "--from", result, "-o", "x.svg", "--json")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(json.Valid([]byte(stdout))).To(BeTrue(), "a figure does not disturb --json")
}
