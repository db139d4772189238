package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/results"
)

// What a bare "tcplab run" runs: the suites in a folder of that name, or, where there are none in it, all.
const (
	scenarioSuites = "./scenarios/..."
	allSuites      = "./..."
)

// defaultSuites chooses.
func defaultSuites() string {
	found := allSuites
	// What cannot be looked at has none: then the go command says what is wrong.
	_ = filepath.WalkDir(strings.TrimSuffix(scenarioSuites, "/..."), func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && strings.HasSuffix(path, "_test.go") {
			found = scenarioSuites
			return fs.SkipAll
		}
		return nil
	})
	return found
}

func addFilterFlags(command *cobra.Command, filter *runner.Filter) {
	flags := command.Flags()
	flags.StringArrayVar(&filter.Focus, "focus", nil, "only scenarios whose suite and text match this regular expression (repeatable)")
	flags.StringArrayVar(&filter.Skip, "skip", nil, "not the scenarios whose suite and text match this regular expression (repeatable)")
	flags.StringVar(&filter.Labels, "label", "", `only scenarios whose labels satisfy this filter, such as "quick && !netem"`)
}

// splitArgs separates suites from the arguments after --, which are the suites' own.
func splitArgs(command *cobra.Command, args []string) (suites, passed []string) {
	if dash := command.ArgsLenAtDash(); dash >= 0 {
		args, passed = args[:dash], args[dash:]
	}
	if len(args) == 0 {
		args = []string{defaultSuites()}
	}
	return args, passed
}

