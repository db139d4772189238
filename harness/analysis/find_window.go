package analysis

import "fmt"

// findWindow looks at the window that the sender's peer offers. One that was full before it closed is no news.
func (c *conversationTracker) findWindow(sender *sideTracker) {
	if !c.findClosedWindow(sender) {
		c.findFullWindow(sender)
	}
}

// findClosedWindow demands a window of 0 while the sender had not sent its FIN, nor anybody a reset: after that nobody waits for it, and
// Linux says 0 in TIME-WAIT. And that it cost time: it was closed until the sender's first probe is due (a timeout, RFC 9293, section
// 3.8.6.1), or for half of the time that the transfer took. On a fast link a program that reads whenever it is woken is sometimes behind.
func (c *conversationTracker) findClosedWindow(sender *sideTracker) bool {
	d := sender.other
	const half = 2
	took := sender.lastData - sender.firstData
	if d.zeroes.Count == 0 || d.longest < minRTO && d.WindowClosed*half < took {
		return false
	}
	c.report(diagnosis{ClosedWindow, d,
		fmt.Sprintf("%s closed its receive window for %s in all.", sentence(d.name), short(d.WindowClosed)),
		fmt.Sprintf("The program on %s reads more slowly than %s sends.", d.name, sender.name),
		fmt.Sprintf("What does that program wait for? On %s: ss -tm shows the unread bytes (Recv-Q).", d.name),
		d.zeroes})
	return true
}

// findFullWindow demands ten segments with new data or more, half of which left no room for a whole one, with half of the window in flight;
// or that half of ten ACKs or more came when it was so. A window that is small beside the MSS (loopback) looks full after each small
// message: but nothing is in flight. One that shrinks to its end is a program that does not read, not a small buffer.
func (c *conversationTracker) findFullWindow(sender *sideTracker) {
	d := sender.other
	const many, most = 10, 2
	bySegments := sender.fresh >= many && sender.Limited*most >= sender.fresh
	byACKs := sender.advances >= many && sender.fullAdvances*most >= sender.advances
	if !bySegments && !byACKs {
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
	switch {
	case d.filledUp():
		cause = fmt.Sprintf("The program on %s reads more slowly than %s sends: its window shrinks by what it takes.", d.name, sender.name)
		next = fmt.Sprintf("What does that program wait for? On %s: ss -tm shows the unread bytes (Recv-Q).", d.name)
	case c.client.SYN != nil && c.server.SYN != nil && (!c.client.SYN.Options.HasWindowScale || !c.server.SYN.Options.HasWindowScale):
		cause += " Window scaling is not in use, so that it cannot exceed 65,535 bytes."
		next = "net.ipv4.tcp_window_scaling on both hosts; a middlebox may strip the option: compare the SYN at both ends."
	}
	c.report(diagnosis{WindowLimited, sender, seen, cause, next, limitedFrames(sender.marked(MarkWindowFull), sender)})
}

// limitedFrames are those that fill the window to the last byte, if there are any.
func limitedFrames(full Frames, sender *sideTracker) Frames {
	full.Count = max(full.Count, sender.Limited)
	if len(full.First) == 0 {
		full.First = sender.limitedFirst.First
	}
	return full
}
