package impair

import (
	"bufio"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
)

// Distribution is the shape of the jitter. All except Uniform are a table of up to 16384 numbers that netem draws
// from, each in units of 1/8192 of the jitter.
type Distribution string

// The distributions of tc(8). Normal, Pareto and ParetoNormal are computed, and equal the tables of iproute2 number
// by number. Experimental is a table of measured RTTs that only iproute2 has: it is read from there ($TC_LIB_DIR,
// /usr/lib/tc, /usr/share/tc, /usr/lib64/tc, /usr/lib/*/tc).
const (
	Uniform      Distribution = ""             // from -jitter to +jitter
	Normal       Distribution = "normal"       // of deviation jitter, cut at 4 of it
	Pareto       Distribution = "pareto"       // of shape 3, cut at 4 jitters: deviation 0.82 and mean -0.033 jitter
	ParetoNormal Distribution = "paretonormal" // 1/4 Normal and 3/4 Pareto: deviation 0.83 and mean -0.025 jitter
	Experimental Distribution = "experimental"

	// Unreported stands for the distribution of a netem read from a kernel, which does not report its table. It
	// cannot be applied.
	Unreported Distribution = "unreported"
)

const filePrefix = "file:"

// File is the distribution in a file of iproute2's format: integers from -32768
// to 32767, separated by white space, with lines of comment that start with #.
func File(path string) Distribution { return Distribution(filePrefix + path) }

// String is the name: "uniform", "normal", "file:wifi.dist".
func (d Distribution) String() string {
	if d == Uniform {
		return "uniform"
	}
	return string(d)
}

// UnmarshalText takes what String gives.
func (d *Distribution) UnmarshalText(text []byte) error {
	*d = Distribution(text)
	if *d == "uniform" {
		*d = Uniform
	}
	return nil
}

// include/uapi/linux/pkt_sched.h
const (
	distScale = 8192  // NETEM_DIST_SCALE
	distMax   = 16384 // NETEM_DIST_MAX
)

// table is the table to send for a distribution; nil for Uniform, which the kernel computes itself.
func (d Distribution) table() ([]int16, error) {
	switch d {
	case Uniform:
		return nil, nil
	case Normal:
		return normalTable(), nil
	case Pareto:
		return paretoTable(), nil
	case ParetoNormal:
		return paretoNormalTable(), nil
	case Experimental:
		return experimentalTable()
	}
	if path, ok := strings.CutPrefix(string(d), filePrefix); ok {
		return readTable(path)
	}
	return nil, errors.New("uniform, normal, pareto, paretonormal, experimental, or File(path)")
}

// describe names the table that was sent, which the kernel does not report.
func (d Distribution) describe(table []int16) string {
	if d != Experimental && !strings.HasPrefix(string(d), filePrefix) {
		return fmt.Sprintf("%v (%d values)", d, len(table))
	}
	data, _ := binary.Append(nil, binary.LittleEndian, table) // cannot fail: fixed size
	return fmt.Sprintf("%v (%d values, sha256 of them as little-endian int16 %x)", d, len(table), sha256.Sum256(data))
}

// The generated tables have 4096 values, like those of iproute2: every fourth
// of an inverse cumulative distribution at 1/16384.
const (
	tableSteps  = 16384
	tableValues = tableSteps / 4
)

var (
	normalTable = sync.OnceValue(func() []int16 {
		return generate(normalQuantile)
	})
	paretoTable = sync.OnceValue(func() []int16 {
		return generate(paretoQuantile)
	})
	// The mixture is computed from the rounded values, and truncated towards zero.
	paretoNormalTable = sync.OnceValue(func() []int16 {
		return generate(func(i int) int { return (normalQuantile(i) + 3*paretoQuantile(i)) / 4 })
	})
	// uniformTable is a table with the distribution that the kernel has without one.
	uniformTable = sync.OnceValue(func() []int16 {
		return generate(func(i int) int { return i - distScale + 2 })
	})
)

// generate makes a table of f at every fourth of tableSteps.
func generate(f func(i int) int) []int16 {
	table := make([]int16, tableValues)
	for k := range table {
		table[k] = int16(min(max(f(4*k), math.MinInt16), math.MaxInt16))
	}
	return table
}

// normalQuantile is the inverse of the standard normal distribution at (i+1/2)/tableSteps, in units of 1/distScale.
// iproute2's normal.c evaluates it on a grid of 0.00005, and keeps the last x of those with the same i. The same grid
// is used here, so that the tables are equal.
func normalQuantile(i int) int {
	const grid = 20_000 // steps for a standard deviation
	p := (float64(i) + 0.5) / tableSteps
	x := math.Floor(math.Sqrt2*math.Erfinv(2*p-1)*grid) / grid
	return int(math.RoundToEven(x * distScale))
}

// paretoQuantile is the inverse of a Pareto distribution of shape a = 3 at
// i/tableSteps, less its mean a/(a-1) = 1.5 and scaled by 4/3, in units of
// 1/distScale and cut at the largest int16.
func paretoQuantile(i int) int {
	const shape, mean, scale = 3.0, 1.5, 4.0 / 3.0
	x := 1/math.Pow(1-float64(i)/tableSteps, 1/shape) - mean
	return int(math.RoundToEven(min(x*scale*distScale, math.MaxInt16)))
}

func readTable(path string) ([]int16, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("a readable file: %w", err)
	}
	defer f.Close()
	table, err := parseTable(f)
	if err != nil {
		return nil, fmt.Errorf("a distribution table: %s: %w", path, err)
	}
	return table, nil
}

func experimentalTable() ([]int16, error) {
	dirs := []string{"/usr/lib/tc", "/usr/share/tc", "/usr/lib64/tc"}
	if dir := os.Getenv("TC_LIB_DIR"); dir != "" {
		dirs = []string{dir} // as in tc(8): it replaces the others
	} else {
		multiarch, _ := filepath.Glob("/usr/lib/*/tc") // the only error is a bad pattern
		dirs = append(dirs, multiarch...)
	}
	for _, dir := range dirs {
		table, err := readTable(filepath.Join(dir, "experimental.dist"))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		return table, err
	}
	return nil, fmt.Errorf("iproute2's experimental.dist in %s: install iproute2 (its measured data cannot be computed), or give the file with File(path)",
		strings.Join(dirs, ", "))
}

// parseTable reads iproute2's .dist format. iproute2 itself accepts hexadecimal, and truncates to 16 bits; both are
// refused here.
func parseTable(r io.Reader) ([]int16, error) {
	const longestLine = 1 << 20 // all of the largest table, in one line
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, longestLine)

	var table []int16
	number := 0
	for lines.Scan() {
		number++
		text := lines.Text()
		if strings.HasPrefix(strings.TrimSpace(text), "#") {
			continue
		}
		for word := range strings.FieldsSeq(text) {
			v, err := strconv.ParseInt(word, 10, 16)
			if err != nil {
				return nil, fmt.Errorf("line %d: %q is not an integer from -32768 to 32767", number, word)
			}
			if len(table) == distMax {
				return nil, fmt.Errorf("line %d: more than %d values", number, distMax)
			}
			table = append(table, int16(v))
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("line %d: %w", number+1, err)
	}
	if len(table) == 0 {
		return nil, errors.New("no values")
	}
	return table, nil
}
