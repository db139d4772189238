package main

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/internal/header"
	"github.com/tcplab/tcplab/internal/text"
)

func newDecode() *cobra.Command {
	var number int
	var asJSON bool
	command := &cobra.Command{
		Use:   "decode FILE --frame N",
		Short: "Show one packet of a capture field by field, as the drawings of RFCs do",
		Long: `Show one packet of a capture, header by header: drawn as in the RFC that defines it, and then each
field with its position (byte.bit), its bits, its value and what that means, options included.
Headers are Ethernet, VLAN tags, Linux cooked, BSD loopback, IPv4, IPv6 with extension headers, TCP, UDP, ICMP and
what that quotes. FILE is a pcapng or pcap file, - is standard input.`,
		Example: `  tcplab decode results/latest/handshake/is-refused-with-rst-by-a-closed-port_68da06f4e5/capture.pcapng --frame 1
  tcpdump -c 1 -w - tcp | tcplab decode - --frame 1`,
		Args: cobra.ExactArgs(1),
		RunE: func(command *cobra.Command, args []string) error {
			if number < 1 {
				return fmt.Errorf("--frame %d: frames are counted from 1", number)
			}
			frame, start, err := frameOf(command.InOrStdin(), args[0], number)
			if err != nil {
				return err
			}
			headers := header.Decode(frame.LinkType, frame.Data, frame.Length)
			out := command.OutOrStdout()
			if asJSON {
				return writeJSON(out, struct {
					Frame   int             `json:"frame"`
					At      time.Duration   `json:"at_ns"`
					Length  int             `json:"length"`
					Bytes   int             `json:"captured"`
					Headers []header.Header `json:"headers"`
				}{frame.Frame, frame.At, frame.Length, len(frame.Data), headers})
			}
			about := ""
			if frame.Interface != "" {
				about = " on " + text.Printable(frame.Interface)
			}
			fmt.Fprintf(out, "Frame %d%s, %v after the first one (%s): %d bytes, %d captured\n", frame.Frame, about, frame.At,
				start.UTC().Format("2006-01-02 15:04:05 UTC"), frame.Length, len(frame.Data))
			return header.Text(out, headers, columns(80, 120))
		},
	}
	command.Flags().IntVar(&number, "frame", 0, "the packet's number in the file, from 1, as Wireshark and tcplab analyze count")
	command.Flags().BoolVar(&asJSON, "json", false, "print JSON; times (_ns) are in nanoseconds")
	_ = command.MarkFlagRequired("frame") // it is there
	return command
}

// frameOf is a packet of a capture, and when the first one was.
func frameOf(in io.Reader, path string, number int) (found analysis.Frame, start time.Time, err error) {
	reader, err := openCapture(in, path)
	if err != nil {
		return found, start, err
	}
	defer func() { _ = reader.Close() }() // read only: there is nothing that an error could tell
	count := 0
	for frame := range reader.Frames() {
		if count++; count == 1 {
			start = frame.Time
		}
		if frame.Frame == number {
			return frame, start, nil
		}
	}
	if err := reader.Err(); err != nil {
		return found, start, err
	}
	return found, start, fmt.Errorf("%s: --frame %d: there are %d", path, number, count)
}
