// Package sweep runs grids of cells (package cell): each combination of congestion controls, losses, rates, round trips and buffers, with
// several seeds, and says for each what its flows got, with a median and a confidence interval.
package sweep

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/internal/tune"
)

// A Grid is values of each dimension, of which every combination is a cell. A dimension without values is as it is in the zero value of a cell.
type Grid struct {
	Flows      [][]cell.Flow
	Rates      []int64
	RTTs       []time.Duration
	Jitters    []time.Duration
	Losses     []float64 // shares
	LossBursts []float64 // packets; of cells without loss there is one
	Queues     []queue.Discipline
	Buffers    []Buffer
	Pacing     []bool
	// Bottlenecks are how many are in a row.
	Bottlenecks []int
	Sysctls     []map[string]string

	Duration time.Duration
}

// A Buffer is a number of packets, of bytes, or of bandwidth-delay products; the zero value is one BDP.
type Buffer struct {
	Packets, Bytes int
	BDPs           float64
}

// mostCells bounds a slip of the pen.
const mostCells = 10_000

// Cells are all combinations, the last dimension changing first: flows, rate, bottlenecks, RTT, jitter, sysctls, pacing, queue, buffer, loss, its bursts.
func (g Grid) Cells() ([]cell.Cell, error) {
	n := len(g.Flows) * len(g.Rates) * len(g.RTTs)
	for _, optional := range []int{len(g.Jitters), len(g.Sysctls), len(g.Pacing), len(g.Queues), len(g.Buffers), len(g.Losses), len(g.LossBursts), len(g.Bottlenecks)} {
		if n <= mostCells { // a product of more could be too large to be one
			n *= max(1, optional)
		}
	}
	if n == 0 || n > mostCells {
		return nil, fmt.Errorf("the grid has %d cells: 1 to %d are allowed", n, mostCells)
	}
	all := []choice{{Cell: cell.Cell{Duration: g.Duration}}}
	all = each(all, g.Flows, func(c *choice, v []cell.Flow) { c.Flows = v })
	all = each(all, g.Rates, func(c *choice, v int64) { c.Rate = v })
	all = each(all, g.Bottlenecks, func(c *choice, v int) { c.Bottlenecks = v })
	all = each(all, g.RTTs, func(c *choice, v time.Duration) { c.RTT = v })
	all = each(all, g.Jitters, func(c *choice, v time.Duration) { c.Jitter = v })
	all = each(all, g.Sysctls, func(c *choice, v map[string]string) { c.Sysctls = v })
	all = each(all, g.Pacing, func(c *choice, v bool) { c.Pacing = v })
	all = each(all, g.Queues, func(c *choice, v queue.Discipline) { c.discipline = v })
	all = each(all, g.Buffers, func(c *choice, v Buffer) { c.buffer = v })
	all = each(all, g.Losses, func(c *choice, v float64) { c.Loss = v })
	all = each(all, g.LossBursts, func(c *choice, v float64) {
		if c.Loss > 0 {
			c.LossBurst = v
		}
	})
	var cells []cell.Cell
	seen := map[string]bool{}
	for _, c := range all {
		made, err := c.cell()
		if err != nil {
			return nil, err
		}
		if name := made.String(); !seen[name] { // values of different words can be the same
			seen[name] = true
			cells = append(cells, made)
		}
	}
	return cells, nil
}

// A choice is a cell, and what makes its queue.
type choice struct {
	cell.Cell
	discipline queue.Discipline
	buffer     Buffer
}

// each is all that there is with each of the values; with none it stays.
func each[T any](all []choice, values []T, set func(*choice, T)) []choice {
	if len(values) == 0 {
		return all
	}
	var with []choice
	for _, c := range all {
		for _, v := range values {
			set(&c, v)
			with = append(with, c)
		}
	}
	return with
}

// cell gives a cell its buffer: that of netem in packets, or the limit of its discipline.
func (c choice) cell() (cell.Cell, error) {
	discipline := c.discipline
	if discipline == nil && c.buffer.Bytes > 0 {
		discipline = queue.DropTail{Bytes: c.buffer.Bytes}
	}
	if discipline == nil {
		c.Buffer = c.buffer.packets(c.Cell)
		return c.Cell, c.Validate()
	}
	if c.buffer != (Buffer{}) {
		var err error
		if discipline, err = c.limited(discipline); err != nil {
			return c.Cell, err
		}
	}
	c.Queue = &queue.Queue{Discipline: discipline}
	return c.Cell, c.Validate()
}

