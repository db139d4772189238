package impair

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
)

// The generated tables are those of iproute2, number for number.
func TestTablesAreThoseOfIproute2(t *testing.T) {
	for _, d := range []Distribution{Normal, Pareto, ParetoNormal} {
		t.Run(d.String(), func(t *testing.T) {
			g := NewWithT(t)
			var path string
			for _, pattern := range []string{"/usr/lib/tc", "/usr/share/tc", "/usr/lib64/tc", "/usr/lib/*/tc"} {
				if found, _ := filepath.Glob(filepath.Join(pattern, string(d)+".dist")); found != nil {
					path = found[0]
				}
			}
			if path == "" {
				t.Skip("needs iproute2: its .dist files are not installed")
			}
			want, err := readTable(path)
			g.Expect(err).NotTo(HaveOccurred())
			got, err := d.table()
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(want))
		})
	}
}

// In units of the jitter. A Pareto of shape 3, (u^(-1/3) - 3/2) * 4/3, has mean 0
// and deviation 2/sqrt(3); cut at 4, which is u = 4.5^-3, it has
//
//	mean      -4/3 * (3/2*u^(2/3) - 9/2*u)
//	deviation  4/3 * sqrt(3*(1 - u^(1/3)) + (9/2)^2*u - (3/2 + 3/4*mean)^2)
func TestTablesHaveTheirMoments(t *testing.T) {
	u := math.Pow(4.5, -3)
	paretoMean := -4. / 3 * (1.5*math.Pow(u, 2./3) - 4.5*u)
	paretoDeviation := 4. / 3 * math.Sqrt(3*(1-math.Cbrt(u))+4.5*4.5*u-math.Pow(1.5+.75*paretoMean, 2))
	// The tables sample the curves at 4096 points, not in their middle.
	const sampling = 0.002
	for _, test := range []struct {
		name            string
		table           []int16
		mean, deviation float64
	}{
		{"normal", normalTable(), 0, 1},
		{"pareto", paretoTable(), paretoMean, paretoDeviation},
		{"uniform", uniformTable(), 0, 1 / math.Sqrt(3)},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			samples := make([]float64, len(test.table))
			for i, v := range test.table {
				samples[i] = float64(v) / distScale
			}
			mean, deviation := moments(samples)
			g.Expect(samples).To(HaveLen(tableValues))
			g.Expect(mean).To(BeNumerically("~", test.mean, sampling))
			g.Expect(deviation).To(BeNumerically("~", test.deviation, sampling))
		})
	}
}

func moments(samples []float64) (mean, deviation float64) {
	var sum, squares float64
	for _, x := range samples {
		sum += x
		squares += x * x
	}
	n := float64(len(samples))
	mean = sum / n
	return mean, math.Sqrt(squares/n - mean*mean)
}

func TestParseTable(t *testing.T) {
	for _, test := range []struct {
		name, text string
		want       []int16
		message    string
	}{
		{"values", "# comment\n 1 -2\t3\r\n\n # another\n-32768 32767", []int16{1, -2, 3, -32768, 32767}, ""},
		{"a plus sign", "+5", []int16{5}, ""},
		{"nothing", "", nil, "no values"},
		{"comments alone", "# 1 2 3\n", nil, "no values"},
		{"too large", "1\n32768", nil, `line 2: "32768" is not an integer from -32768 to 32767`},
		{"hexadecimal", "0x10", nil, `"0x10" is not an integer`},
		{"a fraction", "1.5", nil, `"1.5" is not an integer`},
		{"too many", strings.Repeat("1 ", distMax+1), nil, "more than 16384 values"},
		{"a line without end", strings.Repeat(" ", 2<<20), nil, "line 1: bufio.Scanner: token too long"},
	} {
		t.Run(test.name, func(t *testing.T) {
			g := NewWithT(t)
			got, err := parseTable(strings.NewReader(test.text))
			if test.message != "" {
				g.Expect(err).To(MatchError(ContainSubstring(test.message)))
				return
			}
			g.Expect(err).NotTo(HaveOccurred())
			g.Expect(got).To(Equal(test.want))
		})
	}
}

func FuzzParseTable(f *testing.F) {
	f.Add([]byte("# This is a table\n -32768 -28307 0 32767\n"))
	f.Add([]byte("1 2 x"))
	f.Fuzz(func(t *testing.T, data []byte) {
		table, err := parseTable(bytes.NewReader(data))
		if err != nil {
			return
		}
		if len(table) == 0 || len(table) > distMax {
			t.Fatalf("%d values", len(table))
		}
		var text strings.Builder
		for _, v := range table {
			text.WriteString(strconv.Itoa(int(v)) + "\n")
		}
		again, err := parseTable(strings.NewReader(text.String()))
		if err != nil {
			t.Fatal(err)
		}
		NewWithT(t).Expect(again).To(Equal(table))
	})
}

func TestExperimentalComesFromIproute2(t *testing.T) {
	g := NewWithT(t)
	dir := t.TempDir()
	t.Setenv("TC_LIB_DIR", dir)
	n := Netem{Delay: ms, Jitter: ms, Distribution: Experimental}
	g.Expect(n.Validate()).To(MatchError(And(ContainSubstring("install iproute2"), ContainSubstring(dir))))

	g.Expect(os.WriteFile(filepath.Join(dir, "experimental.dist"), []byte("-1 0 1"), 0o600)).To(Succeed())
	g.Expect(n.Validate()).To(Succeed())
	table, err := Experimental.table()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(table).To(Equal([]int16{-1, 0, 1}))
	// sha256 of ff ff 00 00 01 00
	g.Expect(Experimental.describe(table)).To(Equal("experimental (3 values, sha256 of them as little-endian int16 " +
		"d8114c0b812ae0ed274a0fced01e5b885f59077c85e6c7d2ad98443da4ddd161)"))
}
