package main

import (
	"bytes"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/results"
)

// A run that ended before its time has a table of what there is, and says that it is not all. One that never began has none.
func TestPrintRunThatWasEnded(t *testing.T) {
	g := NewWithT(t)
	run, err := results.Create(t.TempDir(), "run")
	g.Expect(err).NotTo(HaveOccurred())
	passed := &results.Record{Suite: "s", Scenario: "one", Verdict: results.Passed, Clock: results.ClockVirtual}
	summary := runner.Summary{Run: run, Records: []*results.Record{passed}, Selected: 3}
	var out bytes.Buffer
	g.Expect(printRun(&out, summary)).To(Succeed())
	g.Expect(out.String()).To(HaveSuffix("1 passed, 0 failed, 0 skipped\n2 of 3 scenarios did not run to their end\n"))

	summary.Selected = 1
	out.Reset()
	g.Expect(printRun(&out, summary)).To(Succeed())
	g.Expect(out.String()).To(HaveSuffix("1 passed, 0 failed, 0 skipped\n"))

	out.Reset()
	g.Expect(printRun(&out, runner.Summary{})).To(Succeed())
	g.Expect(out.String()).To(BeEmpty())
}
