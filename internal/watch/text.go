package watch

import (
	"fmt"
	"io"
	"net/netip"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/internal/text"
)

// Text writes a reading as lines, each with the time and what it is about, so that they can be looked through with grep(1).
func (r *Reading) Text(w io.Writer) error {
	var b strings.Builder
	line := func(about, format string, args ...any) {
		fmt.Fprintf(&b, "%s %-8s %s\n", r.At.Format("15:04:05"), about, text.Printable(fmt.Sprintf(format, args...)))
	}
	line("sockets", "%s", r.summary())
	for i := range r.Listeners {
		l := &r.Listeners[i]
		line("listen", "%s  %d of %d wait, %d half open, %d dropped  %s%s",
			Address(l.Local, l.Family), l.Waiting, l.Backlog, l.HalfOpen, l.Drops, l.Owner, reasons(l.Troubles))
	}
	for i := range r.Sickest {
		line("sick", "%s", r.Sickest[i].line())
	}
	for i := range r.Busiest {
		line("busy", "%s", r.Busiest[i].line())
	}
	for _, m := range r.Moved {
		if rank(m) < rankOther {
			line("counter", "%s", m)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Reading) summary() string {
	words := []string{fmt.Sprintf("%d, %d sick:", r.Sockets, r.Sick)}
	for _, s := range r.States {
		words = append(words, fmt.Sprintf("%v %d", s.State, s.Count))
	}
	if r.Filter != "" {
		words = append(words, fmt.Sprintf("(%s; %d others)", r.Filter, r.Others))
	}
	return strings.Join(words, " ")
}

func (c *Connection) line() string {
	return fmt.Sprintf("%v %s %s  rtt %s cwnd %d in flight %d recv-q %d send-q %d retransmits %d  %s/s out, %s/s in  %s%s",
		c.State, Address(c.Local, c.Family), Address(c.Remote, c.Family), Short(c.RTT), c.Cwnd, c.InFlight, c.ReceiveQueue, c.SendQueue, c.Retransmits,
		humanize.Bytes(uint64(c.SendRate)), humanize.Bytes(uint64(c.ReceiveRate)), c.Owner, reasons(c.Troubles))
}

func reasons(troubles []Trouble) string {
	var b strings.Builder
	for _, t := range troubles {
		b.WriteString("  ! " + t.Text)
	}
	return b.String()
}

// String is like "nginx/123", and "-" for nil: not known. The name is the process's own choice, and not fit for a terminal.
func (o *Owner) String() string {
	if o == nil {
		return "-"
	}
	return fmt.Sprintf("%s/%d", o.Name, o.PID)
}

// String is like "TcpRetransSegs +3 (segments retransmitted)".
func (m Moved) String() string {
	s := fmt.Sprintf("%s %+d", m.Name, m.By)
	if m.Meaning != "" {
		s += " (" + m.Meaning + ")"
	}
	return s
}

// Address is how to write one: with a star where any is meant.
func Address(a netip.AddrPort, family kernel.Family) string {
	if !a.Addr().IsUnspecified() {
		return a.String()
	}
	port := fmt.Sprint(a.Port())
	if a.Port() == 0 {
		port = "*"
	}
	if family == kernel.IPv6 {
		return "[*]:" + port
	}
	return "*:" + port
}
