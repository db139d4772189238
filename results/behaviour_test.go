package results

import (
	"bytes"
	"math"
	"testing"

	. "github.com/onsi/gomega"
)

// behaviour compares two runs of these records.
func behaviour(t *testing.T, a, b []*Record, all bool) Behaviour {
	t.Helper()
	runs := []*Run{newRun(t, "a"), newRun(t, "b")}
	for i, records := range [][]*Record{a, b} {
		for _, r := range records {
			put(t, runs[i], r, nil)
		}
	}
	found, err := CompareBehaviour(runs[0], runs[1], all)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return found
}

func on(kernel string, r *Record) *Record {
	r.Kernel.Release, r.Clock, r.Seed = kernel, ClockVirtual, 1
	return r
}

func syns(kernel string, count float64) *Record {
	r := on(kernel, small("handshake", "retransmits the SYN with exponential back-off"))
	r.Metrics = []Metric{{Name: "SYNs", Value: count}, {Name: "gave up after", Value: 120 + count, Unit: "s"}}
	r.Counters = []CounterDiff{
		{Host: "client", Diff: map[string]int64{"TcpExtTCPSynRetrans": int64(count) - 1, "TcpAttemptFails": 1, "IpOutRequests": int64(count)}},
		{Host: "router", Diff: map[string]int64{"IpForwDatagrams": int64(count)}},
	}
	return r
}

func TestCompareBehaviour(t *testing.T) {
	g := NewWithT(t)
	same := func(kernel string) *Record { return on(kernel, small("handshake", "opens")) }
	counted := func(kernel string, packets int64) *Record {
		r := on(kernel, small("handshake", "is refused"))
		r.Counters = []CounterDiff{{Host: "client", Diff: map[string]int64{"IpInReceives": packets}}}
		return r
	}
	skipped := on("6.1", small("handshake", "needs a new kernel"))
	skipped.Verdict, skipped.Reason = Skipped, "is for kernels >= 6.5.0; this is 6.1"
	older := []*Record{syns("6.1", 7), same("6.1"), counted("6.1", 1), skipped, on("6.1", small("teardown", "old"))}
	ran := on("6.12", small("handshake", "needs a new kernel"))
	ran.Metrics = []Metric{{Name: "new", Value: 1}}
	newer := []*Record{syns("6.12", 11), same("6.12"), counted("6.12", 2), ran, on("6.12", small("teardown", "new"))}

	found := behaviour(t, older, newer, false)
	g.Expect(found.KernelA).To(Equal("6.1"))
	g.Expect(found.KernelB).To(Equal("6.12"))
	g.Expect(found.Scenarios).To(Equal(6))
	g.Expect(found.Changes).To(Equal([]ScenarioChange{
		{Suite: "handshake", Scenario: "needs a new kernel", VerdictA: Skipped, VerdictB: Passed, ReasonA: "is for kernels >= 6.5.0; this is 6.1"},
		{
			Suite: "handshake", Scenario: "retransmits the SYN with exponential back-off", VerdictA: Passed, VerdictB: Passed,
			Metrics:  []Change{{Name: "SYNs", A: 7, B: 11}, {Name: "gave up after", Unit: "s", A: 127, B: 131}},
			Counters: []Change{{Host: "client", Name: "TcpExtTCPSynRetrans", A: 6, B: 10}},
		},
		{Suite: "teardown", Scenario: "new", VerdictB: Passed},
		{Suite: "teardown", Scenario: "old", VerdictA: Passed},
	}))
	var out bytes.Buffer
	g.Expect(found.Table(&out, TableOptions{})).To(Succeed())
	g.Expect(out.String()).To(Equal(`handshake: needs a new kernel
    verdict skipped (is for kernels >= 6.5.0; this is 6.1) -> passed

handshake: retransmits the SYN with exponential back-off
    SYNs                          7  ->  11      +57 %
    gave up after               127  ->  131 s  +3.1 %
    client TcpExtTCPSynRetrans    6  ->  10      +67 %

teardown: new
    verdict absent -> passed

teardown: old
    verdict passed -> absent

4 of 6 scenarios differ from 6.1 with seed 1 to 6.12 with seed 1
`))

	// What the layers below count differs as well, and is there for the asking.
	all := behaviour(t, older, newer, true)
	g.Expect(all.Changes).To(HaveLen(5))
	g.Expect(all.Changes[2].Counters).To(Equal([]Change{
		{Host: "client", Name: "TcpExtTCPSynRetrans", A: 6, B: 10},
		{Host: "client", Name: "IpOutRequests", A: 7, B: 11},
		{Host: "router", Name: "IpForwDatagrams", A: 7, B: 11},
	}))

	nothing := behaviour(t, older, older, true)
	g.Expect(nothing.Changes).To(BeEmpty())
	out.Reset()
	g.Expect(nothing.Table(&out, TableOptions{})).To(Succeed())
	g.Expect(out.String()).To(Equal("0 of 5 scenarios differ from 6.1 with seed 1 to 6.1 with seed 1\n"))
}

