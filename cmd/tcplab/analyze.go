package main

import (
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/text"
)

func newAnalyze() *cobra.Command {
	var asJSON, findingsOnly, all bool
	var chosen choice
	var captured live
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
			document := analysis.Document{Schema: analysis.SchemaVersion, Files: []*analysis.Report{}}
			var unread []error
			damaged := false
			read := func(file string) (*analysis.Report, error) { return analyze(command.InOrStdin(), file) }
			if captured.device != "" {
				args = []string{captured.device}
				read = func(string) (*analysis.Report, error) {
					return captured.analyze(command.Context(), command.ErrOrStderr())
				}
			}
			for _, file := range args {
				report, err := read(file)
				if err == nil {
					chosen.sick = findingsOnly && asJSON // the text counts the others
					err = chosen.choose(report)
				}
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
			if err := write(command.OutOrStdout(), document, asJSON, findingsOnly, all || chosen.named()); err != nil {
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
	command.PreRun = func(*cobra.Command, []string) {
		if captured.device == "" {
			endAtOnce()
		}
	}
	flags := command.Flags()
	flags.StringVar(&captured.device, "interface", "", "capture on this network interface, and analyse that")
	flags.DurationVar(&captured.duration, "duration", 0, "with --interface: for how long; 0 is until ^C")
	flags.StringVar(&captured.filter, "filter", "", "with --interface: which packets, such as 'tcp port 443 or icmp'")
	flags.StringVar(&captured.write, "write", "", "with --interface: keep the capture in this file (pcapng)")
	flags.BoolVar(&asJSON, "json", false, "print JSON, of the schema in docs/analysis.md")
	flags.BoolVar(&findingsOnly, "findings", false, "print only what went wrong (with --json: only conversations with findings)")
	flags.BoolVar(&all, "all", false, fmt.Sprintf("print all conversations in full; of more than %d there is an overview otherwise", overviewFrom))
	flags.IntSliceVar(&chosen.streams, "stream", nil, "print only the conversation of that number (may be given several times)")
	flags.StringSliceVar(&chosen.hosts, "host", nil, "print only conversations of that IP address (may be given several times)")
	flags.UintSliceVar(&chosen.ports, "port", nil, "print only conversations of that port (may be given several times)")
	return command
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

func analyze(in io.Reader, file string) (*analysis.Report, error) {
	reader, err := openCapture(in, file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = reader.Close() }() // read only: there is nothing that an error could tell
	report := analysis.Analyze(reader)
	if file == standardInput {
		report.File = "standard input"
	}
	return report, nil
}

// choice is which conversations are asked for: all if it is empty.
type choice struct {
	streams []int
	hosts   []string // addresses
	ports   []uint
	sick    bool // those with findings
}

// named reports whether some are named, which are then printed in full.
func (c *choice) named() bool { return len(c.streams)+len(c.hosts)+len(c.ports) > 0 }

// choose leaves the conversations that were asked for.
func (c *choice) choose(report *analysis.Report) error {
	for _, n := range c.streams {
		if n < 0 || n >= len(report.Conversations) {
			return fmt.Errorf("%s has no stream %d: it has %d, numbered from 0", report.File, n, len(report.Conversations))
		}
	}
	hosts := make([]netip.Addr, len(c.hosts))
	for i, h := range c.hosts {
		address, err := netip.ParseAddr(h)
		if err != nil {
			return fmt.Errorf("--host %s is not an IP address: %w", h, err)
		}
		hosts[i] = address.Unmap()
	}
	report.Conversations = slices.DeleteFunc(report.Conversations, func(x analysis.Conversation) bool {
		a, b := x.Client.Addr, x.Server.Addr
		return len(c.streams) > 0 && !slices.Contains(c.streams, x.Stream) ||
			len(hosts) > 0 && !slices.Contains(hosts, a.Addr().Unmap()) && !slices.Contains(hosts, b.Addr().Unmap()) ||
			len(c.ports) > 0 && !slices.Contains(c.ports, uint(a.Port())) && !slices.Contains(c.ports, uint(b.Port())) ||
			c.sick && len(x.Findings) == 0
	})
	return nil
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
