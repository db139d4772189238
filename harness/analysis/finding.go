package analysis

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// FindingKind is a fixed word for what was found.
type FindingKind string

// The kinds. docs/analysis.md says what evidence each needs.
const (
	CapturedTwice          FindingKind = "captured-twice"          // packets are in the capture twice
	UnansweredSYN          FindingKind = "unanswered-syn"          // nobody answered the SYN
	UnansweredSYNACK       FindingKind = "unanswered-syn-ack"      // nobody acknowledged the SYN-ACK
	LostSYN                FindingKind = "lost-syn"                // a SYN or SYN-ACK was retransmitted
	Refused                FindingKind = "refused"                 // a reset answered the SYN
	LossyLink              FindingKind = "lossy-link"              // segments were lost and retransmitted
	SpuriousRetransmission FindingKind = "spurious-retransmission" // segments were retransmitted without need
	Reordering             FindingKind = "reordering"              // segments came out of order
	MTUBlackHole           FindingKind = "mtu-black-hole"          // only large segments got no ACK
	UnansweredData         FindingKind = "unanswered-data"         // the other host stopped answering
	ClosedWindow           FindingKind = "closed-window"           // a receiver closed its window
	WindowLimited          FindingKind = "window-limited"          // the receive window limited the sender
	DelayedACK             FindingKind = "delayed-ack"             // Nagle's algorithm waited for delayed ACKs
	Congestion             FindingKind = "ecn-congestion"          // queues marked packets with ECN
	KeepAliveUnanswered    FindingKind = "keep-alive-unanswered"   // keep-alives got no answer
	ResetSeen              FindingKind = "reset"                   // a reset ended the connection
	IncompleteCapture      FindingKind = "incomplete-capture"      // the capture lacks packets
)

// Finding is something about a conversation that a person wants to know.
type Finding struct {
	Kind FindingKind `json:"kind"` // what was found
	// Host is the one that showed it.
	Host netip.AddrPort `json:"host"`
	// Seen is the evidence in the capture, Cause what it likely means, and Next
	// what to look at to make sure: each a sentence or two in plain words.
	Seen  string `json:"seen"`
	Cause string `json:"cause"`
	Next  string `json:"next"`
	// Frames are the first frames where it was seen, and Count how many there are.
	Count  int   `json:"count"`
	Frames []int `json:"frames"`
}

// diagnosis is a Finding to be.
type diagnosis struct {
	kind              FindingKind
	of                *sideTracker
	seen, cause, next string
	frames            Frames
}

func (c *conversationTracker) report(d diagnosis) {
	c.Findings = append(c.Findings, Finding{d.kind, d.of.Addr, d.seen, d.cause, d.next, d.frames.Count, slices.Clone(d.frames.First)})
}

// found are frames in order, together.
func found(all ...Frames) Frames {
	var f Frames
	for _, x := range all {
		f.Count += x.Count
		f.First = append(f.First, x.First...)
	}
	slices.Sort(f.First)
	f.First = f.First[:min(len(f.First), maxFrames)]
	return f
}

func frames(numbers ...int) Frames { return Frames{len(numbers), numbers} }

func (c *conversationTracker) find() {
	c.findCopies()
	c.findOpening()
	for _, d := range c.trackers() {
		c.findLoss(d)
		c.findSpurious(d)
		c.findReordering(d)
		c.findUnanswered(d)
		c.findWindow(d)
		c.findDelayedACKs(d)
		c.findCongestion(d)
	}
	for _, d := range c.trackers() {
		c.findEnd(d)
		c.findGaps(d)
	}
}

func (c *conversationTracker) findCopies() {
	copies := found(c.client.Copies, c.server.Copies)
	if copies.Count == 0 {
		return
	}
	of := &c.client
	if of.Copies.Count == 0 {
		of = &c.server
	}
	c.report(diagnosis{CapturedTwice, of,
		fmt.Sprintf("%s follow one that is the same in every field, in less than a millisecond.", plural(copies.Count, "segment")),
		"The capture has packets twice, since they passed two of its interfaces (a bridge and its port, \"any\"), or the network duplicates packets (netem duplicate). They do not count as retransmissions.",
		"Capture on one interface (tcpdump -i eth0). If they are still there, D-SACK blocks or IP identifications at the receiver show whether the network duplicates.",
		copies})
}

func plural(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%s %ss", thousands(int64(n)), one)
}

