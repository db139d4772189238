package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/runner"
	"github.com/tcplab/tcplab/results"
)

func newSeeds() *cobra.Command {
	var options runner.Options
	var seeds string
	var keep bool
	command := &cobra.Command{
		Use:   "seeds [SUITE...]",
		Short: "Run suites with many seeds, to see that no expectation hangs on luck",
		Long: `Run suites in virtual time once with each of several seeds. A table says how often each scenario
passed, and from where to where its figures went. The records of a seed with which all
passed are removed.

It exits with 0 if all passed with each seed, and with 1 otherwise.`,
		Example: `  tcplab seeds --seeds 1-20 --label quick
  tcplab seeds ./scenarios/congestion --seeds 1-5,42`,
		RunE: func(command *cobra.Command, args []string) error {
			list, err := parseSeeds(seeds)
			if err != nil {
				return err
			}
			options.Patterns, options.Args = splitArgs(command, args)
			options.Clock, options.Quiet = runner.Virtual, true
			options.Log = command.OutOrStdout()
			return runSeeds(command.Context(), options, list, keep, command.OutOrStdout())
		},
	}
	flags := command.Flags()
	addFilterFlags(command, &options.Filter)
	addGuestFlags(command, &options)
	flags.StringVar(&seeds, "seeds", "1-20", "such as 1-20, or 1-5,42")
	flags.StringVar(&options.Kernel, "kernel", "", kernelUsage)
	flags.StringVar(&options.Root, "results", "results/seeds", "folder in which each run makes its own")
	flags.BoolVar(&keep, "keep", false, "keep the records of what passed, too")
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
			seeds = append(seeds, seed)
			if seed == last {
				break
			}
		}
	}
	return seeds, nil
}

func runSeeds(ctx context.Context, options runner.Options, seeds []uint64, keep bool, out io.Writer) error {
	session, err := runner.Open(ctx, options)
	if err != nil {
		return err
	}
	defer session.Close()
	stamp := time.Now().UTC().Format("20060102T150405.000")
	var records []*results.Record
	ok := true
	for _, seed := range seeds {
		options.Seed = seed
		options.ID = fmt.Sprintf("%s-seed%d", stamp, seed)
		started := time.Now()
		summary, err := session.Run(ctx, options)
		if err != nil {
			return fmt.Errorf("seed %d: %w", seed, err)
		}
		records = append(records, summary.Records...)
		fmt.Fprintf(out, "seed %d: %s; %s", seed, results.Count(summary.Records), time.Since(started).Round(time.Second/10))
		switch {
		case !summary.OK():
			ok = false
			fmt.Fprintf(out, "; see %s", relative(summary.Run.Path()))
		case !keep:
			// The link to the newest run goes along: it would point to nothing.
			err := errors.Join(os.RemoveAll(summary.Run.Path()), os.Remove(filepath.Join(options.Root, results.Latest)))
			if err != nil {
				return err
			}
		}
		fmt.Fprintln(out)
	}
	fmt.Fprintln(out)
	if err := results.SpreadTable(out, results.Spreads(records), 0.02, results.Terminal(os.Stdout)); err != nil {
		return err
	}
	if !ok {
		return errFailed
	}
	return nil
}
