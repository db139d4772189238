package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/tcplab/tcplab/internal/text"
	"github.com/tcplab/tcplab/internal/watch"
	"github.com/tcplab/tcplab/internal/watch/screen"
	"github.com/tcplab/tcplab/results"
)

type watchOptions struct {
	pid                            int
	port                           uint16
	state, filter, sort, namespace string
	interval, long                 time.Duration
	count, most                    int
	asJSON, asLines                bool
}

func newWatch() *cobra.Command {
	var o watchOptions
	command := &cobra.Command{
		Use:   "watch",
		Short: "Watch this machine's TCP: states, sick and busy connections, listeners, counters",
		Long: `Watch this machine's TCP: sockets by state with their history, the sickest and the busiest connections
with their owners, listeners with their backlog and drops, and the counters that move. Sick is what
retransmits, has its timer backed off, waits for a peer or a program that does not read, or is in
CLOSE-WAIT, FIN-WAIT, CLOSING or LAST-ACK for --long.

On a terminal it is a full-screen program; ? lists its keys. Elsewhere, and with --lines, each reading is
printed as lines that begin with the time and what they are about; with --json as one line of JSON.

It changes nothing, and needs root only for another network namespace and for the owners of other users'
sockets. --pid watches the sockets of one process, --namespace all of the network namespace of a process
(a container's, or that of a host in a lab that runs on the real clock), or of a file such as
/run/netns/NAME.`,
		Example: `  tcplab watch
  tcplab watch --port 443
  tcplab watch --state close-wait --lines
  tcplab watch --filter 'sick nginx'
  tcplab watch --json --count 1 | jq '.sickest[] | {remote, troubles}'
  sudo tcplab watch --namespace $(pgrep -o postgres)`,
		Args: cobra.NoArgs,
		RunE: func(command *cobra.Command, _ []string) error { return o.run(command) },
	}
	flags := command.Flags()
	flags.IntVar(&o.pid, "pid", 0, "only sockets of this process")
	flags.Uint16Var(&o.port, "port", 0, "only sockets with this local or remote port")
	flags.StringVar(&o.state, "state", "", "only sockets in this state, such as close-wait")
	flags.StringVar(&o.filter, "filter", "", "as it is typed after /: words such as sick, an address or prefix, part of a process's name")
	flags.StringVar(&o.namespace, "namespace", "", "the network namespace of this process or file (default: that of --pid, or this one)")
	flags.StringVar(&o.sort, "sort", "sick", "at first: one of sick, busy, rtt, retransmits, queues, age, addresses")
	flags.DurationVar(&o.interval, "interval", time.Second, "from one reading to the next, 100ms or more")
	flags.DurationVar(&o.long, "long", 10*time.Second, "for how long a connection may be in CLOSE-WAIT, FIN-WAIT, CLOSING or LAST-ACK, or not read, before it is sick")
	flags.IntVarP(&o.count, "count", "n", 0, "end after so many readings; 0 is never")
	flags.IntVar(&o.most, "most", 10, "of the sickest, and of the busiest, with --lines and --json")
	flags.BoolVar(&o.asJSON, "json", false, "print JSON, a line for each reading; times (_ns) are in nanoseconds")
	flags.BoolVar(&o.asLines, "lines", false, "print lines, also on a terminal")
	return command
}

// query is what was asked for.
func (o *watchOptions) query() (watch.Query, error) {
	filter, err := watch.ParseFilter(o.filter)
	if err != nil {
		return watch.Query{}, err
	}
	switch {
	case o.pid < 0:
		return watch.Query{}, fmt.Errorf("--pid %d: want the number of a process", o.pid)
	case o.interval < screen.MinInterval:
		return watch.Query{}, fmt.Errorf("--interval %v: want %v or more", o.interval, screen.MinInterval)
	case o.count < 0:
		return watch.Query{}, fmt.Errorf("--count %d: want 0 or more", o.count)
	case o.most < 1:
		return watch.Query{}, fmt.Errorf("--most %d: want 1 or more", o.most)
	}
	if o.pid != 0 {
		filter.PID = o.pid
	}
	if o.port != 0 {
		filter.Port = o.port
	}
	if o.state != "" {
		if filter.State, err = watch.ParseState(o.state); err != nil {
			return watch.Query{}, fmt.Errorf("--state: %w", err)
		}
	}
	order, err := watch.ParseOrder(o.sort)
	if err != nil {
		return watch.Query{}, fmt.Errorf("--sort: %w", err)
	}
	return watch.Query{Filter: filter, Most: o.most, Order: order}, nil
}

// where is the namespace to watch, nil for this process's.
func (o *watchOptions) where() (*watch.Namespace, error) {
	switch {
	case o.namespace != "":
		return watch.OpenNamespace(o.namespace)
	case o.pid != 0:
		return watch.OpenNamespace(strconv.Itoa(o.pid))
	}
	return nil, nil
}

func (o *watchOptions) run(command *cobra.Command) error {
	query, err := o.query()
	if err != nil {
		return err
	}
	namespace, err := o.where()
	if err != nil {
		return err
	}
	defer namespace.Close()
	watcher, err := watch.New(namespace, watch.Options{Long: o.long})
	if err != nil {
		return err
	}
	defer watcher.Close()
	ctx := command.Context()
	if !o.asJSON && !o.asLines && o.count == 0 && fullScreen() {
		return screen.Run(ctx, watcher, screen.Options{
			Title: namespace.String(), Interval: o.interval, Query: query, Colour: results.Terminal(os.Stdout).Colour, ASCII: !screen.UTF8(),
		})
	}
	print := (*watch.Reading).Text
	if o.asJSON {
		print = writeLine
	}
	for n := 1; ; n++ {
		reading, err := watcher.Read(query)
		if err != nil {
			return err
		}
		if err := print(reading, command.OutOrStdout()); err != nil {
			return err
		}
		if n == o.count {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Until(reading.At.Add(o.interval))):
		}
	}
}

// fullScreen reports whether there is a terminal to draw on, and to read keys from.
func fullScreen() bool {
	isTerminal := func(f *os.File) bool { return term.IsTerminal(int(f.Fd())) }
	name := os.Getenv("TERM")
	return isTerminal(os.Stdin) && isTerminal(os.Stdout) && name != "" && name != "dumb"
}

// writeLine writes a reading as a line of JSON, harmless as that of writeJSON.
func writeLine(reading *watch.Reading, w io.Writer) error {
	var document bytes.Buffer
	encoder := json.NewEncoder(&document)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(reading); err != nil {
		return err
	}
	_, err := w.Write(text.EscapeJSON(document.Bytes()))
	return err
}