// limited is a discipline that holds no more than the buffer. One that says its own limit keeps it.
func (c choice) limited(d queue.Discipline) (queue.Discipline, error) {
	packets := c.buffer.packets(c.Cell)
	if bytes := c.buffer.Bytes; bytes > 0 {
		switch q := d.(type) {
		case queue.DropTail:
			return queue.DropTail{Bytes: bytes}, nil
		case queue.RED:
			q.Limit = cmp.Or(q.Limit, bytes)
			return q, nil
		case queue.Cake:
			q.Memory = cmp.Or(q.Memory, bytes)
			return q, nil
		case queue.FQCoDel:
			q.MemoryLimit = cmp.Or(q.MemoryLimit, bytes)
			return q, nil
		}
		return nil, fmt.Errorf("buffer of %d bytes: %s counts packets", bytes, d.Kind())
	}
	switch q := d.(type) {
	case queue.DropTail:
		if q == (queue.DropTail{}) {
			q.Packets = packets
		}
		return q, nil
	case queue.FQ:
		q.Limit = cmp.Or(q.Limit, packets)
		return q, nil
	case queue.CoDel:
		q.Limit = cmp.Or(q.Limit, packets)
		return q, nil
	case queue.FQCoDel:
		q.Limit = cmp.Or(q.Limit, packets)
		return q, nil
	case queue.PIE:
		q.Limit = cmp.Or(q.Limit, packets)
		return q, nil
	case queue.DualPI2:
		q.Limit = cmp.Or(q.Limit, packets)
		return q, nil
	}
	return nil, fmt.Errorf("buffer of %d packets: %s counts bytes: write them, such as 250kb", packets, d.Kind())
}

func (b Buffer) packets(c cell.Cell) int {
	if b.BDPs > 0 {
		return max(1, int(math.Round(b.BDPs*c.BDP())))
	}
	return b.Packets
}

// list reads values between commas. One can be a range, FIRST..LAST/N: N values from the first to the last, each the same factor after the
// one before.
func list[T any](values string, parse func(string) (T, float64, error), value func(float64) T) ([]T, error) {
	var all []T
	for part := range strings.SplitSeq(values, ",") {
		first, rest, isRange := strings.Cut(strings.TrimSpace(part), "..")
		v, from, err := parse(first)
		if err != nil {
			return nil, err
		}
		if !isRange {
			all = append(all, v)
			continue
		}
		last, count, ok := strings.Cut(rest, "/")
		n, countErr := strconv.Atoi(count)
		_, to, err := parse(last)
		switch {
		case !ok || countErr != nil || n < 2 || n > mostCells:
			return nil, fmt.Errorf("%q: a range is FIRST..LAST/N, with 2 values or more, such as 0.01%%..10%%/7", part)
		case err != nil:
			return nil, err
		case from <= 0 || to <= from:
			return nil, fmt.Errorf("%q: a range goes up, from more than 0", part)
		}
		for i := range n {
			all = append(all, value(text.Digits(from*math.Pow(to/from, float64(i)/float64(n-1)), 3)))
		}
	}
	return all, nil
}

// ParseLosses reads shares: "0,1%,0.001%..50%/11".
func ParseLosses(text string) ([]float64, error) {
	return list(text, func(s string) (float64, float64, error) {
		v, err := tune.ParseShare(s)
		if err != nil {
			return 0, 0, err
		}
		if !(v >= 0 && v < 1) {
			return 0, 0, fmt.Errorf("%q: a loss is 0 and more, and less than 100%%", s)
		}
		return v, v, nil
	}, func(v float64) float64 { return v })
}

// ParseRates reads rates: "20mbit", "1mbit..100mbit/5".
func ParseRates(text string) ([]int64, error) {
	return list(text, func(s string) (int64, float64, error) {
		v, err := impair.ParseRate(strings.TrimSpace(s))
		return v, float64(v), err
	}, func(v float64) int64 { return int64(v) })
}

// ParseTimes reads round-trip times: "20ms,100ms", "5ms..400ms/6".
func ParseTimes(text string) ([]time.Duration, error) {
	return list(text, func(s string) (time.Duration, float64, error) {
		v, err := time.ParseDuration(strings.TrimSpace(s))
		return v, float64(v), err
	}, func(v float64) time.Duration { return time.Duration(v) })
}

// byteUnits are of a buffer: "150000b", "150kb", "1mb".
var byteUnits = []struct {
	suffix string
	size   float64
}{{"kb", 1e3}, {"mb", 1e6}, {"b", 1}}

// ParseBuffers reads packets, bytes and bandwidth-delay products: "100", "250kb", "0.5bdp,1bdp,4bdp", "0.25bdp..16bdp/7".
func ParseBuffers(text string) ([]Buffer, error) {
	inBDPs, inBytes := false, false
	of := func(v float64) Buffer {
		switch {
		case inBDPs:
			return Buffer{BDPs: v}
		case inBytes:
			return Buffer{Bytes: int(math.Round(v))}
		}
		return Buffer{Packets: int(math.Round(v))}
	}
	return list(text, func(s string) (Buffer, float64, error) {
		number := strings.ToLower(strings.TrimSpace(s))
		unit := 1.
		inBytes = false
		if number, inBDPs = strings.CutSuffix(number, "bdp"); !inBDPs {
			for _, u := range byteUnits {
				if number, inBytes = strings.CutSuffix(number, u.suffix); inBytes {
					unit = u.size
					break
				}
			}
		}
		v, err := strconv.ParseFloat(number, 64)
		v *= unit
		if err != nil || !(v > 0 && v <= 1e9) || !inBDPs && v != math.Trunc(v) {
			return Buffer{}, 0, fmt.Errorf("%q is no buffer: write packets, such as 100, bytes, such as 250kb, or bandwidth-delay products, such as 1.5bdp", s)
		}
		return of(v), v, nil
	}, of)
}

