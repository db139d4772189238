package sweep

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/text"
)

// A Shard is a part of a grid, for one of several machines: the zero value is all of it.
type Shard struct {
	Number int `json:"number"` // from 1
	Of     int `json:"of"`
}

// mostShards bounds a slip of the pen.
const mostShards = mostCells

// ParseShard reads "3/16".
func ParseShard(text string) (Shard, error) {
	number, of, ok := strings.Cut(text, "/")
	n, err := strconv.Atoi(number)
	total, errOf := strconv.Atoi(of)
	if !ok || err != nil || errOf != nil || n < 1 || total < 1 || n > total || total > mostShards {
		return Shard{}, fmt.Errorf("%q: write it as 3/16, the third of 16 parts", text)
	}
	return Shard{n, total}, nil
}

// String is as ParseShard reads it.
func (s Shard) String() string { return fmt.Sprintf("%d/%d", s.Number, s.Of) }

// Of is the part of the cells: every so many of them, since the dear ones of a grid are often neighbours.
func (s Shard) of(cells []cell.Cell) []cell.Cell {
	if s.Of == 0 {
		return cells
	}
	var part []cell.Cell
	for i := s.Number - 1; i < len(cells); i += s.Of {
		part = append(part, cells[i])
	}
	return part
}

// hashOf names a grid: the names of its cells, in their order.
func hashOf(cells []cell.Cell) (names []string, hash string) {
	h := sha256.New()
	for _, c := range cells {
		names = append(names, c.String())
		fmt.Fprintln(h, c.String())
	}
	return names, hex.EncodeToString(h.Sum(nil)[:8])
}

// mostResult is more than any result has.
const mostResult = 1 << 30

// ReadResult reads what a sweep has printed as JSON.
func ReadResult(r io.Reader) (Result, error) {
	var result Result
	decoder := json.NewDecoder(io.LimitReader(r, mostResult))
	if err := decoder.Decode(&result); err != nil {
		return Result{}, fmt.Errorf("no result of a sweep: %w", err)
	}
	if len(result.Seeds) == 0 || result.Points == nil && result.Failed == nil {
		return Result{}, errors.New("no result of a sweep: it has no seeds, or no points")
	}
	result.Kernel = text.Printable(result.Kernel)
	for i := range result.Points {
		if err := result.Points[i].check(); err != nil {
			return Result{}, fmt.Errorf("no result of a sweep: %w", err)
		}
	}
	for i, failed := range result.Failed {
		result.Failed[i] = text.Printable(failed)
	}
	return result, nil
}

// check refuses a point that no sweep has, and makes what it is called harmless.
func (p *Point) check() error {
	p.Name, p.Kernel = text.Printable(p.Name), text.Printable(p.Kernel)
	if err := p.Cell.Validate(); err != nil {
		return fmt.Errorf("%q: %w", p.Name, err)
	}
	figures := map[string]Figure{}
	for name, f := range p.Figures {
		if len(f.Values) == 0 {
			return fmt.Errorf("%q of %q has no values", name, p.Name)
		}
		f.Unit = text.Printable(f.Unit)
		figures[text.Printable(name)] = f
	}
	p.Figures = figures
	return nil
}

// Merge puts the shards of a sweep together: all of them, each once, of one grid with the same seeds on the same kernel.
func Merge(parts []Result) (Result, error) {
	if len(parts) == 0 {
		return Result{}, errors.New("there is nothing to merge")
	}
	first := parts[0]
	there := map[int]bool{}
	for _, p := range parts {
		if p.Shard == nil || p.Shard.Of < 1 || p.Shard.Number < 1 || p.Shard.Number > p.Shard.Of {
			return Result{}, errors.New("a result that is no shard: it was measured without --shard")
		}
		for _, same := range []struct {
			what      string
			one, this any
		}{
			{"grid", first.Grid, p.Grid}, {"kernel", first.Kernel, p.Kernel}, {"number of shards", first.Shard.Of, p.Shard.Of},
			{"seeds", fmt.Sprint(first.Seeds), fmt.Sprint(p.Seeds)},
		} {
			if same.one != same.this {
				return Result{}, fmt.Errorf("shard %v has another %s than shard %v: %v, and %v", p.Shard, same.what, first.Shard, same.this, same.one)
			}
		}
		if p.Missing > 0 {
			return Result{}, fmt.Errorf("shard %v lacks %d measurements: it was ended before its time; measure it again", p.Shard, p.Missing)
		}
		if there[p.Shard.Number] {
			return Result{}, fmt.Errorf("shard %v is there twice", p.Shard)
		}
		there[p.Shard.Number] = true
	}
	var missing []string
	for n := range first.Shard.Of {
		if !there[n+1] {
			missing = append(missing, Shard{n + 1, first.Shard.Of}.String())
		}
	}
	if missing != nil {
		return Result{}, fmt.Errorf("shards are missing: %s", strings.Join(missing, ", "))
	}
	merged := Result{Kernel: first.Kernel, Seeds: first.Seeds, Grid: first.Grid}
	for _, p := range parts {
		merged.Points = append(merged.Points, p.Points...)
		merged.Failed = append(merged.Failed, p.Failed...)
	}
	slices.SortStableFunc(merged.Points, func(a, b Point) int { return a.Index - b.Index })
	slices.Sort(merged.Failed)
	return merged, nil
}
