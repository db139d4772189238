package text

import "strconv"

// Digits rounds to so many digits: more would promise too much.
func Digits(x float64, digits int) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(x, 'g', digits, 64), 64)
	if err != nil {
		return x // infinite, or none
	}
	return rounded
}
