package text

import (
	"math"
	"testing"
)

func TestDigits(t *testing.T) {
	for x, want := range map[float64]float64{0: 0, 1234: 1230, -1.2355: -1.24, 9.9999e-6: 1e-5, 2e300: 2e300, math.Inf(1): math.Inf(1)} {
		if got := Digits(x, 3); got != want {
			t.Errorf("%g: %g, want %g", x, got, want)
		}
	}
}
