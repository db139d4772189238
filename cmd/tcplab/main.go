// Tcplab runs experiments with the TCP of a real kernel on impaired links.
//
// See "tcplab --help", and the README for what a suite looks like.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/vm/guest"
	"github.com/tcplab/tcplab/internal/progress"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/peers"
)

// Exit statuses, beside 0 for success and those after a signal.
const (
	exitFailed = 1 // a scenario failed, or a comparison found differences
	exitUsage  = 2 // bad arguments, or something that is missing on this machine
)

// errFailed ends the command with exitFailed; what failed has been printed.
var errFailed = errors.New("failed")

func main() {
	// Guests run this very program as their /init, and hosts run it as a peer.
	guest.Main()
	peers.Main()

	var interrupted interruption
	ctx := interrupted.until(context.Background())
	display := progress.New(os.Stdout)
	root := newRoot()
	root.SetOut(display)
	err := root.ExecuteContext(progress.With(ctx, display))
	display.Close()
	if status, yes := interrupted.status(err); yes {
		if message := interrupted.message(err); message != "" {
			fmt.Fprintln(os.Stderr, "tcplab:", text.PrintableLines(message))
		}
		os.Exit(status)
	}
	switch {
	case err == nil:
	case errors.Is(err, errFailed):
		os.Exit(exitFailed)
	default:
		fmt.Fprintln(os.Stderr, "tcplab:", text.PrintableLines(err.Error()))
		os.Exit(exitUsage)
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "tcplab",
		Short: "See what kernel TCP does on a bad network",
		Long: `tcplab runs scenarios: hosts (network namespaces), impaired links (netem) and pairs of
programs, with assertions on what the kernel's TCP did. On a kernel with netem, as root, they
run in real time; anywhere else in a guest kernel in virtual time, where the same seed gives
the same bytes.`,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newRun(), newList(), endsAtOnce(newAnalyze()), newSetup(), newKernels(), newDoctor(),
		endsAtOnce(newCompare()), newReproducible(), newSeeds(), endsAtOnce(newOracle()), endsAtOnce(newProfiles()), newPeer())
	return root
}
