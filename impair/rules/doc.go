// Package rules impairs chosen packets of TCP, exactly: beside netem, which throws dice for each packet, a rule acts
// on "the first two SYN", "data segment 5, once", "every other pure ACK", "everything for 300 ms". It drops them,
// holds them back, duplicates, marks, bleaches or corrupts them, counts what it hit and reports each hit.
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
// Root, and Linux 6.1 or later with the modules sch_ingress and cls_bpf; Corrupt needs cls_matchall and act_csum, Hold
// needs veth and sch_netem. Errors tell what is missing: [ErrNotPermitted], [ErrNotSupported].
//
// # How it works
//
// A BPF program, assembled here, runs on the egress of the device, in its clsact qdisc. That is before the device's
// own qdisc, so rules and netem combine: what a rule drops never comes to netem, what it duplicates comes twice. It
// is also before the tap of packet sockets: a capture on the device itself does not show what a rule dropped, and
// shows what was held when it leaves.
//
//   - Drop returns TC_ACT_STOLEN. To the sending host the packet was sent: TC_ACT_SHOT would be NET_XMIT_DROP, which a
//     local TCP takes for congestion (tcp_enter_cwr). Netem's loss does the same.
//   - Hold sends the packet through a veth pair inside the namespace, whose netem delays it, and from its far end back
//     to the device. The pair is made with the first such rule; only held packets see it.
//   - Duplicate sends a clone ahead of the packet.
//   - MarkCE acts on ECN-capable packets only, as a router would (RFC 3168): others pass, which the hit tells.
//   - Bleach clears the ECN field of the IP header, ClearFlags flags of ECN in the TCP header: what broken routers and
//     middleboxes do (RFC 9768, section 3.2.2). Where nothing is to be cleared, the hit tells so.
//   - Corrupt inverts a byte: the first of the payload, or else the low byte of the window. On a veth the checksum of
//     a local TCP is not computed yet and the receiver would not look at it (CHECKSUM_PARTIAL), so that the action
//     csum fills it in first, as netem does with skb_checksum_help.
//
// Hold, Duplicate and Corrupt use the packet's mark (SO_MARK, fwmark) on their way: such a packet loses one it had.
//
// # Conversations and numbers
//
// A conversation is one direction of a connection: addresses and ports of the packets that leave through the device. A
// SYN with another initial sequence number starts it anew. A rule numbers what it selects in each conversation on its
// own, from 1, and from the moment that the rule was added: added before a connection opens, data segment 5 is its
// fifth; added in mid-connection, it is the fifth from then on.
//
// Kinds are numbered by packets (the first two SYN are two transmissions of one), except [Data]: its numbers are
// distinct segments in the order of their first transmission. A segment's retransmissions are known by its sequence
// numbers: a later packet that carries a byte of it, also when it was cut or merged.
//
// [Open] takes some 20 ms of a guest's time; [Set.Add] of the fifth, ninth and seventeenth rule 30 to 140 ms, in which
// the longer program is loaded, while the one that is there acts; the first Hold of a duration some ms. All else is one
// or two system calls. Where the moment matters, add a rule before and use [Installed.Disable] and [Installed.Enable].
//
// The first rule that selects a packet acts on it. Those added later only count it as matched.
//
// # Limits
//
// A device has at most one [Set], of at most 32 rules in its time. Packets of more than one segment (GSO) are not
// touched, and make an error: build links with one packet per segment. IP fragments, and IPv6 packets with extension
// headers, are of the kind [AnyPacket] only. Nothing is pinned: all of it ends with the process or the namespace.
package rules
