package analysis

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestPercentiles: they are those of a sorted list, to 1 %, and the memory does not grow with the list.
func TestPercentiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for name, draw := range map[string]func() time.Duration{
		"one value":   func() time.Duration { return 40 * time.Millisecond },
		"small":       func() time.Duration { return time.Duration(random.IntN(200)) },
		"uniform":     func() time.Duration { return time.Duration(random.Int64N(int64(time.Second))) },
		"exponential": func() time.Duration { return time.Duration(random.ExpFloat64() * 1e8) },
		"hours":       func() time.Duration { return time.Duration(random.Int64N(int64(1000 * time.Hour))) },
	} {
		for _, n := range []int{1, 2, 3, 10, 100, 101, 10_000} {
			var times Times
			var all []time.Duration
			for range n {
				d := draw()
				all = append(all, d)
				times.add(d)
			}
			if len(times.counts.of) > 60*perOctave {
				t.Errorf("%s: %d buckets for %d times", name, len(times.counts.of), n)
			}
			times.finish()
			slices.Sort(all)
			for _, c := range []struct {
				percent int
				got     time.Duration
			}{{50, times.P50}, {90, times.P90}, {99, times.P99}} {
				want := all[(n*c.percent+99)/100-1]
				if off := c.got - want; max(off, -off) > want/100+1 {
					t.Errorf("%s: %d %% of %d do not exceed %v, it says %v", name, c.percent, n, want, c.got)
				}
			}
		}
	}
	var none Times
	if none.finish(); none.P99 != 0 {
		t.Error(none)
	}
}
