package analysis

import (
	"bufio"
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/tcplab/tcplab/internal/text"
)

// textWidth is how wide the text gets; addresses of IPv6 fit.
const textWidth = 100

// WriteText writes the report for reading: a table for each conversation and what was
// found in it; findingsOnly leaves out the tables, and conversations without findings.
func (r *Report) WriteText(w io.Writer, findingsOnly bool) error {
	t := &textWriter{Writer: bufio.NewWriter(w)}
	t.head(r)
	for i := range r.Conversations {
		c := &r.Conversations[i]
		if findingsOnly && len(c.Findings) == 0 {
			continue
		}
		t.line("")
		t.title(c)
		if !findingsOnly {
			t.conversation(c)
		}
		t.findings(c)
		if len(c.Frames) > 0 {
			t.frames(c)
		}
	}
	return t.Flush()
}

// textWriter collects the first error, as bufio.Writer does.
type textWriter struct{ *bufio.Writer }

func (t *textWriter) line(format string, args ...any) {
	s := fmt.Sprintf(format, args...)
	// What a file says, such as an interface's name, gives no orders to a terminal.
	_, _ = t.WriteString(strings.TrimRight(text.Printable(s), " ") + "\n") // Flush returns the error
}

// wrapped writes a paragraph after a label; the other lines begin below its first word.
func (t *textWriter) wrapped(label, text string) {
	indent := utf8.RuneCountInString(label)
	line, n := label, indent
	for i, word := range strings.Fields(text) {
		length := utf8.RuneCountInString(word)
		if i > 0 && n+1+length > textWidth {
			t.line("%s", line)
			line, n = strings.Repeat(" ", indent), indent
		} else if i > 0 {
			line, n = line+" ", n+1
		}
		line, n = line+word, n+length
	}
	t.line("%s", line)
}

func (t *textWriter) head(r *Report) {
	t.line("%s", cmp.Or(r.File, "capture"))
	chosen := r.overview()
	parts := []string{
		fmt.Sprintf("%s in %s", plural(r.Segments, "TCP segment"), plural(r.Packets, "packet")),
		plural(chosen.count, "conversation"),
	}
	if n := len(r.Interfaces); n > 1 {
		parts = append(parts, plural(n, "interface"))
	}
	t.wrapped("", strings.Join(append(parts, chosen.tally()), ", "))
	if text := r.passedText(); text != "" {
		t.wrapped("not TCP, or not to be seen: ", text)
	}
	if r.NeverSent.Count > 0 {
		t.wrapped("", fmt.Sprintf("%s more that an impairment dropped before they were sent: frames %s",
			plural(r.NeverSent.Count, "TCP segment"), framesText(r.NeverSent.First, r.NeverSent.Count)))
	}
}

func (t *textWriter) title(c *Conversation) {
	on := ""
	if c.Interface != "" {
		on = "  on " + c.Interface
	}
	t.line("#%d  %v > %v%s", c.Stream, c.Client.Addr, c.Server.Addr, on)
}

func (t *textWriter) conversation(c *Conversation) {
	const label = "    %-14s "
	about := func(name, text string) { t.wrapped(fmt.Sprintf(label, name), text) }
	about("when", fmt.Sprintf("%s, for %s; frames %d to %d", c.Time.UTC().Format("2006-01-02 15:04:05.000000 UTC"), short(c.End-c.Start), c.FirstFrame, c.LastFrame))
	about("captured", captured(c))
	if text := handshakeText(c); text != "" {
		about("handshake", text)
	}
	if c.ECN > ECNNone {
		about("ECN", ecnTexts[c.ECN])
	}
	about("closed", closedText(c))
	t.table(c)
}

var ecnTexts = [...]string{
	ECNClassic:  "classic: ECE until CWR (RFC 3168)",
	ECNAccurate: "accurate: counters (RFC 9768)",
}

func captured(c *Conversation) string {
	parts := cmp.Or(c.Completeness.String(), "nothing of handshake, data or end")
	switch {
	case c.Completeness&SawSYN != 0:
	case c.Completeness&SawSYNACK != 0:
		parts += "; the SYN was not"
	default:
		parts += "; the beginning was not: the client is who has the higher port"
	}
	return parts
}

func handshakeText(c *Conversation) string {
	if c.InitialRTT == 0 {
		return ""
	}
	text := short(c.InitialRTT)
	if c.SimultaneousOpen {
		return text + ", both opened at once"
	}
	if c.ServerRTT == 0 || c.ClientRTT == 0 {
		return text
	}
	text += fmt.Sprintf(": %s from here to the server and back, %s to the client and back", short(c.ServerRTT), short(c.ClientRTT))
	const near = 10 // times as near: at the host, or next to it
	switch {
	case c.ClientRTT*near <= c.ServerRTT:
		text += " (captured near the client)"
	case c.ServerRTT*near <= c.ClientRTT:
		text += " (captured near the server)"
	}
	return text
}

