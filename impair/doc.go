// Package impair configures what a link does to packets: all of the Linux netem qdisc, typed, in human units, per
// direction.
//
// A direction is the egress of one device. A link between two hosts has two ends and so two directions, each with its
// own [Netem]. The zero Netem is a perfect link.
//
//	dev := netdev.Device{NetNS: fd, Name: "eth0"}
//	got, err := impair.Apply(dev, impair.Netem{
//		Delay: 20 * time.Millisecond,
//		Loss:  impair.RandomLoss{Percent: 1},
//		Rate:  impair.Rate{BitsPerSecond: 20 * impair.Mbit},
//	})
//
// [Apply] installs a netem, [Change] changes it without losing what is queued, [Clear] removes it, [Read] and
// [ReadStats] return what the kernel has. Apply and Change read back what the kernel has and compare it with what was
// asked, value by value: a difference within the kernel's resolution is a note in [Applied], any other is a
// [*MismatchError]. Invalid input is refused before the kernel is called, by a [*invalid.FieldError] for each field.
//
// # What it needs
//
// Linux 4.16 or later with sch_netem, and CAP_NET_ADMIN in the namespace of the device. [Probe] tries it in a
// temporary namespace, and says in one line what is missing and how to get it. Validation, text and JSON need neither
// root nor netem. No cgo, no tc(8).
//
// # Units
//
//   - time: [time.Duration], kept by the kernel to the nanosecond;
//   - probability: [Percent], 0 to 100, kept as a 32-bit fraction
//     (rint(p/100 * (2^32-1)), iproute2's rounding);
//   - rate: bits per second, kept as whole bytes per second;
//   - limit and gap: packets; overheads and cells: bytes.
//
// # Traps
//
// Most of these are from the source, net/sched/sch_netem.c (after 6.6, and 6.18). Those marked * are measured by
// tests of this package, in guests of Debian's 6.1 and 6.12.
//
//   - netem sees the packets that the stack passes to the device. That can be a
//     GSO packet of 64 KB, which is lost, delayed or marked as one. Set the
//     device's gso_max_segs to 1 for one segment per packet.
//   - On the sending host, netem's queue and drops affect the local TCP. Put it
//     on a router between the hosts.
//   - Jitter reorders packets, unless a rate is set. Jitter from a table is up to
//     4 times Jitter, even below a delay of 0; such packets are not delayed.
//   - * DelayCorrelation has almost no effect, unless Jitter is above
//     2 s * (1 - correlation) and Uniform: the kernel correlates a 32-bit number
//     and then takes it modulo twice the jitter in ns, or modulo the size of the
//     table, which removes the correlation.
//   - * The other correlations change the rate: correlated numbers concentrate in
//     the middle, away from a threshold near the end. A RandomLoss of 5 % with a
//     correlation of 50 % lost none of 20,000 packets. For bursts use
//     [GilbertElliott] or [FourState].
//   - Each Change restarts the loss model in its good state, and the random
//     sequence of Seed.
//   - Packets selected by Reorder bypass the delay and the rate.
//   - A duplicate passes netem once more, and can be lost there.
//   - Seed covers loss, duplication, jitter and the choice of what to reorder or
//     corrupt, on Linux 6.6 and later. It does not cover which bit is flipped, the
//     range of a slot, and the start value of any correlation. Earlier kernels
//     ignore it (a note says so). In a guest in virtual time all of it repeats.
//   - [netdev.Stats].Drops counts losses and packets over the limit; before Linux 7.2 also
//     ECN marks (packets that were marked and delivered). Since then netem counts
//     what it does to packets one by one: [netdev.Stats].Injected.
//   - Corrupt flips a bit of a packet's linear part, which is only the headers in
//     packets of a local TCP; since Linux 7.2 of the whole packet.
//   - netem's limit includes delayed packets. See [Netem.Limit] for the size that
//     is chosen when none is given.
//   - * The kernel never unloads a distribution table, and never reports which one
//     it has. So Change to [Uniform] loads a uniform table.
//
// # Netlink
//
// The options are encoded and decoded here, on top of mdlayher/netlink. That opens its socket in a namespace given by
// a file descriptor, and returns the kernel's own error messages per socket; in vishvananda/netlink/nl both are
// process-wide state. florianl/go-tc lacks TCA_NETEM_LOSS; the tests use it as an independent check of everything
// else.
//
// # Tests
//
//	go test ./impair
//
// runs the tests that need no root. Those that need root and netem are skipped by name elsewhere, or fail with
// TCPLAB_REQUIRE=1.
package impair
