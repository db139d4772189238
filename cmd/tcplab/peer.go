package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/peers"
)

func newPeer() *cobra.Command {
	return &cobra.Command{
		Use:   "peer PROGRAM [CONFIG]",
		Short: "Run one of the paired programs by hand",
		Long: `Run one of the paired programs by hand, in this process: ` + strings.Join(peers.Programs(), ", ") + `.
CONFIG is its configuration in JSON, as it stands in a record. What it has to say comes out
as lines of JSON; ^C asks it to finish and report.`,
		Example: `  tcplab peer bulk-server '{"listen":"127.0.0.1:5201"}'
  tcplab peer bulk-client '{"connect":"127.0.0.1:5201","bytes":100000000}'
  tcplab peer script '{"connect":"127.0.0.1:80","steps":[{"do":"write","bytes":100},{"do":"close-write"},{"do":"read-all"}]}'`,
		Args: cobra.RangeArgs(1, 2),
		RunE: func(command *cobra.Command, args []string) error {
			config := "{}"
			if len(args) == 2 {
				config = args[1]
			}
			if err := peers.Run(command.Context(), args[0], []byte(config), os.Stdin, command.OutOrStdout()); err != nil {
				return fmt.Errorf("peer %s: %w", args[0], err)
			}
			return nil
		},
	}
}
