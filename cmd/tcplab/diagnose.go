package main

import (
	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/internal/diagnose"
	"github.com/tcplab/tcplab/internal/progress"
)

func newDiagnose() *cobra.Command {
	var o diagnose.Options
	q := question{host: &o.Host, port: &o.Port, family: &o.Family, send: &o.Send, upload: &o.Upload}
	var asJSON bool
	command := &cobra.Command{
		Use:   "diagnose HOST:PORT",
		Short: "Find out why a server cannot be reached, or why it is slow",
		Long: `Find out why a server cannot be reached, or why it is slow: it resolves the name, connects three times,
asks five times, and tries again with one thing changed where that tells two causes apart. Of each cause
that it finds it says what was tried, what was seen, what that means, how sure it is, and what to do next.

What it asks for goes by the port: GET / of 80 and 8080, over TLS of 443 and 8443; the greeting of 21, 22,
25, 110, 143 and 587; nothing of any other. --http, --send, --wait, --tls and --upload say otherwise.

On the machine of the server it sees more: the queues of the listener, and what its program has not read.

It changes nothing, and needs no privilege. It takes two seconds where all is well, and up to six times
--timeout where answers are late, or do not come. ^C ends it, and prints what there is.

It exits with 0 if it found nothing (advice does not count), with 2 if it could not be asked, and else with a
status that says what it found: of several findings the surest, of those the one with the lowest status.

` + diagnose.StatusTable(),
		Example: `  tcplab diagnose example.org:443
  tcplab diagnose db.example.org:5432 --send '\x00\x00\x00\x08\x04\xd2\x16\x2f'
  tcplab diagnose example.org:80 --http /upload --upload 1MB
  tcplab diagnose 127.0.0.1:8080 --json`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if err := q.parse(command.Context(), args[0]); err != nil {
				return err
			}
			return runDiagnose(command, o, asJSON)
		},
	}
	flags := command.Flags()
	flags.DurationVar(&o.Timeout, "timeout", 0, "of each connection, its answer included (default 10s)")
	flags.DurationVar(&o.Slow, "slow", 0, "an answer is late that takes so much longer than the path (default 1s)")
	q.addFlags(flags, &o.Wait, &o.HTTP, &o.TLS, &o.Insecure, "send so many bytes of zero, once: with --http by POST")
	flags.BoolVar(&o.ConnectOnly, "connect", false, "connect, and ask for nothing")
	flags.BoolVar(&asJSON, "json", false, "print JSON, with all that was seen; times (_ns) are in nanoseconds")
	return command
}

func runDiagnose(command *cobra.Command, o diagnose.Options, asJSON bool) error {
	task := progress.Start(command.Context(), "diagnose")
	report, err := diagnose.Run(command.Context(), o, func(doing string) { task.Set("%s", doing) })
	task.Done()
	if err != nil {
		return err
	}
	return printMeasured(command, report, asJSON, report.Ended, report.Status)
}
