package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/results"
)

// What goes wrong with one scenario is that scenario's failure, with its cause, and the others run.
func TestTroubleInGuests(t *testing.T) {
	needGuests(t)
	g := NewWithT(t)
	// What ends by itself has time enough for that, on a busy machine, too.
	alone, _ := runInGuests(t, []string{"./testdata/trouble"}, RunOptions{Fresh: true, Filter: Filter{Focus: []string{"fills the disk"}}})
	limit := max(40*time.Second, 4*find(t, alone, "fills the disk").Host.Wall.Round(time.Second))
	options := RunOptions{Root: t.TempDir(), ID: "trouble", Jobs: 1, Fresh: true, WallLimit: limit}
	obstructed := filepath.Join(options.Root, options.ID, results.Slug("trouble"), results.Slug("has no folder on the host"))
	out := &reaction{to: "failed  trouble: leaves a file", do: func() {
		if err := os.WriteFile(obstructed, nil, 0o644); err != nil {
			t.Error(err)
		}
	}}
	summary, err := Run(t.Context(), SessionOptions{Patterns: []string{"./testdata/trouble"}, Clock: Virtual, Log: out}, options)
	g.Expect(err).NotTo(HaveOccurred(), out.String())
	t.Logf("%s", out)
	g.Expect(summary.Records).To(HaveLen(5))
	g.Expect(summary.Selected).To(Equal(5))
	g.Expect(summary.OK()).To(BeFalse())
	g.Expect(find(t, summary, "passes all the same").Verdict).To(Equal(results.Passed))

	for scenario, messages := range map[string][]string{
		"leaves a file that cannot be taken": {`a file that it left was not taken: "new\nline": its name has`},
		"has no folder on the host":          {"on this machine, not in the guest: ", obstructed + ": not a directory"},
		"fills the disk":                     {"Ginkgo left no report", "the guest's file system / is full: ", "give it more memory with --memory"},
		"does not end": {
			fmt.Sprintf("the guest did not finish in time: stopped after %v of real time, which --limit allows", limit), "; its clock had come to ",
			"what ran: program (",
		},
	} {
		record := find(t, summary, scenario)
		g.Expect(record.Verdict).To(Equal(results.Failed), scenario)
		for _, message := range messages {
			g.Expect(record.Failure.Message).To(ContainSubstring(message), scenario)
		}
	}
	endless := find(t, summary, "does not end")
	g.Expect(os.ReadFile(filepath.Join(endless.Dir(), processesFile))).To(HavePrefix("The guest's clock was at "))
	g.Expect(os.ReadFile(filepath.Join(endless.Dir(), outputFile))).To(And(ContainSubstring("SIGQUIT"), ContainSubstring("trouble_test.go")))
}

