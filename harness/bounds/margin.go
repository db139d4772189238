package bounds

import "math"

// A Margin is how near to an edge a value is.
type Margin struct {
	// Distance to what is no longer allowed, in the value's unit: negative where the value is outside. Of whole numbers it
	// is counted to the nearest one that is not allowed, so that it is 1 at an edge.
	Distance float64

	// Share is the same as a share: of the range's width, so that it is 0.5 in the middle and 0 at an edge; or, where
	// there is one edge only, of the greater of edge and value, so that it is 0 at the edge and 1 at nothing or infinity.
	Share float64
}

// Margin returns how near to an edge a value is. Without an edge it is infinitely far, with a share of 1.
func (r Range) Margin(v Value) Margin {
	lower, upper := r.Lower, r.Upper
	if r.Whole && v.Whole { // the first values outside
		lower, upper = math.Ceil(lower)-1, math.Floor(upper)+1
	}
	m := Margin{Distance: min(v.Number-lower, upper-v.Number)}
	switch scale := r.scale(lower, upper, v.Number); {
	case math.IsInf(m.Distance, 1):
		m.Share = 1
	case scale == 0: // an exact value that is no count
		m.Share = 0
	default:
		m.Share = m.Distance / scale
	}
	return m
}

// scale is what a distance is a share of.
func (r Range) scale(lower, upper, value float64) float64 {
	switch {
	case !math.IsInf(lower, -1) && !math.IsInf(upper, 1):
		return upper - lower
	case math.IsInf(upper, 1):
		return max(math.Abs(lower), math.Abs(value))
	default:
		return max(math.Abs(upper), math.Abs(value))
	}
}
