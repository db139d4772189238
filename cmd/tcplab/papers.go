package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/sweep"
)

func newPapers() *cobra.Command {
	var session runner.SessionOptions
	var options runner.RunOptions
	var seeds string
	var asJSON bool
	var names []string
	for _, p := range sweep.Papers {
		names = append(names, p.Name)
	}
	command := &cobra.Command{
		Use:   "papers [NAME]",
		Short: "Measure a published figure again, with theirs beside ours",
		Long: `Measure a published figure again, in virtual time, and print what the paper says beside it. NAME is one of
` + strings.Join(names, ", ") + `; without it they are listed.

Each cell of a figure is a measurement as of tcplab sweep, and comes from the cache the second time.`,
		Example: `  tcplab papers
  tcplab papers bbr-loss
  tcplab papers ware --seeds 1-6 --kernel 6.12`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			out := command.OutOrStdout()
			if len(args) == 0 {
				for _, p := range sweep.Papers {
					if _, err := fmt.Fprintf(out, "%-10s %s\n", p.Name, p.Title); err != nil {
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
			paper := sweep.Papers[at]
			list, err := parseSeeds(seeds)
			if err != nil {
				return err
			}
			cells, err := paper.Grid.Cells()
			if err != nil {
				return err
			}
			options.MemoryMiB = cmp.Or(options.MemoryMiB, paper.Memory)
			result, err := measure(command, session, options, cells, sweep.Shard{}, list)
			if len(result.Points)+len(result.Failed) == 0 || err != nil {
				return err
			}
			if asJSON {
				err = writeJSON(out, result)
			} else {
				err = result.PaperTable(out, paper)
			}
			if err == nil && len(result.Failed) > 0 {
				err = errFailed
			}
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&seeds, "seeds", "1", "such as 1-6")
	flags.BoolVar(&asJSON, "json", false, "print JSON, with the values of each seed")
	flags.StringVar(&options.Root, "results", "results/sweeps", "folder in which each seed's run makes its own")
	addGuestFlags(command, &session, &options)
	return command
}
