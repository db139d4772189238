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

// ReadsOptionsUnverified reports whether TCP may drop a segment of more than checksumBreak bytes for options that do not
// parse before it has verified its checksum, which no counter has: since Linux 6.7, where it is built with TCP-AO
// (CONFIG_TCP_AO; of Debian's kernels 7.3 is), tcp_inbound_hash looks for a signature first (tcp_parse_auth_options,
// minlen; the drop reason is TCP_AUTH_HDR). The checksum of shorter ones is verified as they come (skb_checksum_init).
func (k Kernel) ReadsOptionsUnverified(segment int) bool {
	const checksumBreak = 76 // CHECKSUM_BREAK, include/linux/skbuff.h
	return k.Version.AtLeast(6, 7) && segment > checksumBreak
}
