package harness

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns/netdev"
	"github.com/tcplab/tcplab/results"
)

// failureDir has what a spec that does not pass leaves beside the evidence that all leave.
const failureDir = "failure"

// keepFailure writes the state of each host into the spec's artefacts, as it is when the spec has
// failed: its peers still run. It returns a summary of all evidence for a person. What cannot be
// read is said in the place where it would be: a failure must not hide behind another.
func (l *Lab) keepFailure() string {
	var summary strings.Builder
	keep := func(name string, text []byte) {
		path := filepath.Join(l.dir, failureDir, name)
		err := os.MkdirAll(filepath.Dir(path), 0o755)
		if err == nil {
			err = os.WriteFile(path, text, 0o644)
		}
		if err != nil {
			fmt.Fprintf(&summary, "%s cannot be written: %v\n", name, err)
		}
	}
	for _, c := range recordersOf[*Capture](l) {
		summary.WriteString(c.tail())
	}
	if l.network != nil {
		for _, host := range l.network.Hosts() {
			name := host.Name()
			sockets, err := kernel.ReadSockets(host, kernel.SocketFilter{})
			text := socketsText(sockets, err)
			keep(name+"-sockets.txt", []byte(text))
			keep(name+"-sockets.json", asJSON(sockets, err))
			qdiscs, qdiscErr := qdiscsOf(host)
			keep(name+"-qdiscs.json", asJSON(qdiscs, qdiscErr))
			keep(name+"-routes.txt", []byte(routesOf(host)))
			fmt.Fprintf(&summary, "%s:\n%s", name, indented(host.countersText()+queuesText(qdiscs, qdiscErr)+text))
		}
	}
	for _, peer := range l.peers {
		summary.WriteString(peer.faultText())
		summary.WriteString(l.connectionsText(peer))
	}
	if clock() == results.ClockReal {
		// The guest's console is the kernel's log too, and the runner keeps it.
		keep("kernel.txt", []byte(kernelLog(l.began)))
	}
	fmt.Fprintf(&summary, "More is in the folder %s of the spec's record, and in %s.\n", failureDir, countersFile)
	keep("summary.txt", []byte(summary.String()))
	return summary.String()
}

// showFailure has Ginkgo print the summary after the failure.
func showFailure(summary string) {
	ginkgo.AddReportEntry("evidence", ginkgo.ReportEntryVisibilityFailureOrVerbose, "\n"+summary)
}

// tailPackets is how many of a capture's last packets a summary shows.
const tailPackets = 10

// tail shows where a capture is, and its last packets.
func (c *Capture) tail() string {
	segments, err := analysis.ReadFile(c.path())
	var text strings.Builder
	fmt.Fprintf(&text, "%s: %d segments", c.file, len(segments))
	if err != nil {
		fmt.Fprintf(&text, ", and then: %v", err)
	}
	last := segments[max(0, len(segments)-tailPackets):]
	if len(last) > 0 {
		fmt.Fprintf(&text, ", the last are frames %d to %d", last[0].Frame, last[len(last)-1].Frame)
	}
	text.WriteByte('\n')
	for _, s := range last {
		fmt.Fprintf(&text, "    %v\n", s)
	}
	return text.String()
}

func (h *Host) countersText() string {
	now, err := kernel.ReadCounters(h)
	if err != nil {
		return fmt.Sprintf("counters cannot be read: %v\n", err)
	}
	since := now.Since(h.before)
	line := "counters:"
	for _, name := range since.Nonzero() {
		line += fmt.Sprintf(" %s %d", name, since[name])
	}
	return line + "\n"
}

// queuesText is a line for each queue; interfaces without one are left out.
func queuesText(qdiscs []qdisc, err error) string {
	if err != nil {
		return fmt.Sprintf("qdiscs cannot be read: %v\n", err)
	}
	var text strings.Builder
	for _, q := range qdiscs {
		if q.Kind != "noqueue" {
			fmt.Fprintf(&text, "%s %s: sent %d packets, %d bytes; dropped %d; requeued %d; %d packets wait\n",
				q.Device, q.Kind, q.Packets, q.Bytes, q.Drops, q.Requeues, q.Length)
		}
	}
	return text.String()
}

// faultText says how a peer ended, if nobody asked for that.
func (p *Peer) faultText() string {
	err := p.Fault()
	if err == nil || p.outlived {
		return ""
	}
	text := p.Name() + " ended as nobody asked for:\n" + indented(err.Error())
	if len(p.Output()) > 0 {
		text += indented("all of its standard error is in " + p.stderrFile())
	}
	return text
}

// connectionsText is what a program that has ended said of its sockets, which are gone.
func (l *Lab) connectionsText(peer *Peer) string {
	const most = 5
	select {
	case <-peer.Done():
	default:
		return "" // its sockets are there to be seen
	}
	result, _ := peer.Peer.Wait(l.life) // its error is in the record
	var text strings.Builder
	for i, c := range result.Connections {
		if i == most {
			fmt.Fprintf(&text, "%s: %d connections more\n", peer.Name(), len(result.Connections)-most)
			break
		}
		fmt.Fprintf(&text, "%s: connection %v %v, sent %d, received %d", peer.Name(), c.Local, c.Remote, c.Sent, c.Received)
		if c.Err != nil {
			fmt.Fprintf(&text, ": %v", c.Err)
		}
		text.WriteByte('\n')
		if c.TCPInfo != nil {
			text.WriteString(indented(kernel.Socket{TCPInfo: c.TCPInfo}.Details()))
		}
	}
	return text.String()
}

