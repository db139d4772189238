package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/results"
)

// A manySeeds is suites run with many seeds, on one or several kernels.
type manySeeds struct {
	session runner.SessionOptions
	options runner.RunOptions
	seeds   []uint64
	merge   []string // folders of other sweeps
	margin  float64  // the limit, as a share of the width between two bounds
	keep    bool
}

func newSeeds() *cobra.Command {
	var s manySeeds
	var seeds string
	var percent float64
	command := &cobra.Command{
		Use:   "seeds [SUITE...]",
		Short: "Run suites with many seeds and kernels, to see that no expectation hangs on luck",
		Long: `Run suites in virtual time once with each of several seeds, on each of several kernels. A table
says how often each scenario passed, from where to where its metrics went, and how near to an
edge of its bounds each check came.

What ran is kept in the folder of --results, a line for each scenario: what is there is not run
again, so that a sweep that was stopped, or killed, goes on where it was. What this machine kept
a guest from (--limit, no room) is run again. --merge takes in the folder of another machine that
ran the same suites: its runs count as well, with whatever seeds. --fresh runs everything all the
same, and what comes of it takes the place of what was known. The evidence is kept of seeds with
which something failed.

It exits with 0 if all passed that these seeds and kernels ask for, and no margin is below the limit, and with 1 otherwise.`,
		Example: `  tcplab seeds --seeds 1-20 --kernel 6.1,6.12,7.3
  tcplab seeds ./scenarios/congestion --seeds 1-5,42
  tcplab seeds --seeds 1-20 --merge /mnt/other/results/seeds`,
		RunE: func(command *cobra.Command, args []string) error {
			var err error
			if s.seeds, err = parseSeeds(seeds); err != nil {
				return err
			}
			if !(percent >= 0 && percent < 50) {
				return fmt.Errorf("--margin %v: a share of the width between two bounds, in percent: allowed are 0 to below 50", percent)
			}
			s.margin = percent / 100
			if err := refuseNone(command); err != nil {
				return err
			}
			s.session.Patterns, s.options.Args = splitArgs(command, args)
			s.session.Clock, s.options.Quiet = runner.Virtual, true
			s.session.Log = command.OutOrStdout()
			return s.run(command.Context(), command.OutOrStdout())
		},
	}
	flags := command.Flags()
	addFilterFlags(command, &s.options.Filter)
	addGuestFlags(command, &s.session, &s.options)
	flags.StringVar(&seeds, "seeds", "1-20", "such as 1-20, or 1-5,42")
	flags.StringVar(&s.options.Root, "results", "results/seeds", "folder in which each run makes its own, and of what ran before")
	flags.StringSliceVar(&s.merge, "merge", nil, "such a folder of another machine, whose results count as well (repeatable)")
	flags.Float64Var(&percent, "margin", 2, "limit of a check's margin, in percent of the width between its bounds; 0 is none")
	flags.BoolVar(&s.keep, "keep", false, "keep the evidence of what passed, too")
	return command
}

// mostSeeds bounds a slip of the pen.
const mostSeeds = 10_000

// parseSeeds reads "1-5,42".
func parseSeeds(text string) ([]uint64, error) {
	var seeds []uint64
	for part := range strings.SplitSeq(text, ",") {
		from, to, isRange := strings.Cut(strings.TrimSpace(part), "-")
		if !isRange {
			to = from
		}
		first, err := strconv.ParseUint(from, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("seeds %q: %q is no number: give numbers and ranges, such as 1-5,42", text, from)
		}
		last, err := strconv.ParseUint(to, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("seeds %q: %q is no number: give numbers and ranges, such as 1-5,42", text, to)
		}
		if last < first || last-first >= mostSeeds || len(seeds)+int(last-first) >= mostSeeds {
			return nil, fmt.Errorf("seeds %q: %s-%s: a range goes up, and all together are at most %d", text, from, to, mostSeeds)
		}
		for seed := first; ; seed++ {
			if slices.Contains(seeds, seed) {
				return nil, fmt.Errorf("seeds %q: %d is there twice", text, seed)
			}
			seeds = append(seeds, seed)
			if seed == last {
				break
			}
		}
	}
	return seeds, nil
}

