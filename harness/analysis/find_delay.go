package analysis

import (
	"fmt"
)

// findDelayedACKs demands, three times, a segment that is not full and left at once after an ACK that was 35 ms late, with nothing else in
// flight. A slow link looks like it, where an ACK waits for the second of two full segments: these are not held back by Nagle's
// algorithm (RFC 9293, section 3.7.4). Full is the MSS without the options of each segment.
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

// findSlowAnswers demands answers of the server that took a second or more after its host had acknowledged the request, without a retransmission
// in between, and that such took half of the time that was not the client's own, or more. A slow network looks like it: but then the ACK of the
// request is late as well. A server that waits on purpose (long polling) cannot be told apart, but for its
// length: 20 s and more are not reported.
func (c *conversationTracker) findSlowAnswers(d *sideTracker) {
	t := &d.thinking
	if d != &c.server || t.slow.Count == 0 {
		return
	}
	const half = 2
	busy := c.End - c.Start - c.client.Answers.sum
	if t.sum*half < busy {
		return
	}
	took := fmt.Sprintf("%s to answer", short(t.max))
	if t.slow.Count > 1 {
		took = fmt.Sprintf("up to %s to answer, %s in all for %s", short(t.max), short(t.sum), plural(t.slow.Count, "answer"))
	}
	c.report(diagnosis{SlowAnswer, d,
		fmt.Sprintf("The program on %s took %s, after its host had acknowledged the request: of %s that were not the client's own.", d.name, took, short(busy)),
		fmt.Sprintf("The program on %s, or what it asks in turn (a database, another server); not the network. Unless it waits on purpose, as in long polling.", d.name),
		fmt.Sprintf("%s's log of the requests before these frames, and what it waited for meanwhile.", sentence(d.name)),
		t.slow})
}
