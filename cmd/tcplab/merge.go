package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/sweep"
)

func newMerge() *cobra.Command {
	var asJSON bool
	var output figureFile
	command := &cobra.Command{
		Use:   "merge FILE...",
		Short: "Put the parts of a sweep together that several machines have measured",
		Long: `Put the parts of a sweep together. Each FILE is what tcplab sweep --shard N/M --json has printed.
All parts have to be there, each once, of the same grid and seeds, on the same kernel. -o draws them, as of
tcplab sweep.`,
		Example: `  tcplab merge parts/*.json -o sweep.pdf
  tcplab merge parts/*.json --json > sweep.json`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, paths []string) error {
			var parts []sweep.Result
			for _, path := range paths {
				part, err := readSweep(path)
				if err != nil {
					return err
				}
				parts = append(parts, part)
			}
			merged, err := sweep.Merge(parts)
			if err != nil {
				return fmt.Errorf("merge: %w", err)
			}
			if err := output.check(merged.Figure); err != nil {
				return err
			}
			return newSweepReport(merged, asJSON, output).print(command, nil)
		},
	}
	output.add(command)
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the values of each seed; times are in seconds")
	return command
}

// readSweep reads a file that tcplab sweep --json has printed.
func readSweep(path string) (sweep.Result, error) {
	file, err := os.Open(path)
	if err != nil {
		return sweep.Result{}, err
	}
	defer file.Close()
	result, err := sweep.ReadResult(file)
	if err != nil {
		return sweep.Result{}, fmt.Errorf("%s: %w", path, err)
	}
	return result, nil
}
