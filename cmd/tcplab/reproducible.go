package main

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/results"
)

func newReproducible() *cobra.Command {
	var session runner.SessionOptions
	var options runner.RunOptions
	var kernel string
	command := &cobra.Command{
		Use:   "reproducible [SUITE...]",
		Short: "Show that one seed gives the same bytes, and another seed others",
		Long: `Run suites in virtual time: all scenarios twice with one seed, one scenario of them once more
alone, and all once with another seed. The first three must agree in every byte of every
file, apart from the "host" part of the records; the last must differ in each capture that has
packets.`,
		RunE: func(command *cobra.Command, args []string) error {
			if err := refuseNone(command); err != nil {
				return err
			}
			session.Patterns, options.Args = splitArgs(command, args)
			session.Clock, options.Fresh = runner.Virtual, true
			session.Log = command.OutOrStdout()
			if kernel != "" {
				session.Kernels = []string{kernel}
			}
			return reproducible(command.Context(), session, options, command.OutOrStdout())
		},
	}
	flags := command.Flags()
	addFilterFlags(command, &options.Filter)
	flags.Uint64Var(&options.Seed, "seed", 1, "of the runs that must agree; the other run has the next")
	flags.StringVar(&options.Root, "results", "results", "folder in which each run makes its own")
	flags.StringVar(&kernel, "kernel", "", kernelUsage)
	flags.IntVarP(&options.Jobs, "jobs", "j", 0, "guests side by side (default: one for each core)")
	return command
}

func reproducible(ctx context.Context, session runner.SessionOptions, options runner.RunOptions, out io.Writer) error {
	stamp := time.Now().UTC().Format("20060102T150405.000")
	run := func(name string, o runner.RunOptions) (runner.Summary, error) {
		o.ID = stamp + "-" + name
		fmt.Fprintf(out, "== %s\n", name)
		summary, err := runner.Run(ctx, session, o)
		if err == nil && !summary.OK() {
			err = fmt.Errorf("%s: %s; see %s", name, results.Count(summary.Records), relative(summary.Run.Path()))
		}
		return summary, err
	}
	first, err := run("first", options)
	if err != nil {
		return err
	}
	again, err := run("again", options)
	if err != nil {
		return err
	}
	// One that ran: that it passed, the run says. Others are skipped alone, too.
	passed := slices.DeleteFunc(slices.Clone(first.Records), func(r *results.Record) bool { return r.Verdict != results.Passed })
	last := passed[len(passed)-1]
	single := options
	single.Filter = runner.Filter{Focus: []string{"^" + regexp.QuoteMeta(last.Suite+" "+last.Scenario) + "$"}}
	alone, err := run("alone", single)
	if err != nil {
		return err
	}
	other := options
	other.Seed++
	another, err := run("another-seed", other)
	if err != nil {
		return err
	}

	fmt.Fprintln(out)
	same, err := results.Compare(first.Run, again.Run)
	if err != nil {
		return err
	}
	ok := verdictOn(out, fmt.Sprintf("%d scenarios twice with seed %d: every byte the same", len(first.Records), options.Seed), same)
	// The folder of the scenario that ran alone is all that its run has.
	lone, err := results.Compare(first.Run, alone.Run)
	if err != nil {
		return err
	}
	folder := results.Slug(last.Suite) + "/" + results.Slug(last.Scenario)
	lone = keep(lone, func(d results.Difference) bool { return strings.HasPrefix(d.File, folder) })
	ok = verdictOn(out, fmt.Sprintf("%q alone: every byte the same as among the others", last.Scenario), lone) && ok

	differences, err := results.Compare(first.Run, another.Run)
	if err != nil {
		return err
	}
	changed := map[string]bool{}
	for _, d := range differences {
		changed[d.File] = d.Kind == results.Differs
	}
	var captures, unchanged int
	for _, record := range first.Records {
		for _, capture := range record.Captures {
			if !slices.ContainsFunc(capture.Interfaces, func(i results.CaptureInterface) bool { return i.Packets > 0 }) {
				continue // silence, as expected: there is nothing in it to differ
			}
			captures++
			file := results.Slug(record.Suite) + "/" + results.Slug(record.Scenario) + "/" + capture.File
			if !changed[file] {
				unchanged++
				fmt.Fprintf(out, "NO:  seed %d instead of %d: %s is the same\n", other.Seed, options.Seed, file)
			}
		}
	}
	if captures == 0 {
		return fmt.Errorf("no capture was made: nothing could differ")
	}
	if unchanged == 0 {
		fmt.Fprintf(out, "yes: seed %d instead of %d: each of %d captures is another\n", other.Seed, options.Seed, captures)
	}
	if !ok || unchanged > 0 {
		return errFailed
	}
	return nil
}

func keep(differences []results.Difference, f func(results.Difference) bool) []results.Difference {
	var kept []results.Difference
	for _, d := range differences {
		if f(d) {
			kept = append(kept, d)
		}
	}
	return kept
}

// verdictOn prints a claim as it came out, with what speaks against it.
func verdictOn(out io.Writer, claim string, against []results.Difference) bool {
	if len(against) == 0 {
		fmt.Fprintln(out, "yes:", claim)
		return true
	}
	fmt.Fprintln(out, "NO: ", claim)
	for _, d := range against {
		fmt.Fprintln(out, "  ", d)
	}
	return false
}
