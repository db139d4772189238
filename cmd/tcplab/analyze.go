package main

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/text"
)

func newAnalyze() *cobra.Command {
	var asJSON, findingsOnly bool
	var streams []int
	command := &cobra.Command{
		Use:   "analyze FILE...",
		Short: "Say what happened in a packet capture, and why",
		Long: `Read packet captures (pcap or pcapng, of any program, compressed with gzip or not; "-" is
standard input) and print each TCP conversation: handshake, options, round trips, windows,
retransmissions by cause, and how it ended. What went wrong is listed below it, with the frames
that show it, the likely cause, and what to look at next. docs/analysis.md explains all of it.

Stream and frame numbers match Wireshark's, except that each interface is numbered as its own
stream. It exits with 1 if a file could not be read to its end; what could be read is printed.`,
		Example: `  tcplab analyze results/latest/*/*/capture.pcapng
  tcpdump -i eth0 -c 1000 -w - tcp | tcplab analyze -
  tcplab analyze --json capture.pcapng | jq '.files[].conversations[].findings'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			document := analysis.Document{Schema: analysis.SchemaVersion, Files: []*analysis.Report{}}
			var unread []error
			damaged := false
			for _, file := range args {
				report, err := analyze(command.InOrStdin(), file)
				if err == nil {
					err = choose(report, streams, findingsOnly && asJSON) // the text counts the others
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
			if err := write(command.OutOrStdout(), document, asJSON, findingsOnly); err != nil {
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
	flags.BoolVar(&asJSON, "json", false, "print JSON, of the schema in docs/analysis.md")
	flags.BoolVar(&findingsOnly, "findings", false, "print only what went wrong (with --json: only conversations with findings)")
	flags.IntSliceVar(&streams, "stream", nil, "print only the conversation of that number (may be given several times)")
	return command
}

// standardInput is the file name that stands for it.
const standardInput = "-"

func analyze(in io.Reader, file string) (*analysis.Report, error) {
	if file == standardInput {
		reader, err := analysis.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("standard input: %w", err)
		}
		report := analysis.Analyze(reader)
		report.File = "standard input"
		return report, nil
	}
	reader, err := analysis.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = reader.Close() }() // read only: there is nothing that an error could tell
	return analysis.Analyze(reader), nil
}

// choose leaves the conversations that were asked for.
func choose(report *analysis.Report, streams []int, findingsOnly bool) error {
	for _, n := range streams {
		if n < 0 || n >= len(report.Conversations) {
			return fmt.Errorf("%s has no stream %d: it has %d, numbered from 0", report.File, n, len(report.Conversations))
		}
	}
	report.Conversations = slices.DeleteFunc(report.Conversations, func(c analysis.Conversation) bool {
		return len(streams) > 0 && !slices.Contains(streams, c.Stream) || findingsOnly && len(c.Findings) == 0
	})
	return nil
}

func write(w io.Writer, document analysis.Document, asJSON, findingsOnly bool) error {
	if asJSON {
		return writeJSON(w, document)
	}
	for i, report := range document.Files {
		if i > 0 {
			fmt.Fprintln(w)
		}
		if err := report.WriteText(w, findingsOnly); err != nil {
			return err
		}
	}
	return nil
}
