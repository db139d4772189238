package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/internal/outcome"
	"github.com/tcplab/tcplab/results"
)

// An ending is how a test program ended, in a guest or on this machine.
type ending struct {
	fault  error  // what kept the program from an end of its own, such as a panic of the guest's kernel; or nil
	signal string // that ended it, or empty
	status int
	ran    time.Duration // on the clock of the run
	tests  *testLog      // of a program of package testing; else nil
	output string        // where a person finds what it printed
	// interrupted: the run was ended before its time, and the program with it.
	interrupted bool
}

// failure says why a program that ended so has failed, or is empty.
func (e ending) failure(suite *Suite) string {
	switch {
	case e.fault != nil:
		return e.fault.Error()
	case e.signal != "":
		return "the test program was ended by a signal: " + e.signal
	case suite.Focused && e.status == types.GINKGO_FOCUS_EXIT_CODE:
		return "" // it passed; that it does not count is in the summary
	case e.status != 0:
		return fmt.Sprintf("the test program ended with status %d: %s", e.status, e.output)
	default:
		return ""
	}
}

// judge makes the records of what has run together, one for each spec, or one of a suite that is not Ginkgo's. A spec's
// record is the one that the harness has left in its folder; without it, one that is made from known and Ginkgo's report.
// What the program has left is not believed where its end, or Ginkgo, says otherwise.
func judge(suite *Suite, specs []*Spec, dirs []string, report string, known results.Record, end ending) []*results.Record {
	failure := end.failure(suite)
	if specs == nil {
		record := &known
		record.Suite, record.Scenario = suite.Name, suite.scenario()
		record.Verdict, record.Duration = results.Passed, end.ran
		if failure != "" {
			fail(record, failure)
		} else if end.tests != nil {
			end.tests.judge(record, end.output)
		}
		return []*results.Record{record}
	}
	reported, reportErr := readReport(report)
	var records []*results.Record
	for i, spec := range specs {
		records = append(records, judgeSpec(suite, spec, dirs[i], reported, reportErr, known, end))
	}
	if failure == "" && !end.interrupted && reportErr == nil && !reported[0].SuiteSucceeded && !slices.ContainsFunc(records, failed) {
		failure = fmt.Sprintf("Ginkgo's report says that the suite has failed, though the test program ended with status %d: %s", end.status, end.output)
	}
	// A status tells of a failure, and not whose.
	if failure != "" && (end.fault != nil || end.signal != "" || !slices.ContainsFunc(records, failed)) {
		for _, record := range records {
			if end.fault != nil {
				blame(record, failure) // of which the record's own failure can be a consequence
			}
			fail(record, failure)
		}
	}
	return records
}

func failed(record *results.Record) bool { return record.Verdict.Failed() }

func judgeSpec(suite *Suite, spec *Spec, dir string, reported []types.Report, reportErr error, known results.Record, end ending) *results.Record {
	made := known
	made.Suite, made.Scenario, made.Labels = suite.Name, spec.Text, spec.Labels
	made.Verdict, made.Duration = results.Passed, end.ran

	record, err := results.Read(filepath.Join(dir, results.FileName))
	left := err == nil
	if !left {
		record = &made
	}
	switch {
	case !left && !errors.Is(err, fs.ErrNotExist):
		fail(record, fmt.Sprintf("the record that the spec has left cannot be read: %v", err))
		return record
	case record.Suite != suite.Name || record.Scenario != spec.Text:
		fail(&made, fmt.Sprintf("the record that the spec has left is that of another: %s: %s", record.Suite, record.Scenario))
		return &made
	case end.fault != nil || end.signal != "":
		return record // there may be no report, and it fails all the same
	}
	judgement, err := inReport(reported, reportErr, spec.Text)
	switch {
	case err != nil:
		fail(record, err.Error())
	case !left:
		said := made
		outcome.Set(&said, *judgement)
		if _, err := said.Encode(); err != nil {
			fail(record, fmt.Sprintf("what Ginkgo's report says of it cannot be: %v", err))
			return record
		}
		return &said
	case !record.Verdict.Failed() && record.Verdict != results.Verdict(judgement.State.String()):
		fail(record, fmt.Sprintf("the record that the spec has left says %q, and Ginkgo's report %q", record.Verdict, judgement.State))
	}
	return record
}

// inReport finds what Ginkgo says of a spec that was to run.
func inReport(reported []types.Report, reportErr error, text string) (*types.SpecReport, error) {
	if reportErr != nil {
		return nil, fmt.Errorf("Ginkgo left no report: %w", reportErr) //nolint:staticcheck // a name
	}
	if reported[0].SuiteConfig.DryRun {
		return nil, errors.New("it did not run: the arguments of the test program make it a dry run")
	}
	for _, spec := range reported[0].SpecReports {
		if !spec.LeafNodeType.Is(types.NodeTypeIt) || spec.FullText() != text {
			continue
		}
		if setup := setup(reported[0]); setup != nil && setup.State.Is(types.SpecStateSkipped) && spec.State.Is(types.SpecStateSkipped) {
			spec.Failure = setup.Failure
		}
		if !outcome.WasToRun(spec) {
			return nil, errors.New("it did not run: the arguments of the test program leave it out, or the suite ended before it")
		}
		return &spec, nil
	}
	// After a setup that failed, Ginkgo tells of no spec.
	if setup := setup(reported[0]); setup != nil {
		return nil, fmt.Errorf("it did not run, since the suite's %s has failed (%s): %s", setup.LeafNodeType, setup.State, setup.Failure.Message)
	}
	// Of a guest, the report has those only that were to run.
	return nil, errors.New("Ginkgo's report does not have the spec: it did not run, since the arguments of the test program leave it out") //nolint:staticcheck // a name
}

// setup is what was to run before all specs of a suite and did not pass, or nil.
func setup(report types.Report) *types.SpecReport {
	for i, node := range report.SpecReports {
		if node.LeafNodeType.Is(types.NodeTypeBeforeSuite|types.NodeTypeSynchronizedBeforeSuite) && !node.State.Is(types.SpecStatePassed) {
			return &report.SpecReports[i]
		}
	}
	return nil
}

// fail turns a record into one that failed, unless it tells of a failure already: it knows better.
func fail(record *results.Record, message string) {
	if record.Failure != nil {
		return
	}
	record.Verdict = results.Failed
	record.Failure = &results.Failure{Message: message}
	record.Reason = ""
}

// blame turns a record into one that failed, or adds to why it did.
func blame(record *results.Record, message string) {
	if record.Failure == nil {
		fail(record, message)
		return
	}
	record.Failure.Message += "\n" + message
}

// scenario is the text under which a suite is recorded that has no specs.
func (s *Suite) scenario() string { return "go test " + s.Path }
