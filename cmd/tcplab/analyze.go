package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/progress"
	"github.com/tcplab/tcplab/internal/text"
)

func newAnalyze() *cobra.Command {
	var asJSON, findingsOnly, all bool
	var captured live
	var choice analysis.Choice
	var hosts []string
	var ports []uint
	follow, asHex := -1, false
	var draw drawn
	command := &cobra.Command{
		Use:   "analyze FILE... | --interface NAME",
		Short: "Say what happened in a packet capture, and why",
		Long: `Read packet captures (pcap or pcapng, of any program, compressed with gzip or not; "-" is
standard input) and print each TCP conversation: handshake, options, round trips, windows,
retransmissions by cause, and how it ended. What went wrong is listed below it, with the frames
that show it, the likely cause, and what to look at next. Of many conversations there is an overview:
equal findings are one line, the worst first. docs/analysis.md explains all of it.

Stream and frame numbers match Wireshark's, except that each interface is numbered as its own
stream. It exits with 1 if a file could not be read to its end; what could be read is printed.

With --interface it captures there for --duration, or until ^C, and then prints the same. --filter passes
some packets only: ip, ip6, tcp, udp, icmp, host ADDRESS, net PREFIX, port N, each with src or dst, joined
by and, or, not and parentheses, as tcpdump has them. That needs root, or CAP_NET_RAW: as soon as the
packet socket is open, root's privileges are given up for those of the user who called sudo, or of nobody.`,
		Example: `  tcplab analyze results/latest/*/*/capture.pcapng
  tcpdump -i eth0 -c 1000 -w - tcp | tcplab analyze -
  tcplab analyze capture.pcapng --host 192.0.2.7 --from 10s --to 20s
  tcplab analyze capture.pcapng --stream 3 --frames
  tcplab analyze capture.pcapng --follow 3
  tcplab analyze capture.pcapng --stream 3 --plot --ladder
  tcplab analyze capture.pcapng --series csv >series.csv
  tcplab analyze --json capture.pcapng | jq '.files[].conversations[].findings'
  sudo tcplab analyze --interface eth0 --duration 30s --filter 'tcp port 443 or icmp'`,
		Args: func(command *cobra.Command, args []string) error {
			if err := captured.check(command.Flags().Changed); err != nil {
				return err
			}
			if captured.device != "" {
				return cobra.NoArgs(command, args)
			}
			return cobra.MinimumNArgs(1)(command, args)
		},
		RunE: func(command *cobra.Command, args []string) error {
			if captured.device == "" {
				endAtOnce() // a capture is ended in order
			}
			if err := choose(&choice, hosts, ports); err != nil {
				return err
			}
			if command.Flags().Changed("follow") {
				return followAll(command, args, follow, asHex, asJSON)
			}
			if draw.wanted() {
				choice.Findings = findingsOnly
				return draw.all(command, args, choice, all)
			}
			// The text counts the others, in JSON only conversations with findings are of use then.
			choice.Findings = findingsOnly && asJSON
			full := all || len(choice.Streams)+len(choice.Hosts)+len(choice.Ports) > 0
			if !full && !asJSON {
				choice.Most = overviewFrom + 1
			}
			document := analysis.Document{Schema: analysis.SchemaVersion, Files: []*analysis.Report{}}
			var unread []error
			damaged := false
			read := func(file string) (*analysis.Report, error) { return analyze(command, file, choice) }
			if captured.device != "" {
				args = []string{captured.device}
				read = func(string) (*analysis.Report, error) {
					return captured.analyze(command, choice)
				}
			}
			for _, file := range args {
				report, err := read(file)
				if err != nil {
					unread = append(unread, err)
					continue
				}
				for _, note := range report.Notes {
					fmt.Fprintf(command.ErrOrStderr(), "tcplab: %s: %s\n", text.Printable(report.File), text.Printable(note))
				}
				damaged = damaged || report.Damaged
				document.Files = append(document.Files, report)
			}
			if err := write(command.OutOrStdout(), document, asJSON, findingsOnly, full); err != nil {
				return err
			}
			switch {
			case len(unread) > 0:
				return errors.Join(unread...)
			case damaged:
				return errFailed
			}
			return nil
		},
	}
	flags := command.Flags()
	flags.StringVar(&captured.device, "interface", "", "capture on this network interface, and analyse that")
	flags.DurationVar(&captured.duration, "duration", 0, "with --interface: for how long; 0 is until ^C")
	flags.StringVar(&captured.filter, "filter", "", "with --interface: which packets, such as 'tcp port 443 or icmp'")
	flags.StringVar(&captured.write, "write", "", "with --interface: keep the capture in this file (pcapng)")
	flags.BoolVar(&asJSON, "json", false, "print JSON, of the schema in docs/analysis.md")
	flags.BoolVar(&findingsOnly, "findings", false, "print only what went wrong (with --json: only conversations with findings)")
	flags.BoolVar(&all, "all", false, fmt.Sprintf("print all conversations in full; of more than %d there is an overview otherwise", overviewFrom))
	flags.IntSliceVar(&choice.Streams, "stream", nil, "print only the conversation of that number (may be given several times)")
	flags.StringSliceVar(&hosts, "host", nil, "print only conversations of that IP address (may be given several times)")
	flags.UintSliceVar(&ports, "port", nil, "print only conversations of that port (may be given several times)")
	flags.DurationVar(&choice.From, "from", 0, "print only conversations that did not end before that time since the first packet, such as 1m30s")
	flags.DurationVar(&choice.To, "to", 0, "print only conversations that had begun by that time since the first packet")
	flags.BoolVar(&choice.Frames, "frames", false, "list each frame with Wireshark's marks and the cause of a retransmission (with --json: as frames)")
	flags.IntVar(&follow, "follow", -1, "print what the programs said in the conversation of that number, in order and once, and nothing else")
	flags.BoolVar(&asHex, "hex", false, "with --follow: print bytes in hexadecimal, too")
	flags.BoolVar(&draw.ladder, "ladder", false, "draw each conversation's packets as a ladder, instead of text")
	flags.BoolVar(&draw.plot, "plot", false, "draw each conversation's round trips and goodput, instead of text")
	flags.IntVar(&draw.around, "around", 0, "with --ladder: show it around a frame")
	flags.StringVar(&draw.series, "series", "", "print values over time for other programs, as csv or json: in flight, round trips, window, throughput")
	for _, other := range []string{"json", "frames", "follow", "interface"} {
		for _, mine := range []string{"ladder", "plot", "around", "series"} {
			command.MarkFlagsMutuallyExclusive(mine, other)
		}
	}
	command.MarkFlagsMutuallyExclusive("series", "ladder")
	command.MarkFlagsMutuallyExclusive("series", "plot")
	command.MarkFlagsMutuallyExclusive("follow", "findings")
	command.MarkFlagsMutuallyExclusive("follow", "interface") // whose packets are not captured whole
	command.MarkFlagsMutuallyExclusive("follow", "frames")
	return command
}