func TestCompareMetrics(t *testing.T) {
	g := NewWithT(t)
	a := []Metric{{Name: "gap", Value: 1, Unit: "s"}, {Name: "gap", Value: 2, Unit: "s"}, {Name: "rate", Value: 5, Unit: "Mbit/s"}, {Name: "gone", Value: 3}}
	b := []Metric{{Name: "gap", Value: 1, Unit: "s"}, {Name: "gap", Value: 4, Unit: "s"}, {Name: "rate", Value: 5, Unit: "kbit/s"}, {Name: "new"}}
	changes := compareMetrics(a, b)
	g.Expect(changes).To(Equal([]Change{
		{Name: "gap (2)", Unit: "s", A: 2, B: 4},
		{Name: "rate", Unit: "Mbit/s", A: 5, Missing: true},
		{Name: "gone", A: 3, Missing: true},
		{Name: "rate", Unit: "kbit/s", B: 5, Extra: true},
		{Name: "new", Extra: true},
	}))
	g.Expect(changes[0].relative()).To(Equal(1.0))
	g.Expect(changes[2].relative()).To(Satisfy(math.IsNaN))
	g.Expect(changes[0].texts()).To(Equal([]string{"gap (2)", "2", "->", "4 s", "+100 %"}))
	g.Expect(changes[1].texts()).To(Equal([]string{"rate", "5", "->", "absent", ""}))
	g.Expect(changes[3].texts()).To(Equal([]string{"rate", "absent", "->", "5 kbit/s", ""}))
}

func TestChangeTexts(t *testing.T) {
	for _, c := range []struct {
		change Change
		want   []string
	}{
		{Change{Host: "client", Name: "TcpRetransSegs", B: 3}, []string{"client TcpRetransSegs", "0", "->", "3", ""}},
		{Change{Name: "lost", A: 3}, []string{"lost", "3", "->", "0", "-100 %"}},
		{Change{Name: "balance", A: -2, B: -1}, []string{"balance", "-2", "->", "-1", "+50 %"}},
		{Change{Name: "connect", Unit: "ms", A: 50.117, B: 50.118}, []string{"connect", "50.117", "->", "50.118 ms", "+0.002 %"}},
		{Change{Name: "grown", A: 1, B: 40}, []string{"grown", "1", "->", "40", "+3900 %"}},
	} {
		NewWithT(t).Expect(c.change.texts()).To(Equal(c.want))
	}
}

func TestBehaviourTableBoundsTheCounters(t *testing.T) {
	g := NewWithT(t)
	a, b := on("6.1", small("s", "t")), on("6.1", small("s", "t"))
	a.Metrics, b.Metrics = []Metric{{Name: "n", Value: 1}}, []Metric{{Name: "n", Value: 2}}
	a.Counters = []CounterDiff{{Host: "client", Diff: map[string]int64{}}}
	b.Counters = []CounterDiff{{Host: "client", Diff: map[string]int64{"TcpA": 1, "TcpB": 1, "TcpC": 1, "TcpD": 1, "TcpE": 1, "TcpF": 1, "TcpG": 1, "TcpH": 1}}}
	var out bytes.Buffer
	g.Expect(behaviour(t, []*Record{a}, []*Record{b}, false).Table(&out, TableOptions{})).To(Succeed())
	g.Expect(out.String()).To(ContainSubstring("    client TcpF  0  ->  1\n    2 more counters\n"))
	out.Reset()
	g.Expect(behaviour(t, []*Record{a}, []*Record{b}, true).Table(&out, TableOptions{})).To(Succeed())
	g.Expect(out.String()).To(ContainSubstring("    client TcpH  0  ->  1\n"))
}

// What differs only slightly is counted, and not listed unless all is asked for.
func TestBehaviourTableLeavesSlightDifferencesOut(t *testing.T) {
	g := NewWithT(t)
	record := func(scenario string, metrics []Metric, segments int64) *Record {
		r := on("6.1", small("s", scenario))
		r.Metrics, r.Counters = metrics, []CounterDiff{{Host: "client", Diff: map[string]int64{"TcpInSegs": segments}}}
		return r
	}
	a := []*Record{record("counters", nil, 1), record("metrics", []Metric{{Name: "x", Value: 100}, {Name: "y", Value: 100}}, 1)}
	b := []*Record{record("counters", nil, 2), record("metrics", []Metric{{Name: "x", Value: 100.9}, {Name: "y", Value: 101}}, 1)}
	var out bytes.Buffer
	g.Expect(behaviour(t, a, b, false).Table(&out, TableOptions{})).To(Succeed())
	g.Expect(out.String()).To(Equal(`s: metrics
    y  100  ->  101  +1 %

2 of 2 scenarios differ from 6.1 with seed 1 to 6.1 with seed 1
(1 of them only in counters, or in metrics by less than 1 %, and not listed; --all does)
`))
	out.Reset()
	g.Expect(behaviour(t, a, b, true).Table(&out, TableOptions{})).To(Succeed())
	g.Expect(out.String()).To(And(ContainSubstring("s: counters"), ContainSubstring("x  100  ->  100.9")))
}

func TestCompareBehaviourRefuses(t *testing.T) {
	_, err := CompareBehaviour(newRun(t, "a"), newRun(t, "b"), false)
	NewWithT(t).Expect(err).To(MatchError(ContainSubstring("has a record")))
}