func closedText(c *Conversation) string {
	switch c.Close.How {
	case CloseOpen:
		return "not within the capture"
	case CloseSimultaneous:
		return "by both at once: " + finText(c, &c.Client) + ", " + finText(c, &c.Server)
	case CloseReset:
		var parts []string
		for _, d := range c.sides() {
			if d.FIN != nil {
				parts = append(parts, finText(c, d))
			}
		}
		for _, d := range c.sides() {
			if r := d.Reset; r != nil {
				parts = append(parts, fmt.Sprintf("%s sent %s (frame %d): %s", c.name(d), plural(r.Count, "reset"), r.Frame, resetTexts[r.Reason]))
			}
		}
		return "by a reset: " + strings.Join(parts, "; ")
	default:
		return closedInTurn(c)
	}
}

func closedInTurn(c *Conversation) string {
	first := &c.Client
	if c.Close.First == "server" {
		first = &c.Server
	}
	second := c.other(first)
	text := fmt.Sprintf("first by %s", finText(c, first))
	if second.FIN != nil {
		text += fmt.Sprintf("; %s later by %s", short(c.Close.HalfClosed), finText(c, second))
	} else {
		text += fmt.Sprintf("; by %s not within the capture", c.name(second))
	}
	if n := c.Close.BytesHalfClosed; n > 0 {
		text += fmt.Sprintf("; in between %s sent %s more", c.name(second), plural(int(n), "byte"))
	}
	for _, d := range c.sides() {
		if r := d.Reset; r != nil {
			text += fmt.Sprintf("; then a reset of %s (frame %d): it %s", c.name(d), r.Frame, resetTexts[r.Reason])
		}
	}
	return text
}

func finText(c *Conversation, d *Side) string {
	if d.FIN == nil {
		return c.name(d)
	}
	ack := "not acknowledged"
	if d.FIN.AckFrame != 0 {
		ack = fmt.Sprintf("acknowledged in frame %d after %s", d.FIN.AckFrame, short(d.FIN.AckAt-d.FIN.At))
	}
	return fmt.Sprintf("%s (FIN in frame %d, %s)", c.name(d), d.FIN.Frame, ack)
}

// rows of the table: a label, and what to say of a side; "" if there is nothing.
var rows = []struct {
	label string
	of    func(c *Conversation, d *Side) string
}{
	{"ISN", func(_ *Conversation, d *Side) string {
		if d.SYN == nil {
			return ""
		}
		return fmt.Sprint(d.SYN.ISN)
	}},
	{"offers", func(_ *Conversation, d *Side) string { return offerText(d.SYN) }},
	{"segments", func(_ *Conversation, d *Side) string {
		if d.Segments == 0 {
			return ""
		}
		if d.DataSegments == 0 {
			return thousands(int64(d.Segments)) + ", none with data"
		}
		return fmt.Sprintf("%s, %s with data", thousands(int64(d.Segments)), thousands(int64(d.DataSegments)))
	}},
	{"bytes", func(_ *Conversation, d *Side) string {
		if d.Bytes == 0 {
			return ""
		}
		if d.BytesAgain == 0 {
			return thousands(d.Bytes)
		}
		return fmt.Sprintf("%s, %s of them retransmitted", thousands(d.Bytes), thousands(d.BytesAgain))
	}},
	{"goodput", func(_ *Conversation, d *Side) string {
		if d.Goodput == 0 {
			return ""
		}
		return bitRate(float64(d.Goodput))
	}},
	{"retransmitted", func(_ *Conversation, d *Side) string { return againText(d) }},
	{"back-off", func(_ *Conversation, d *Side) string { return backOffText(d) }},
	{"copies", func(_ *Conversation, d *Side) string { return countText(d.Copies.Count) }},
	{"out of order", func(_ *Conversation, d *Side) string { return countText(d.Reordered.Count) }},
	{"answers after", func(_ *Conversation, d *Side) string { return timesText(d.Answers) }},
	{"ICMP", icmpRow},
	{"RTT from here", func(_ *Conversation, d *Side) string { return timesText(d.RTT) }},
	{"in flight", func(_ *Conversation, d *Side) string {
		if d.MaxInFlight == 0 {
			return ""
		}
		return fmt.Sprintf("up to %s", plural(d.MaxInFlight, "byte"))
	}},
	{"window", func(_ *Conversation, d *Side) string { return windowText(d) }},
	{"window closed", func(_ *Conversation, d *Side) string {
		if d.WindowClosed == 0 {
			return ""
		}
		return "for " + short(d.WindowClosed)
	}},
	{"ACK delay", ackDelayText},
}

func (t *textWriter) table(c *Conversation) {
	const format = "    %-14s %-40s %s"
	t.line(format, "", "client", "server")
	for _, row := range rows {
		a, b := wrap(row.of(c, &c.Client), 40), wrap(row.of(c, &c.Server), 40)
		label := row.label
		for i := range max(len(a), len(b)) {
			if len(a) == 1 && a[0] == "" && len(b) == 1 && b[0] == "" {
				break
			}
			t.line(format, label, cell(a, i), cell(b, i))
			label = ""
		}
	}
}

