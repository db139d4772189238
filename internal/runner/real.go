package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/onsi/ginkgo/v2/types"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/internal/constraint"
	"github.com/tcplab/tcplab/internal/progress"
	"github.com/tcplab/tcplab/internal/subprocess"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/results"
)

// interruptGrace is how long a suite may take to clean up after an interrupt: Ginkgo's own
// default grace period for a node is 30 s.
const interruptGrace = 45 * time.Second

// runReal runs the suites on this kernel, one after the other: side by side they would
// disturb each other's timing.
func (s *Session) runReal(ctx context.Context, suites []*Suite, run *results.Run, options RunOptions) ([]*results.Record, error) {
	running, err := kernelversion.Parse(results.ThisKernel().Release)
	if err != nil {
		return nil, err
	}
	task := progress.Start(ctx, "suites")
	defer task.Done()
	var all []*results.Record
	for i, suite := range suites {
		if !suite.selected() {
			continue
		}
		task.Set("%d of %d done, now %s", i, len(suites), suite.Name)
		records, err := s.runHere(ctx, suite, run, constraint.Filter(running), options)
		all = append(all, records...)
		if err != nil {
			return all, err
		}
	}
	return all, nil
}

// runHere runs one suite, and leaves a record of each scenario.
func (s *Session) runHere(ctx context.Context, suite *Suite, run *results.Run, fit string, options RunOptions) ([]*results.Record, error) {
	output := s.log.prefixed(suite.Name)
	defer output.flush()
	report := filepath.Join(s.dir, reportFile)
	defer os.Remove(report)
	end := ending{output: "its output is above"}
	environment := append(os.Environ(), options.environment(Real, run.Path())...)
	arguments, printed := options.Args, io.Writer(output)
	if suite.Ginkgo {
		arguments = slices.Concat(specArguments(options.Seed, report), []string{"--ginkgo.sem-ver-filter=" + fit}, suite.selection(options.Filter), verboseSpecs(options.Verbose), options.Args)
	} else {
		files := filepath.Join(run.Dir(suite.Name, suite.scenario()), filesDir)
		if err := os.MkdirAll(files, 0o755); err != nil {
			return nil, err
		}
		defer os.Remove(files) // if it is still empty
		environment = append(environment, guest.ArtefactsEnv+"="+files)
	}
	if !suite.Ginkgo && suite.Testing {
		end.tests = &testLog{to: output}
		arguments, printed = testArguments(options.Args), end.tests
	}
	command := exec.Command(suite.Binary, arguments...)
	command.Dir, command.Env = suite.Dir, environment
	command.Stdout, command.Stderr = printed, printed
	started := time.Now()
	// A suite that is asked to stop removes what it made.
	err := subprocess.RunTree(ctx, command, syscall.SIGINT, interruptGrace)
	known := options.record(Real, results.ThisKernel())
	known.Host = hostPart(started)
	if ctx.Err() != nil {
		done := suite.finished(report)
		if !done.selected() {
			return nil, ctx.Err()
		}
		end.interrupted = true
		records, err := record(done, run, report, known, end) // of those that had ended; the others did not run
		return records, errors.Join(ctx.Err(), err)
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("%s: %w", suite.Path, err)
	}
	end.ran, end.status = time.Since(started), command.ProcessState.ExitCode()
	if wait, ok := command.ProcessState.Sys().(syscall.WaitStatus); ok && wait.Signaled() {
		end.signal = wait.Signal().String()
	}
	return record(suite, run, report, known, end)
}

// finished is the suite with only those specs selected that had passed or failed by themselves when it was asked to stop.
func (s *Suite) finished(report string) *Suite {
	done := *s
	done.Ginkgo, done.Specs = true, slices.Clone(s.Specs)
	reported, err := readReport(report)
	for i := range done.Specs {
		spec := &done.Specs[i]
		if !spec.Selected {
			continue
		}
		outcome, outcomeErr := inReport(reported, err, spec.Text)
		spec.Selected = outcomeErr == nil && !outcome.State.Is(types.SpecStateInterrupted|types.SpecStateAborted|types.SpecStateSkipped)
	}
	return &done
}

func verboseSpecs(verbose bool) []string {
	if verbose {
		return []string{"--ginkgo.v"}
	}
	return nil
}

// selection are Ginkgo's flags for the specs that are selected: the filters' own, or, where those would take an Ordered
// container apart, one for each spec.
func (s *Suite) selection(filter Filter) []string {
	if s.completing() == 0 {
		return filter.args()
	}
	return focusOn(s, slices.Concat(s.together()...))
}

// record leaves a record of each of a suite's scenarios that was to run on this machine.
func record(suite *Suite, run *results.Run, report string, known results.Record, end ending) ([]*results.Record, error) {
	var groups [][]*Spec
	if suite.Ginkgo {
		groups = suite.together()
	}
	w := work{suite: suite, specs: slices.Concat(groups...)}
	dirs := w.dirsIn(run)
	records := judge(suite, w.specs, dirs, report, known, end)
	rest := records
	for _, group := range groups {
		markTogether(rest[:len(group)])
		rest = rest[len(group):]
	}
	for i, record := range records {
		if err := writeRecord(record, dirs[i]); err != nil {
			return records, err
		}
	}
	return records, nil
}
