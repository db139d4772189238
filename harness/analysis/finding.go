package analysis

import (
	"net/netip"
	"slices"
)

// FindingKind is a fixed word for what was found.
type FindingKind string

// The kinds. docs/analysis.md says what evidence each needs.
const (
	CapturedTwice          FindingKind = "captured-twice"          // packets are in the capture twice
	Duplicated             FindingKind = "duplicated"              // the network duplicates packets
	OneDirection           FindingKind = "one-direction"           // only one side's packets were captured
	TimeGoesBack           FindingKind = "time-goes-back"          // the packets are not in the order of their times
	UnansweredSYN          FindingKind = "unanswered-syn"          // nobody answered the SYN
	UnansweredSYNACK       FindingKind = "unanswered-syn-ack"      // nobody acknowledged the SYN-ACK
	LostSYN                FindingKind = "lost-syn"                // a SYN or SYN-ACK was retransmitted
	HandshakeIgnored       FindingKind = "handshake-ignored"       // a SYN-ACK was retransmitted after the client's ACK
	ICMPErrorSeen          FindingKind = "icmp-error"              // a router or a host said by ICMP that there is no way
	Refused                FindingKind = "refused"                 // a reset answered the SYN
	LossyLink              FindingKind = "lossy-link"              // segments were lost and retransmitted
	SpuriousRetransmission FindingKind = "spurious-retransmission" // segments were retransmitted without need
	Reordering             FindingKind = "reordering"              // segments came out of order
	MTUBlackHole           FindingKind = "mtu-black-hole"          // only large segments got no ACK
	PathMTUIgnored         FindingKind = "path-mtu-ignored"        // a sender does not do as ICMP says
	MissingData            FindingKind = "missing-data"            // a hole was never filled
	UnansweredData         FindingKind = "unanswered-data"         // the other host stopped answering
	ClosedWindow           FindingKind = "closed-window"           // a receiver closed its window
	WindowLimited          FindingKind = "window-limited"          // the receive window limited the sender
	DelayedACK             FindingKind = "delayed-ack"             // Nagle's algorithm waited for delayed ACKs
	SlowAnswer             FindingKind = "slow-answer"             // the program on the server took long to answer
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

// find looks for what a person wants to know. The files find_*.go have a function for each kind, or few that are alike: the comment of
// each says what evidence it demands, what else looks like it, and how that is told apart.
func (c *conversationTracker) find() {
	if c.findTimeGoingBack() {
		return // nothing that follows from an order can be told
	}
	c.findCopies()
	if !c.findOneDirection() {
		c.findOpening()
	}
	for _, d := range c.trackers() {
		c.findICMP(d)
		c.findLoss(d)
		c.findSpurious(d)
		c.findReordering(d)
		c.findDuplicated(d)
		c.findSilence(d)
		c.findMissing(d)
		c.findWindow(d)
		c.findDelayedACKs(d)
		c.findSlowAnswers(d)
		c.findCongestion(d)
	}
	for _, d := range c.trackers() {
		c.findKeepAlives(d)
		c.findReset(d)
		c.findGaps(d)
	}
}
