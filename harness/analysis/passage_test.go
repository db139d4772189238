package analysis

import (
	"maps"
	"slices"
	"testing"
)

// TestFramesAgreeWithCounts: what the frames say of causes is what the table counts, also where a cause is known only later.
func TestFramesAgreeWithCounts(t *testing.T) {
	seen := map[string]int{}
	all := maps.Clone(cases)
	all["a tail loss probe that looks like a timeout at first"] = probeAndTimeouts()
	for name, lines := range all {
		segments, _ := segmentsOf(lines, client4, server4, 1000, 2000)
		b := newBuilder(nil, func(c *Conversation) {
			for side, d := range map[string]*Side{"client": &c.Client, "server": &c.Server} {
				counts := map[string]int{}
				for _, p := range c.Frames {
					if p.From == side && p.Cause != "" {
						counts[p.Cause]++
						seen[p.Cause]++
					}
				}
				for cause, frames := range d.Causes {
					if key := causeNames[cause].key; counts[key] != frames.Count {
						t.Errorf("%s: %d frames of the %s have the cause %s, and %d are counted", name, counts[key], side, key, frames.Count)
					}
				}
			}
			if len(c.Frames) == 0 {
				t.Errorf("%s: no frames", name)
			}
		})
		b.frames = true
		for s := range Classify(slices.Values(segments)) {
			b.add(&s)
		}
		b.finish()
	}
	if seen["tlp"] == 0 || seen["rto"] == 0 || seen["fast"] == 0 {
		t.Errorf("the cases have these causes: %v", seen)
	}
}
