package htmlreport

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/results"
)

// ErrNoSweep says that a document is not what tcplab sweep --json prints.
var ErrNoSweep = errors.New("it is not what tcplab sweep --json prints")

// sweepFigure is one metric of a point over all seeds.
type sweepFigure struct {
	Values     []float64 `json:"values"`
	Unit       string    `json:"unit,omitempty"`
	Median     float64   `json:"median"`
	Low        float64   `json:"low"`
	High       float64   `json:"high"`
	Confidence float64   `json:"confidence"`
}

// sweepPoint is a point as the page has it.
type sweepPoint struct {
	Name       string                 `json:"name"`
	Dimensions map[string]any         `json:"dimensions"` // numbers, or text
	Figures    map[string]sweepFigure `json:"figures"`
	Busy       bool                   `json:"busy,omitempty"`
	Scenarios  []pointScenario        `json:"scenarios"`
}

// pointScenario is where a point was measured with a seed.
type pointScenario struct {
	Seed  string `json:"seed"`
	Entry int    `json:"entry"`
}

type sweepSummary struct {
	Kernel     string       `json:"kernel"`
	Seeds      []string     `json:"seeds"`
	Failed     []string     `json:"failed"`
	Dimensions []string     `json:"dimensions"` // those in which points differ
	Points     []sweepPoint `json:"points"`
}

// WriteSweep writes the page of a sweep: of what tcplab sweep --json prints, with the records of its runs, to which its points lead. A
// record belongs to a point if it has its name, and the kernel and one of the seeds of the sweep. A member of a point that this package
// does not know is a dimension as any other.
func WriteSweep(w io.Writer, document []byte, report results.Report, o Options) error {
	sweep, err := readSweep(document)
	if err != nil {
		return err
	}
	byName := map[string]int{}
	for i, p := range sweep.Points {
		byName[p.Name] = i
	}
	var kept results.Report
	kept.Missing = report.Missing
	for _, r := range report.Records {
		i, known := byName[r.Scenario]
		seed := fmt.Sprint(r.Seed)
		if !known || r.Kernel.Release != sweep.Kernel || !slices.Contains(sweep.Seeds, seed) {
			continue
		}
		p := &sweep.Points[i]
		if slices.ContainsFunc(p.Scenarios, func(s pointScenario) bool { return s.Seed == seed }) {
			continue // the same cell was measured twice, in two runs of the same inputs
		}
		p.Scenarios = append(p.Scenarios, pointScenario{seed, len(kept.Records)})
		kept.Records = append(kept.Records, r)
	}
	noCommand := func(*results.Record) string { return "" } // it is a cell of a sweep, which tcplab run does not know
	return write(w, "tcplab sweep", kept, noCommand, map[string]any{"sweep": sweep}, o)
}

func readSweep(document []byte) (*sweepSummary, error) {
	var file struct {
		Kernel string                       `json:"kernel"`
		Seeds  []json.Number                `json:"seeds"`
		Points []map[string]json.RawMessage `json:"points"`
		Failed []string                     `json:"failed"`
	}
	if err := json.Unmarshal(document, &file); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoSweep, err)
	}
	if len(file.Points) == 0 {
		return nil, fmt.Errorf("%w: it has no points", ErrNoSweep)
	}
	s := &sweepSummary{Kernel: file.Kernel, Failed: present(file.Failed), Seeds: []string{}, Dimensions: []string{}}
	for _, seed := range file.Seeds {
		s.Seeds = append(s.Seeds, seed.String())
	}
	for n, members := range file.Points {
		p := sweepPoint{Dimensions: map[string]any{}, Scenarios: []pointScenario{}}
		for name, value := range members {
			var err error
			switch name {
			case "name":
				err = json.Unmarshal(value, &p.Name)
			case "figures":
				err = json.Unmarshal(value, &p.Figures)
			case "busy":
				err = json.Unmarshal(value, &p.Busy)
			default:
				p.Dimensions[name], err = dimensionValue(value)
			}
			if err != nil {
				return nil, fmt.Errorf("%w: %s of point %d: %w", ErrNoSweep, name, n+1, err)
			}
		}
		s.Points = append(s.Points, p)
	}
	s.differing()
	return s, nil
}

// dimensionValue is a number, or text.
func dimensionValue(raw json.RawMessage) (any, error) {
	var value any
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, err
	}
	switch v := value.(type) {
	case nil:
		return "", nil
	case float64, string:
		return v, nil
	case bool:
		return fmt.Sprint(v), nil
	}
	var flows []struct {
		Congestion string        `json:"congestion"`
		Count      int           `json:"count"`
		After      time.Duration `json:"after_ns"`
		RTT        time.Duration `json:"rtt_ns"`
	}
	if json.Unmarshal(raw, &flows) == nil && len(flows) > 0 && flows[0].Congestion != "" {
		var parts []string
		for _, f := range flows { // as sweep --cc has them
			part := f.Congestion
			if f.Count > 1 {
				part = fmt.Sprintf("%d*%s", f.Count, part)
			}
			if f.After > 0 {
				part += " after " + f.After.String()
			}
			if f.RTT > 0 {
				part += " RTT " + f.RTT.String()
			}
			parts = append(parts, part)
		}
		return strings.Join(parts, "+"), nil
	}
	var short bytes.Buffer
	if err := json.Compact(&short, raw); err != nil {
		return nil, err
	}
	return short.String(), nil
}

// differing keeps the dimensions in which points differ, the one with the most values first; of one point, all.
func (s *sweepSummary) differing() {
	values := map[string]map[any]bool{}
	leftOut := map[string]any{} // what a member stands for that is not there
	for _, p := range s.Points {
		for name, value := range p.Dimensions {
			values[name] = map[any]bool{}
			if _, isText := value.(string); isText {
				leftOut[name] = ""
			} else if leftOut[name] == nil {
				leftOut[name] = float64(0)
			}
		}
	}
	for name, seen := range values {
		for _, p := range s.Points {
			value, has := p.Dimensions[name]
			if !has {
				value = leftOut[name]
				p.Dimensions[name] = value
			}
			seen[value] = true
		}
		if len(seen) > 1 || len(s.Points) == 1 {
			s.Dimensions = append(s.Dimensions, name)
		}
	}
	slices.SortFunc(s.Dimensions, func(a, b string) int {
		return cmp.Or(cmp.Compare(len(values[b]), len(values[a])), strings.Compare(a, b))
	})
}
