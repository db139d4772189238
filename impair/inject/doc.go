// Package inject sends single packets that nobody on a network has made: a forged reset, an old duplicate, an ICMP error that
// quotes a segment, a segment that is not legal. So one sees what a TCP does with what it should not believe (RFC 5961, RFC 5927).
//
// A [Segment] is made by its fields, mostly those of one that was seen: [Like] copies it, [After] is what its sender could have
// sent next. An [ICMPError] quotes a segment.
//
//	reset := inject.After(seen)      // at exactly RCV.NXT of the receiver, if nothing came after the segment that was seen
//	reset.Flags = analysis.FlagRST
//	reset.Seq += 1000                // in the window: RFC 5961 asks for a challenge ACK
//	sent, err := inject.Send(router.Device(), client.MAC(), reset)
//
// What the bytes of a packet are (IP) does not depend on the machine; only [Send] needs a link, and root (CAP_NET_RAW over the
// device's namespace).
//
// # How it is sent
//
// As a frame, by a packet socket, out of the device: through its rules (impair/rules) and its qdisc, as all that leaves there. So
// a netem delays it, and can lose it, and a capture on the device has it as outbound. The kernel's IP is passed over:
// no routing, no firewall, no fragments. Packets that do not fit into the device's MTU are refused.
//
//	go test ./impair/inject                                           # without root: what the bytes are
//	tcplab run ./impair/inject --clock virtual -- -test.v             # in a guest: what a kernel makes of them
package inject