func cell(lines []string, i int) string {
	switch {
	case i < len(lines) && lines[i] != "":
		return lines[i]
	case i == 0:
		return "-"
	default:
		return ""
	}
}

// wrap breaks a text between words.
func wrap(text string, width int) []string {
	lines := []string{""}
	for _, word := range strings.Fields(text) {
		last := &lines[len(lines)-1]
		switch {
		case *last == "":
			*last = word
		case utf8.RuneCountInString(*last)+1+utf8.RuneCountInString(word) < width:
			*last += " " + word
		default:
			lines = append(lines, word)
		}
	}
	return lines
}

func offerText(o *Offer) string {
	if o == nil {
		return ""
	}
	var parts []string
	if o.Options.MSS != 0 {
		parts = append(parts, fmt.Sprintf("MSS %d", o.Options.MSS))
	}
	if o.Options.HasWindowScale {
		parts = append(parts, fmt.Sprintf("window scale %d", o.Options.WindowScale))
	}
	if o.Options.SACKPermitted {
		parts = append(parts, "SACK")
	}
	if o.Options.HasTimestamps {
		parts = append(parts, "timestamps")
	}
	if o.Options.HasAccECN {
		parts = append(parts, "AccECN")
	}
	if o.Options.Incomplete {
		parts = append(parts, "(options cut off)")
	}
	if len(parts) == 0 {
		return "no options"
	}
	return strings.Join(parts, ", ")
}

func againText(d *Side) string {
	var parts []string
	total := 0
	for cause, f := range d.Causes {
		if f.Count > 0 {
			total += f.Count
			parts = append(parts, fmt.Sprintf("%v %d", Cause(cause), f.Count))
		}
	}
	if total == 0 {
		return ""
	}
	by := "by the capture"
	if d.KernelKnows > 0 {
		by = fmt.Sprintf("%d by the kernel", d.KernelKnows)
	}
	return fmt.Sprintf("%d: %s (%s)", total, strings.Join(parts, ", "), by)
}

func backOffText(d *Side) string {
	parts := make([]string, len(d.BackOff))
	for i, b := range d.BackOff {
		parts[i] = strings.ReplaceAll(short(b), " ", "\u00a0")
	}
	return strings.Join(parts, ", ")
}

func countText(n int) string {
	if n == 0 {
		return ""
	}
	return thousands(int64(n))
}

func timesText(t Times) string {
	if t.Count == 0 {
		return ""
	}
	if t.Count == 1 {
		return short(t.Min)
	}
	if t.Min == t.Max {
		return fmt.Sprintf("%s (%s)", short(t.Min), thousands(int64(t.Count)))
	}
	if t.Count < 20 {
		return fmt.Sprintf("%s to %s, mean %s (%d)", short(t.Min), short(t.Max), short(t.Mean), t.Count)
	}
	return fmt.Sprintf("%s to %s, median %s, 90 %% %s, 99 %% %s (%s)", short(t.Min), short(t.Max), short(t.P50), short(t.P90), short(t.P99), thousands(int64(t.Count)))
}

// ackDelayText says so if a good part of it is the way from the capture point.
func ackDelayText(c *Conversation, d *Side) string {
	text := timesText(d.ACKDelays)
	away := c.ClientRTT
	if d == &c.Server {
		away = c.ServerRTT
	}
	if text != "" && away > time.Millisecond {
		text += " incl. the way there and back"
	}
	return text
}

// icmpRow has what routers said of a side's segments.
func icmpRow(_ *Conversation, d *Side) string {
	var parts []string
	for _, e := range d.ICMP {
		text := fmt.Sprintf("%s: %s", e.From, e.Says)
		if e.MTU > 0 {
			text += fmt.Sprintf(", MTU %d", e.MTU)
		}
		if e.Frames.Count > 1 {
			text += fmt.Sprintf(" (%s times)", thousands(int64(e.Frames.Count)))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}

func windowText(d *Side) string {
	if d.Window == nil {
		return ""
	}
	text := thousands(int64(d.Window.Max))
	if d.Window.Min != d.Window.Max {
		text = fmt.Sprintf("%s to %s", thousands(int64(d.Window.Min)), text)
	}
	if !d.Window.ScaleKnown {
		text += " before scaling by an unknown factor"
	} else {
		text += " bytes"
	}
	return text
}

func (t *textWriter) findings(c *Conversation) {
	for _, f := range c.Findings {
		t.wrapped("  ! ", fmt.Sprintf("%s: %s", f.Kind, f.Seen))
		t.wrapped("    likely cause   ", f.Cause)
		t.wrapped("    look at next   ", f.Next)
		t.wrapped("    frames         ", framesText(f.Frames, f.Count))
	}
}

// framesText lists the first frames of so many.
func framesText(frames []int, count int) string {
	parts := make([]string, len(frames))
	for i, n := range frames {
		parts[i] = fmt.Sprint(n)
	}
	text := strings.Join(parts, ", ")
	if count > len(frames) {
		text += fmt.Sprintf(" and %s more", thousands(int64(count-len(frames))))
	}
	return text
}
