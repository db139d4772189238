package analysis

import "fmt"

// findOpening says what went wrong before the connection was open, by the first of these that holds. The functions say what each demands.
func (c *conversationTracker) findOpening() {
	if c.client.SYN == nil {
		return
	}
	for _, find := range []func(syns Frames) bool{c.findUnansweredSYN, c.findRefused, c.findUnansweredSYNACK, c.findLostSYN} {
		if find(found(frames(c.client.SYN.Frame), c.client.Causes[CauseSYN])) {
			return
		}
	}
}

// findUnansweredSYN demands a SYN, nothing of the server, and that an answer had time to come: the SYN was retransmitted, or the capture
// goes on for a second. An ICMP error that quotes the SYN is the answer (findICMP), and ACKs of the client's
// prove that there was one (findOneDirection).
func (c *conversationTracker) findUnansweredSYN(syns Frames) bool {
	client, server := &c.client, &c.server
	if server.Segments > 0 {
		return false
	}
	waited := c.captureEnd - client.synAt
	if len(client.ICMP) > 0 || syns.Count == 1 && waited < answerable {
		return true // that is all there is to say
	}
	c.report(diagnosis{UnansweredSYN, client,
		fmt.Sprintf("The client sent its SYN %s in %s, and the server never answered.", times(syns.Count), short(c.captureEnd-c.Start)),
		"The server's host is down, the way there or back is broken, or a firewall drops the packets. A full backlog of the listener drops SYNs too.",
		"Capture at the server: if the SYN arrives there, look at its firewall and at nstat TcpExtListenDrops; if not, follow the path (traceroute --tcp).",
		syns})
	return true
}

// findRefused demands a reset with ACK in answer to the SYN, as the first that came of the server's address. One that somebody on the path
// made up looks the same, but the SYN-ACK of the server follows (findReset).
func (c *conversationTracker) findRefused(Frames) bool {
	client, server := &c.client, &c.server
	if server.Reset == nil || server.Reset.Reason != ResetRefused {
		return false
	}
	c.report(diagnosis{Refused, server,
		"The server's host answered the SYN with a reset.",
		fmt.Sprintf("Nobody listens on port %d there, or a firewall rejects the connection.", server.Addr.Port()),
		fmt.Sprintf("On the server: ss -ltn 'sport = %d' for listeners and the addresses they are bound to; then its firewall's reject rules.", server.Addr.Port()),
		frames(client.SYN.Frame, server.Reset.Frame)})
	return true
}

// findUnansweredSYNACK demands SYN-ACKs that were retransmitted, and nothing of the client but SYNs.
func (c *conversationTracker) findUnansweredSYNACK(syns Frames) bool {
	client, server := &c.client, &c.server
	answers := server.Causes[CauseSYN]
	if server.SYN == nil || client.Segments-client.Copies.Count != syns.Count || answers.Count == 0 {
		return false
	}
	c.report(diagnosis{UnansweredSYNACK, server,
		fmt.Sprintf("The server sent its SYN-ACK %s, and the client never acknowledged it.", times(answers.Count+1)),
		"SYN-ACKs do not reach the client: a firewall without state for the connection, or another way back (asymmetric routing). Or the client's address is forged (SYN flood).",
		"Capture at the client: does the SYN-ACK arrive? Then compare the routes of both directions.",
		found(frames(server.SYN.Frame), answers)})
	return true
}

// findLostSYN demands a SYN or SYN-ACK that was retransmitted before the client's ACK passed here. A SYN-ACK that comes after it looks like
// that, too, but the client had its answer and did not wait: the server had not got the ACK, or did not take it. Linux ignores it for a
// socket with TCP_DEFER_ACCEPT, until data comes, and where the accept queue is full.
func (c *conversationTracker) findLostSYN(Frames) bool {
	client, server := &c.client, &c.server
	again, answers := client.Causes[CauseSYN], server.Causes[CauseSYN]
	ignored := server.ignoredACK
	if lost := again.Count + answers.Count - ignored.Count; lost > 0 {
		c.report(diagnosis{LostSYN, client,
			fmt.Sprintf("Before the handshake was complete, the client sent its SYN %s and the server its SYN-ACK %s; waiting for that took %s.",
				times(again.Count+1), times(answers.Count-ignored.Count+1), short(max(client.synStalled, server.synStalled))),
			"The path loses packets, or the listener's backlog was full and dropped the SYN. Linux waits 1 s before it retransmits a SYN.",
			"Losses later in the connection speak for the path; if there are none, look at nstat TcpExtListenDrops and TcpExtListenOverflows on the server.",
			found(again, answers)})
		return true
	}
	if ignored.Count == 0 {
		return false
	}
	c.report(diagnosis{HandshakeIgnored, server,
		fmt.Sprintf("The server sent its SYN-ACK again, %s, although the client's ACK had passed here.", times(ignored.Count)),
		"The server waits for data before it accepts (TCP_DEFER_ACCEPT, as Apache and nginx may set it), its accept queue is full, or the ACK was lost behind here. The client does not notice, unless it waits for the server to speak first.",
		"On the server: ss -ltn shows the accept queue (Recv-Q, of at most Send-Q), nstat TcpExtListenOverflows whether it was full; without that, deferred accept is harmless.",
		ignored})
	return true
}
