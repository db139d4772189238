package main

import (
	"fmt"
	"io"
	"maps"
	"os"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/prove"
	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/tune"
)

type tuneOptions struct {
	rate, loss, from, format, release string
	path                              tune.Path

	prove   bool
	session runner.SessionOptions
	run     runner.RunOptions
}

func newTune() *cobra.Command {
	var o tuneOptions
	command := &cobra.Command{
		Use:   "tune --rate RATE --rtt TIME",
		Short: "Compare this machine's TCP settings with what a path needs",
		Long: `Compare this machine's sysctls, or a file's, with what a path needs. For each that should be another:
the value now and the one that is advised, why, what it brings, what it does not do, and where the
rule stands. What would change nothing on that path is not advised, and settings that are copied
from list to list although they do nothing are named.

Nothing is ever written to /proc/sys. It needs no privilege. With --prove what each setting is about is measured
with the value of now and with the advised one, in guests in virtual time: a minute or two for each.

With --from FILE (what sysctl -a prints, or a file for /etc/sysctl.d) the settings are those of the file;
what it does not have is this machine's. With --kernel VERSION it is that kernel's, as it comes.`,
		Example: `  tcplab tune --rate 1gbit --rtt 80ms --connections 20000
  tcplab tune --rate 100mbit --rtt 100ms --loss 1%
  tcplab tune --rate 1gbit --rtt 2ms --new 1000 --from 99-tuning.conf
  tcplab tune --rate 100mbit --rtt 100ms --loss 1% --prove
  tcplab tune --rate 10gbit --rtt 30ms --format sysctl >99-path.conf`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			report, err := o.report(command.InOrStdin())
			if err != nil {
				return err
			}
			if o.prove {
				// What it says on the way is not what it comes to.
				o.session.Clock, o.session.Log = runner.Virtual, command.ErrOrStderr()
				if err := prove.Prove(command.Context(), o.session, o.run, &report); err != nil {
					return err
				}
			}
			out := command.OutOrStdout()
			switch o.format {
			case "json":
				return writeJSON(out, report)
			case "sysctl":
				return report.Sysctl(out)
			default:
				return report.Text(out, columns(60, 100))
			}
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.rate, "rate", "", "rate of the narrowest link, as tc(8) writes it: 20mbit, 1.5gbit")
	flags.DurationVar(&o.path.RTT, "rtt", 0, "round-trip time without a queue, such as 80ms")
	flags.StringVar(&o.loss, "loss", "0%", "random loss on the path, such as 1%")
	flags.IntVar(&o.path.Connections, "connections", 1, "connections at a time, to one address and port")
	flags.Float64Var(&o.path.New, "new", 0, "connections that this machine opens and closes in a second")
	flags.DurationVar(&o.path.Idle, "idle", 0, "the pause between two bursts of a connection")
	flags.DurationVar(&o.path.Forgets, "middlebox-timeout", 0, "after which idle time a NAT or firewall on the way forgets a connection")
	flags.BoolVar(&o.path.NoICMP, "icmp-filtered", false, "ICMP \"fragmentation needed\" does not come back on the path")
	flags.StringVar(&o.from, "from", "", "a file of settings, in place of this machine's; - is standard input")
	flags.StringVar(&o.release, "kernel", "", "version, such as 6.12, as it comes (default: this machine)")
	flags.StringVar(&o.format, "format", "table", "one of table, json, sysctl")
	flags.BoolVar(&o.prove, "prove", false, "measure what each advice brings, in guests")
	flags.Uint64Var(&o.run.Seed, "seed", 1, "with --prove: of all that is random")
	flags.StringVar(&o.run.Root, "results", "results/tune", "with --prove: folder in which each run makes its own")
	flags.IntVarP(&o.run.Jobs, "jobs", "j", 0, "with --prove: guests side by side (default: one for each core)")
	for _, name := range []string{"rate", "rtt"} {
		_ = command.MarkFlagRequired(name) // it is there
	}
	return command
}

func (o tuneOptions) report(in io.Reader) (tune.Report, error) {
	switch o.format {
	case "table", "json", "sysctl":
	default:
		return tune.Report{}, fmt.Errorf("--format %q: allowed are table, json and sysctl", o.format)
	}
	var err error
	if o.path.Rate, err = impair.ParseRate(o.rate); err != nil {
		return tune.Report{}, fmt.Errorf("--rate: %w", err)
	}
	if o.path.Loss, err = tune.ParseShare(o.loss); err != nil {
		return tune.Report{}, fmt.Errorf("--loss: %w", err)
	}
	version, settings, err := o.machine()
	if err != nil {
		return tune.Report{}, err
	}
	if o.from != "" {
		file, err := readSettings(in, o.from)
		if err != nil {
			return tune.Report{}, fmt.Errorf("--from %s: %w", o.from, err)
		}
		maps.Copy(settings, file)
	}
	return tune.Advise(settings, version, o.path)
}

// machine is this one, or what a kernel starts with.
func (o tuneOptions) machine() (kernelversion.Version, tune.Settings, error) {
	if o.release != "" {
		version, err := kernelversion.Parse(o.release)
		return version, tune.Settings{}, err
	}
	version, err := kernelversion.Running()
	if err != nil {
		return version, nil, err
	}
	settings, err := tune.ReadFS(os.DirFS("/proc/sys"))
	return version, settings, err
}

func readSettings(in io.Reader, path string) (tune.Settings, error) {
	if path == standardInput {
		return tune.Parse(in)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return tune.Parse(f)
}
