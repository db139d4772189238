package main

import (
	"errors"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/results"
)

// What the seeds that were asked for came to decides, and nothing that is missing, focused or did not even get into a guest is
// taken for passed.
func TestVerdictOfManySeeds(t *testing.T) {
	near := 0.01
	for _, c := range []struct {
		name   string
		change func(summary *runner.Summary)
		says   string // in the output; and that it fails
	}{
		{name: "all passed"},
		{"one failed", func(s *runner.Summary) {
			s.Records[0].Verdict, s.Records[0].Failure = results.Failed, &results.Failure{Message: "on this machine, not in the guest: no room"}
		}, "7 passed, 1 failed, 0 skipped"},
		{"one has no record", func(s *runner.Summary) { s.Records = s.Records[:1] }, "1 of 8 scenarios did not run to their end"},
		{"focused", func(s *runner.Summary) { s.Focused = []string{"handshake"} }, "only the specs ran that are focused in their source (FIt, FDescribe, Focus) of handshake"},
		{"too near", func(s *runner.Summary) {
			s.Records[0].Checks = []results.Metric{{Name: "ratio", Value: 1, Bounds: &results.Bounds{Lower: &near, Margin: near, Share: near}}}
		}, "1 of 1 checks with bounds came nearer to an edge than 2 %"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			s := manySeeds{seeds: []uint64{1, 5}, margin: 0.02, options: runner.RunOptions{Root: t.TempDir()}}
			var out strings.Builder
			came, err := s.cells([]string{"6.1", "newest"}, func(o runner.RunOptions) (runner.Summary, error) {
				run, err := results.Create(o.Root, o.Kernel+o.ID)
				summary := runner.Summary{Run: run, Kernel: o.Kernel, Selected: 2}
				for _, scenario := range []string{"opens", "closes"} {
					summary.Records = append(summary.Records, &results.Record{
						Schema: results.SchemaVersion, Suite: "handshake", Scenario: scenario, Verdict: results.Passed, Clock: results.ClockVirtual, Seed: o.Seed,
						Kernel: results.Uname{Release: o.Kernel},
					})
				}
				if c.change != nil && o.Kernel == "newest" && o.Seed == 5 {
					c.change(&summary)
				}
				return summary, err
			}, &out)
			g.Expect(err).NotTo(HaveOccurred())
			err = s.report(came, &out)
			if c.change == nil {
				g.Expect(err).NotTo(HaveOccurred(), out.String())
				g.Expect(out.String()).To(HaveSuffix("8 passed, 0 failed, 0 skipped\n"))
				return
			}
			g.Expect(err).To(MatchError(errFailed))
			g.Expect(strings.Join(strings.Fields(out.String()), " ")).To(ContainSubstring(c.says))
		})
	}
}

func TestManySeedsEndWithAnError(t *testing.T) {
	g := NewWithT(t)
	s := manySeeds{seeds: []uint64{7}}
	broken := errors.New("no kernel")
	_, err := s.cells([]string{""}, func(runner.RunOptions) (runner.Summary, error) { return runner.Summary{}, broken }, &strings.Builder{})
	g.Expect(err).To(MatchError(broken))
	g.Expect(err).To(MatchError(HavePrefix("seed 7: ")))
	g.Expect(s.report(results.Report{}, &strings.Builder{})).To(MatchError(errFailed), "nothing passed")
}

// Two kernels of one release, such as before and after a change, have a run each.
func TestKernelIDs(t *testing.T) {
	releases := map[string]string{"6.1": "6.1.0-56-amd64", "/a/vmlinux": "6.18.0", "/b/vmlinux": "6.18.0", "/c/vmlinux": "6.18.0+"}
	got := kernelIDs([]string{"6.1", "/a/vmlinux", "/b/vmlinux", "/c/vmlinux"}, func(name string) string { return releases[name] })
	NewWithT(t).Expect(got).To(Equal([]string{"6.1", "6.18.0", "6.18.0-2", "6.18.0-"}))
}
