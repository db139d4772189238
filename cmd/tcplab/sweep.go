package main

import (
	"cmp"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/cell"
	"github.com/tcplab/tcplab/internal/figure"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/sweep"
)

// sweepOptions are a grid as text.
type sweepOptions struct {
	text    sweep.Text
	file    string
	sysctls []string
	shard   string
	asJSON  bool
	output  figureFile
	session runner.SessionOptions
	run     runner.RunOptions
}

func newSweep() *cobra.Command {
	var o sweepOptions
	command := &cobra.Command{
		Use:   "sweep --cc CONTROL,... --rate RATE --rtt TIME | -f FILE",
		Short: "Measure congestion controls on a grid of paths, in virtual time",
		Long: `Measure flows on each path of a grid: congestion controls by rates, round-trip times, queues, buffers
and losses. Each combination is a cell, which has a guest of its own in virtual time, and comes from the
cache when it was measured before with the same inputs. So a sweep that is ended, or to which values
are added, goes on where it was.

Values are listed with commas, or as a range of N values from first to last: 0.01%..10%/7. Flows that
share a bottleneck have plus signs between them: bbr+cubic, bbr+16*cubic. A flow can begin later
(bbr+cubic:after=5s), have a longer way (cubic+cubic:rtt=80ms), go the other way (cubic+cubic:back), send
bursts (cubic+reno:bursts=1s:size=100kb) or requests whose answers are timed (cubic+cubic:requests=100ms).

With --bottlenecks there are several in a row, a parking lot: a flow passes all of them, or one
(cubic+cubic:at=1+cubic:at=2).

The bottleneck is netem's: rate, random loss before a drop-tail queue, and --buffer packets in it (or
bandwidth-delay products: 2bdp). The delay is on the way back. With --queue it is a token bucket with
that discipline, as tc(8) writes it, or cake; loss is behind it then.

-f reads the grid from a file: YAML with the names of these options, and sysctls, a list of sets
(docs/congestion.md). --shard, --jobs, --fresh and --share are for the command line only.
-o draws goodput over the dimension of which there are most values, with a series for all else.
--shard 3/16 measures a part, for one of 16 machines; tcplab merge puts the parts together, from what
--json has printed, and tcplab compare compares two sweeps.`,
		Example: `  tcplab sweep --cc cubic,bbr --loss 0.01%..10%/4 --rate 20mbit --rtt 100ms --duration 30s
  tcplab sweep --cc cubic,bbr --loss 0.01%..10%/7 --rate 20mbit --rtt 100ms -o loss.svg
  tcplab sweep --cc bbr+cubic --buffer 1bdp..16bdp/5 --rate 10mbit --rtt 40ms --duration 2m --seeds 1-6
  tcplab sweep --cc cubic+cubic:requests=100ms --queue "droptail,fq_codel,cake flows" --rate 10mbit --rtt 40ms
  tcplab sweep --cc cubic --rate 50mbit --rtt 100ms --sysctl tcp_wmem="4096 16384 1048576" --json
  tcplab sweep -f sweep.yaml --shard 3/16 --json > 3.json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := refuseNone(command); err != nil {
				return err
			}
			return o.sweep(command)
		},
	}
	flags := command.Flags()
	words := func(into *sweep.Words, name, usage string) { flags.StringArrayVar((*[]string)(into), name, nil, usage) }
	words(&o.text.Flows, "cc", "congestion controls of the sender; several flows that share a path with + between them")
	words(&o.text.Rate, "rate", "of the bottleneck: 20mbit")
	words(&o.text.RTT, "rtt", "round-trip time without a queue: 100ms")
	words(&o.text.InARow, "bottlenecks", "how many are in a row: a flow passes all, or, as cubic:at=2, one of them (default 1)")
	words(&o.text.Jitter, "jitter", "of the way back, in order (default none)")
	words(&o.text.Loss, "loss", "random loss of the data's direction (default none)")
	words(&o.text.LossBurst, "loss-burst", "how many packets are lost together, on average (default 1)")
	words(&o.text.Queue, "queue", "how packets wait: droptail (netem's, the default), pfifo, fq_codel, codel, pie, red, cake, fq, dualpi2, with options as tc's")
	words(&o.text.Buffer, "buffer", "what the bottleneck holds: packets, bytes (250kb), or bandwidth-delay products (default 1bdp, at least 64 packets; of a --queue its own)")
	words(&o.text.Pacing, "pacing", "on: senders have fq, which paces; off (default): TCP paces by itself where it does; on,off measures both")
	flags.StringVar(&o.text.Duration, "duration", "30s", "of each cell, in virtual time")
	flags.StringArrayVar(&o.sysctls, "sysctl", nil, "a setting of all hosts, such as tcp_wmem=\"4096 16384 16777216\" (repeatable)")
	flags.StringVarP(&o.file, "file", "f", "", "a file that has the grid, in place of options; - is standard input")
	flags.StringVar(&o.text.Seeds, "seeds", "1", "such as 1-6, or 1-5,42")
	flags.StringVar(&o.shard, "shard", "", "measure a part of the grid: 3/16 is the third of 16")
	flags.BoolVar(&o.asJSON, "json", false, "print JSON, with the values of each seed; times are in seconds")
	flags.StringVar(&o.run.Root, "results", "results/sweeps", "folder in which each seed's run makes its own")
	o.output.add(command)
	addGuestFlags(command, &o.session, &o.run)
	for _, name := range []string{"cc", "rate", "rtt", "bottlenecks", "jitter", "loss", "loss-burst", "queue", "buffer", "pacing", "duration", "sysctl"} {
		command.MarkFlagsMutuallyExclusive("file", name)
	}
	command.MarkFlagsMutuallyExclusive("output", "shard") // a part may be one cell: tcplab merge draws all
	return command
}

// read is the grid, of the options or of the file, and what the file says beside, where no option says it.
func (o *sweepOptions) read(command *cobra.Command) (sweep.Grid, error) {
	if o.file == "" {
		if len(o.sysctls) > 0 {
			set := sweep.SysctlText{}
			for _, text := range o.sysctls {
				key, value, err := sweep.ParseSysctl(text)
				if err != nil {
					return sweep.Grid{}, fmt.Errorf("--sysctl %s: %w", text, err)
				}
				set[key] = value
			}
			o.text.Sysctls = []sweep.SysctlText{set}
		}
		return o.text.Grid("--")
	}
	in := command.InOrStdin()
	if o.file != "-" {
		file, err := os.Open(o.file)
		if err != nil {
			return sweep.Grid{}, err
		}
		defer file.Close()
		in = file
	}
	text, err := sweep.ReadText(in)
	var grid sweep.Grid
	if err == nil {
		grid, err = text.Grid("")
	}
	if err != nil {
		return sweep.Grid{}, fmt.Errorf("%s: %w", o.file, err)
	}
	said := command.Flags().Changed
	if text.Seeds != "" && !said("seeds") {
		o.text.Seeds = text.Seeds
	}
	if len(text.Kernel) > 0 && !said("kernel") {
		o.session.Kernels = text.Kernel
	}
	o.run.MemoryMiB = cmp.Or(o.run.MemoryMiB, text.Memory)
	o.run.MIPS = cmp.Or(o.run.MIPS, text.MIPS)
	return grid, nil
}

func (o *sweepOptions) sweep(command *cobra.Command) error {
	grid, err := o.read(command)
	if err != nil {
		return err
	}
	cells, err := grid.Cells()
	if err != nil {
		return err
	}
	seeds, err := parseSeeds(o.text.Seeds)
	if err != nil {
		return err
	}
	var shard sweep.Shard
	if o.shard != "" {
		if shard, err = sweep.ParseShard(o.shard); err != nil {
			return fmt.Errorf("--shard %w", err)
		}
	}
	if err := o.output.check(func() (figure.Graph, error) { return sweep.Unmeasured(cells, o.session.Kernels).Figure() }); err != nil {
		return err
	}
	result, err := measure(command, o.session, o.run, cells, shard, seeds)
	return newSweepReport(result, o.asJSON, o.output).print(command, err)
}

// A sweepReport is how a result is printed, and drawn.
type sweepReport struct {
	result sweep.Result
	asJSON bool
	table  func(io.Writer) error
	output figureFile
	graph  func() (figure.Graph, error)
}

// newSweepReport is that of a sweep.
func newSweepReport(result sweep.Result, asJSON bool, output figureFile) sweepReport {
	return sweepReport{result, asJSON, result.Table, output, result.Figure}
}

// print prints what there is of a result, and draws it, whatever became of the rest.
func (r sweepReport) print(command *cobra.Command, err error) error {
	if len(r.result.Points)+len(r.result.Failed) > 0 {
		printErr := r.write(command.OutOrStdout())
		if printErr == nil && len(r.result.Points) > 0 {
			printErr = r.output.write(command, r.graph)
		}
		if err == nil {
			err = printErr
		}
	}
	if err == nil && len(r.result.Failed) > 0 {
		err = errFailed
	}
	return err
}

func (r sweepReport) write(out io.Writer) error {
	if r.asJSON {
		return writeJSON(out, r.result)
	}
	return r.table(out)
}

// measure runs cells. What it says on the way is not what it comes to: that goes to standard error.
func measure(command *cobra.Command, session runner.SessionOptions, options runner.RunOptions, cells []cell.Cell, shard sweep.Shard,
	seeds []uint64,
) (sweep.Result, error) {
	session.Clock, session.Log = runner.Virtual, command.ErrOrStderr()
	return sweep.Run(command.Context(), session, options, cells, shard, seeds)
}
