package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/figure"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/sweep"
)

// papersOptions are what papers is asked for.
type papersOptions struct {
	session runner.SessionOptions
	run     runner.RunOptions
	seeds   string
	from    string
	output  figureFile
	asJSON  bool
}

func newPapers() *cobra.Command {
	var o papersOptions
	var names []string
	for _, p := range sweep.Papers {
		names = append(names, p.Name)
	}
	command := &cobra.Command{
		Use:   "papers [NAME]",
		Short: "Measure a published figure again, with theirs beside ours",
		Long: `Measure a published figure again, in virtual time, and print what the paper says beside it. NAME is one of
` + strings.Join(names, ", ") + `; without it they are listed.

Each cell of a figure is a measurement as of tcplab sweep, and comes from the cache the second time.
-o draws the figure, in the format that the file's name says: what was measured as marks, with their
confidence interval where there are several seeds, models as dashed lines, and what others have measured
as open marks. --from takes what --json has printed, and measures nothing.`,
		Example: `  tcplab papers
  tcplab papers bbr-loss -o bbr-loss.svg
  tcplab papers ware --seeds 1-6 --kernel 6.12 --json > ware.json
  tcplab papers ware --from ware.json -o ware.pdf`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if len(args) == 0 {
				if o.output != "" || o.from != "" {
					return errors.New("name a paper: tcplab papers lists them")
				}
				for _, p := range sweep.Papers {
					if _, err := fmt.Fprintf(command.OutOrStdout(), "%-10s %s\n", p.Name, p.Title); err != nil {
						return err
					}
				}
				return nil
			}
			at := slices.Index(names, args[0])
			if at < 0 {
				return fmt.Errorf("%q: there is no such paper here: name one of %s", args[0], strings.Join(names, ", "))
			}
			if err := refuseNone(command); err != nil {
				return err
			}
			return o.papers(command, sweep.Papers[at])
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.seeds, "seeds", "1-3", "such as 1-6")
	flags.BoolVar(&o.asJSON, "json", false, "print JSON, with the values of each seed")
	flags.StringVar(&o.from, "from", "", "a file that --json has printed: measure nothing")
	flags.StringVar(&o.run.Root, "results", "results/sweeps", "folder in which each seed's run makes its own")
	o.output.add(command)
	addGuestFlags(command, &o.session, &o.run)
	for _, name := range []string{"seeds", "kernel"} {
		command.MarkFlagsMutuallyExclusive("from", name)
	}
	return command
}

// papers measures a paper, or reads what was measured, and prints and draws it.
func (o *papersOptions) papers(command *cobra.Command, paper sweep.Paper) error {
	seeds, err := parseSeeds(o.seeds)
	if err != nil {
		return err
	}
	cells, err := paper.Cells()
	if err != nil {
		return err
	}
	var result sweep.Result
	if o.from != "" {
		if result, err = o.read(paper); err == nil {
			err = o.output.check(func() (figure.Graph, error) { return result.PaperFigure(paper) })
		}
	} else {
		err = o.output.check(func() (figure.Graph, error) { return sweep.Unmeasured(cells, o.session.Kernels).PaperFigure(paper) })
		if err == nil {
			result, err = o.measure(command, paper, cells, seeds)
		}
	}
	if err != nil {
		return err
	}
	report := sweepReport{result: result, asJSON: o.asJSON, output: o.output}
	report.table = func(w io.Writer) error { return result.PaperTable(w, paper) }
	report.graph = func() (figure.Graph, error) { return result.PaperFigure(paper) }
	return report.print(command, nil)
}

func (o *papersOptions) measure(command *cobra.Command, paper sweep.Paper, cells []cell.Cell, seeds []uint64) (sweep.Result, error) {
	o.run.MemoryMiB = cmp.Or(o.run.MemoryMiB, paper.Memory)
	return measure(command, o.session, o.run, cells, sweep.Shard{}, seeds)
}

// read reads what --json has printed.
func (o *papersOptions) read(paper sweep.Paper) (sweep.Result, error) {
	file, err := os.Open(o.from)
	if err != nil {
		return sweep.Result{}, fmt.Errorf("--from: %w", err)
	}
	defer file.Close()
	result, err := sweep.PaperResult(file, paper)
	if err != nil {
		return sweep.Result{}, fmt.Errorf("--from %s: %w", o.from, err)
	}
	return result, nil
}
