package main

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/runner"
	"github.com/tcplab/tcplab/results"
)

// defaultSuites are what a bare "tcplab run" runs.
const defaultSuites = "./scenarios/..."

func addFilterFlags(command *cobra.Command, filter *runner.Filter) {
	flags := command.Flags()
	flags.StringArrayVar(&filter.Focus, "focus", nil, "only scenarios whose suite and text match this regular expression (repeatable)")
	flags.StringArrayVar(&filter.Skip, "skip", nil, "not the scenarios whose suite and text match this regular expression (repeatable)")
	flags.StringVar(&filter.Labels, "label", "", `only scenarios whose labels satisfy this filter, such as "quick && !netem"`)
}

// splitArgs separates suites from the arguments behind --, which are the suites' own.
func splitArgs(command *cobra.Command, args []string) (suites, passed []string) {
	if dash := command.ArgsLenAtDash(); dash >= 0 {
		args, passed = args[:dash], args[dash:]
	}
	if len(args) == 0 {
		args = []string{defaultSuites}
	}
	return args, passed
}

func newRun() *cobra.Command {
	var options runner.Options
	var clock string
	command := &cobra.Command{
		Use:   "run [SUITE...] [-- ARGUMENT...]",
		Short: "Run suites, print a table, write a record of each scenario",
		Long: `Run suites: Go packages with tests (as the go command knows them), or compiled ones
(*.test). Without any: ` + defaultSuites + `. Arguments behind -- go to the test programs.

In virtual time each scenario boots a guest of its own; what has passed before with the very
same inputs (QEMU, kernel, program, arguments, seed) comes from the cache.

It exits with 0 if all passed, 1 if any failed, and 2 if nothing could be run.`,
		Example: `  tcplab run
  tcplab run ./scenarios/handshake --focus refused --seed 7
  tcplab run ./mypackage --include /usr/bin/iperf3 -- -test.v -test.run TestSlowLink`,
		RunE: func(command *cobra.Command, args []string) error {
			var err error
			if options.Clock, err = runner.ParseClock(clock); err != nil {
				return err
			}
			options.Patterns, options.Args = splitArgs(command, args)
			options.Log = command.OutOrStdout()
			summary, err := runner.Run(command.Context(), options)
			if err != nil {
				return err
			}
			fmt.Fprintf(command.OutOrStdout(), "records: %s\n\n", relative(summary.Run.Path()))
			if err := results.Table(command.OutOrStdout(), summary.Records, results.Terminal(os.Stdout)); err != nil {
				return err
			}
			if !summary.OK() {
				return errFailed
			}
			return nil
		},
	}
	flags := command.Flags()
	addFilterFlags(command, &options.Filter)
	flags.StringVar(&clock, "clock", string(runner.Auto), "auto, real (this kernel; needs root and sch_netem) or virtual (a guest kernel; needs QEMU)")
	flags.Uint64Var(&options.Seed, "seed", 1, "of all that is random")
	flags.StringVar(&options.Root, "results", "results", "folder in which each run makes its own")
	flags.StringVar(&options.ID, "id", "", "name of that folder; default: time and seed")
	flags.BoolVarP(&options.Verbose, "verbose", "v", false, "pass on all output as it comes")
	flags.BoolVar(&options.Fresh, "fresh", false, "do not take passed scenarios from the cache (virtual clock)")
	flags.IntVarP(&options.Jobs, "jobs", "j", 0, "guests side by side (default: one for each core)")
	flags.StringVar(&options.Kernel, "kernel", "", "guest kernel: a vmlinuz with its modules, or a Debian package (default: Debian's, downloaded once)")
	flags.StringArrayVar(&options.Include, "include", nil, "a file, directory or program (with its libraries) to put into the guest, as PATH or PATH=GUESTPATH (repeatable)")
	flags.StringSliceVar(&options.Modules, "modules", nil, "more kernel modules to load in the guest")
	flags.IntVar(&options.MemoryMiB, "memory", 0, "of a guest, in MiB (default 512)")
	flags.DurationVar(&options.WallLimit, "limit", 10*time.Minute, "of a guest, in real time")
	return command
}

// relative shortens a path below the working directory.
func relative(path string) string {
	here, err := os.Getwd()
	if err != nil {
		return path
	}
	if short, err := filepath.Rel(here, path); err == nil && filepath.IsLocal(short) {
		return short
	}
	return path
}

func newList() *cobra.Command {
	var filter runner.Filter
	command := &cobra.Command{
		Use:   "list [SUITE...]",
		Short: "List the scenarios of suites",
		RunE: func(command *cobra.Command, args []string) error {
			patterns, _ := splitArgs(command, args)
			suites, err := runner.List(command.Context(), patterns, filter)
			if err != nil {
				return err
			}
			out := command.OutOrStdout()
			for _, suite := range suites {
				if !suite.Ginkgo {
					fmt.Fprintf(out, "%s\n    go test %s\n", suite.Name, suite.Path)
					continue
				}
				fmt.Fprintf(out, "%s\n", suite.Name)
				for _, spec := range suite.Specs {
					switch {
					case spec.Pending:
						fmt.Fprintf(out, "    %s %v (pending)\n", spec.Text, spec.Labels)
					case spec.Selected:
						fmt.Fprintf(out, "    %s %v\n", spec.Text, spec.Labels)
					}
				}
			}
			return nil
		},
	}
	addFilterFlags(command, &filter)
	return command
}
