// Package sweep runs grids of cells (package cell): each combination of congestion controls, losses, rates, round trips and buffers, with
// several seeds, and says for each what its flows got, with a median and a confidence interval.
package sweep

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/internal/tune"
)

// A Grid is values of each dimension, of which every combination is a cell.
type Grid struct {
	Flows   [][]cell.Flow
	Rates   []int64
	RTTs    []time.Duration
	Losses  []float64 // shares
	Buffers []Buffer

	Duration time.Duration
	Sysctls  map[string]string
}

// A Buffer is a number of packets, or of bandwidth-delay products; the zero value is one BDP.
type Buffer struct {
	Packets int
	BDPs    float64
}

// mostCells bounds a slip of the pen.
const mostCells = 10_000

// Cells are all combinations, the last dimension changing first: flows, rate, RTT, buffer, loss.
func (g Grid) Cells() ([]cell.Cell, error) {
	n := len(g.Flows) * len(g.Rates) * len(g.RTTs) * len(g.Losses) * len(g.Buffers)
	if n == 0 || n > mostCells {
		return nil, fmt.Errorf("the grid has %d cells: 1 to %d are allowed", n, mostCells)
	}
	var cells []cell.Cell
	seen := map[string]bool{}
	for _, flows := range g.Flows {
		for _, rate := range g.Rates {
			for _, rtt := range g.RTTs {
				for _, buffer := range g.Buffers {
					for _, loss := range g.Losses {
						c := cell.Cell{Rate: rate, RTT: rtt, Loss: loss, Flows: flows, Duration: g.Duration, Sysctls: g.Sysctls}
						c.Buffer = buffer.packets(c)
						if err := c.Validate(); err != nil {
							return nil, err
						}
						if name := c.String(); !seen[name] { // buffers of different words can be the same
							seen[name] = true
							cells = append(cells, c)
						}
					}
				}
			}
		}
	}
	return cells, nil
}

func (b Buffer) packets(c cell.Cell) int {
	if b.BDPs > 0 {
		return max(1, int(math.Round(b.BDPs*c.BDP())))
	}
	return b.Packets
}

// list reads values between commas. One can be a range, FIRST..LAST/N: N values from the first to the last, each the same factor after the
// one before.
func list[T any](values string, parse func(string) (T, float64, error), value func(float64) T) ([]T, error) {
	var all []T
	for part := range strings.SplitSeq(values, ",") {
		first, rest, isRange := strings.Cut(strings.TrimSpace(part), "..")
		v, from, err := parse(first)
		if err != nil {
			return nil, err
		}
		if !isRange {
			all = append(all, v)
			continue
		}
		last, count, ok := strings.Cut(rest, "/")
		n, countErr := strconv.Atoi(count)
		_, to, err := parse(last)
		switch {
		case !ok || countErr != nil || n < 2 || n > mostCells:
			return nil, fmt.Errorf("%q: a range is FIRST..LAST/N, with 2 values or more, such as 0.01%%..10%%/7", part)
		case err != nil:
			return nil, err
		case from <= 0 || to <= from:
			return nil, fmt.Errorf("%q: a range goes up, from more than 0", part)
		}
		for i := range n {
			all = append(all, value(text.Digits(from*math.Pow(to/from, float64(i)/float64(n-1)), 3)))
		}
	}
	return all, nil
}

// ParseLosses reads shares: "0,1%,0.001%..50%/11".
func ParseLosses(text string) ([]float64, error) {
	return list(text, func(s string) (float64, float64, error) {
		v, err := tune.ParseShare(s)
		if err != nil {
			return 0, 0, err
		}
		if !(v >= 0 && v < 1) {
			return 0, 0, fmt.Errorf("%q: a loss is 0 and more, and less than 100%%", s)
		}
		return v, v, nil
	}, func(v float64) float64 { return v })
}

// ParseRates reads rates: "20mbit", "1mbit..100mbit/5".
func ParseRates(text string) ([]int64, error) {
	return list(text, func(s string) (int64, float64, error) {
		v, err := tune.ParseRate(strings.TrimSpace(s))
		return v, float64(v), err
	}, func(v float64) int64 { return int64(v) })
}

// ParseTimes reads round-trip times: "20ms,100ms", "5ms..400ms/6".
func ParseTimes(text string) ([]time.Duration, error) {
	return list(text, func(s string) (time.Duration, float64, error) {
		v, err := time.ParseDuration(strings.TrimSpace(s))
		return v, float64(v), err
	}, func(v float64) time.Duration { return time.Duration(v) })
}

// ParseBuffers reads packets and bandwidth-delay products: "100", "0.5bdp,1bdp,4bdp", "0.25bdp..16bdp/7".
func ParseBuffers(text string) ([]Buffer, error) {
	inBDPs := false
	return list(text, func(s string) (Buffer, float64, error) {
		var number string
		number, inBDPs = strings.CutSuffix(strings.ToLower(strings.TrimSpace(s)), "bdp")
		v, err := strconv.ParseFloat(number, 64)
		if err != nil || !(v > 0) || !inBDPs && v != math.Trunc(v) {
			return Buffer{}, 0, fmt.Errorf("%q is no buffer: write packets, such as 100, or bandwidth-delay products, such as 1.5bdp", s)
		}
		if inBDPs {
			return Buffer{BDPs: v}, v, nil
		}
		return Buffer{Packets: int(v)}, v, nil
	}, func(v float64) Buffer {
		if inBDPs {
			return Buffer{BDPs: v}
		}
		return Buffer{Packets: int(math.Round(v))}
	})
}

// ParseFlows reads flows that share a bottleneck, with plus signs between them: "cubic", "bbr+cubic", "bbr+16*cubic".
func ParseFlows(text string) ([]cell.Flow, error) {
	var flows []cell.Flow
	for part := range strings.SplitSeq(text, "+") {
		f := cell.Flow{Congestion: strings.TrimSpace(part)}
		if count, name, ok := strings.Cut(f.Congestion, "*"); ok {
			n, err := strconv.Atoi(count)
			if err != nil || n < 1 {
				return nil, fmt.Errorf("%q: %q is no number of flows", text, count)
			}
			f.Congestion, f.Count = name, n
		}
		flows = append(flows, f)
	}
	for _, f := range flows {
		if err := f.Validate(); err != nil {
			return nil, fmt.Errorf("%q: name congestion controls, such as cubic, bbr+cubic, bbr+16*cubic: %w", text, err)
		}
	}
	return flows, nil
}

// ParseSysctl reads KEY=VALUE; a key without dots is below net.ipv4.
func ParseSysctl(text string) (key, value string, err error) {
	key, value, ok := strings.Cut(text, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || key == "" || value == "" {
		return "", "", errors.New(`write it as tcp_wmem="4096 16384 16777216"`)
	}
	if !strings.Contains(key, ".") {
		key = "net.ipv4." + key
	}
	return key, value, nil
}
