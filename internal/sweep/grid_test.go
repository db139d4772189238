package sweep

import (
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/cell"
)

func TestParse(t *testing.T) {
	g := NewWithT(t)
	g.Expect(ParseLosses("0,1%, 0.05,0.001%..10%/5")).To(Equal([]float64{0, 0.01, 0.05, 0.00001, 0.0001, 0.001, 0.01, 0.1}))
	g.Expect(ParseRates("20mbit,1mbit..100mbit/3")).To(Equal([]int64{20e6, 1e6, 10e6, 100e6}))
	g.Expect(ParseTimes("20ms..80ms/3")).To(Equal([]time.Duration{20 * time.Millisecond, 40 * time.Millisecond, 80 * time.Millisecond}))
	g.Expect(ParseBuffers("100,0.5bdp,1bdp..4bdp/3")).To(Equal([]Buffer{{Packets: 100}, {BDPs: 0.5}, {BDPs: 1}, {BDPs: 2}, {BDPs: 4}}))
	g.Expect(ParseBuffers("10..1000/3")).To(Equal([]Buffer{{Packets: 10}, {Packets: 100}, {Packets: 1000}}))
	g.Expect(ParseFlows("bbr+16*cubic")).To(Equal([]cell.Flow{{Congestion: "bbr"}, {Congestion: "cubic", Count: 16}}))
	key, value, err := ParseSysctl("tcp_wmem=4096 16384 1048576")
	g.Expect(key+" "+value, err).To(Equal("net.ipv4.tcp_wmem 4096 16384 1048576"))
}

func TestParseRefuses(t *testing.T) {
	for text, parse := range map[string]func(string) error{
		"100%":        func(s string) error { _, err := ParseLosses(s); return err },
		"-1%":         func(s string) error { _, err := ParseLosses(s); return err },
		"NaN":         func(s string) error { _, err := ParseLosses(s); return err },
		"x":           func(s string) error { _, err := ParseLosses(s); return err },
		"1%..2%":      func(s string) error { _, err := ParseLosses(s); return err },
		"1%..2%/1":    func(s string) error { _, err := ParseLosses(s); return err },
		"1%..x/3":     func(s string) error { _, err := ParseLosses(s); return err },
		"0..2%/3":     func(s string) error { _, err := ParseLosses(s); return err },
		"2%..1%/3":    func(s string) error { _, err := ParseLosses(s); return err },
		"1%..2%/1e9":  func(s string) error { _, err := ParseLosses(s); return err },
		"20":          func(s string) error { _, err := ParseRates(s); return err },
		"":            func(s string) error { _, err := ParseTimes(s); return err },
		"5":           func(s string) error { _, err := ParseTimes(s); return err },
		"1.5":         func(s string) error { _, err := ParseBuffers(s); return err },
		"0":           func(s string) error { _, err := ParseBuffers(s); return err },
		"-1bdp":       func(s string) error { _, err := ParseBuffers(s); return err },
		"bbr+":        func(s string) error { _, err := ParseFlows(s); return err },
		"0*bbr":       func(s string) error { _, err := ParseFlows(s); return err },
		"a b":         func(s string) error { _, err := ParseFlows(s); return err },
		"../x":        func(s string) error { _, err := ParseFlows(s); return err },
		"tcp_wmem":    func(s string) error { _, _, err := ParseSysctl(s); return err },
		"=4096 1 2 3": func(s string) error { _, _, err := ParseSysctl(s); return err },
	} {
		if err := parse(text); err == nil || strings.Contains(err.Error(), "\n") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"0.001%..50%/11", "20mbit", "1bdp..16bdp/5", "bbr+16*cubic", "tcp_wmem=1 2 3", "1e300..1e308/3", "5ms"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if losses, err := ParseLosses(text); err == nil {
			for _, v := range losses {
				if !(v >= 0 && v <= 1) {
					t.Errorf("%q: loss %v", text, v)
				}
			}
		}
		_, _ = ParseRates(text)
		_, _ = ParseTimes(text)
		_, _ = ParseBuffers(text)
		_, _ = ParseFlows(text)
		_, _, _ = ParseSysctl(text)
	})
}

func grid() Grid {
	return Grid{
		Flows: [][]cell.Flow{{{Congestion: "cubic"}}, {{Congestion: "bbr"}}}, Rates: []int64{10e6}, RTTs: []time.Duration{40 * time.Millisecond},
		Losses: []float64{0, 0.01}, Buffers: []Buffer{{}}, Duration: 5 * time.Second,
	}
}

func TestCells(t *testing.T) {
	g := NewWithT(t)
	cells, err := grid().Cells()
	g.Expect(err).NotTo(HaveOccurred())
	var names []string
	for _, c := range cells {
		names = append(names, c.String())
	}
	g.Expect(names).To(Equal([]string{
		"cubic, 10 Mbit/s, RTT 40ms, a buffer of 64 packets, 5s", "cubic, 10 Mbit/s, RTT 40ms, loss 1 %, a buffer of 64 packets, 5s",
		"bbr, 10 Mbit/s, RTT 40ms, a buffer of 64 packets, 5s", "bbr, 10 Mbit/s, RTT 40ms, loss 1 %, a buffer of 64 packets, 5s",
	}))

	// The BDP is 33 packets: 64 packets and the least buffer are one cell.
	same := grid()
	same.Buffers = []Buffer{{}, {Packets: 64}, {BDPs: 2}}
	cells, err = same.Cells()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(cells).To(HaveLen(8))

	for what, spoil := range map[string]func(*Grid){
		"cells":    func(g *Grid) { g.Rates = nil },
		"Rate":     func(g *Grid) { g.Rates = []int64{1} },
		"RTT":      func(g *Grid) { g.RTTs = []time.Duration{time.Hour} },
		"Loss":     func(g *Grid) { g.Losses = []float64{1} },
		"Duration": func(g *Grid) { g.Duration = 0 },
		"Flows":    func(g *Grid) { g.Flows = [][]cell.Flow{{{Congestion: "cubic", Count: 101}}} },
		"Sysctls":  func(g *Grid) { g.Sysctls = []map[string]string{{"kernel.hostname": "x"}} },
	} {
		bad := grid()
		spoil(&bad)
		_, err := bad.Cells()
		g.Expect(err).To(MatchError(ContainSubstring(what)))
	}
	many := grid()
	for i := range 10_000 {
		many.Losses = append(many.Losses, float64(i)/1e6)
	}
	_, err = many.Cells()
	g.Expect(err).To(MatchError(ContainSubstring("1 to 10000 are allowed")))
}