// run runs what is not known yet, and prints what came of all.
func (s manySeeds) run(ctx context.Context, out io.Writer) error {
	if err := s.options.Check(); err != nil {
		return err
	}
	for _, dir := range s.merge {
		if _, err := os.Stat(filepath.Join(dir, results.LedgerName)); err != nil {
			return fmt.Errorf("--merge %s: %w", dir, err)
		}
	}
	session, err := runner.Open(ctx, s.session)
	if err != nil {
		return err
	}
	defer session.Close()
	ledger, err := results.OpenLedger(s.options.Root)
	if err != nil {
		return err
	}
	defer func() { _ = ledger.Close() }() // each line was written when it came
	for _, dir := range s.merge {
		taken, left, err := ledger.Merge(dir, session.Codes())
		if err != nil {
			return fmt.Errorf("--merge %s: %w", dir, err)
		}
		fmt.Fprintf(out, "--merge %s: %d runs of these suites", dir, taken)
		if left > 0 {
			fmt.Fprintf(out, "; %d more are of other suites, or of these compiled from other sources or by another Go", left)
		}
		fmt.Fprintln(out)
	}
	s.options.Ledger = ledger
	came, err := s.cells(session.Kernels(), func(options runner.RunOptions) (runner.Summary, error) { return session.Run(ctx, options) }, out)
	if err != nil {
		return err
	}
	came.Records = append(came.Records, ledger.Merged()...)
	return s.report(came, out)
}

// cells runs the suites on each kernel with each seed. What it returns is what came of these runs, and of no others that the ledger has.
func (s manySeeds) cells(kernels []string, run func(runner.RunOptions) (runner.Summary, error), out io.Writer) (results.Report, error) {
	var all results.Report
	for _, kernel := range kernels {
		for _, seed := range s.seeds {
			options := s.options
			options.Kernel, options.Seed, options.ID = kernel, seed, runner.NewID(seed)
			came, err := s.cell(options, run, out)
			if err != nil {
				return all, fmt.Errorf("seed %d: %w", seed, err)
			}
			for _, r := range came.Records {
				all.Records = append(all.Records, r.Summary()) // all of them whole would be gigabytes
			}
			all.Missing, all.Focused = all.Missing+came.Missing, came.Focused
		}
	}
	return all, nil
}

// cell runs the suites with one seed, on one kernel.
func (s manySeeds) cell(options runner.RunOptions, run func(runner.RunOptions) (runner.Summary, error), out io.Writer) (results.Report, error) {
	started := time.Now()
	summary, err := run(options)
	if err != nil {
		return results.Report{}, err
	}
	known := 0
	for _, r := range summary.Records {
		if r.Host != nil && r.Host.Cached {
			known++
		}
	}
	fmt.Fprintf(out, "%s, seed %d: %s; %s", summary.Kernel, options.Seed, results.Count(summary.Records), time.Since(started).Round(time.Second/10))
	if known > 0 {
		fmt.Fprintf(out, " (%d had run before)", known)
	}
	failedNow := slices.ContainsFunc(summary.Records, func(r *results.Record) bool { return r.Verdict.Failed() && (r.Host == nil || !r.Host.Cached) })
	if s.keep || failedNow {
		fmt.Fprintf(out, "; see %s", relative(summary.Run.Path()))
	} else if err := drop(summary.Run); err != nil {
		return results.Report{}, err
	}
	fmt.Fprintln(out)
	return summary.Report(), nil
}

// drop removes a run, and the link to the newest one, which would point to nothing.
func drop(run *results.Run) error {
	err := os.Remove(filepath.Join(filepath.Dir(run.Path()), results.Latest))
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(run.Path()))
}

// report prints what came of all runs, and is errFailed if one failed, is not there or came too near to an edge.
func (s manySeeds) report(came results.Report, out io.Writer) error {
	spreads := results.Spreads(came.Records)
	fmt.Fprintln(out)
	if err := results.SpreadTable(out, spreads, s.margin, results.Terminal(os.Stdout)); err != nil {
		return err
	}
	for _, doubt := range came.Doubts() {
		fmt.Fprintln(out, doubt)
	}
	tally := results.Count(came.Records)
	if tally.Failed > 0 || tally.Passed == 0 || len(came.Doubts()) > 0 || len(results.Near(results.Margins(spreads), s.margin)) > 0 {
		return errFailed
	}
	return nil
}
