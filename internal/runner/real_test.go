package runner

import (
	"bytes"
	"context"
	"runtime"
	"strings"
	"testing"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/results"
)

// onReal runs suites on this kernel. They are such that need neither root nor netem, so that nothing
// needs to be chosen.
func onReal(t *testing.T, ctx context.Context, log *logger, patterns []string, options RunOptions) ([]*results.Record, error) {
	t.Helper()
	needGo(t)
	dir := t.TempDir()
	suites, err := compiler{dir: dir}.suites(t.Context(), patterns, runtime.GOARCH)
	if err != nil {
		t.Fatal(err)
	}
	session := &Session{clock: Real, dir: dir, suites: suites, listed: map[string][]*Suite{}, log: log}
	options.Root, options.ID = t.TempDir(), "run"
	summary, runErr := session.Run(ctx, options)
	records, err := summary.Run.Records()
	if err != nil {
		t.Fatal(err)
	}
	return records, runErr
}

func TestRealClock(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	records, err := onReal(t, t.Context(), &logger{to: &out}, []string{"./testdata/bare", "./testdata/focused", "./testdata/guests", "./testdata/plain"}, RunOptions{
		Filter: Filter{Focus: []string{"alone|harness|focus|^plain go test"}, Skip: []string{"^guests"}}, Seed: 3,
	})
	g.Expect(err).NotTo(HaveOccurred())
	// None of these suites writes records, so that the runner does, by Ginkgo's report; nothing of guests was to run.
	var got []string
	for _, record := range records {
		got = append(got, record.Scenario)
		g.Expect(record.Verdict).To(Equal(results.Passed))
		g.Expect(record.Clock).To(Equal(results.ClockReal))
		g.Expect(record.Seed).To(BeEquivalentTo(3))
		g.Expect(record.Host).NotTo(BeNil())
	}
	g.Expect(got).To(Equal([]string{"passes without a harness", "is in focus", "go test " + module + "plain"}))
	g.Expect(out.String()).To(MatchRegexp(`(?m)^bare \| Random Seed: \S*3`))
	g.Expect(out.String()).To(ContainSubstring("plain | PASS\n"))
}

func TestRealClockWithArguments(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	records, err := onReal(t, t.Context(), &logger{to: &out}, []string{"./testdata/plain"}, RunOptions{Args: []string{"-test.v", "-test.run=^TestRoot$"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(records).To(HaveLen(1))
	g.Expect(out.String()).To(ContainSubstring("plain | --- PASS: TestRoot"))

	records, err = onReal(t, t.Context(), &logger{}, []string{"./testdata/plain"}, RunOptions{Args: []string{"-no-such-flag"}})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(records).To(HaveLen(1))
	g.Expect(records[0].Verdict).To(Equal(results.Failed))
	g.Expect(records[0].Failure.Message).To(Equal("the test program ended with status 2: its output is above"))
}

// A spec that is not for this kernel does not run, and leaves a record that says so.
func TestRealClockLeavesOutWhatIsForOtherKernels(t *testing.T) {
	g := NewWithT(t)
	var out bytes.Buffer
	records, err := onReal(t, t.Context(), &logger{to: &out}, []string{"./testdata/kernels"}, RunOptions{Seed: 7})
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(records).To(HaveLen(3))
	g.Expect(records[0].Scenario).To(Equal("is for all"))
	g.Expect(records[0].Verdict).To(Equal(results.Passed), out.String())
	this := results.ThisKernel().Release
	for i, reason := range []string{"is for kernels >= 4.0.0 and >= 999.0.0; this is ", "is for kernels < 3.0.0 and >= 4.0.0; this is "} {
		record := records[1+i]
		g.Expect(record.Verdict).To(Equal(results.Skipped))
		g.Expect(record.Reason).To(Equal(reason + this))
		g.Expect(record.Seed).To(BeEquivalentTo(7))
		g.Expect(record.Clock).To(Equal(results.ClockReal))
		g.Expect(record.Kernel.Release).To(Equal(this))
		g.Expect(out.String()).To(ContainSubstring("skipped kernels: " + record.Scenario + "\n"))
	}
	g.Expect(records[1].Labels).To(Equal([]string{"quick"}))
}

// reaction calls a function when a text has been written.
type reaction struct {
	bytes.Buffer
	to string
	do func()
}

func (r *reaction) Write(p []byte) (int, error) {
	n, err := r.Buffer.Write(p)
	if strings.Contains(r.Buffer.String(), r.to) {
		r.do()
	}
	return n, err
}

// A run that is cancelled lets the suite clean up.
func TestRealClockCancelled(t *testing.T) {
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &reaction{to: "bare | waiting\n", do: cancel}
	_, err := onReal(t, ctx, &logger{to: out}, []string{"./testdata/bare"}, RunOptions{Filter: Filter{Labels: "slow"}, Verbose: true})
	g.Expect(err).To(MatchError(context.Canceled))
	g.Expect(out.String()).To(And(ContainSubstring("bare | interrupted\n"), ContainSubstring("Interrupted by User")))
}
