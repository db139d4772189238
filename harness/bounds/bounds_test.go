package bounds

import (
	"math"
	"testing"
	"time"

	. "github.com/onsi/gomega"
)

func TestOf(t *testing.T) {
	g := NewWithT(t)
	type segments uint32
	for _, c := range []struct {
		actual any
		want   Value
	}{
		{20 * time.Millisecond, Value{.02, "s", false}},
		{7, Value{7, "", true}},
		{segments(3), Value{3, "", true}},
		{1.5, Value{1.5, "", false}},
		{float32(.5), Value{.5, "", false}},
		{In(10, "segments"), Value{10, "segments", true}},
		{In(2.5, "ms"), Value{2.5, "ms", false}},
		{Mbit(3.5e6), Value{3.5, "Mbit/s", false}},
		{Percent(.25), Value{25, "%", false}},
	} {
		got, err := Of(c.actual)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(got).To(Equal(c.want), "%v", c.actual)
	}
	for actual, want := range map[any]string{
		"7": "a string is no number", nil: "no number", math.NaN(): "not a finite number", Mbit(math.Inf(1)): "not a finite number",
	} {
		_, err := Of(actual)
		g.Expect(err).To(MatchError(ContainSubstring(want)))
	}
}

func TestRanges(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		r       Range
		inside  []any
		outside []any
	}{
		{Between(3.1, 4.2), []any{3.1, 4, 4.2}, []any{3.0999, 4.3, 5}},
		{Around(100*time.Millisecond, 2*time.Millisecond), []any{98 * time.Millisecond}, []any{103 * time.Millisecond}},
		{Exactly(7), []any{7, uint8(7), 7.}, []any{6, 8}},
		{AtLeast(1), []any{1, 1 << 40}, []any{0, -1}},
		{AtMost(0), []any{0, -5}, []any{1}},
		{AtLeast(16.).In("Mbit/s"), []any{Mbit(16e6)}, []any{Mbit(15e6)}},
	} {
		for _, v := range c.inside {
			g.Expect(v).To(c.r)
		}
		for _, v := range c.outside {
			g.Expect(v).NotTo(c.r)
		}
	}
	_, err := Between(1., 2.).In("Mbit/s").Match(1.5)
	g.Expect(err).To(MatchError(`a value in "" cannot be compared with bounds in "Mbit/s"`))
	_, err = Between(2, 1).Match(1)
	g.Expect(err).To(MatchError("nothing lies between 2 and 1"))
	_, err = Between(math.NaN(), 1).Match(1.)
	g.Expect(err).To(HaveOccurred())
	g.Expect(Between(1., 2.).From("RFC 6298").FailureMessage(3)).To(Equal("Expected 3 to be within 1 to 2 (RFC 6298)"))
}

func TestMargin(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		r               Range
		value           any
		distance, share float64
	}{
		{Between(0., 10.), 5., 5, .5},
		{Between(0., 10.), 9., 1, .1},
		{Between(0., 10.), 10., 0, 0},
		{Between(0., 10.), 12., -2, -.2},
		{Between(43*time.Millisecond, 53*time.Millisecond), 44 * time.Millisecond, .001, .1},
		{Exactly(7), 7, 1, .5},        // 6 and 8 are outside
		{Between(6, 7), 7, 1, 1. / 3}, // of 5 to 8
		{Between(6, 7), 8, 0, 0},
		{Exactly(7), 7., 0, 0}, // no count: a hair is enough
		{AtLeast(16.), 20., 4, .2},
		{AtLeast(16.), 12., -4, -.25},
		{AtLeast(1), 1, 1, 1},
		{AtMost(1), 0, 2, 1},
		{AtMost(1), 1, 1, .5},
		{Range{Lower: math.Inf(-1), Upper: math.Inf(1)}, 3., math.Inf(1), 1},
	} {
		v, err := Of(c.value)
		g.Expect(err).NotTo(HaveOccurred())
		m := c.r.Margin(v)
		if math.IsInf(c.distance, 1) {
			g.Expect(m.Distance).To(Equal(c.distance))
		} else {
			g.Expect(m.Distance).To(BeNumerically("~", c.distance, 1e-9), "%v in %v", c.value, c.r)
		}
		g.Expect(m.Share).To(BeNumerically("~", c.share, 1e-9), "%v in %v", c.value, c.r)
		// What lies outside has a margin of nothing or less, and only that.
		g.Expect(m.Distance < 0 || v.Whole && m.Distance == 0).To(Equal(!c.r.Contains(v)), "%v in %v", c.value, c.r)
	}
}
