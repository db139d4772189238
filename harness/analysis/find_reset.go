package analysis

import "fmt"

// findReset demands a reset that is no refusal (findRefused), does not follow keep-alives (findKeepAlives), and was not sent when both sides
// had closed, and all was acknowledged: then it changes nothing. Nor does one that answers TLS's last word (parted): each of the sides says that
// it is done, and the one that says so second finds nobody to hear it. What it was for follows from its flags and from what came before
// (resetReason). Somebody on the path made it up if its TTL is not that of the side's other packets, or if the side goes on.
func (c *conversationTracker) findReset(d *sideTracker) {
	other, r := d.other, d.Reset
	if r == nil || r.Reason == ResetRefused || r.Reason == ResetKeepAlive {
		return
	}
	if (c.Close.How != CloseReset || d.parted()) && !r.ForeignTTL && !r.Ignored {
		return
	}
	seen := fmt.Sprintf("%s sent a reset: it %s.", sentence(d.name), resetTexts[r.Reason])
	cause, next := resetCause(r.Reason, d.name, other.name)
	if r.Silence > 0 {
		seen += fmt.Sprintf(" Nobody had sent anything for %s before.", rounded(r.Silence))
		cause = fmt.Sprintf("An idle timeout is likely: a load balancer, NAT or firewall on the way, or the program on %s, had forgotten the connection after %s of silence or less.", d.name, rounded(r.Silence))
		next = "The idle timeouts of what is on the way and of both programs; keep-alives that come more often than the shortest (TCP_KEEPIDLE), or connections that are closed before."
	}
	if r.ForeignTTL {
		seen += fmt.Sprintf(" Its TTL is not that of %s's other packets: %d against %d.", d.name, d.resetTTL, d.ttl)
	}
	if r.Ignored {
		seen += fmt.Sprintf(" %s went on after it.", sentence(d.name))
	}
	switch {
	case r.ForeignTTL && r.Silence > 0 && !r.Ignored:
		cause = fmt.Sprintf("A machine on the path made it up, most likely as it had forgotten the connection: a load balancer, NAT or firewall with an idle timeout of %s or less.", rounded(r.Silence))
	case r.ForeignTTL || r.Ignored:
		cause = "A machine on the path made it up: a firewall, an intrusion prevention system or a proxy."
		next = fmt.Sprintf("Capture at %s: did it send the reset at all?", d.name)
	}
	c.report(diagnosis{ResetSeen, d, seen, cause, next, frames(r.Frame)})
}

// resetCause is what makes a host send such a reset.
func resetCause(reason ResetReason, name, other string) (cause, next string) {
	switch reason {
	case ResetNoConnection:
		return fmt.Sprintf("%s had ended the connection, or was restarted, or a load balancer sent the segment to the wrong host.", sentence(name)),
			fmt.Sprintf("What came before it: an earlier reset, or %s sending on after the end.", other)
	case ResetDataAfterClose:
		return fmt.Sprintf("The program on %s called close while %s still had something to send; nobody was left to read it.", name, other),
			"Is that meant? A program that wants the rest uses shutdown(SHUT_WR) and reads to the end before it closes."
	case ResetAfterClose:
		return fmt.Sprintf("%s had closed, and its host did not wait any longer for %s to do the same (tcp_fin_timeout).", sentence(name), other),
			fmt.Sprintf("Why does the program on %s close so late, or not at all?", other)
	case ResetAfterFIN:
		return fmt.Sprintf("The program on %s closed the socket with unread data in it, or with SO_LINGER 0, or crashed with data unread.", name),
			fmt.Sprintf("%s's log; what the last data before the reset was.", sentence(name))
	default:
		return fmt.Sprintf("The program on %s closed the socket with unread data in it, or with SO_LINGER 0, or its kernel gave up after too many timeouts (TCP_USER_TIMEOUT).", name),
			fmt.Sprintf("%s's log; what the last data before the reset was; nstat TcpExtTCPAbortOnClose, TcpExtTCPAbortOnData, TcpExtTCPAbortOnTimeout.", sentence(name))
	}
}
