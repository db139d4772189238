package analysis

import (
	"fmt"
	"strings"
)

// findLoss demands segments with data that were sent again, had to be, and arrived. What looks like it: a FIN that nobody acknowledges any
// more, what path MTU discovery makes smaller, what a D-SACK says was not needed, what is never acknowledged (findSilence), copies
// (findCopies), and segments that were overtaken (findReordering). None of these counts.
func (c *conversationTracker) findLoss(d *sideTracker) {
	lost := d.losses.all()
	n := lost.Count
	if n == 0 {
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
	case d.losses.filled.Count == 0:
		cause = fmt.Sprintf("A lossy link downstream of the capture point: %s passed here before, so the loss was between here and %s, or of %s's ACKs on the way back.", were, other, other)
		next = fmt.Sprintf("Capture nearer to %s and compare; look at drops along the way (tc -s qdisc, ip -s link).", other)
	case d.losses.repeated.Count == 0:
		cause = fmt.Sprintf("A lossy link upstream of the capture point: %s not passed here before, so the loss was between %s and here.", were, d.name)
		next = fmt.Sprintf("Capture nearer to %s and compare; look at drops along the way (tc -s qdisc, ip -s link).", d.name)
	default:
		cause = fmt.Sprintf("Lossy links on both sides of the capture point: %d had not passed here before, so they were lost on the way from %s; %d had.", d.losses.filled.Count, d.name, d.losses.repeated.Count)
		next = "Capture at both hosts and compare; look at drops along the way (tc -s qdisc, ip -s link)."
	}
	if d.SYN != nil && d.other.SYN != nil && (!d.SYN.Options.SACKPermitted || !d.other.SYN.Options.SACKPermitted) {
		next += " SACK is off, so that only one loss can be repaired in a round trip: turn on net.ipv4.tcp_sack."
	}
	c.report(diagnosis{LossyLink, d, seen, cause, next, lost})
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

// findSpurious demands segments that were sent again after their ACK had passed here, or D-SACK blocks, by which the receiver says that it
// got something twice (RFC 2883). A keep-alive with a byte is answered by a D-SACK as well, and does not count. Nor do tail loss probes that
// were sent before a timeout could: they are there to get an ACK, which was on its way, and cost nothing (RFC 8985, section 7.4). A segment
// that the capture had missed at first looks like one that was sent again: it has not passed before.
func (c *conversationTracker) findSpurious(d *sideTracker) {
	late := d.late
	if late.Count+d.Unneeded.Count == d.needlessProbes {
		return
	}
	other := d.other
	var seen []string
	if late.Count > 0 {
		whose := "their"
		if late.Count == 1 {
			whose = "its"
		}
		seen = append(seen, fmt.Sprintf("%s retransmitted %s after %s ACK.", sentence(d.name), plural(late.Count, "segment"), whose))
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

// findDuplicated demands a D-SACK about what was sent once, as far as it passed here. A spurious retransmission looks like it, but passes
// here; copies that only the capture has look like it, but the receiver does not get them.
func (c *conversationTracker) findDuplicated(d *sideTracker) {
	if d.Duplicated.Count == 0 {
		return
	}
	where := "behind here"
	if d.Copies.Count > 0 {
		where = "in front of here: both passed"
	}
	c.report(diagnosis{Duplicated, d,
		fmt.Sprintf("%s said %s that it had got twice (D-SACK) what %s has sent once.", sentence(d.other.name), times(d.Duplicated.Count), d.name),
		fmt.Sprintf("The network duplicates packets, %s: a loop or a redundant path (PRP, bonding in broadcast mode), or netem duplicate.", where),
		"Capture at both hosts: the copies have the same IPv4 identification. Then nearer to where the second appears first.",
		d.Duplicated})
}

// findReordering demands segments that came after later ones, and had been sent before them: by their timestamps, and without such,
// within a round trip. A retransmission of what was lost in front of here looks like it: it was sent later (overtaken).
func (c *conversationTracker) findReordering(d *sideTracker) {
	if d.Reordered.Count == 0 {
		return
	}
	c.report(diagnosis{Reordering, d,
		fmt.Sprintf("%s of %s arrived after later ones, without having passed before, and were not sent again.", plural(d.Reordered.Count, "segment"), d.name),
		fmt.Sprintf("The path from %s to the capture point reorders: parallel links, or queues served in turn; netem does it by jitter.", d.name),
		fmt.Sprintf("If it costs fast retransmissions, raise net.ipv4.tcp_reordering on %s, or mend the path.", d.name),
		d.Reordered})
}
