package analysis

import (
	"fmt"
	"maps"
	"time"
)

// What is wrong with the capture, rather than with the network.

// findCopies demands packets that are in the capture before: the same in every field, with the same IPv4 identification; without
// one, with another TTL and sooner than a timeout, or, if they take sequence numbers, within 1 ms. A retransmission looks like it: it
// has a new identification (or timestamp), and comes later. See copies.go.
func (c *conversationTracker) findCopies() {
	copies := found(c.client.Copies, c.server.Copies)
	if copies.Count <= c.client.Duplicated.Count+c.server.Duplicated.Count {
		return // none, or the receiver has got them, too (findDuplicated)
	}
	of := &c.client
	if of.Copies.Count == 0 {
		of = &c.server
	}
	c.report(diagnosis{CapturedTwice, of,
		fmt.Sprintf("%s in the capture before: the same in every field.", are(copies.Count, "segment")),
		"The capture has packets twice, since they passed two of its points (both sides of a router, whose TTLs differ; a bridge and its port; \"any\"; a mirror port), or the network duplicates packets (then the receiver says so, if it does D-SACK). They do not count as retransmissions.",
		"Capture on one interface and in one place (tcpdump -i eth0), or take them out (editcap -d). If they are still there, D-SACK blocks or IP identifications at the receiver show whether the network duplicates.",
		copies})
}

// findTimeGoingBack demands a packet whose time is more than 1 ms before that of the one in front of it, in the same conversation.
// A network card's queues, or several interfaces, mix packets by less.
func (c *conversationTracker) findTimeGoingBack() bool {
	if c.back.Count == 0 {
		return false
	}
	c.report(diagnosis{TimeGoesBack, &c.client,
		fmt.Sprintf("Time goes back by %s at frame %d.", short(c.backBy), c.back.First[0]),
		"The file is made of several captures (mergecap -a, cat), or the clock was set. What was lost or retransmitted, and how long anything took, cannot be told across that, and is not said here.",
		"Order the packets by their times (reordercap), merge the captures by time (mergecap), or capture once more.",
		c.back})
	return true
}

// findOneDirection demands that one side's packets are in the capture and acknowledge what the other side must have sent, of which
// there is nothing. A host that does not answer looks like it; but then nothing is acknowledged.
func (c *conversationTracker) findOneDirection() bool {
	for _, d := range c.trackers() {
		switch {
		case d.hearsUnseen():
			c.report(diagnosis{OneDirection, d,
				fmt.Sprintf("Only packets of %s were captured. They acknowledge what %s has sent.", d.name, d.other.name),
				"The other direction takes another way (asymmetric routing, a second link of a bundle), or the mirror port has one direction only. What the other side did cannot be told.",
				fmt.Sprintf("Capture at %s itself, or both directions of the mirror port; two captures of one direction each can be merged (mergecap).", d.name),
				frames(c.FirstFrame, c.LastFrame)})
			return true
		case c.oneWayCapture && d.Segments > 0 && d.other.Segments == 0:
			return true // as it is with the others here
		}
	}
	return false
}

// hearsUnseen reports whether a side has got something of the other, of which nothing was captured.
func (d *sideTracker) hearsUnseen() bool {
	const few = 3 // of less, an address may have been damaged on the way
	return d.Segments >= few && d.other.Segments == 0 && d.ackedOnce && d.Reset == nil &&
		(d.lastAck != d.firstAck || d.SYN != nil && d.beyondSYN())
}

// beyondSYN reports whether a side has sent more than its SYN or SYN-ACK: it has got the other's.
func (d *sideTracker) beyondSYN() bool { return d.Segments > d.syns }

// oneWay returns the interfaces of whose conversations none has both directions, and some are known to have had them.
func (b *builder) oneWay() map[string]bool {
	oneWay, both := make(map[string]bool), maps.Clone(b.both)
	for _, f := range b.open {
		switch {
		case f.seesBoth():
			both[f.name()] = true
		case f.tracker != nil && (f.tracker.client.hearsUnseen() || f.tracker.server.hearsUnseen()):
			oneWay[f.name()] = true
		}
	}
	for name := range both {
		delete(oneWay, name)
	}
	return oneWay
}

// seesBoth reports whether both directions were captured so far.
func (f *follower) seesBoth() bool {
	if c := f.tracker; c != nil {
		return c.client.Segments > 0 && c.server.Segments > 0
	}
	return f.waiting[0].Src != f.waiting[len(f.waiting)-1].Src
}

// name is that of the interface.
func (f *follower) name() string {
	if f.tracker != nil {
		return f.tracker.Interface
	}
	return f.waiting[0].Interface
}

// findGaps demands an ACK of what was not captured. A loss on the way to the capture point looks like it, but is not acknowledged before
// it is repaired.
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

// answerable is how long an answer is waited for before its absence means something: the first timeout of a SYN (RFC 6298, section 2).
const answerable = time.Second
