// Package rules impairs selected TCP packets exactly. netem acts at random; a rule acts on "the first two SYN", "data
// segment 5, once", "every other pure ACK", "the SYNs with a Fast Open cookie", "everything for 300 ms". It drops,
// delays, duplicates, marks, bleaches or corrupts them, counts its hits and reports each.
//
//	set, err := rules.Open(netdev.Device{NetNS: router.FD(), Name: "eth1"})
//	if err != nil {
//		return err
//	}
//	defer set.Close()
//	_, err = set.Add(rules.Drop(rules.Data.Number(5)))
//	...
//	hits, err := set.Hits()
//
// # What it needs
//
// Root, and Linux 6.1 or later with the modules sch_ingress and cls_bpf; Corrupt needs cls_matchall and act_csum, Delay
// needs veth and sch_netem. Errors say what is missing: [ErrNotPermitted], [ErrNotSupported].
//
// # How it works
//
// A BPF program, assembled here, runs on the egress of the device, in its clsact qdisc. That is before the device's
// own qdisc, so rules and netem combine: a dropped packet never reaches netem, a duplicated one reaches it twice. It
// is also before packet sockets: a capture on the device does not have dropped packets, and has delayed ones at the
// time they leave.
//
//   - Drop returns TC_ACT_STOLEN. To the sending host the packet was sent: TC_ACT_SHOT would be NET_XMIT_DROP, which a
//     local TCP takes for congestion (tcp_enter_cwr). Netem's loss does the same.
//   - Delay sends the packet through a veth pair inside the namespace, whose netem delays it, and from its far end back
//     to the device. The pair is made with the first such rule; only held packets see it.
//   - Duplicate sends a clone ahead of the packet.
//   - MarkCE acts on ECN-capable packets only, as a router would (RFC 3168): others pass, and the hit says so.
//   - Bleach clears the ECN field of the IP header, ClearFlags flags of ECN in the TCP header: what broken routers and
//     middleboxes do (RFC 9768, section 3.2.2). If there is nothing to clear, the hit says so.
//   - Corrupt inverts a byte: the first of the payload, or else the low byte of the window. On a veth the checksum of
//     a local TCP is not computed yet, and the receiver does not check it (CHECKSUM_PARTIAL). So the action csum fills
//     it in first, as netem does with skb_checksum_help.
//
// Delay, Duplicate and Corrupt use the packet's mark (SO_MARK, fwmark): a packet loses a mark that it had.
//
// In the code each block of the program stands below the C that it is. testdata lists the instructions; after a change
// that is meant: go test ./impair/rules -run Listing -update.
//
// # Conversations and numbers
//
// A conversation is one direction of a connection: the addresses and ports of packets that leave through the device.
// A SYN with another initial sequence number begins a new one. A rule numbers the packets that it selects per
// conversation, from 1, and from the moment that it was added: in a rule added before a connection opens, data
// segment 5 is its fifth; in one added later, the fifth from then on.
//
// Numbers count packets (the first two SYN are two transmissions of one), except those of [Data]: these count
// distinct segments in the order of their first transmission. Retransmissions are recognized by sequence number: any
// later packet that carries a byte of the segment, even if it was split or merged.
//
// What a match is narrowed by decides before anything is numbered: ports and addresses, payload, options and flags. So
// Data.PayloadAtLeast(1400).Number(3) is the third large segment. The transmissions of a segment can differ in these (CWR is
// not sent again): Times counts those that the match selects.
//
// The first rule of a set takes about 20 ms of a guest's time. [Set.Add] of the fifth, ninth and seventeenth rule,
// and of the first one with an Option, takes 30 to 180 ms to load a longer program, while the old one acts. The first
// Delay of a duration takes some ms. All else is one or two system calls. If the moment matters, add a rule in
// advance, and use [Installed.Disable] and [Installed.Enable].
//
// The first rule that selects a packet acts on it. Later rules only count it as matched.
//
// # Limits
//
// A device has at most one [Set], with at most 32 rules in its lifetime. Packets of more than one segment (GSO) pass
// untouched, and cause an error: build links with one segment per packet. IP fragments, and IPv6 packets with
// extension headers, are only of the kind [AnyPacket]. Nothing is pinned: all of it ends with the process or the
// namespace.
package rules
