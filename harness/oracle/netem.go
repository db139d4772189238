package oracle

// NetemDropsMarks reports whether netem's statistics have a packet that it marked instead of losing it (its flag ecn)
// among the drops. It is so before Linux 7.2, which counts marks on their own (net/sched/sch_netem.c: netem_enqueue,
// netem_dump_stats; struct tc_netem_xstats).
func (k Kernel) NetemDropsMarks() bool { return !k.Version.AtLeast(7, 2) }

// NetemCorrupts is in how many of a packet's bytes, the first ones, netem flips a bit (its option corrupt), of a packet
// of that length whose first bytes are its headers. Before Linux 7.2 it is the packet's linear part, which of what TCP has
// sent is the headers only, as the payload lies in pages; since then all of it (net/sched/sch_netem.c: netem_enqueue,
// skb_linearize; net/ipv4/tcp.c: tcp_sendmsg_locked).
func (k Kernel) NetemCorrupts(headers, length int) int {
	if k.Version.AtLeast(7, 2) {
		return length
	}
	return min(headers, length)
}
