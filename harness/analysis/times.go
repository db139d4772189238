package analysis

import (
	"maps"
	"math/bits"
	"slices"
	"time"
)

// Times is a range of measured times.
type Times struct {
	Count int           `json:"count"` // of measurements
	Min   time.Duration `json:"min_ns"`
	Mean  time.Duration `json:"mean_ns"`
	Max   time.Duration `json:"max_ns"`
	// P50, P90 and P99 are the times that 50, 90 and 99 % of the measurements do not exceed, right to 1 %.
	P50 time.Duration `json:"p50_ns"`
	P90 time.Duration `json:"p90_ns"`
	P99 time.Duration `json:"p99_ns"`

	sum, last time.Duration
	counts    *counts
}

// counts are how many times there are in a bucket, by bucketOf.
type counts struct{ of map[int]int }

// add leaves out what a clock that was set back makes negative.
func (t *Times) add(d time.Duration) {
	if d < 0 {
		return
	}
	if t.Count == 0 || d < t.Min {
		t.Min = d
	}
	t.Max = max(t.Max, d)
	t.sum += d
	t.last = d
	t.Count++
	t.Mean = t.sum / time.Duration(t.Count)
	if t.counts == nil {
		t.counts = &counts{make(map[int]int)}
	}
	t.counts.of[bucketOf(d)]++
}

// finish computes the percentiles, once.
func (t *Times) finish() {
	if t.Count == 0 {
		return
	}
	t.P50, t.P90, t.P99 = t.percentile(50), t.percentile(90), t.percentile(99)
	t.counts = nil
}

// percentile is the time that p percent do not exceed: that of the measurement of rank ceil(p/100 n).
func (t *Times) percentile(p int) time.Duration {
	rank := (t.Count*p + 99) / 100
	for _, bucket := range slices.Sorted(maps.Keys(t.counts.of)) {
		if rank -= t.counts.of[bucket]; rank <= 0 {
			return min(max(middleOf(bucket), t.Min), t.Max)
		}
	}
	return 0
}

// Times are counted in 64 buckets for each doubling, so that the middle of one is at most 1/128 away from what it stands for, and there
// are some hundred of them in use, however many times there are.
const (
	bucketBits = 6
	perOctave  = 1 << bucketBits
)

func bucketOf(d time.Duration) int {
	shift := max(0, bits.Len64(uint64(d))-bucketBits-1)
	return shift<<bucketBits + int(d>>shift)
}

func middleOf(bucket int) time.Duration {
	shift := max(0, bucket>>bucketBits-1)
	low := time.Duration(bucket-shift<<bucketBits) << shift
	return low + time.Duration(1)<<shift/2
}
