package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/internal/show"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/results"
)

func newShow() *cobra.Command {
	var o show.Options
	command := &cobra.Command{
		Use:   "show [RUN] SCENARIO | show CAPTURE",
		Short: "Show one scenario in the terminal: metrics, plots, the ladder of its packets",
		Long: `Show one scenario of a run (a folder below results/; default: results/latest), or a capture: its metrics
with their bounds as bars, what was found, round trips, goodput, windows and queues as small plots,
and a ladder: a line for each packet, those that died with a cross. SCENARIO is a regular expression
that only one scenario's suite and text match. tcplab report --format html draws more of it.`,
		Example: `  tcplab show 'two lost tail segments'
  tcplab show results/today-6.1 'retransmission: waits for the RTO' --around 28
  tcplab show theirs.pcapng --connection 3 --all | less`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(command *cobra.Command, args []string) error {
			if o.Around < 0 {
				return fmt.Errorf("--around %d: frames are counted from 1", o.Around)
			}
			o.Columns, o.Colour = columns(80, 200), results.Terminal(os.Stdout).Colour
			if len(args) == 1 && areFiles(args) {
				p, err := picture.OfCapture(args[0])
				if err != nil {
					return err
				}
				return show.Capture(command.OutOrStdout(), args[0], p, o)
			}
			run := filepath.Join("results", results.Latest)
			if len(args) == 2 {
				run = args[0]
			}
			record, err := scenarioOf(run, args[len(args)-1])
			if err != nil {
				return err
			}
			return show.Record(command.OutOrStdout(), record, picture.OfScenario(record), o)
		},
	}
	flags := command.Flags()
	flags.IntVar(&o.Connection, "connection", 0, "which of several, from 0")
	flags.IntVar(&o.Around, "around", 0, "show the ladder around a frame")
	flags.BoolVar(&o.All, "all", false, "show all of the ladder, and fold nothing")
	return command
}

// scenarioOf is the one scenario of a run that a pattern matches.
func scenarioOf(path, pattern string) (*results.Record, error) {
	wanted, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("SCENARIO: %w", err)
	}
	run, err := results.Open(path)
	if err != nil {
		return nil, err
	}
	records, err := run.Records()
	if err != nil {
		return nil, err
	}
	var found []*results.Record
	for _, r := range records {
		if name := r.Suite + ": " + r.Scenario; wanted.MatchString(name) {
			if name == pattern {
				return r, nil
			}
			found = append(found, r)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return nil, fmt.Errorf("no scenario of %s matches %q: tcplab report %s lists them", path, pattern, path)
	}
	const most = 10
	var names []string
	for _, r := range found[:min(len(found), most)] {
		names = append(names, "  "+text.Printable(r.Suite+": "+r.Scenario))
	}
	if len(found) > most {
		names = append(names, fmt.Sprintf("  and %d more", len(found)-most))
	}
	return nil, fmt.Errorf("%d scenarios of %s match %q: say more of the one\n%s", len(found), path, pattern, strings.Join(names, "\n"))
}
