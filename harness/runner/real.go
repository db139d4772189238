package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	"github.com/tcplab/tcplab/internal/progress"
	"github.com/tcplab/tcplab/internal/subprocess"
	"github.com/tcplab/tcplab/results"
)

// interruptGrace is how long a suite may take to clean up after an interrupt: Ginkgo's own
// default grace period for a node is 30 s.
const interruptGrace = 45 * time.Second

// runReal runs the suites on this kernel, one after the other: side by side they would
// disturb each other's timing.
func (s *Session) runReal(ctx context.Context, suites []*Suite, run *results.Run, options Options) error {
	fit, err := kernelFilter(results.ThisKernel().Release)
	if err != nil {
		return err
	}
	task := progress.Start(ctx, "suites")
	defer task.Done()
	for i, suite := range suites {
		if !suite.selected() {
			continue
		}
		task.Set("%d of %d done, now %s", i, len(suites), suite.Name)
		args := append([]string{}, options.Args...)
		if suite.Ginkgo {
			args = append(args, "--ginkgo.no-color", "--ginkgo.seed="+strconv.FormatInt(ginkgoSeed(options.Seed), 10))
			args = append(args, options.Filter.args()...)
			args = append(args, "--ginkgo.sem-ver-filter="+fit)
			if options.Verbose {
				args = append(args, "--ginkgo.v")
			}
		}
		command := exec.Command(suite.Binary, args...)
		command.Dir = suite.Dir
		command.Env = append(os.Environ(), options.environment(Real, run.Path())...)
		output := s.log.prefixed(suite.Name)
		command.Stdout, command.Stderr = output, output
		started := time.Now()
		// A suite that is asked to stop removes what it made.
		err := subprocess.RunTree(ctx, command, syscall.SIGINT, interruptGrace)
		output.flush()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			return fmt.Errorf("%s: %w", suite.Path, err)
		}
		if suite.Focused && endedFocused(err) {
			err = nil // it passed; that it does not count is in the summary
		}
		if err := settle(suite, run, options, err, started); err != nil {
			return err
		}
	}
	return nil
}

// settle sees to it that a suite's exit status is not lost: if it failed and no record of it
// says so, a record of the whole suite does; one that never left a record gets one.
func settle(suite *Suite, run *results.Run, options Options, exit error, started time.Time) error {
	records, err := run.Records()
	if err != nil {
		return err
	}
	var count, failed int
	for _, record := range records {
		if record.Suite == suite.Name {
			count++
			failed += results.Count([]*results.Record{record}).Failed
		}
	}
	if count > 0 && (exit == nil || failed > 0) {
		return nil
	}
	record := &results.Record{
		Suite: suite.Name, Scenario: "go test " + suite.Path, Clock: results.ClockReal, Verdict: results.Passed,
		Kernel: results.ThisKernel(), Seed: options.Seed, Duration: results.Duration(time.Since(started)), Host: hostPart(started),
	}
	if exit != nil {
		fail(record, fmt.Sprintf("the suite ended with %v", exit))
	}
	return writeRecord(record, run.Dir(record.Suite, record.Scenario))
}
