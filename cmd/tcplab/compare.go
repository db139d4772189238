package main

import (
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/sweep"
	"github.com/tcplab/tcplab/results"
)

func newCompare() *cobra.Command {
	var bytes, behaviour, all, markdown bool
	command := &cobra.Command{
		Use:   "compare RUN RUN...",
		Short: "Compare two runs: how TCP behaved differently, or byte for byte; or two sweeps",
		Long: `Compare two runs (folders below results/), or two sweeps (files that tcplab sweep --json has printed).

Runs of one kernel with one seed in virtual time should be the same: their records and files
are compared byte for byte. Only a record's "host" part, which has wall times, is left out.
Of any other two runs the behaviours are compared: verdicts, metrics and counters.
--bytes and --behaviour ask for one or the other.

Of two sweeps each figure of each cell is compared over its seeds, by a test that assumes nothing of how
they are distributed, and corrected for their number: what is shown is more than noise. --all shows all.
A cell, a figure or a failure that only one of them has is a difference, too.

--markdown writes a table of what is expected differently of two or more kernels, a run of each.

It exits with 1 if anything differs; with --markdown that is no error.`,
		Example: `  tcplab run --kernel 6.1,6.12 --id today
  tcplab compare results/today-6.1 results/today-6.12 --all
  tcplab compare results/today-6.1 results/today-6.12 --markdown
  tcplab compare before.json after.json`,
		Args: func(_ *cobra.Command, args []string) error {
			switch {
			case len(args) < 2:
				return fmt.Errorf("compare: %d runs: name two", len(args))
			case len(args) > 2 && !markdown:
				return fmt.Errorf("compare: %d runs: name two, or more with --markdown", len(args))
			}
			return nil
		},
		RunE: func(command *cobra.Command, args []string) error {
			if markdown {
				return compareKernels(command.OutOrStdout(), args)
			}
			if isFile(args[0]) && isFile(args[1]) {
				return compareSweeps(command, args[0], args[1], all)
			}
			a, err := results.Open(args[0])
			if err != nil {
				return err
			}
			b, err := results.Open(args[1])
			if err != nil {
				return err
			}
			if !bytes && !behaviour {
				if bytes, err = comparable(a, b); err != nil {
					return err
				}
			}
			if bytes {
				return compareBytes(command.OutOrStdout(), a, b)
			}
			return compareBehaviour(command.OutOrStdout(), a, b, all)
		},
	}
	flags := command.Flags()
	flags.BoolVar(&bytes, "bytes", false, "byte for byte, also where that cannot be the same")
	flags.BoolVar(&behaviour, "behaviour", false, "verdicts, metrics and counters, also where every byte should be the same")
	flags.BoolVar(&all, "all", false, "also scenarios that differ only in counters or by less than 1 %, and the counters of all layers")
	flags.BoolVar(&markdown, "markdown", false, "a table of what is expected differently of two or more kernels")
	command.MarkFlagsMutuallyExclusive("bytes", "behaviour", "markdown")
	command.MarkFlagsMutuallyExclusive("all", "markdown")
	command.MarkFlagsMutuallyExclusive("bytes", "all")
	return command
}

func compareKernels(out io.Writer, paths []string) error {
	var runs []*results.Run
	for _, path := range paths {
		run, err := results.Open(path)
		if err != nil {
			return err
		}
		runs = append(runs, run)
	}
	by, err := results.CompareKernels(runs)
	if err != nil {
		return err
	}
	return by.Markdown(out)
}

// comparable tells whether two runs should have the same bytes.
func comparable(a, b *results.Run) (bool, error) {
	origins := map[results.Origin]bool{}
	for _, run := range []*results.Run{a, b} {
		records, err := run.Records()
		if err != nil {
			return false, err
		}
		for _, r := range records {
			origins[r.Origin()] = true
		}
	}
	for o := range origins {
		if o.Clock != results.ClockVirtual {
			return false, nil
		}
	}
	return len(origins) <= 1, nil
}

func compareBytes(out io.Writer, a, b *results.Run) error {
	differences, err := results.Compare(a, b)
	if err != nil {
		return err
	}
	for _, difference := range differences {
		fmt.Fprintln(out, difference)
	}
	records, err := a.Records()
	if err != nil {
		return err
	}
	if len(differences) > 0 {
		fmt.Fprintf(out, "%d files differ between %s and %s\n", len(differences), a.ID(), b.ID())
		return errFailed
	}
	if len(records) == 0 {
		return fmt.Errorf("%s has no records to compare", a.Path())
	}
	fmt.Fprintf(out, "%d scenarios: every byte the same\n", len(records))
	return nil
}

func compareBehaviour(out io.Writer, a, b *results.Run, all bool) error {
	found, err := results.CompareBehaviour(a, b, all)
	if err != nil {
		return err
	}
	if err := found.Table(out, results.Terminal(os.Stdout)); err != nil {
		return err
	}
	if len(found.Changes) > 0 {
		return errFailed
	}
	return nil
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func compareSweeps(command *cobra.Command, before, after string, all bool) error {
	a, err := readSweep(before)
	if err != nil {
		return err
	}
	b, err := readSweep(after)
	if err != nil {
		return err
	}
	compared, err := sweep.Compare(a, b)
	if err != nil {
		return fmt.Errorf("%s and %s: %w", before, after, err)
	}
	if err := compared.Table(command.OutOrStdout(), all); err != nil {
		return err
	}
	if compared.Differs() {
		return errFailed
	}
	return nil
}
