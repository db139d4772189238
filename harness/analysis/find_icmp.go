package analysis

import "fmt"

// findICMP demands an ICMP error that quotes a segment of this side. Path MTU discovery is no error: the sender is told to send less at
// a time, and does (it is in the table); findPathMTU says so if it does not.
func (c *conversationTracker) findICMP(d *sideTracker) {
	for i := range d.ICMP {
		if e := &d.ICMP[i]; !e.tooBig() {
			cause, next := e.cause(d)
			c.report(diagnosis{ICMPErrorSeen, d,
				fmt.Sprintf("%v answered %s of %s by ICMP: %s (type %d, code %d).", e.From, plural(e.Frames.Count, "segment"), d.name, e.Says, e.Type, e.Code),
				cause, next, e.Frames})
		}
	}
	c.findPathMTU(d)
}

// cause is what makes somebody send such an error.
func (e *ICMPError) cause(d *sideTracker) (cause, next string) {
	who := fmt.Sprintf("a router or firewall on the way, %v,", e.From)
	if e.From == d.other.Addr.Addr() {
		who = sentence(d.other.name) + "'s host itself"
	}
	switch {
	case e.prohibits():
		return fmt.Sprintf("%s rejects the connection: a rule of a firewall does not allow it.", sentence(who)),
			fmt.Sprintf("The rules at %v for port %d (nft list ruleset; iptables -L -v: REJECT).", e.From, d.other.Addr.Port())
	case e.Says == "time to live exceeded":
		return fmt.Sprintf("Packets go in circles: the routers on the way to %s do not agree, and at %v the last hop was used up.", d.other.name, e.From),
			fmt.Sprintf("traceroute to %v: the same routers in turn are the loop.", d.other.Addr.Addr())
	default:
		return fmt.Sprintf("%s cannot deliver to %v: it has no route to it, or nobody there answers ARP or neighbour discovery, since the host is down or has another address.", sentence(who), d.other.Addr.Addr()),
			fmt.Sprintf("On %v: ip route get %v; ip neigh.", e.From, d.other.Addr.Addr())
	}
}

// findPathMTU demands an ICMP message that a segment is too large, and that this segment was sent again as large as before, and was never
// acknowledged. A sender that obeys looks like it for a moment: its retransmissions are no losses (CausePathMTU).
func (c *conversationTracker) findPathMTU(d *sideTracker) {
	if !c.ignoresPathMTU(d) {
		return
	}
	m := &d.pathMTU
	said := Frames{}
	from := ""
	for i := range d.ICMP {
		if e := &d.ICMP[i]; e.tooBig() {
			said, from = found(said, e.Frames), e.From.String()
		}
	}
	takes := "its next hop takes less"
	if m.mtu > 0 {
		takes = fmt.Sprintf("its next hop takes packets of %s", plural(m.mtu, "byte"))
	}
	c.report(diagnosis{PathMTUIgnored, d,
		fmt.Sprintf("%s said %s by ICMP that segments of %s are too large: %s. %s sent the same segment of %s again, %s, and it was never acknowledged.",
			from, times(said.Count), d.name, takes, sentence(d.name), plural(d.timeoutLength, "byte"), times(m.ignored.Count)),
		fmt.Sprintf("%s ignores the messages: a firewall drops them behind here, or it does not do path MTU discovery but forbids fragments (DF).", sentence(d.name)),
		fmt.Sprintf("Does ICMP reach %s (type 3 code 4; ICMPv6 type 2)? ip route get shows the path MTU that it knows. Clamp the MSS at the router, or set net.ipv4.tcp_mtu_probing=1.", d.name),
		found(said, m.ignored)})
}

func (c *conversationTracker) ignoresPathMTU(d *sideTracker) bool {
	m := &d.pathMTU
	return m.known && m.ignored.Count > 0 && d.ackedAny && !before(m.seq, d.acked)
}
