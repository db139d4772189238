// Package queue configures how packets wait at a bottleneck: drop-tail, fq, CoDel, fq_codel, PIE, RED with ECN, CAKE and DualPI2, typed, in
// human units; and policers, which let nothing wait.
//
//	got, err := queue.Apply(device, queue.Queue{
//		Bottleneck: queue.Bottleneck{BitsPerSecond: 20 * impair.Mbit},
//		Discipline: queue.FQCoDel{Target: 5 * time.Millisecond},
//	})
//
// [Apply] makes a queue, [Clear] removes it, [Read] and [ReadStats] return what the kernel has; [Police] is for policers. What was made is read
// back and compared with what was sent, value by value: a difference within the kernel's resolution is a note in [Applied], any other is a
// [*MismatchError]. Invalid input is refused before the kernel is called, by a [*invalid.FieldError] for each field. The zero value of a field
// leaves it as the kernel has it.
//
// # Where it sits
//
// A queue is the root of a device: either the discipline alone, or a token bucket (tbf), which has the rate, with the discipline below it, where
// packets wait. CAKE has a rate of its own.
//
// Netem is not part of it, and a device has one or the other. Netem cannot be above a discipline: it keeps packets until they are due, rate
// included, and hands each one on to a child that is empty again at once, which never sees a queue (netem_dequeue). So delay and loss are on
// other devices of the path: delay on the way back, or behind the bottleneck.
//
// # What it needs
//
// Linux 5.15 or later, and CAP_NET_ADMIN in the namespace of the device. The modules are sch_tbf and the discipline's: sch_fq_codel, sch_pie and
// so on; for policers sch_ingress, cls_matchall and act_police. [ErrNotSupported] says that the kernel has no such thing: DualPI2 came with 6.17,
// and Debian does not build it. Guests have all modules that their kernel has. Validation, text and JSON need neither root nor modules. No cgo, no
// tc(8).
//
// # Traps
//
//   - A discipline sees a queue only where something holds packets back: below a token bucket, or in CAKE with a rate. On a veth without either it
//     is always empty. FQ is the exception: it holds packets back by itself, when their socket paces.
//   - A packet can be a GSO packet of 64 KB, which is dropped or marked as one. Set the device's gso_max_segs to 1.
//   - CoDel does nothing while no more than a frame waits, and nothing in the first Interval (codel_should_drop).
//   - PIE and CoDel on a router mark only what says that it can be marked: without ECN at both ends they drop.
//   - PIE does nothing while fewer than two frames wait, and lets bursts of 150 ms pass after a pause (RFC 8033, section 4.4).
//   - RED with ECN marks between Min and Max, and above Max too, unless HardDrop.
//   - A policer's Drops count packets, and its Packets are those that came, dropped ones included.
//
// # Sources
//
// include/uapi/linux/pkt_sched.h and net/sched/sch_*.c of Linux 6.1 to 6.17; tc/q_red.c and tc/q_cake.c of iproute2 for what tc computes.
//
// # Tests
//
//	go test ./impair/queue
//
// runs the tests that need no root. Those that need it are skipped by name elsewhere, or fail with TCPLAB_REQUIRE=1; in a guest:
// bin/tcplab run ./impair/queue --clock virtual.
package queue