func sentence(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func (c *conversationTracker) findOpening() {
	client, server := &c.client, &c.server
	if client.SYN == nil {
		return
	}
	again := client.Causes[CauseSYN]
	syns := found(frames(client.SYN.Frame), again)
	answers := server.Causes[CauseSYN]
	switch {
	case server.Segments == 0:
		c.report(diagnosis{UnansweredSYN, client,
			fmt.Sprintf("The client sent its SYN %s in %s, and the server never answered.", times(syns.Count), short(c.End-c.Start)),
			"The server's host is down, the way there or back is broken, or a firewall drops the packets. A full backlog of the listener drops SYNs too.",
			"Capture at the server: if the SYN arrives there, look at its firewall and at nstat TcpExtListenDrops; if not, follow the path (traceroute --tcp).",
			syns})
	case server.Reset != nil && server.Reset.Reason == ResetRefused:
		c.report(diagnosis{Refused, server,
			"The server's host answered the SYN with a reset.",
			fmt.Sprintf("Nobody listens on port %d there, or a firewall rejects the connection.", server.Addr.Port()),
			fmt.Sprintf("On the server: ss -ltn 'sport = %d' for listeners and the addresses they are bound to; then its firewall's reject rules.", server.Addr.Port()),
			frames(client.SYN.Frame, server.Reset.Frame)})
	case server.SYN != nil && client.Segments == syns.Count && answers.Count > 0:
		c.report(diagnosis{UnansweredSYNACK, server,
			fmt.Sprintf("The server sent its SYN-ACK %s, and the client never acknowledged it.", times(answers.Count+1)),
			"SYN-ACKs do not reach the client: a firewall without state for the connection, or another way back (asymmetric routing). Or the client's address is forged (SYN flood).",
			"Capture at the client: does the SYN-ACK arrive? Then compare the routes of both directions.",
			found(frames(server.SYN.Frame), answers)})
	case again.Count+answers.Count > 0:
		c.report(diagnosis{LostSYN, client,
			fmt.Sprintf("Before the handshake was complete, the client sent its SYN %s and the server its SYN-ACK %s; waiting for that took %s.",
				times(again.Count+1), times(answers.Count+1), short(client.synStalled+server.synStalled)),
			"The path loses packets, or the listener's backlog was full and dropped the SYN. Linux waits 1 s before it retransmits a SYN.",
			"Losses later in the connection speak for the path; if there are none, look at nstat TcpExtListenDrops and TcpExtListenOverflows on the server.",
			found(again, answers)})
	}
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return thousands(int64(n)) + " times"
}

func (c *conversationTracker) findLoss(d *sideTracker) {
	n := d.Repeated.Count + d.Filled.Count
	if n == 0 || d.DataSegments == 0 {
		return
	}
	seen := fmt.Sprintf("%s retransmitted %s, %s of those with data (%s).", sentence(d.name), plural(n, "segment"),
		percent(n, d.DataSegments), d.causesText())
	if d.Causes[CauseRTO].Count > 0 {
		seen += fmt.Sprintf(" Waiting for timeouts took %s.", short(d.Stalled))
	}
	other := d.other.name
	var cause, next string
	were := "all of them had"
	if n == 1 {
		were = "it had"
	}
	switch {
	case d.Filled.Count == 0:
		cause = fmt.Sprintf("A lossy link downstream of the capture point: %s passed here before, so the loss was between here and %s, or of %s's ACKs on the way back.", were, other, other)
		next = fmt.Sprintf("Capture nearer to %s and compare; look at drops along the way (tc -s qdisc, ip -s link).", other)
	case d.Repeated.Count == 0:
		cause = fmt.Sprintf("A lossy link upstream of the capture point: %s not passed here before, so the loss was between %s and here.", were, d.name)
		next = fmt.Sprintf("Capture nearer to %s and compare; look at drops along the way (tc -s qdisc, ip -s link).", d.name)
	default:
		cause = fmt.Sprintf("Lossy links on both sides of the capture point: %d had not passed here before, so they were lost on the way from %s; %d had.", d.Filled.Count, d.name, d.Repeated.Count)
		next = "Capture at both hosts and compare; look at drops along the way (tc -s qdisc, ip -s link)."
	}
	if d.SYN != nil && d.other.SYN != nil && (!d.SYN.Options.SACKPermitted || !d.other.SYN.Options.SACKPermitted) {
		next += " SACK is off, so that only one loss can be repaired in a round trip: turn on net.ipv4.tcp_sack."
	}
	c.report(diagnosis{LossyLink, d, seen, cause, next, found(d.Repeated, d.Filled)})
}

func (d *sideTracker) causesText() string {
	var parts []string
	for cause, f := range d.Causes {
		if cause := Cause(cause); f.Count > 0 && cause != CauseSYN && cause != CauseSpurious {
			parts = append(parts, fmt.Sprintf("%v %d", cause, f.Count))
		}
	}
	return strings.Join(parts, ", ")
}

func (c *conversationTracker) findSpurious(d *sideTracker) {
	late := d.marked(MarkSpuriousRetransmission)
	if late.Count+d.Unneeded.Count == 0 {
		return
	}
	other := d.other
	var seen []string
	if late.Count > 0 {
		seen = append(seen, fmt.Sprintf("%s retransmitted %s after their ACK.", sentence(d.name), plural(late.Count, "segment")))
	}
	if d.Unneeded.Count > 0 {
		seen = append(seen, fmt.Sprintf("%s said %s that it had got data twice (D-SACK).", sentence(other.name), times(d.Unneeded.Count)))
	}
	var cause, next string
	if fast := d.Causes[CauseFast].Count; fast > 0 && d.Unneeded.Count > 0 {
		cause = fmt.Sprintf("Segments were not lost but late: the path downstream of the capture point reorders or duplicates, and duplicate ACKs made %s retransmit.", d.name)
		next = fmt.Sprintf("Look for parallel links or queues on the path, and at nstat TcpExtTCPDSACKRecv and TcpExtTCPSACKReorder on %s.", d.name)
	} else {
		cause = fmt.Sprintf("%s's ACKs were lost or late, so that a timer of %s ran out: delay that grows suddenly (a full queue, a sleeping link), or loss on the way back.", sentence(other.name), d.name)
		next = "Compare the RTT's minimum with its maximum: a large ratio means queues. Look at nstat TcpExtTCPSpuriousRTOs."
	}
	c.report(diagnosis{SpuriousRetransmission, d, strings.Join(seen, " "), cause, next, found(late, d.Unneeded)})
}

func (c *conversationTracker) findReordering(d *sideTracker) {
	if d.Reordered.Count == 0 {
		return
	}
	c.report(diagnosis{Reordering, d,
		fmt.Sprintf("%s of %s arrived after later ones, without having passed before, within a round trip.", plural(d.Reordered.Count, "segment"), d.name),
		fmt.Sprintf("The path from %s to the capture point reorders: parallel links, or queues served in turn; netem does it by jitter.", d.name),
		fmt.Sprintf("If it costs fast retransmissions, raise net.ipv4.tcp_reordering on %s, or mend the path.", d.name),
		d.Reordered})
}

// findUnanswered: what is repeated until the end.
func (c *conversationTracker) findUnanswered(d *sideTracker) {
	other := d.other
	const few, smallest = 2, 536 // 536: what every host takes (RFC 9293, section 3.7.1)
	if len(d.row) < few || d.timeoutLength == 0 || d.Reset != nil || other.Reset != nil || other.Segments == 0 {
		return
	}
	if d.ackedAny && before(d.timeoutSeq, d.acked) {
		return // it arrived in the end
	}
	n := len(d.row)
	if d.timeoutLength >= smallest && d.timeoutLength > d.ackedLength {
		c.report(diagnosis{MTUBlackHole, d,
			fmt.Sprintf("%s sent a segment of %s %s and it was never acknowledged, while smaller ones were (up to %s of data).",
				sentence(d.name), plural(d.timeoutLength, "byte"), times(n+1), plural(d.ackedLength, "byte")),
			"A path-MTU black hole: a link on the path has a smaller MTU, and the ICMP message that would say so does not come through (RFC 2923).",
			fmt.Sprintf("ping -M do -s %d from %s; let ICMP type 3 code 4 (ICMPv6 type 2) pass, clamp the MSS, or set net.ipv4.tcp_mtu_probing=1.", d.timeoutLength+12, d.name),
			Frames{n, d.rowFrames}})
		return
	}
	c.report(diagnosis{UnansweredData, d,
		fmt.Sprintf("%s sent the same segment %s until the end of the capture, without an ACK; the last that was heard of %s is frame %d, %s before the end.",
			sentence(d.name), times(n+1), other.name, other.previous.Frame, short(c.End-other.previous.At)),
		fmt.Sprintf("%s is gone without a word: host down, link down, or a firewall that forgot the connection.", sentence(other.name)),
		fmt.Sprintf("Can %s be reached now (ping, a new connection)? If a new connection works, suspect state in a firewall or NAT.", other.name),
		Frames{n, d.rowFrames}})
}

func (c *conversationTracker) findWindow(sender *sideTracker) {
	d := sender.other
	if f := d.marked(MarkZeroWindow); f.Count > 0 {
		c.report(diagnosis{ClosedWindow, d,
			fmt.Sprintf("%s closed its receive window for %s in all.", sentence(d.name), short(d.WindowClosed)),
			fmt.Sprintf("The program on %s reads more slowly than %s sends.", d.name, sender.name),
			fmt.Sprintf("What does that program wait for? On %s: ss -tm shows the unread bytes (Recv-Q).", d.name),
			f})
		return // that its window was full before is no news
	}
	full := sender.marked(MarkWindowFull)
	const most = 2 // limited by the window for half of the segments, or more
	if full.Count == 0 && (sender.DataSegments < 10 || sender.Limited*most < sender.DataSegments) {
		return
	}
	seen := fmt.Sprintf("%s filled %s's window: %s of its %s with data left less than one segment of it.", sentence(sender.name), d.name,
		thousands(int64(sender.Limited)), plural(sender.DataSegments, "segment"))
	rtt := max(c.InitialRTT, sender.RTT.Min)
	if d.Window != nil && rtt > 0 {
		seen += fmt.Sprintf(" At most %s per round trip of %s are %s.", plural(d.Window.Max, "byte"), short(rtt), bitRate(float64(d.Window.Max)*8/rtt.Seconds()))
	}
	cause := fmt.Sprintf("The receive window of %s limits the throughput, not the network.", d.name)
	next := fmt.Sprintf("On %s: net.ipv4.tcp_rmem, and does the program set SO_RCVBUF (which turns off automatic sizing)?", d.name)
	if c.client.SYN != nil && c.server.SYN != nil && (!c.client.SYN.Options.HasWindowScale || !c.server.SYN.Options.HasWindowScale) {
		cause += " Window scaling is not in use, so that it cannot exceed 65,535 bytes."
		next = "net.ipv4.tcp_window_scaling on both hosts; a middlebox may strip the option: compare the SYN at both ends."
	}
	c.report(diagnosis{WindowLimited, sender, seen, cause, next, limitedFrames(full, sender)})
}

// limitedFrames are those that fill the window to the last byte, if there are any.
func limitedFrames(full Frames, sender *sideTracker) Frames {
	full.Count = max(full.Count, sender.Limited)
	if len(full.First) == 0 {
		full.First = sender.limitedFirst.First
	}
	return full
}

func (c *conversationTracker) findDelayedACKs(d *sideTracker) {
	const pattern = 3 // fewer may be chance
	if d.awaited.Count < pattern {
		return
	}
	sender := d.other
	c.report(diagnosis{DelayedACK, d,
		fmt.Sprintf("%s, %s held back a small segment until %s's delayed ACK came; that took %s more than a round trip.",
			sentence(times(d.awaited.Count)), sender.name, d.name, short(d.awaiting)),
		"Nagle's algorithm on the one side waits for the delayed ACK of the other: a program that writes one message in several small pieces and then waits for the answer.",
		fmt.Sprintf("Let the program on %s write a message at once, or set TCP_NODELAY.", sender.name),
		d.awaited})
}

func (c *conversationTracker) findCongestion(d *sideTracker) {
	if c.ECN == ECNNone || d.CE.Count+d.ECE.Count+d.ACE.Count == 0 {
		return // without ECN nobody has marked anything: the bits mean something else, or the headers are not sane
	}
	other := d.other
	var seen []string
	if d.CE.Count > 0 {
		seen = append(seen, fmt.Sprintf("%s of %s had the mark of a congested queue (CE).", plural(d.CE.Count, "packet"), d.name))
	}
	if d.ECE.Count > 0 {
		seen = append(seen, fmt.Sprintf("%s says in %s that marked packets arrive (ECE).", sentence(d.name), plural(d.ECE.Count, "segment")))
	}
	if d.ACE.Count > 0 {
		seen = append(seen, fmt.Sprintf("%s says in %s that %s had arrived marked (ACE).", sentence(d.name), plural(d.ACE.Count, "segment"), plural(d.CEReported, "more packet")))
	}
	where := fmt.Sprintf("A queue between the capture point and %s is full enough to mark packets of %s.", d.name, other.name)
	if d.CE.Count > 0 {
		where = fmt.Sprintf("A queue between %s and the capture point is full enough to mark packets.", d.name)
	}
	c.report(diagnosis{Congestion, d, strings.Join(seen, " "), where,
		"Marks instead of losses: as it should be. tc -s qdisc on the path shows which queue it is (ecn_mark).",
		found(d.CE, d.ECE, d.ACE)})
}

func (c *conversationTracker) findEnd(d *sideTracker) {
	other := d.other
	const unanswered = 2 // one may still be on its way
	if d.keepAlives.Count >= unanswered {
		c.report(diagnosis{KeepAliveUnanswered, d,
			fmt.Sprintf("%s asked with %s whether %s is alive, and got no answer.", sentence(d.name), plural(d.keepAlives.Count, "keep-alive"), other.name),
			fmt.Sprintf("%s is gone without a word: host down, link down, or a firewall that forgot the idle connection.", sentence(other.name)),
			fmt.Sprintf("Can %s be reached now? If so, keep-alives have to come more often than the firewall's or NAT's idle timeout (TCP_KEEPIDLE).", other.name),
			d.keepAlives})
	}
	r := d.Reset
	if r == nil || r.Reason == ResetRefused || r.Reason == ResetKeepAlive {
		return
	}
	seen := fmt.Sprintf("%s sent a reset: it %s.", sentence(d.name), resetTexts[r.Reason])
	cause, next := resetCause(r.Reason, d.name, other.name)
	if r.ForeignTTL {
		seen += fmt.Sprintf(" Its TTL is not that of %s's other packets.", d.name)
		cause = "A machine on the path made it up: a firewall, an intrusion prevention system or a proxy. " + cause
		next = fmt.Sprintf("Capture at %s: did it send the reset at all?", d.name)
	}
	c.report(diagnosis{ResetSeen, d, seen, cause, next, frames(r.Frame)})
}

// resetCause is what makes a host send such a reset.
func resetCause(reason ResetReason, name, other string) (cause, next string) {
	switch reason {
	case ResetNoConnection:
		return fmt.Sprintf("%s had ended the connection, or was restarted, or a load balancer sent the segment to the wrong host.", sentence(name)),
			fmt.Sprintf("What came before it: an earlier reset, a long silence (an idle timeout), or %s sending on after the end.", other)
	case ResetDataAfterClose:
		return fmt.Sprintf("The program on %s called close while %s still had something to send; nobody was left to read it.", name, other),
			"Is that meant? A program that wants the rest uses shutdown(SHUT_WR) and reads to the end before it closes."
	case ResetAfterFIN:
		return fmt.Sprintf("The program on %s closed the socket with unread data in it, or with SO_LINGER 0, or crashed with data unread.", name),
			fmt.Sprintf("%s's log; what the last data before the reset was.", sentence(name))
	default:
		return fmt.Sprintf("The program on %s closed the socket with unread data in it, or with SO_LINGER 0, or its kernel gave up after too many timeouts (TCP_USER_TIMEOUT).", name),
			fmt.Sprintf("%s's log; what the last data before the reset was; nstat TcpExtTCPAbortOnClose, TcpExtTCPAbortOnData, TcpExtTCPAbortOnTimeout.", sentence(name))
	}
}

func (c *conversationTracker) findGaps(d *sideTracker) {
	f := d.marked(MarkACKLostSegment)
	if f.Count == 0 {
		return
	}
	c.report(diagnosis{IncompleteCapture, d,
		fmt.Sprintf("%s acknowledged what was not captured.", sentence(d.name)),
		"The capture is missing packets, so other findings may be wrong: the capture dropped them, or they took another way.",
		"How many packets did the capture drop (Wireshark: Statistics, Capture File Properties)? A smaller snap length or a larger buffer helps (tcpdump -s 128 -B 65536).",
		f})
}

func percent(n, of int) string { return fmt.Sprintf("%.1f %%", 100*float64(n)/float64(of)) }

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	for at := len(s) - 3; at > 0 && s[at-1] != '-'; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

// short writes a time with four digits: 1.234 s, 50.12 ms, 17 µs.
func short(d time.Duration) string {
	sign := ""
	if d < 0 {
		sign, d = "-", -d
	}
	switch {
	case d >= time.Second:
		return sign + digits4(d.Seconds()) + " s"
	case d >= time.Millisecond:
		return sign + digits4(float64(d)/float64(time.Millisecond)) + " ms"
	case d >= time.Microsecond:
		return sign + digits4(float64(d)/float64(time.Microsecond)) + " µs"
	case d == 0:
		return "0 s"
	default:
		return fmt.Sprintf("%s%d ns", sign, d)
	}
}

// bitRate writes 19.2 Mbit/s.
func bitRate(bps float64) string {
	units := []struct {
		size float64
		name string
	}{{1e9, "Gbit/s"}, {1e6, "Mbit/s"}, {1e3, "kbit/s"}}
	for _, u := range units {
		if bps >= u.size {
			return digits4(bps/u.size) + " " + u.name
		}
	}
	return digits4(bps) + " bit/s"
}

func digits4(f float64) string {
	places := 0
	for limit := 1000.0; f < limit && places < 3; limit /= 10 {
		places++
	}
	s := fmt.Sprintf("%.*f", places, f)
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return cmp.Or(s, "0")
}
