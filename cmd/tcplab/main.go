// Tcplab runs experiments with the TCP of a real kernel on impaired links.
//
// See "tcplab --help", and the README for what a suite looks like.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/progress"
	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/peers"
	"github.com/tcplab/tcplab/results"
)

// Exit statuses, beside 0 for success, those after a signal, and those of diagnose (diagnose.ExitStatuses).
const (
	exitFailed = 1 // a scenario failed, or a comparison found differences
	exitUsage  = 2 // bad arguments, or something that is missing on this machine
)

// errFailed ends the command with exitFailed; what failed has been printed.
var errFailed = errors.New("failed")

// exitStatus ends the command with that status; what it means has been printed.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

func main() {
	// Guests run this very program as their /init, hosts as a peer, and a sweep as its suite.
	guest.Main()
	peers.Main()
	cell.Main()

	var interrupted interruption
	ctx := interrupted.until(context.Background())
	display := progress.New(os.Stdout)
	root := newRoot()
	flush := connect(root, display, os.Stderr, results.Terminal(os.Stdout).Colour)
	err := root.ExecuteContext(progress.With(ctx, display))
	flush()
	display.Close()
	if status, yes := interrupted.status(err); yes {
		if message := interrupted.message(err); message != "" {
			complain(root, errors.New(message))
		}
		os.Exit(status)
	}
	var own exitStatus
	switch {
	case err == nil:
	case errors.Is(err, errFailed):
		os.Exit(exitFailed)
	case errors.As(err, &own):
		os.Exit(int(own))
	default:
		complain(root, err)
		os.Exit(exitUsage)
	}
}

// connect has the command print there, and nothing past package text: what specs, captures, packages and programs are
// called and say gives no orders to a terminal, and a pipe gets no colours.
func connect(root *cobra.Command, stdout, stderr io.Writer, colour bool) (flush func()) {
	out, errOut := text.NewWriter(stdout, colour), text.NewWriter(stderr, false)
	root.SetOut(out)
	root.SetErr(errOut)
	return func() { _ = errors.Join(out.Flush(), errOut.Flush()) } // of what is left no command tells
}

// complain says why the command could not do what it was asked for.
func complain(root *cobra.Command, err error) { fmt.Fprintln(root.ErrOrStderr(), "tcplab:", err) }

// printsData is for a command whose standard output is for other programs: what takes long says so on standard error.
func printsData(command *cobra.Command) *cobra.Command {
	return before(command, func(command *cobra.Command) {
		command.SetContext(progress.With(command.Context(), progress.New(os.Stderr)))
	})
}

// before has something done before a command runs, behind what was asked for so before.
func before(command *cobra.Command, do func(*cobra.Command)) *cobra.Command {
	earlier := command.PreRun
	command.PreRun = func(command *cobra.Command, args []string) {
		if earlier != nil {
			earlier(command, args)
		}
		do(command)
	}
	return command
}

// columns is how wide text is printed: as standard output is, within limits.
func columns(least, most int) int { return min(max(results.Terminal(os.Stdout).Width, least), most) }

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
	root.AddCommand(
		newRun(), newSeeds(), newReproducible(), newKernels(), newDoctor(), newSetup(), newPeer(),
		endsAtOnce(newReport()), endsAtOnce(newShow()), endsAtOnce(newPlot()), endsAtOnce(newCompare()), endsAtOnce(newMerge()), endsAtOnce(newOracle()), endsAtOnce(newProfiles()), endsAtOnce(newDecode()),
		newWatch(), printsData(newDiagnose()), printsData(newList()), printsData(newAnalyze()), printsData(newProbe()), printsData(newTune()), printsData(newSweep()), printsData(newPapers()),
	)
	return root
}
