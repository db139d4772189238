package watch

import (
	"fmt"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/tcplab/tcplab/harness/kernel"
)

// A TroubleKind is something that can be wrong.
type TroubleKind string

// What can be wrong with a connection.
const (
	BackedOff      TroubleKind = "backed-off"     // retransmits are not answered: the timer expired time and again, and its time doubles
	Retransmitting TroubleKind = "retransmitting" // in the last 10 to 20 s
	ZeroWindow     TroubleKind = "zero-window"    // the peer's program does not read
	Unread         TroubleKind = "unread"         // this side's does not
	CloseWait      TroubleKind = "close-wait"     // the peer has closed long ago, and this side's program has not
	FinWait        TroubleKind = "fin-wait"       // this side has closed long ago, and the peer has not, or does not answer
)

// What can be wrong with a listener.
const (
	BacklogFull TroubleKind = "backlog-full"
	Drops       TroubleKind = "drops" // in the last 10 to 20 s
)

// A Trouble is what is wrong with a connection or a listener.
type Trouble struct {
	Kind TroubleKind `json:"kind"`
	Text string      `json:"text"` // what was seen
}

// weights say which trouble is the worse: that in which nothing moves at all, and which is the network's, before that in which a
// program just waits. No sum of lesser troubles and details outweighs the first two.
var weights = map[TroubleKind]float64{
	BackedOff: 4000, ZeroWindow: 2000, Retransmitting: 1000, Unread: 400, CloseWait: 200, FinWait: 100,
}

// find notes a trouble. How bad it is of its kind, is from 0 to 1.
func (c *Connection) find(kind TroubleKind, weight, how float64) {
	c.kinds[c.found] = kind
	c.found++
	c.sickness += weight * (1 + min(max(how, 0), 1))
}

// judge says how sick a connection is. It is called for each socket, and so makes no text.
func (c *Connection) judge(long time.Duration) {
	const mostBackOff = 15 // tcp_retries2
	synReceived := c.State == kernel.SynRecv || c.State == kernel.NewSynRecv
	switch {
	case c.State == kernel.TimeWait:
		return // it is as it should be, and its timer is no retransmission's
	// Not by back-off alone: a SYN's first time-outs do not double (tcp_syn_linear_timeouts), nor do those of thin streams.
	case c.Timer.Retransmits > 0 && (c.Timer.Kind == kernel.TimerOn || synReceived):
		c.find(BackedOff, weights[BackedOff], float64(c.Timer.Retransmits)/mostBackOff)
	}
	if c.ZeroWindow > 0 {
		c.find(ZeroWindow, weights[ZeroWindow], c.ZeroWindow.Hours())
	}
	if c.RecentRetransmits > 0 && c.State != kernel.SynSent && !synReceived {
		c.find(Retransmitting, weights[Retransmitting], float64(c.RecentRetransmits)/float64(max(c.RecentSegments, 1)))
	}
	if c.State == kernel.CloseWait && c.InState >= long {
		c.find(CloseWait, weights[CloseWait], c.InState.Hours())
	} else if c.Unread >= long {
		c.find(Unread, weights[Unread], c.Unread.Hours())
	}
	switch c.State {
	case kernel.FinWait1, kernel.FinWait2, kernel.Closing, kernel.LastAck:
		if c.InState >= long {
			c.find(FinWait, weights[FinWait], c.InState.Hours())
		}
	}
}

// troubles says what was found. Recent things are of the given time.
func (c *Connection) troubles(window time.Duration) []Trouble {
	var list []Trouble
	for _, kind := range c.kinds[:c.found] {
		list = append(list, Trouble{kind, c.says(kind, window)})
	}
	return list
}

func (c *Connection) says(kind TroubleKind, window time.Duration) string {
	atLeast := ""
	if c.AtLeast {
		atLeast = "at least "
	}
	switch kind {
	case BackedOff:
		return c.saysOfBackOff()
	case ZeroWindow:
		return fmt.Sprintf("zero window for %s: the peer does not read, %s wait here", Short(c.ZeroWindow), humanize.Bytes(uint64(c.SendQueue)))
	case Retransmitting:
		return fmt.Sprintf("retransmitted %d of %d data segments in %s", c.RecentRetransmits, c.RecentSegments, Short(window))
	case Unread:
		return fmt.Sprintf("not read for %s: %s wait for the program", Short(c.Unread), humanize.Bytes(uint64(c.ReceiveQueue)))
	case CloseWait:
		return fmt.Sprintf("the peer closed %s%s ago, this program has not", atLeast, Short(c.InState))
	default:
		return c.saysOfClosing(atLeast)
	}
}

func (c *Connection) saysOfBackOff() string {
	what := "nothing is acknowledged"
	switch c.State {
	case kernel.SynSent:
		what = "SYN is not answered"
	case kernel.SynRecv, kernel.NewSynRecv:
		what = "SYN-ACK is not answered"
	}
	says := fmt.Sprintf("%s: retransmitted %s", what, times(int(c.Timer.Retransmits)))
	if c.RTO > 0 {
		says += ", RTO " + Short(c.RTO)
	}
	if c.BackOff > 0 {
		says += " (doubled " + times(int(c.BackOff)) + ")"
	}
	return says + ", next in " + Short(c.Timer.Expires)
}

func (c *Connection) saysOfClosing(atLeast string) string {
	if c.State != kernel.FinWait2 {
		return fmt.Sprintf("closed %s%s ago, the FIN is not acknowledged", atLeast, Short(c.InState))
	}
	says := fmt.Sprintf("closed %s%s ago, the peer has not", atLeast, Short(c.InState))
	if c.Timer.Kind == kernel.TimerTimeWait || c.Timer.Kind == kernel.TimerKeepalive && c.Inode == 0 {
		says += fmt.Sprintf(" (the kernel forgets it in %s)", Short(c.Timer.Expires))
	}
	return says
}

// troubles says what is wrong with a listener.
func (l *Listener) troubles(window time.Duration) []Trouble {
	var list []Trouble
	if l.Waiting > l.Backlog { // sk_acceptq_is_full
		list = append(list, Trouble{BacklogFull, fmt.Sprintf("backlog full: %d wait, and the program does not accept", l.Waiting)})
	}
	if l.RecentDrops > 0 {
		list = append(list, Trouble{Drops, fmt.Sprintf("dropped %d in %s", l.RecentDrops, Short(window))})
	}
	return list
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// Short is a time in three digits or so: "1.23ms", "45s", "3us", "2h03m".
func Short(d time.Duration) string {
	switch {
	case d < 0:
		return "-" + Short(-d)
	case d == 0:
		return "0"
	case d < time.Microsecond:
		return d.String()
	case d < time.Minute:
		for unit := time.Duration(10); ; unit *= 10 { // three digits
			if d < 1000*unit/10 {
				return strings.Replace(d.Round(unit/10).String(), "µ", "u", 1) // in ASCII, as package probe has it
			}
		}
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 100*time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd", d/(24*time.Hour))
	}
}
