package runner

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/results"
)

// FuzzReport: Ginkgo's report comes from a guest, where a suite can write what it likes. What is made of it is a record
// that can be kept, and it has not passed unless the report says so of this spec.
func FuzzReport(f *testing.F) {
	const spec = `[{"SuiteDescription":"s","SpecReports":[{"LeafNodeType":"It","LeafNodeText":"t","State":"passed","RunTime":1000}]}]`
	f.Add([]byte(spec))
	f.Add([]byte(`[{"SpecReports":[{"LeafNodeType":"It","ContainerHierarchyTexts":["a"],"LeafNodeText":"t","State":"failed",
"Failure":{"Message":"\u001b[31m","Location":{"FileName":"f","LineNumber":-1}}},{"LeafNodeType":"It","LeafNodeText":"t","State":"panicked"}]}]`))
	f.Add([]byte(`[{"SpecReports":null},{}]`))
	path := filepath.Join(f.TempDir(), "ginkgo.json")
	f.Fuzz(func(t *testing.T, text []byte) {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
		record := &results.Record{Suite: "s", Scenario: "t", Clock: results.ClockVirtual, Verdict: results.Passed}
		fromReport(record, path)
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