// ParseNumbers reads numbers: "1,3,10", "1..100/3".
func ParseNumbers(text string) ([]float64, error) {
	return list(text, func(s string) (float64, float64, error) {
		v, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
		if err != nil || math.IsNaN(v) || math.IsInf(v, 0) {
			return 0, 0, fmt.Errorf("%q is no number", s)
		}
		return v, v, nil
	}, func(v float64) float64 { return v })
}

// DropTail is what netem's own queue is called.
const DropTail = "droptail"

// ParseQueues reads disciplines as tc(8) writes them; nil is netem's drop-tail queue.
func ParseQueues(texts []string) ([]queue.Discipline, error) {
	var all []queue.Discipline
	for _, text := range texts {
		if strings.TrimSpace(text) == DropTail {
			all = append(all, nil)
			continue
		}
		d, err := queue.Parse(text)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	return all, nil
}

// ParseFlows reads flows that share a bottleneck, with plus signs between them: "cubic", "bbr+16*cubic", "bbr+cubic:after=5s:rtt=20ms",
// "cubic+cubic:back", "bbr+cubic:requests=100ms", "cubic+reno:bursts=1s:size=100kb".
func ParseFlows(text string) ([]cell.Flow, error) {
	var flows []cell.Flow
	for part := range strings.SplitSeq(text, "+") {
		f, err := parseFlow(strings.TrimSpace(part))
		if err == nil {
			err = f.Validate()
		}
		if err != nil {
			return nil, fmt.Errorf("%q: name congestion controls, such as cubic, bbr+cubic, bbr+16*cubic, bbr+cubic:after=5s: %w", text, err)
		}
		flows = append(flows, f)
	}
	return flows, nil
}

// What requests and bursts are, if nothing else is said.
const (
	defaultEvery = 100 * time.Millisecond
	defaultBurst = 100_000 // bytes
)

func parseFlow(text string) (f cell.Flow, err error) {
	words := strings.Split(text, ":")
	f.Congestion = words[0]
	if count, name, ok := strings.Cut(f.Congestion, "*"); ok {
		n, err := strconv.Atoi(count)
		if err != nil || n < 1 {
			return f, fmt.Errorf("%q is no number of flows", count)
		}
		f.Congestion, f.Count = name, n
	}
	for _, word := range words[1:] {
		name, value, has := strings.Cut(word, "=")
		switch {
		case name == "after" && has:
			f.After, err = time.ParseDuration(value)
		case name == "rtt" && has:
			f.RTT, err = time.ParseDuration(value)
		case name == "back" && !has:
			f.Back = true
		case name == "at" && has:
			if f.At, err = strconv.Atoi(value); err == nil && f.At < 1 {
				err = fmt.Errorf("at=%s: bottlenecks are counted from 1", value)
			}
		case name == string(cell.InRequests) || name == string(cell.InBursts):
			f.Traffic, f.Every = cell.Traffic(name), defaultEvery
			if has {
				f.Every, err = time.ParseDuration(value)
			}
		case name == "size" && has:
			var sizes []Buffer
			if sizes, err = ParseBuffers(value); err == nil && (len(sizes) != 1 || sizes[0].Bytes == 0) {
				err = fmt.Errorf("size %q: write it as 1b or 100kb", value)
			}
			if err == nil {
				f.Size = int64(sizes[0].Bytes)
			}
		default:
			err = fmt.Errorf("%q is not known: after=TIME, rtt=TIME, back, at=NUMBER, requests=TIME, bursts=TIME, size=BYTES are", word)
		}
		if err != nil {
			return f, err
		}
	}
	switch {
	case f.Traffic == cell.InRequests:
		f.Size = cmp.Or(f.Size, 1)
	case f.Traffic == cell.InBursts:
		f.Size = cmp.Or(f.Size, defaultBurst)
	}
	return f, nil
}

// ParseSysctl reads KEY=VALUE; a key without dots is below net.ipv4.
func ParseSysctl(text string) (key, value string, err error) {
	key, value, ok := strings.Cut(text, "=")
	key, value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !ok || key == "" || value == "" {
		return "", "", errors.New(`write it as tcp_wmem="4096 16384 16777216"`)
	}
	if !strings.Contains(key, ".") {
		key = "net.ipv4." + key
	}
	return key, value, nil
}
