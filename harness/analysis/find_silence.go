package analysis

import (
	"fmt"
)

// findSilence demands a segment with data that was repeated by two timeouts or more, to the end and without an ACK. What explains it
// better comes first: ICMP errors, a reset, the size of the segment.
func (c *conversationTracker) findSilence(d *sideTracker) {
	other := d.other
	const few = 2
	if len(d.row) < few || d.timeoutLength == 0 || d.Reset != nil || other.Reset != nil || other.Segments == 0 {
		return
	}
	if d.ackedAny && before(d.timeoutSeq, d.acked) {
		return // it arrived in the end
	}
	if c.ignoresPathMTU(d) || d.hasQuoted && d.quotedSeq == d.timeoutSeq && !d.pathMTU.known {
		return
	}
	sent := len(d.row) + 1
	if d.triesSeq == d.timeoutSeq {
		sent = d.tries // with tail loss probes
	}
	if d.onlyLargeFail() {
		c.findBlackHole(d, sent)
		return
	}
	cause := fmt.Sprintf("%s is gone without a word: host down, link down, or a firewall that forgot the connection.", sentence(other.name))
	if other.filledUp() {
		cause = fmt.Sprintf("%s had ceased to read: its window went from %s to %s with each ACK. Then its host stopped answering, too.",
			sentence(other.name), thousands(int64(other.Window.Max)), plural(other.Window.Min, "byte"))
	} else if d.sacked && before(d.timeoutSeq+uint32(d.timeoutLength), d.sackedTo) {
		cause = fmt.Sprintf("%s has got what comes behind it (SACK). Either something on the way drops this segment each time (a filter that looks into the data, a damaged checksum), or %s is gone since.",
			sentence(other.name), other.name)
	}
	c.report(diagnosis{UnansweredData, d,
		fmt.Sprintf("%s sent the same segment %s until the end of the capture, without an ACK; the last that was heard of %s is frame %d, %s before the end.",
			sentence(d.name), times(sent), other.name, other.previous.Frame, short(c.End-other.previous.At)),
		cause,
		fmt.Sprintf("Can %s be reached now (ping, a new connection)? If a new connection works, suspect state in a firewall or NAT.", other.name),
		Frames{len(d.row), d.rowFrames}})
}

// onlyLargeFail is the evidence for a black hole of the path MTU: smaller segments with data of the same side were acknowledged, and none
// that is as large; and what was sent behind it and is small enough did not fail with it, as it does if the host is gone.
func (d *sideTracker) onlyLargeFail() bool {
	const smallest = 536 // what every host takes (RFC 9293, section 3.7.1)
	if d.timeoutLength < smallest || d.ackedLength == 0 || d.timeoutLength <= d.ackedLength {
		return false
	}
	for _, l := range d.lengths {
		behind := l.length > 0 && before(d.timeoutSeq+uint32(d.timeoutLength), l.next)
		if behind && l.length <= d.ackedLength && !(d.sacked && !before(d.sackedTo, l.next)) {
			return false
		}
	}
	return true
}

// findBlackHole is what findSilence says if only large segments fail.
func (c *conversationTracker) findBlackHole(d *sideTracker, sent int) {
	c.report(diagnosis{MTUBlackHole, d,
		fmt.Sprintf("%s sent a segment of %s %s and it was never acknowledged, while smaller ones were (up to %s of data).",
			sentence(d.name), plural(d.timeoutLength, "byte"), times(sent), plural(d.ackedLength, "byte")),
		"A path-MTU black hole: a link on the path has a smaller MTU, and the ICMP message that would say so does not come through (RFC 2923).",
		blackHoleNext(d, d.timeoutLength),
		Frames{len(d.row), d.rowFrames}})
}

func blackHoleNext(d *sideTracker, length int) string {
	return fmt.Sprintf("ping -M do -s %d from %s; let ICMP type 3 code 4 (ICMPv6 type 2) pass, clamp the MSS, or set net.ipv4.tcp_mtu_probing=1.", length+12, d.name)
}

// filledUp reports whether this side's window went down with nearly each ACK, to less than a half: its program did not read.
func (d *sideTracker) filledUp() bool {
	const most = 2
	w := d.Window
	return w != nil && w.Min*most <= w.Max && d.shrinks*most >= d.other.advances && d.shrinks > 1
}

// findMissing demands a hole that what comes after it left open to the end, for a second or more, and that the receiver's ACKs stand in
// front of it. The end is that of the capture, for the sender may be heard no more; after a reset it is that of the conversation. What the
// capture has dropped looks like it, but the ACKs go on. It is how a black hole looks from the receiver: the hole is of a large segment,
// and only smaller ones came through.
func (c *conversationTracker) findMissing(d *sideTracker) {
	if !d.ackedAny || len(d.holes) == 0 {
		return
	}
	h, end := d.holes[0], c.captureEnd
	if d.Reset != nil || d.other.Reset != nil {
		end = c.End
	}
	open := end - h.at
	if h.from != d.acked || open < answerable || d.askedAt < h.at {
		return
	}
	missing := int(h.to - h.from)
	seen := fmt.Sprintf("%s of %s never came, though what comes after them did: %s waited for them for %s, until the end.",
		plural(missing, "byte"), d.name, d.other.name, short(open))
	const smallest = 536
	if missing >= smallest && missing > d.largest {
		c.report(diagnosis{MTUBlackHole, d,
			seen + fmt.Sprintf(" The largest segment that came has %s.", plural(d.largest, "byte")),
			"A path-MTU black hole on the way to here: a link on the path has a smaller MTU, and the ICMP message that would say so does not reach the sender (RFC 2923).",
			blackHoleNext(d, missing), frames(h.frame)})
		return
	}
	c.report(diagnosis{MissingData, d, seen,
		fmt.Sprintf("%s's retransmissions are lost on the way to here, or it has given up.", sentence(d.name)),
		fmt.Sprintf("Capture at %s: does it retransmit? Then follow the path.", d.name),
		frames(h.frame)})
}

// findKeepAlives demands two keep-alives without an answer, or one, and the reset by which the host gives up (TCP_USER_TIMEOUT, or
// TCP_KEEPCNT 1). A segment of one byte that is sent again looks like a keep-alive; but that byte had been sent alone (probes).
func (c *conversationTracker) findKeepAlives(d *sideTracker) {
	unanswered := 2 // one may still be on its way
	gaveUp := d.Reset != nil && d.Reset.Reason == ResetKeepAlive
	if gaveUp {
		unanswered = 1
	}
	if d.keepAlives.Count < unanswered {
		return
	}
	other := d.other
	seen := fmt.Sprintf("%s asked with %s whether %s is alive, and got no answer.", sentence(d.name), plural(d.keepAlives.Count, "keep-alive"), other.name)
	if gaveUp {
		seen += fmt.Sprintf(" Then it gave up, with a reset (frame %d).", d.Reset.Frame)
	}
	c.report(diagnosis{KeepAliveUnanswered, d, seen,
		fmt.Sprintf("%s is gone without a word: host down, link down, or a firewall that forgot the idle connection.", sentence(other.name)),
		fmt.Sprintf("Can %s be reached now? If so, keep-alives have to come more often than the firewall's or NAT's idle timeout (TCP_KEEPIDLE).", other.name),
		d.keepAlives})
}