func newRun() *cobra.Command {
	var session runner.SessionOptions
	var options runner.RunOptions
	var reports []string
	var clock, junit string
	command := &cobra.Command{
		Use:   "run [SUITE...] [-- ARGUMENT...]",
		Short: "Run suites, print a table, write a record of each scenario",
		Long: `Run suites: Go packages with tests (as the go command knows them), suites by the names that
tcplab list shows, or compiled ones (*.test). Without any: ` + scenarioSuites + `, or where there is no
such folder ` + allSuites + `. Arguments after -- go to the test programs.

In virtual time each scenario has a guest of its own; what has passed before with the very
same inputs (QEMU, kernel, program, arguments, seed) comes from the cache. With --share 16 up
to so many scenarios of a suite run in one guest, one after the other, which takes a third of
the time. Their records name each other ("together"), and the same run gives the same bytes;
a scenario that runs alone gives others.

Several kernels (--kernel 6.1,6.12) make a run each, ID-6.1 and ID-6.12, and in the end a
list of how the others behaved differently than the first.

It exits with 0 if all passed, 1 if any failed, and 2 if nothing could be run; after ^C with
130, and after another signal with 128 and its number. A run that ends before its time prints
what there is, and is not the latest one.`,
		Example: `  tcplab run
  tcplab run handshake --focus refused --seed 7
  tcplab run --kernel 6.1,6.12,newest
  tcplab run --junit junit.xml --report markdown=summary.md --report github=-
  tcplab run ./mypackage --include /usr/bin/iperf3 -- -test.v -test.run TestSlowLink`,
		RunE: func(command *cobra.Command, args []string) error {
			var err error
			if session.Clock, err = runner.ParseClock(clock); err != nil {
				return err
			}
			if err := refuseNone(command); err != nil {
				return err
			}
			session.Patterns, options.Args = splitArgs(command, args)
			session.Log = command.OutOrStdout()
			files, err := reportFiles(junit, reports)
			if err != nil {
				return err
			}
			for _, file := range files {
				if err := file.clear(); err != nil {
					return err
				}
			}
			if len(session.Kernels) > 1 {
				return runKernels(command.Context(), session, options, files, command.OutOrStdout())
			}
			summary, runErr := runner.Run(command.Context(), session, options)
			if err := printRun(command.OutOrStdout(), summary); err != nil {
				return errors.Join(runErr, err)
			}
			if runErr != nil {
				return runErr
			}
			if err := writeReports(files, summary.Report(), command.OutOrStdout()); err != nil {
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
	addGuestFlags(command, &session, &options)
	flags.StringVar(&clock, "clock", string(runner.Auto), "auto, real (this kernel; needs root and sch_netem) or virtual (a guest kernel; needs QEMU)")
	flags.Uint64Var(&options.Seed, "seed", 1, "of all that is random")
	flags.StringVar(&options.Root, "results", "results", "folder in which each run makes its own")
	flags.StringVar(&options.ID, "id", "", "name of that folder; default: time and seed")
	flags.BoolVarP(&options.Verbose, "verbose", "v", false, "pass on all output as it comes")
	flags.StringVar(&junit, "junit", "", "the same as --report junit=FILE, which continuous integration reads")
	flags.StringArrayVar(&reports, "report", nil, "a report to write in the end, as FORMAT=FILE, with - for standard output; formats are "+
		strings.Join(formats(), ", ")+" (repeatable)")
	return command
}

const kernelUsage = "guest kernel: a name that tcplab kernels lists or fetches, a Debian package, or a vmlinuz with its modules (default: this system's own, downloaded once)"

// addGuestFlags adds what is about all scenarios alike, most of it about their guests.
func addGuestFlags(command *cobra.Command, session *runner.SessionOptions, options *runner.RunOptions) {
	flags := command.Flags()
	flags.StringSliceVar(&session.Kernels, "kernel", nil, kernelUsage+"; several with commas between them")
	flags.BoolVar(&options.IPv6, "ipv6", false, "run scenarios that are not bound to IPv4 on IPv6")
	flags.BoolVar(&options.Fresh, "fresh", false, "do not take passed scenarios from the cache (virtual clock)")
	flags.IntVarP(&options.Jobs, "jobs", "j", 0, "guests side by side (default: one for each core)")
	flags.IntVar(&options.Share, "share", 0, "how many scenarios of a suite may run in the same guest, one after the other (default 1, or an Ordered container)")
	flags.StringArrayVar(&options.Include, "include", nil, "a file, directory or program (with its libraries) to put into the guest, as PATH or PATH=GUESTPATH (repeatable)")
	flags.StringSliceVar(&session.Modules, "modules", nil, "more kernel modules to load in the guest")
	flags.IntVar(&options.MemoryMiB, "memory", 0, "of a guest, in MiB (default 512)")
	flags.IntVar(&options.MIPS, "mips", 0, fmt.Sprintf("how fast a guest is, in million instructions a second of its own time: one of %v (default %d)", vm.Speeds, vm.DefaultMIPS))
	flags.DurationVar(&options.WallLimit, "limit", vm.DefaultWallLimit, "of a guest, in real time; then it says what it was doing, and is ended")
}

// refuseNone refuses numbers that are none: options take a zero for what was not said.
func refuseNone(command *cobra.Command) error {
	for name, least := range map[string]string{
		"jobs": "guests side by side are 1 or more", "share": "scenarios in the same guest are 1 or more", "limit": "a guest needs more than no time",
		"memory": fmt.Sprintf("a guest needs %d MiB or more (default: %d)", vm.LeastMemoryMiB, vm.DefaultMemoryMiB),
		"mips":   fmt.Sprintf("a guest has one of %v (default: %d)", vm.Speeds, vm.DefaultMIPS),
	} {
		flag := command.Flags().Lookup(name)
		if flag == nil || !flag.Changed {
			continue
		}
		if value := flag.Value.String(); value == "0" || value == "0s" {
			return fmt.Errorf("--%s %s: %s", name, value, least)
		}
	}
	return nil
}

// printRun prints what there is of a run, which may have been ended before its time, or have never begun.
func printRun(out io.Writer, summary runner.Summary) error {
	if summary.Run == nil {
		return nil
	}
	fmt.Fprintf(out, "records: %s\n\n", relative(summary.Run.Path()))
	return results.Table(results.Terminal(os.Stdout))(out, summary.Report())
}

// runKernels runs the suites on one kernel after the other, and compares.
func runKernels(ctx context.Context, common runner.SessionOptions, options runner.RunOptions, files []reportFile, out io.Writer) error {
	id := cmp.Or(options.ID, runner.NewID(options.Seed))
	if err := options.Check(); err != nil {
		return err
	}
	session, err := runner.Open(ctx, common)
	if err != nil {
		return err
	}
	defer session.Close()
	ids := kernelIDs(common.Kernels, session.Release)
	for _, of := range ids {
		if err := results.CheckNew(options.Root, id+"-"+of); err != nil {
			return err
		}
	}
	var summaries []runner.Summary
	for i, name := range common.Kernels {
		options.Kernel, options.ID = name, id+"-"+ids[i]
		summary, runErr := session.Run(ctx, options)
		if err := printRun(out, summary); err != nil || runErr != nil {
			return errors.Join(runErr, err)
		}
		fmt.Fprintln(out)
		summaries = append(summaries, summary)
	}
	all, err := together(summaries)
	if err != nil {
		return err
	}
	if err := writeReports(files, all.Report(), out); err != nil {
		return err
	}
	for _, other := range summaries[1:] {
		found, err := results.CompareBehaviour(summaries[0].Run, other.Run, false)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "Kernel %s (%s) against %s (%s):\n\n", other.Kernel, other.Run.ID(), summaries[0].Kernel, summaries[0].Run.ID())
		if err := found.Table(out, results.Terminal(os.Stdout)); err != nil {
			return err
		}
		fmt.Fprintln(out)
	}
	if !all.OK() {
		return errFailed
	}
	return nil
}

// kernelIDs are what kernels are called in the names of their runs. Two can be of one release: before and after a change, say.
func kernelIDs(names []string, release func(string) string) []string {
	ids := make([]string, len(names))
	for i, name := range names {
		id := idOf(name, release(name))
		ids[i] = id
		for n := 2; slices.Contains(ids[:i], ids[i]); n++ {
			ids[i] = fmt.Sprintf("%s-%d", id, n)
		}
	}
	return ids
}

// idOf is what a kernel is called in the name of its run: the version by which it was asked for, or
// the release of one that was named by its path.
func idOf(name, release string) string {
	if !strings.HasPrefix(release, name) {
		name = release
	}
	return strings.ReplaceAll(name, "+", "-")
}

// together is what several runs came to. It is not OK if anything failed on any kernel, or if nothing passed on all
// of them: a scenario may be for some kernels only.
func together(summaries []runner.Summary) (runner.Summary, error) {
	var all runner.Summary
	var reports []results.Report
	for _, summary := range summaries {
		reports = append(reports, summary.Report())
		all.Selected += summary.Selected
	}
	report, err := results.Join(reports...)
	all.Records, all.Focused = report.Records, report.Focused
	return all, err
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

func labels(all []string) []string {
	var shown []string
	for _, label := range all {
		shown = append(shown, text.Printable(label))
	}
	return shown
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
			printSuites(command.OutOrStdout(), suites)
			return nil
		},
	}
	addFilterFlags(command, &filter)
	return command
}

func printSuites(out io.Writer, suites []*runner.Suite) {
	for _, suite := range suites {
		if suite.LeftOut {
			continue
		}
		if !suite.Ginkgo {
			fmt.Fprintf(out, "%s\n    go test %s\n", text.Printable(suite.Name), text.Printable(suite.Path))
			continue
		}
		fmt.Fprintf(out, "%s\n", text.Printable(suite.Name))
		for _, spec := range suite.Specs {
			switch {
			case spec.Pending:
				fmt.Fprintf(out, "    %s %v (pending)\n", text.Printable(spec.Text), labels(spec.Labels))
			case spec.Selected:
				fmt.Fprintf(out, "    %s %v\n", text.Printable(spec.Text), labels(spec.Labels))
			}
		}
	}
}
