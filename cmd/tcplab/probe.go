package main

import (
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/probe"
	"github.com/tcplab/tcplab/internal/progress"
)

func newProbe() *cobra.Command {
	var o probe.Options
	q := question{host: &o.Host, port: &o.Port, family: &o.Family, send: &o.Send, upload: &o.Upload}
	var iperf3, asJSON bool
	var seconds time.Duration
	command := &cobra.Command{
		Use:   "probe HOST:PORT",
		Short: "Measure how good connections to a server are",
		Long: `Measure how good connections to a server are: name resolution, connect, TLS, first byte and
transfer apart, with percentiles, the median's confidence interval and a histogram, and what the
kernel knows of each connection: RTT without a queue, RTT, retransmits.

By default a sample is a connection that is closed once it is there. With --wait, --send or --http it
is a request. With --http and --warm requests follow each other on one connection. An answer of
64 kB or more, and an --upload of as much, have a rate: tcplab peer bulk-server takes uploads, as
does any server that reads. --iperf3 speaks to an iperf3 server.

^C ends it, and prints what there is. It needs no privilege. It exits with 0 if all samples
succeeded, and 1 if any failed.`,
		Example: `  tcplab probe example.org:443 --count 100
  tcplab probe example.org:443 --tls --http / --warm
  tcplab probe 192.0.2.1:22 --wait
  tcplab probe 192.0.2.1:5001 --upload 10MB -n 5
  tcplab probe 192.0.2.1:5201 --iperf3 --time 10s
  tcplab probe 192.0.2.1:6379 --send 'PING\r\n' --concurrency 10 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if err := q.parse(command.Context(), args[0]); err != nil {
				return err
			}
			o.Drain = o.Upload > 0
			if iperf3 {
				return runIperf3(command, probe.Iperf3{Host: o.Host, Port: o.Port, Family: o.Family, Duration: seconds, Timeout: o.Timeout}, asJSON)
			}
			return runProbe(command, o, asJSON)
		},
	}
	flags := command.Flags()
	flags.IntVarP(&o.Count, "count", "n", 20, "samples")
	flags.IntVarP(&o.Concurrency, "concurrency", "c", 1, "samples at a time")
	flags.DurationVar(&o.Interval, "interval", 0, "from one sample's start to the next one's")
	flags.DurationVar(&o.Timeout, "timeout", 0, "of each sample (default 10s)")
	flags.BoolVar(&iperf3, "iperf3", false, "measure upload and download of an iperf3 server, one after the other")
	flags.DurationVar(&seconds, "time", 0, "with --iperf3: of each direction, whole seconds (default 5s)")
	flags.BoolVar(&o.Warm, "warm", false, "with --http: requests follow each other on one connection")
	q.addFlags(flags, &o.Wait, &o.HTTP, &o.TLS, &o.Insecure, "send so many bytes of zero, such as 10MB: with --http by POST, else until all is acknowledged")
	flags.BoolVar(&asJSON, "json", false, "print JSON, with all samples; times (_ns) are in nanoseconds")
	return command
}

func runIperf3(command *cobra.Command, o probe.Iperf3, asJSON bool) error {
	task := progress.Start(command.Context(), "iperf3")
	report, err := o.Run(command.Context(), func(doing string) { task.Set("%s", doing) })
	task.Done()
	if report != nil && report.Upload != nil {
		out := command.OutOrStdout()
		if asJSON {
			err = errors.Join(err, writeJSON(out, report))
		} else {
			err = errors.Join(err, report.Text(out))
		}
	}
	return err
}

func runProbe(command *cobra.Command, o probe.Options, asJSON bool) error {
	task := progress.Start(command.Context(), "samples")
	report, err := probe.Run(command.Context(), o, func(done, failed int) {
		task.Set("%d of %d, %d failed", done, o.Count, failed)
	})
	task.Done()
	if err != nil {
		return err
	}
	return printMeasured(command, report, asJSON, report.Ended, failedIf(len(report.Errors) > 0))
}
