package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/kernelversion"
	"github.com/tcplab/tcplab/harness/oracle"
)

type oracleOptions struct {
	release string
	hz      int
	sysctls []string
	rtt     time.Duration
	json    bool
}

func newOracle() *cobra.Command {
	var o oracleOptions
	command := &cobra.Command{
		Use:   "oracle",
		Short: "Say what a kernel's TCP should do, computed from its sysctls",
		Long: `Say what a kernel's TCP should do, computed from its version and sysctls: when it retransmits,
probes, acknowledges and gives up, and where in the kernel or in which RFC the rule stands.
Nothing is measured.

Without --kernel it is this machine's, with its sysctls; with it, one with the defaults.`,
		Example: `  tcplab oracle --rtt 20ms
  tcplab oracle --kernel 6.1 --sysctl net.ipv4.tcp_retries2=5 --json`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error {
			k, err := o.kernel()
			if err != nil {
				return err
			}
			if o.rtt < 0 {
				return fmt.Errorf("--rtt %v: allowed are 0 and more", o.rtt)
			}
			return o.print(command.OutOrStdout(), k)
		},
	}
	flags := command.Flags()
	flags.StringVar(&o.release, "kernel", "", "version, such as 6.12 (default: this machine's)")
	flags.IntVar(&o.hz, "hz", 0, "its ticks a second (default: this machine's, or Debian's 250)")
	flags.StringArrayVar(&o.sysctls, "sysctl", nil, "a setting, as KEY=VALUE (repeatable): "+strings.Join(oracle.Keys(), ", "))
	flags.DurationVar(&o.rtt, "rtt", 0, "round-trip time of the path")
	flags.BoolVar(&o.json, "json", false, "print JSON; times (_ns) are in nanoseconds")
	return command
}

// kernel is the one that was asked for.
func (o oracleOptions) kernel() (oracle.Kernel, error) {
	k, err := oracle.Kernel{}, error(nil)
	if o.release == "" {
		k, err = oracle.Running()
	} else {
		var version kernelversion.Version
		version, err = kernelversion.Parse(o.release)
		k = oracle.Defaults(version)
	}
	if err != nil {
		return oracle.Kernel{}, err
	}
	if o.hz != 0 {
		if o.hz < 100 || o.hz > 1000 {
			return oracle.Kernel{}, fmt.Errorf("--hz %d: allowed are 100 to 1000", o.hz)
		}
		k.HZ = o.hz
	}
	for _, setting := range o.sysctls {
		key, value, ok := strings.Cut(setting, "=")
		if !ok {
			return oracle.Kernel{}, fmt.Errorf("--sysctl %q: want KEY=VALUE", setting)
		}
		if err := k.Set(key, value); err != nil {
			return oracle.Kernel{}, err
		}
	}
	return k, nil
}

// A prophecy is what is printed as JSON.
type prophecy struct {
	Kernel      string              `json:"kernel"`
	HZ          int                 `json:"hz"`
	RTT         time.Duration       `json:"rtt_ns"`
	Sysctls     oracle.Sysctls      `json:"sysctls"`
	Predictions []oracle.Prediction `json:"predictions"`
}

func (o oracleOptions) print(out io.Writer, k oracle.Kernel) error {
	p := prophecy{k.Version.Release, k.HZ, o.rtt, k.Sysctls, k.Predictions(o.rtt)}
	if o.json {
		return writeJSON(out, p)
	}
	fmt.Fprintf(out, "Linux %s, HZ %d, round trip %v\n\n", p.Kernel, p.HZ, p.RTT)
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	subject := ""
	for _, row := range p.Predictions {
		if row.Subject != subject {
			subject = row.Subject
			fmt.Fprintln(table, strings.ToUpper(subject))
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", row.Behaviour, row.Expected, row.Source)
	}
	return table.Flush()
}
