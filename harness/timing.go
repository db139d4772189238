package harness

import "time"

// What scenarios allow for beside what they derive. Each is above what was seen on slow machines, and far below what a scenario
// is about.
const (
	// HostDelay bounds what two hosts add to a round trip on an otherwise idle machine: interrupts, wake-ups of programs, system
	// calls and what else is due at the same time, each of them well below a millisecond.
	HostDelay = 2 * time.Millisecond

	// Settle is longer than anything takes that is on its way on a path of up to 100 ms: a round trip, a delayed ACK
	// (TCP_DELACK_MAX, 200 ms), and an RTO (RTT + 200 ms).
	Settle = 500 * time.Millisecond
)