// choose completes a choice by what was given as text, and refuses what no capture can have.
func choose(choice *analysis.Choice, hosts []string, ports []uint) error {
	for _, h := range hosts {
		address, err := netip.ParseAddr(h)
		if err != nil {
			return fmt.Errorf("--host %s is not an IP address: %w", h, err)
		}
		choice.Hosts = append(choice.Hosts, address)
	}
	for _, p := range ports {
		if p > math.MaxUint16 {
			return fmt.Errorf("--port %d: ports are 0 to %d", p, math.MaxUint16)
		}
		choice.Ports = append(choice.Ports, uint16(p))
	}
	if choice.From < 0 || choice.To < 0 || choice.To > 0 && choice.To < choice.From {
		return fmt.Errorf("--from %v --to %v: times are since the first packet, and the first is not after the second", choice.From, choice.To)
	}
	return nil
}

// standardInput is the file name that stands for it.
const standardInput = "-"

// openCapture opens a capture file, or standard input. The caller closes it.
func openCapture(in io.Reader, file string) (*analysis.Reader, error) {
	if file != standardInput {
		return analysis.Open(file)
	}
	reader, err := analysis.NewReader(in)
	if err != nil {
		return nil, fmt.Errorf("standard input: %w", err)
	}
	return reader, nil
}

func analyze(command *cobra.Command, file string, choice analysis.Choice) (*analysis.Report, error) {
	reader, err := openCapture(command.InOrStdin(), file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = reader.Close() }() // read only: there is nothing that an error could tell
	defer showProgress(command.Context(), reader, file).Done()
	report, err := choice.Analyze(reader)
	if err != nil {
		return nil, err
	}
	if file == standardInput {
		report.File = "standard input"
	}
	return report, nil
}

// showProgress says how much of a capture was read so far.
func showProgress(ctx context.Context, reader *analysis.Reader, file string) *progress.Task {
	task := progress.Start(ctx, "read "+file)
	reader.Progress = func(so analysis.Stats) {
		task.Set("%s packets, %s TCP segments", humanize.Comma(int64(so.Packets)), humanize.Comma(int64(so.Segments)))
	}
	return task
}

// overviewFrom is how many conversations a person reads one after the other.
const overviewFrom = 100

func write(w io.Writer, document analysis.Document, asJSON, findingsOnly, full bool) error {
	if asJSON {
		return writeJSON(w, document)
	}
	for i, report := range document.Files {
		if i > 0 {
			fmt.Fprintln(w)
		}
		var err error
		if !full && len(report.Conversations) > overviewFrom {
			err = report.WriteOverview(w)
		} else {
			err = report.WriteText(w, findingsOnly)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
