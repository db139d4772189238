package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/sweep"
)

// sweepOptions are a grid as text.
type sweepOptions struct {
	flows                   []string
	rate, rtt, loss, buffer string
	sysctls                 []string
	seeds                   string
	duration                time.Duration
	asJSON                  bool
	session                 runner.SessionOptions
	run                     runner.RunOptions
}

func newSweep() *cobra.Command {
	var o sweepOptions
	command := &cobra.Command{
		Use:   "sweep --cc CONTROL,... --rate RATE --rtt TIME",
		Short: "Measure congestion controls on a grid of paths, in virtual time",
		Long: `Measure bulk flows on each path of a grid: congestion controls by rates, round-trip times, buffers and
losses. Each combination is a cell, which has a guest of its own in virtual time, and comes from the
cache when it was measured before with the same inputs. So a sweep that is ended, or to which values
are added, goes on where it was.

Values are listed with commas, or as a range of N values from first to last: 0.01%..10%/7. Flows that
share a bottleneck have plus signs between them: bbr+cubic, bbr+16*cubic.

The bottleneck is netem's: rate, random loss before a drop-tail queue, and --buffer packets in it (or
bandwidth-delay products: 2bdp). The delay is on the way back.`,
		Example: `  tcplab sweep --cc cubic,bbr --loss 0.01%..10%/4 --rate 20mbit --rtt 100ms --duration 30s
  tcplab sweep --cc bbr+cubic --buffer 1bdp..16bdp/5 --rate 10mbit --rtt 40ms --duration 2m --seeds 1-6
  tcplab sweep --cc cubic --rate 50mbit --rtt 100ms --sysctl tcp_wmem="4096 16384 1048576" --json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := refuseNone(command); err != nil {
				return err
			}
			return o.sweep(command)
		},
	}
	flags := command.Flags()
	flags.StringSliceVar(&o.flows, "cc", nil, "congestion controls of the sender; several flows that share a path with + between them")
	flags.StringVar(&o.rate, "rate", "", "of the bottleneck: 20mbit")
	flags.StringVar(&o.rtt, "rtt", "", "round-trip time without a queue: 100ms")
	flags.StringVar(&o.loss, "loss", "0%", "random loss of the data's direction")
	flags.StringVar(&o.buffer, "buffer", "1bdp", "what the bottleneck holds: packets, or bandwidth-delay products (at least 64 packets for 1bdp)")
	flags.DurationVar(&o.duration, "duration", 30*time.Second, "of each cell, in virtual time")
	flags.StringArrayVar(&o.sysctls, "sysctl", nil, "a setting of all hosts, such as tcp_wmem=\"4096 16384 16777216\" (repeatable)")
	flags.StringVar(&o.seeds, "seeds", "1", "such as 1-6, or 1-5,42")
	flags.BoolVar(&o.asJSON, "json", false, "print JSON, with the values of each seed; times are in seconds")
	flags.StringVar(&o.run.Root, "results", "results/sweeps", "folder in which each seed's run makes its own")
	addGuestFlags(command, &o.session, &o.run)
	for _, name := range []string{"cc", "rate", "rtt"} {
		_ = command.MarkFlagRequired(name) // it is there
	}
	return command
}

func (o *sweepOptions) grid() (g sweep.Grid, err error) {
	for _, text := range o.flows {
		flows, err := sweep.ParseFlows(text)
		if err != nil {
			return g, fmt.Errorf("--cc %w", err)
		}
		g.Flows = append(g.Flows, flows)
	}
	if g.Rates, err = sweep.ParseRates(o.rate); err != nil {
		return g, fmt.Errorf("--rate: %w", err)
	}
	if g.RTTs, err = sweep.ParseTimes(o.rtt); err != nil {
		return g, fmt.Errorf("--rtt: %w", err)
	}
	if g.Losses, err = sweep.ParseLosses(o.loss); err != nil {
		return g, fmt.Errorf("--loss: %w", err)
	}
	if o.buffer == "1bdp" {
		g.Buffers = []sweep.Buffer{{}}
	} else if g.Buffers, err = sweep.ParseBuffers(o.buffer); err != nil {
		return g, fmt.Errorf("--buffer: %w", err)
	}
	for _, text := range o.sysctls {
		key, value, err := sweep.ParseSysctl(text)
		if err != nil {
			return g, fmt.Errorf("--sysctl %s: %w", text, err)
		}
		if g.Sysctls == nil {
			g.Sysctls = map[string]string{}
		}
		g.Sysctls[key] = value
	}
	g.Duration = o.duration
	return g, nil
}

func (o *sweepOptions) sweep(command *cobra.Command) error {
	grid, err := o.grid()
	if err != nil {
		return err
	}
	cells, err := grid.Cells()
	if err != nil {
		return err
	}
	seeds, err := parseSeeds(o.seeds)
	if err != nil {
		return err
	}
	result, err := measure(command, o.session, o.run, cells, seeds)
	out := command.OutOrStdout()
	if len(result.Points)+len(result.Failed) > 0 {
		printErr := printSweep(out, result, o.asJSON)
		if err == nil {
			err = printErr
		}
	}
	if err == nil && len(result.Failed) > 0 {
		err = errFailed
	}
	return err
}

// measure runs cells. What it says on the way is not what it comes to: that goes to standard error.
func measure(command *cobra.Command, session runner.SessionOptions, options runner.RunOptions, cells []cell.Cell, seeds []uint64) (sweep.Result, error) {
	session.Clock, session.Log = runner.Virtual, command.ErrOrStderr()
	return sweep.Run(command.Context(), session, options, cells, seeds)
}

func printSweep(out io.Writer, result sweep.Result, asJSON bool) error {
	if asJSON {
		return writeJSON(out, result)
	}
	return result.Table(out)
}