// A run that is ended by hand gives the records that it has, and is not the latest one.
func TestInterruptedInGuests(t *testing.T) {
	needGuests(t)
	g := NewWithT(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &reaction{to: "passed  bare: passes without a harness", do: cancel}
	root := t.TempDir()
	summary, err := Run(ctx, SessionOptions{Patterns: []string{"./testdata/bare"}, Clock: Virtual, Log: out},
		RunOptions{Root: root, Jobs: 1, Fresh: true})
	g.Expect(err).To(MatchError(context.Canceled), out.String())
	g.Expect(summary.Records).To(HaveLen(1))
	g.Expect(summary.Selected).To(Equal(2))
	g.Expect(filepath.Join(root, results.Latest)).NotTo(BeAnExistingFile())
}

// Of a suite that was asked to stop, what had ended counts.
func TestInterruptedOnTheRealClock(t *testing.T) {
	g := NewWithT(t)
	report := filepath.Join(t.TempDir(), reportFile)
	g.Expect(os.WriteFile(report, []byte(`[{"SuiteDescription": "s", "SpecReports": [
		{"LeafNodeType": "It", "LeafNodeText": "passed", "State": "passed"},
		{"LeafNodeType": "It", "LeafNodeText": "failed", "State": "failed"},
		{"LeafNodeType": "It", "LeafNodeText": "interrupted", "State": "interrupted"},
		{"LeafNodeType": "It", "LeafNodeText": "later", "State": "skipped"}
	]}]`), 0o644)).To(Succeed())
	suite := &Suite{Name: "s", Ginkgo: true}
	for _, text := range []string{"passed", "failed", "interrupted", "later", "unknown"} {
		suite.Specs = append(suite.Specs, Spec{Text: text, Selected: true})
	}
	g.Expect(texts(suite.finished(report), selected)).To(Equal([]string{"passed", "failed"}))
	g.Expect(texts(suite.finished(filepath.Join(t.TempDir(), "none")), selected)).To(BeEmpty())
	g.Expect(texts(suite, selected)).To(HaveLen(5))
}

// A file that was lost is the failure of the scenario that left it; want of room is added to failures, and is none itself.
func TestBlameGuest(t *testing.T) {
	g := NewWithT(t)
	w := work{suite: &Suite{Name: "s", Ginkgo: true}, specs: []*Spec{{Text: "one"}, {Text: "two"}}}
	records := []*results.Record{{Verdict: results.Passed}, {Verdict: results.Passed}}
	blameGuest(w, records, vm.Result{Full: "the file system is full"})
	g.Expect(records[0].Verdict).To(Equal(results.Passed))
	blameGuest(w, records, vm.Result{Full: "the file system is full", Lost: []guest.Lost{{Name: w.dirs()[1] + "/a\nb", Reason: "odd"}}})
	g.Expect(records[0].Verdict).To(Equal(results.Passed))
	g.Expect(records[1].Verdict).To(Equal(results.Failed))
	g.Expect(records[1].Failure.Message).To(And(HavePrefix("a file that it left was not taken: "), ContainSubstring(`a\nb": odd`),
		HaveSuffix("\nthe file system is full: give it more memory with --memory, of which half is for files")))
	blameGuest(w, records, vm.Result{Lost: []guest.Lost{{Name: "elsewhere", Reason: "odd"}}})
	g.Expect(records[0].Verdict).To(Equal(results.Failed))
}

// What a host does to a guest is no result of its inputs, and is run again; all else takes the place of what was known.
func TestWhatIsKeptOfAFailure(t *testing.T) {
	for _, c := range []struct {
		name  string
		fault error
		kept  bool
	}{
		{"a guest that was too slow for the limit", &vm.GuestError{Kind: vm.ErrTimeout}, false},
		{"a guest that never was ready", &vm.GuestError{Kind: vm.ErrNotReady}, false},
		{"an emulator that was killed", &vm.GuestError{Kind: vm.ErrNoStatus}, false},
		{"no room", &vm.GuestError{Kind: vm.ErrHostFull}, false},
		{"a panic", &vm.GuestError{Kind: vm.ErrPanic}, true},
		{"out of the guest's memory", &vm.GuestError{Kind: vm.ErrOutOfMemory}, true},
		{"a failure", nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := NewWithT(t)
			ledger, err := results.OpenLedger(t.TempDir())
			g.Expect(err).NotTo(HaveOccurred())
			defer ledger.Close()
			var out strings.Builder
			dir := t.TempDir()
			saved := savedWork{store: runCache{dir: t.TempDir()}, log: &logger{to: &out}, keys: []string{"key"}, dirs: []string{dir}}
			record := &results.Record{Suite: "s", Scenario: "opens", Clock: results.ClockVirtual, Verdict: results.Passed}
			g.Expect(writeRecord(record, dir)).To(Succeed())
			options, suite := RunOptions{Ledger: ledger}, &Suite{Code: "code"}
			g.Expect(saved.enter(options, suite, []*results.Record{record}, nil)).To(Succeed())
			g.Expect(out.String()).To(BeEmpty())

			again := *record
			fail(&again, "another result")
			g.Expect(saved.enter(options, suite, []*results.Record{&again}, c.fault)).To(Succeed())
			verdict, said := results.Passed, BeEmpty()
			if c.kept {
				verdict, said = results.Failed, ContainSubstring("s: opens: failed now, and passed before with the very same inputs")
			}
			g.Expect(ledger.Get("key").Verdict).To(Equal(verdict))
			g.Expect(out.String()).To(said)
			_, err = saved.store.load("key", filepath.Join(t.TempDir(), "copy"))
			g.Expect(err == nil).To(Equal(!c.kept), "in the cache")
		})
	}
}

// Where not even a record can be written the run still knows that the scenario failed, and of what.
func TestRecordTrouble(t *testing.T) {
	g := NewWithT(t)
	run, err := results.Create(t.TempDir(), "run")
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(os.WriteFile(filepath.Join(run.Path(), results.Slug("s")), nil, 0o644)).To(Succeed())
	w := work{suite: &Suite{Name: "s", Ginkgo: true}, specs: []*Spec{{Text: "one", Labels: []string{"quick"}}}}
	var out strings.Builder
	options := RunOptions{Jobs: 1, Seed: 3, IPv6: true}
	c := startCourse(t.Context(), &logger{to: &out}, options, 1, 1, 1)
	defer c.task.Done()
	records := guestRun{run: run, options: options, course: c}.recordTrouble(w, errors.New("no luck"))
	g.Expect(records).To(HaveLen(1))
	g.Expect(records[0].Verdict).To(Equal(results.Failed))
	g.Expect(records[0].Labels).To(Equal([]string{"quick"}))
	g.Expect(records[0].Seed).To(BeEquivalentTo(3))
	g.Expect(records[0].IPv6).To(BeTrue())
	g.Expect(records[0].Failure.Message).To(And(HavePrefix("on this machine, not in the guest: no luck\n"), ContainSubstring("not a directory")))
	g.Expect(out.String()).To(ContainSubstring("failed  s: one\n"))
}
