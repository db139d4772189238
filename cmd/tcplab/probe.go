package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/probe"
	"github.com/tcplab/tcplab/internal/progress"
)

func newProbe() *cobra.Command {
	var o probe.Options
	var send, upload string
	var iperf3 bool
	var seconds time.Duration
	var ipv4, ipv6, asJSON bool
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
			var err error
			if o.Host, o.Port, err = hostPort(command.Context(), args[0]); err != nil {
				return err
			}
			if o.Send, err = unescape(send); err != nil {
				return err
			}
			if o.Family, err = family(ipv4, ipv6); err != nil {
				return err
			}
			if o.Upload, err = parseUpload(upload); err != nil {
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
	flags.StringVar(&send, "send", "", "send this, with Go's escapes, and wait for the first byte")
	flags.BoolVar(&o.Wait, "wait", false, "wait for the first byte that the server sends by itself")
	flags.StringVar(&o.HTTP, "http", "", "get this path by HTTP/1.1, such as /")
	flags.BoolVar(&iperf3, "iperf3", false, "measure upload and download of an iperf3 server, one after the other")
	flags.DurationVar(&seconds, "time", 0, "with --iperf3: of each direction, whole seconds (default 5s)")
	flags.StringVar(&upload, "upload", "", "send so many bytes of zero, such as 10MB: with --http by POST, else until all is acknowledged")
	flags.BoolVar(&o.TLS, "tls", false, "begin with TLS")
	flags.BoolVar(&o.Insecure, "insecure", false, "do not verify the server's certificate")
	flags.BoolVar(&o.Warm, "warm", false, "with --http: requests follow each other on one connection")
	flags.BoolVarP(&ipv4, "ipv4", "4", false, "IPv4 only")
	flags.BoolVarP(&ipv6, "ipv6", "6", false, "IPv6 only")
	flags.BoolVar(&asJSON, "json", false, "print JSON, with all samples; times (_ns) are in nanoseconds")
	return command
}

// hostPort takes a server apart that is named as HOST:PORT, where the port may be a service's name.
func hostPort(ctx context.Context, server string) (string, uint16, error) {
	host, port, err := net.SplitHostPort(server)
	if err != nil {
		return "", 0, fmt.Errorf("%s: want HOST:PORT: %w", server, err)
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return "", 0, fmt.Errorf("%s: %w", server, err)
	}
	return host, uint16(number), nil //nolint:gosec // LookupPort returns 0 to 65535
}

// unescape is what --send says.
func unescape(send string) ([]byte, error) {
	if send == "" {
		return nil, nil
	}
	text, err := strconv.Unquote(`"` + send + `"`)
	if err != nil {
		return nil, fmt.Errorf("--send %s: want text with Go's escapes, such as PING\\r\\n: %w", send, err)
	}
	return []byte(text), nil
}

// family is what -4 and -6 say.
func family(ipv4, ipv6 bool) (int, error) {
	switch {
	case ipv4 && ipv6:
		return 0, fmt.Errorf("-4 and -6: give one of them")
	case ipv4:
		return 4, nil
	case ipv6:
		return 6, nil
	}
	return 0, nil
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
	out := command.OutOrStdout()
	if asJSON {
		err = writeJSON(out, report)
	} else {
		err = report.Text(out, columns(80, 120))
	}
	switch {
	case err != nil:
		return err
	case report.Ended:
		return command.Context().Err() // the exit status is the signal's
	case len(report.Errors) > 0:
		return errFailed
	}
	return nil
}
