// Benchtable reads what "go test -bench" prints and makes Markdown tables of it, one for each benchmark, with a row for each of its
// parts. With a file it writes them into that, between two lines:
//
//	go run . FILE <!-- bench: begin -->...<!-- bench: end -->
//
// It is a module of its own, so that who requires tcplab does not require what it requires.
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/perf/benchfmt"
)

// Between these lines of a file the tables stand.
const (
	begin = "<!-- bench: begin -->\n"
	end   = "<!-- bench: end -->\n"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "benchtable:", err)
		os.Exit(1)
	}
}

func run(args []string, in io.Reader, out io.Writer) error {
	if len(args) > 1 {
		return errors.New("usage: benchtable [FILE] <OUTPUT")
	}
	var text bytes.Buffer
	if err := tables(in, &text); err != nil {
		return err
	}
	if len(args) == 0 {
		_, err := out.Write(text.Bytes())
		return err
	}
	old, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	replaced, err := between(string(old), text.String())
	if err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return os.WriteFile(args[0], []byte(replaced), 0o644)
}

// between puts tables in the place of what stands between the two lines.
func between(text, tables string) (string, error) {
	before, rest, found := strings.Cut(text, begin)
	_, after, ended := strings.Cut(rest, end)
	if !found || !ended {
		return "", fmt.Errorf("has no lines %q and, after it, %q", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	return before + begin + "\n" + tables + end + after, nil
}

// A table has the results of one benchmark.
type table struct {
	name    string
	machine string
	units   []string
	rows    []row
}

type row struct {
	name   string
	values map[string][]float64
}

// tables writes the tables of all benchmarks, in their order.
func tables(in io.Reader, out io.Writer) error {
	found, err := read(in)
	if err != nil {
		return err
	}
	if len(found) == 0 {
		return errors.New("no results: what was read is not what go test -bench prints, or nothing matched")
	}
	w := bufio.NewWriter(out)
	machine := ""
	for _, t := range found {
		if t.machine != machine {
			machine = t.machine
			fmt.Fprintf(w, "On %s:\n\n", machine)
		}
		fmt.Fprintf(w, "| %s | %s |\n|---|%s\n", t.name, strings.Join(t.units, " | "), strings.Repeat("---:|", len(t.units)))
		for _, r := range t.rows {
			fmt.Fprintf(w, "| %s |", cmp.Or(r.name, "all of it"))
			for _, unit := range t.units {
				fmt.Fprintf(w, " %s |", cell(r.values[unit]))
			}
			fmt.Fprintln(w)
		}
		fmt.Fprintln(w)
	}
	return w.Flush()
}

func read(in io.Reader) (found []*table, err error) {
	reader := benchfmt.NewReader(in, "standard input")
	for reader.Scan() {
		result, ok := reader.Result().(*benchfmt.Result)
		if !ok {
			continue // such as a line that only looks like a benchmark's
		}
		base, parts := result.Name.Parts()
		name := result.GetConfig("pkg")
		name = name[strings.LastIndexByte(name, '/')+1:] + ": " + string(base)
		i := slices.IndexFunc(found, func(t *table) bool { return t.name == name })
		if i < 0 {
			i = len(found)
			found = append(found, &table{name: name, machine: result.GetConfig("cpu")})
		}
		found[i].add(label(parts), result.Values)
	}
	return found, reader.Err()
}

// label is what the parts of a benchmark's name say, without the number of processors.
func label(parts [][]byte) string {
	var words []string
	for _, part := range parts {
		if text := string(part); !strings.HasPrefix(text, "-") {
			words = append(words, strings.ReplaceAll(strings.TrimPrefix(text, "/"), "=", " "))
		}
	}
	return strings.Join(words, ", ")
}

func (t *table) add(name string, values []benchfmt.Value) {
	i := slices.IndexFunc(t.rows, func(r row) bool { return r.name == name })
	if i < 0 {
		i = len(t.rows)
		t.rows = append(t.rows, row{name, map[string][]float64{}})
	}
	for _, v := range values {
		unit, value := v.Unit, v.Value
		if v.OrigUnit != "" {
			unit, value = v.OrigUnit, v.OrigValue // ns/op as it was printed, and not in seconds
		}
		if !slices.Contains(t.units, unit) {
			t.units = append(t.units, unit)
		}
		t.rows[i].values[unit] = append(t.rows[i].values[unit], value)
	}
}

// cell is the median of what was measured, to three digits.
func cell(values []float64) string {
	if len(values) == 0 {
		return ""
	}
	values = slices.Sorted(slices.Values(values))
	middle := values[len(values)/2]
	if middle >= 1000 {
		return strconv.FormatFloat(middle, 'f', 0, 64)
	}
	return strconv.FormatFloat(middle, 'g', 3, 64)
}