// socketsText is in the manner of ss(8).
func socketsText(sockets []kernel.Socket, err error) string {
	if err != nil {
		return fmt.Sprintf("sockets cannot be read: %v\n", err)
	}
	if len(sockets) == 0 {
		return "no TCP sockets\n"
	}
	var text strings.Builder
	for _, s := range sockets {
		fmt.Fprintln(&text, s)
		text.WriteString(indented(s.Details()))
	}
	return text.String()
}

func indented(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString("    " + strings.TrimSuffix(line, "\n") + "\n")
	}
	return b.String()
}

func asJSON(v any, err error) []byte {
	if err != nil {
		v = map[string]string{"error": err.Error()}
	}
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		text = []byte(strconv.Quote(err.Error()))
	}
	return append(text, '\n')
}

// qdisc is a kernel.Qdisc with its options in JSON.
type qdisc struct {
	kernel.Qdisc
	Options any `json:"options,omitempty"`
}

func qdiscsOf(host *Host) ([]qdisc, error) {
	list, err := kernel.ReadQdiscs(host)
	if err != nil {
		return nil, err
	}
	all := make([]qdisc, len(list))
	for i, q := range list {
		all[i] = qdisc{Qdisc: q}
		switch options := q.Options.(type) {
		case *netlink.Netem: // which the library knows in part
			n, err := impair.Read(netdev.Device{NetNS: host.FD(), Name: q.Device})
			if err != nil {
				all[i].Options = err.Error()
				continue
			}
			all[i].Options = n
		case *netlink.GenericQdisc: // nothing is known of its options
		default:
			all[i].Options = options
		}
	}
	return all, nil
}

// routesOf lists a host's interfaces, policy rules, routes of all tables but those to its own addresses, and neighbours.
func routesOf(host *Host) string {
	var text strings.Builder
	list := func(title string, lines []string, err error) {
		fmt.Fprintf(&text, "%s:\n", title)
		if err != nil {
			fmt.Fprintf(&text, "    cannot be read: %v\n", err)
		}
		for _, line := range lines {
			fmt.Fprintf(&text, "    %s\n", line)
		}
	}
	handle := host.Netlink()
	names := map[int]string{}
	links, err := handle.LinkList()
	var lines []string
	for _, link := range links {
		a := link.Attrs()
		names[a.Index] = a.Name
		line := fmt.Sprintf("%d %s %v mtu %d %v", a.Index, a.Name, a.HardwareAddr, a.MTU, a.OperState)
		if s := a.Statistics; s != nil {
			line += fmt.Sprintf(" received %d dropped %d sent %d dropped %d", s.RxPackets, s.RxDropped, s.TxPackets, s.TxDropped)
		}
		lines = append(lines, line)
	}
	list("interfaces", lines, err)

	rules, err := handle.RuleList(netlink.FAMILY_ALL)
	lines = nil
	for _, r := range rules {
		from := "all"
		if r.Src != nil {
			from = r.Src.String()
		}
		lines = append(lines, fmt.Sprintf("%d from %s lookup %d", max(r.Priority, 0), from, r.Table))
	}
	list("rules", lines, err)

	routes, err := handle.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	lines = nil
	for _, r := range routes {
		if r.Table == unix.RT_TABLE_LOCAL {
			continue
		}
		line := "default"
		if r.Dst != nil {
			line = r.Dst.String()
		}
		if r.Gw != nil {
			line += " via " + r.Gw.String()
		}
		line += " dev " + names[r.LinkIndex]
		if r.Table != unix.RT_TABLE_MAIN {
			line += fmt.Sprintf(" table %d", r.Table)
		}
		lines = append(lines, line)
	}
	list("routes", lines, err)

	neighbours, err := handle.NeighList(0, netlink.FAMILY_ALL)
	lines = nil
	for _, n := range neighbours {
		lines = append(lines, fmt.Sprintf("%v dev %s %v state %#x", n.IP, names[n.LinkIndex], n.HardwareAddr, n.State))
	}
	list("neighbours", lines, err)
	return text.String()
}

// kernelLog is what the kernel has logged (dmesg) since a time of CLOCK_MONOTONIC, which is that of
// its stamps to within the scheduler's clock.
func kernelLog(since time.Duration) string {
	const device = "/dev/kmsg"
	fd, err := unix.Open(device, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Sprintf("the kernel's log cannot be read: open %s: %v\n", device, err)
	}
	defer unix.Close(fd)
	var text strings.Builder
	record := make([]byte, 8<<10) // each read gives one, of up to PRINTKRB_RECORD_MAX bytes
	for {
		n, err := unix.Read(fd, record)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR):
			continue // what was to come was overwritten: the next is there
		case errors.Is(err, unix.EAGAIN):
			if text.Len() == 0 {
				return "the kernel logged nothing\n"
			}
			return text.String()
		case err != nil:
			fmt.Fprintf(&text, "read %s: %v\n", device, err)
			return text.String()
		}
		if line, at, ok := parseKmsg(record[:n]); ok && at >= since {
			fmt.Fprintf(&text, "[%12.6f] %s\n", at.Seconds(), line)
		}
	}
}

// parseKmsg takes apart "priority,sequence,microseconds,flags;text" and lines with keys after it
// (Documentation/ABI/testing/dev-kmsg).
func parseKmsg(record []byte) (line string, at time.Duration, ok bool) {
	head, rest, ok := bytes.Cut(record, []byte(";"))
	fields := strings.Split(string(head), ",")
	if !ok || len(fields) < 3 {
		return "", 0, false
	}
	microseconds, err := strconv.ParseInt(fields[2], 10, 64)
	if err != nil {
		return "", 0, false
	}
	text, _, _ := bytes.Cut(rest, []byte("\n"))
	return string(text), time.Duration(microseconds) * time.Microsecond, true
}
