package htmlreport

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"github.com/tcplab/tcplab/results"
)

const smallSweep = `{"kernel": "6.1.0-48-amd64", "seeds": [1, 2], "points": [
	{"name": "first", "rate_bit_per_s": 10000000, "loss": 0.01, "flows": [{"congestion": "bbr", "count": 2}, {"congestion": "cubic"}], "queue": {"kind": "fq_codel"},
	 "figures": {"goodput": {"values": [1, 3], "unit": "Mbit/s", "median": 2, "low": 1, "high": 3, "confidence": 0.5}}},
	{"name": "second", "rate_bit_per_s": 10000000, "flows": [{"congestion": "cubic", "after_ns": 5000000000, "rtt_ns": 100000000}], "busy": true, "figures": {}}]}`

// A sweep's points have their dimensions, also those that this package does not know, and lead to the records of their kernel and seeds.
func TestSweep(t *testing.T) {
	record := func(name, kernel string, seed uint64) *results.Record {
		return &results.Record{Suite: "paths", Scenario: name, Verdict: results.Passed, Clock: results.ClockVirtual, Kernel: results.Uname{Release: kernel}, Seed: seed}
	}
	report := results.Report{Records: []*results.Record{
		record("first", "6.1.0-48-amd64", 2), record("first", "6.1.0-48-amd64", 2), record("first", "6.12", 1), record("first", "6.1.0-48-amd64", 3),
		record("third", "6.1.0-48-amd64", 1), record("first", "6.1.0-48-amd64", 1),
	}}
	var page bytes.Buffer
	if err := WriteSweep(&page, []byte(smallSweep), report, Options{}); err != nil {
		t.Fatal(err)
	}
	overview := unpackJSON[struct {
		Sweep  sweepSummary
		Places [][2]int
	}](t, page.String(), "overview")
	sweep := overview.Sweep
	if want := []string{"flows", "loss", "queue"}; !slices.Equal(sweep.Dimensions, want) {
		t.Errorf("dimensions are %q, want %q: in the others no points differ", sweep.Dimensions, want)
	}
	first, second := sweep.Points[0], sweep.Points[1]
	if first.Dimensions["flows"] != "2*bbr+cubic" || first.Dimensions["queue"] != `{"kind":"fq_codel"}` || second.Dimensions["loss"] != 0.0 || second.Dimensions["queue"] != "" ||
		second.Dimensions["flows"] != "cubic after 5s RTT 100ms" || !second.Busy {
		t.Errorf("points are %+v", sweep.Points)
	}
	if want := []pointScenario{{"2", 0}, {"1", 1}}; !slices.Equal(first.Scenarios, want) || len(second.Scenarios) != 0 {
		t.Errorf("the points lead to %+v and %+v, want %+v", first.Scenarios, second.Scenarios, want)
	}
	if first.Figures["goodput"].High != 3 || len(overview.Places) != 2 {
		t.Errorf("figures %+v, and scenarios at %v", first.Figures, overview.Places)
	}
}

func TestWhatIsNoSweep(t *testing.T) {
	for _, document := range []string{"", "{", "[]", "{}", `{"points": [{"name": 5}]}`, `{"points": [{"figures": []}]}`, `{"points": {}}`} {
		if err := WriteSweep(&bytes.Buffer{}, []byte(document), results.Report{}, Options{}); !errors.Is(err, ErrNoSweep) {
			t.Errorf("%q gives %v", document, err)
		}
	}
}

func FuzzSweep(f *testing.F) {
	f.Add([]byte(smallSweep))
	f.Add([]byte(`{"points": [{"x": null}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		sweep, err := readSweep(document)
		if err != nil {
			return
		}
		for _, p := range sweep.Points {
			for name := range p.Dimensions {
				if _, err := json.Marshal(p.Dimensions[name]); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
	})
}
