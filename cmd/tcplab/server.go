package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// A question is which server is meant, and what it is asked, of commands that try one: where the answers of its flags go.
type question struct {
	host   *string
	port   *uint16
	family *int
	send   *[]byte
	upload *int64

	sendText, uploadText string
	ipv4, ipv6           bool
}

// addFlags adds what is asked; uploadUsage says what comes of an upload.
func (q *question) addFlags(flags *pflag.FlagSet, wait *bool, path *string, tls, insecure *bool, uploadUsage string) {
	flags.StringVar(&q.sendText, "send", "", "send this, with Go's escapes, and wait for the first byte")
	flags.BoolVar(wait, "wait", false, "wait for the first byte that the server sends by itself")
	flags.StringVar(path, "http", "", "get this path by HTTP/1.1, such as /")
	flags.StringVar(&q.uploadText, "upload", "", uploadUsage)
	flags.BoolVar(tls, "tls", false, "begin with TLS")
	flags.BoolVar(insecure, "insecure", false, "do not verify the server's certificate")
	flags.BoolVarP(&q.ipv4, "ipv4", "4", false, "IPv4 only")
	flags.BoolVarP(&q.ipv6, "ipv6", "6", false, "IPv6 only")
}

// parse reads what was given as text.
func (q *question) parse(ctx context.Context, server string) (err error) {
	if *q.host, *q.port, err = hostPort(ctx, server); err != nil {
		return err
	}
	if *q.send, err = unescape(q.sendText); err != nil {
		return err
	}
	if *q.upload, err = parseUpload(q.uploadText); err != nil {
		return err
	}
	*q.family, err = family(q.ipv4, q.ipv6)
	return err
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

// parseUpload reads a size; nothing is 0.
func parseUpload(size string) (int64, error) {
	if size == "" {
		return 0, nil
	}
	bytes, err := humanize.ParseBytes(size)
	if err != nil || bytes > 1<<62 {
		return 0, fmt.Errorf("--upload %s: want a size, such as 1MB", size)
	}
	return int64(bytes), nil
}

// printMeasured prints a report of this machine, and is what the command's exit status follows from: it was ended by a signal, or what
// it found has that status; 0 is none.
func printMeasured(command *cobra.Command, report interface {
	Text(out io.Writer, columns int) error
}, asJSON, ended bool, status int) error {
	out := command.OutOrStdout()
	var err error
	if asJSON {
		err = writeJSON(out, report)
	} else {
		err = report.Text(out, columns(80, 120))
	}
	switch {
	case err != nil:
		return err
	case ended:
		return command.Context().Err() // the exit status is the signal's
	case status == exitFailed:
		return errFailed
	case status != 0:
		return exitStatus(status)
	}
	return nil
}

// failedIf is the exit status of what failed, or 0.
func failedIf(yes bool) int {
	if yes {
		return exitFailed
	}
	return 0
}
