package results_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/tcplab/tcplab/results"
)

// A run of one scenario, from its folder to the table.
func Example() {
	root, err := os.MkdirTemp("", "results")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(root)

	run, err := results.Create(root, "20260101-120000")
	if err != nil {
		log.Fatal(err)
	}
	const suite, scenario = "handshake", "a SYN is answered"
	dir := run.Dir(suite, scenario)

	// Artefacts first, the record last: it lists them.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "client.log"), []byte("connected\n"), 0o644); err != nil {
		log.Fatal(err)
	}
	artefacts, err := results.Artefacts(dir)
	if err != nil {
		log.Fatal(err)
	}
	record := &results.Record{
		Suite: suite, Scenario: scenario, Verdict: results.Passed,
		Clock: results.ClockVirtual, Seed: 42, Duration: 20 * time.Millisecond,
		Metrics: []results.Metric{{
			Name: "SYN", Value: 1, Whole: true,
			Bounds: &results.Bounds{Lower: new(1.), Upper: new(1.), Margin: 1, Share: .5, Source: "nothing is lost"},
		}},
		Artefacts: artefacts,
	}
	if err := record.Write(dir); err != nil {
		log.Fatal(err)
	}

	records, err := run.Records()
	if err != nil {
		log.Fatal(err)
	}
	table := results.Table(results.Terminal(os.Stdout))
	if err := table(os.Stdout, results.Report{Records: records}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// SUITE      SCENARIO           VERDICT  VIRTUAL  WALL
	// handshake  a SYN is answered  passed      20ms     -
	//              SYN  1  expected 1: nothing is lost
	//
	// 1 passed, 0 failed, 0 skipped
}

// Two runs of the same seed differ in one counter.
func ExampleCompare() {
	root, err := os.MkdirTemp("", "results")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(root)

	var runs []*results.Run
	for i, count := range []int64{12, 13} {
		run, err := results.Create(root, fmt.Sprintf("run-%d", i))
		if err != nil {
			log.Fatal(err)
		}
		record := &results.Record{
			Suite: "loss", Scenario: "burst", Verdict: results.Passed, Clock: results.ClockVirtual,
			Counters: []results.CounterDiff{{Host: "client", Diff: map[string]int64{"TcpRetransSegs": count}}},
		}
		if err := record.Write(run.Dir(record.Suite, record.Scenario)); err != nil {
			log.Fatal(err)
		}
		runs = append(runs, run)
	}
	differences, err := results.Compare(runs[0], runs[1])
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range differences {
		fmt.Println(d)
	}
	// Output:
	// loss/burst/record.json: counters[0].diff.TcpRetransSegs 12 != 13
}

func ExampleSlug() {
	fmt.Println(results.Slug("handshake"))
	fmt.Println(results.Slug("A SYN that nobody answers is retransmitted"))
	fmt.Println(results.Slug("A SYN that nobody answers is retransmitted!"))
	// Output:
	// handshake
	// a-syn-that-nobody-answers-is-retransmitted_027b5e681f
	// a-syn-that-nobody-answers-is-retransmitted_90960d75ca
}
