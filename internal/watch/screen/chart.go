package screen

import "slices"

// bars are how high a value is, in eighths, or in ASCII; the first is for 0, of which there was a reading.
var (
	blocks = []rune("▁▂▃▄▅▆▇█")
	ascii  = []rune("_.:-=+*#")
)

// chart draws the last values, one a column: as high as they are of the greatest that is drawn. It is no wider than its columns.
func chart(values []float64, columns int, bars []rune) string {
	if columns <= 0 || len(values) == 0 {
		return ""
	}
	if len(values) > columns {
		values = values[len(values)-columns:]
	}
	most := slices.Max(values)
	line := make([]rune, len(values))
	for i, v := range values {
		level := 0
		if v > 0 { // what is not 0 looks so
			level = max(1, int(v/most*float64(len(bars)-1)+0.5))
		}
		line[i] = bars[level]
	}
	return string(line)
}
