package main

import (
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/impair/profiles"
)

func newProfiles() *cobra.Command {
	return &cobra.Command{
		Use:   "profiles [NAME...]",
		Short: "List the links with a name, or show some of them with their sources",
		Example: `  tcplab profiles
  tcplab profiles apple-lte bad-wifi`,
		RunE: func(command *cobra.Command, names []string) error {
			out := command.OutOrStdout()
			if len(names) == 0 {
				return listProfiles(out)
			}
			var shown []profiles.Profile
			for _, name := range names {
				p, err := profiles.Get(name)
				if err != nil {
					return err
				}
				shown = append(shown, p)
			}
			for _, p := range shown {
				showProfile(out, p)
			}
			return nil
		},
	}
}

func listProfiles(out io.Writer) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tDOWN\tUP\tDELAY\tROUND TRIP\tLOSS\tTITLE")
	for _, p := range profiles.All() {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%v\t%s\t%s\n", p.Name,
			profiles.Rate(p.DownRate), profiles.Rate(p.UpRate), p.Delay(), p.RTT(), p.Loss(), p.Title)
	}
	return table.Flush()
}

func showProfile(out io.Writer, p profiles.Profile) {
	fmt.Fprintf(out, "%s: %s\n", p.Name, p.Title)
	fmt.Fprintf(out, "  down      %v\n  up        %v\n", p.Down(), p.Up())
	fmt.Fprintf(out, "  source    %s\n            (it counts delay %s)\n", p.Source, p.Counted)
	if p.Doubt != "" {
		fmt.Fprintf(out, "  doubt     %s\n", p.Doubt)
	}
}
