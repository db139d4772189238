package main

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/figure"
	"github.com/tcplab/tcplab/internal/picture"
	"github.com/tcplab/tcplab/results"
)

func newPlot() *cobra.Command {
	var o figure.Options
	var output string
	command := &cobra.Command{
		Use:   "plot [RUN] SCENARIO --what PLOT -o FILE | plot CAPTURE --what PLOT -o FILE",
		Short: "Draw one plot of a scenario, or of a capture, for a paper or slides",
		Long: `Draw one plot of a scenario of a run (a folder below results/; default: results/latest), or of a capture:

  tsg      time-sequence: segments, ACK line, window, SACK blocks, retransmissions with a letter for
           their cause, and what the link dropped
  cwnd     congestion window, slow start threshold, segments in flight
  rtt      round trips, and the kernel's srtt and RTO
  queue    the backlog of link ends
  goodput  what was acknowledged, pacing rate, delivery rate
  ladder   packets between hosts; it has 150 rows at most, with long runs folded: --from and --to choose

The file's name says the format: .svg, .pdf (vector graphics without fonts) or .png (300 dpi). It can be
read in black and white: dashes, shapes and letters tell things apart. The same input gives the same file.
SCENARIO is a regular expression that only one scenario's suite and text match. What there is to draw
depends on what the scenario recorded; docs/report.md says how to read each plot.`,
		Example: `  tcplab plot 'two lost tail segments' --what tsg -o tailloss.pdf
  tcplab plot results/today-6.1 'BBR cycles' --what rtt --from 2s --to 6s -o rtt.svg
  tcplab plot theirs.pcapng --connection 3 --what ladder -o ladder.png`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(command *cobra.Command, args []string) error {
			o.Format = figureFile(output).format()
			if output == "" {
				return fmt.Errorf("--output: name a file that ends in .%s", strings.Join(figure.Formats, ", ."))
			}
			if err := o.Check(); err != nil {
				return fmt.Errorf("plot: %w", err)
			}
			p, title, err := pictureOf(args)
			if err != nil {
				return err
			}
			o.Title = title
			if err := writeTo(command.OutOrStdout(), "plot", output, func(w io.Writer) error { return figure.Write(w, p, o) }); err != nil {
				return fmt.Errorf("plot %s of %s: %w", o.What, title, err)
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.What, "what", figure.Names[0], "one of "+strings.Join(figure.Names, ", "))
	flags.StringVarP(&output, "output", "o", "", "the file: its name ends in .svg, .pdf or .png")
	flags.IntVar(&o.Connection, "connection", 0, "which of several, from 0")
	flags.IntVar(&o.View, "place", 0, "where it was captured, if at several places, from 0: the first is the sender's")
	flags.StringVar(&o.Side, "data", "", "of client or server (default: who sent more)")
	flags.DurationVar(&o.From, "from", 0, "draw from that time, such as 200ms")
	flags.DurationVar(&o.To, "to", 0, "draw until that time")
	flags.Float64Var(&o.Width, "width", 0, "of the figure, in millimetres (default 150)")
	flags.Float64Var(&o.Height, "height", 0, "of the figure, in millimetres (default 95, and of a ladder what it needs)")
	return command
}

// pictureOf is the picture of a capture, or of a scenario of a run, with its name.
func pictureOf(args []string) (*picture.Picture, string, error) {
	if len(args) == 1 && areFiles(args) {
		p, err := picture.OfCapture(args[0])
		return p, filepath.Base(args[0]), err
	}
	run := filepath.Join("results", results.Latest)
	if len(args) == 2 {
		run = args[0]
	}
	record, err := scenarioOf(run, args[len(args)-1])
	if err != nil {
		return nil, "", err
	}
	return picture.OfScenario(record), record.Suite + ": " + record.Scenario, nil
}
