package runner

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/results"
)

// FuzzReport: Ginkgo's report comes from a guest, where a suite can write what it likes. What is made of it is a record
// that can be kept, and it has not passed unless the report says so of this spec.
func FuzzReport(f *testing.F) {
	const passed = `[{"SuiteDescription":"s","SpecReports":[{"LeafNodeType":"It","LeafNodeText":"t","State":"passed","RunTime":1000}]}]`
	f.Add([]byte(passed))
	f.Add([]byte(`[{"SpecReports":[{"LeafNodeType":"It","ContainerHierarchyTexts":["a"],"LeafNodeText":"t","State":"failed",
"Failure":{"Message":"\u001b[31m","Location":{"FileName":"f","LineNumber":-1}}},{"LeafNodeType":"It","LeafNodeText":"t","State":"panicked"}]}]`))
	f.Add([]byte(`[{"SpecReports":null},{}]`))
	dir := f.TempDir()
	path := filepath.Join(dir, "ginkgo.json")
	suite, spec := &Suite{Name: "s", Ginkgo: true}, &Spec{Text: "t"}
	known := results.Record{Clock: results.ClockVirtual}
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		records := judge(suite, []*Spec{spec}, []string{dir}, path, known, ending{})
		if len(records) != 1 {
			t.Fatalf("%d records of one spec", len(records))
		}
		record := records[0]
		if _, err := record.Encode(); err != nil {
			t.Errorf("a record that cannot be kept: %v", err)
		}
		reports, err := readReport(path)
		said := false
		for _, report := range reports {
			for _, spec := range report.SpecReports {
				said = said || spec.LeafNodeType.Is(types.NodeTypeIt) && spec.FullText() == "t" && spec.State.Is(types.SpecStatePassed)
				_ = kernelConditions(report, spec)
				_, _ = spec.Labels(), spec.LeafNodeLocation.String()
			}
		}
		if record.Verdict == results.Passed && (err != nil || !said) {
			t.Errorf("passed by a report that does not say so: %v", err)
		}
	})
}

// FuzzTestLog: what a program of package testing prints, in pieces of any size, reaches the log whole but for the
// markers.
func FuzzTestLog(f *testing.F) {
	f.Add([]byte("\x16=== RUN   TestA\nsaid\n\x16--- PASS: TestA (0.00s)\nPASS\n"), 3)
	f.Add([]byte("no end\x16=== RUN   TestB\n\x16--- SKIP: TestB (0.00s)\n\x16\x16"), 1)
	f.Add([]byte("\x16=== RUN   Test"+strings.Repeat("A", 2*longestLine)+"\n"), 7) // a line that is cut, however it comes
	f.Fuzz(func(t *testing.T, output []byte, size int) {
		read := func(size int) (*testLog, string) {
			var passed bytes.Buffer
			log := &testLog{to: &passed}
			for piece := range slices.Chunk(output, size) {
				if n, err := log.Write(piece); n != len(piece) || err != nil {
					t.Fatalf("%d of %d, %v", n, len(piece), err)
				}
			}
			return log, passed.String()
		}
		whole, passed := read(len(output) + 1)
		log, pieces := read(1 + (size%8+8)%8)
		if want := strings.ReplaceAll(string(output), "\x16", ""); passed != want || pieces != want {
			t.Errorf("%q became %q, and in pieces %q", output, passed, pieces)
		}
		if !slices.Equal(whole.ran, log.ran) || !slices.Equal(whole.ended, log.ended) || !slices.Equal(whole.skipped, log.skipped) {
			t.Errorf("%q: %+v, and in pieces %+v", output, whole, log)
		}
		record := &results.Record{Suite: "s", Scenario: "t", Verdict: results.Passed, Clock: results.ClockVirtual}
		whole.judge(record, "output")
		if record.Verdict == results.Passed && len(whole.ran) == 0 {
			t.Error("passed without a test that ran")
		}
		if _, err := record.Encode(); err != nil {
			t.Error(err)
		}
	})
}
