package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/results"
)

func newCompare() *cobra.Command {
	return &cobra.Command{
		Use:   "compare RUN RUN",
		Short: "Compare two runs byte for byte",
		Long: `Compare the records and files of two runs (folders below results/) byte for byte. Only a
record's "host" part, which has wall times, is left out. It exits with 1 if anything differs.`,
		Args: cobra.ExactArgs(2),
		RunE: func(command *cobra.Command, args []string) error {
			a, err := results.Open(args[0])
			if err != nil {
				return err
			}
			b, err := results.Open(args[1])
			if err != nil {
				return err
			}
			differences, err := results.Compare(a, b)
			if err != nil {
				return err
			}
			for _, difference := range differences {
				fmt.Fprintln(command.OutOrStdout(), difference)
			}
			records, err := a.Records()
			if err != nil {
				return err
			}
			if len(differences) > 0 {
				fmt.Fprintf(command.OutOrStdout(), "%d files differ between %s and %s\n", len(differences), a.ID(), b.ID())
				return errFailed
			}
			if len(records) == 0 {
				return fmt.Errorf("%s has no records to compare", args[0])
			}
			fmt.Fprintf(command.OutOrStdout(), "%d scenarios: every byte the same\n", len(records))
			return nil
		},
	}
}
