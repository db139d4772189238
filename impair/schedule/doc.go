// Package schedule lets an impairment change over time: a list of steps, a ramp, a periodic outage, or a trace of a
// link's rate as mahimahi records it.
//
//	s, err := schedule.Outages(impair.Netem{Delay: 20 * time.Millisecond}, 10*time.Second, 300*time.Millisecond)
//	done, err := schedule.Run(ctx, s, func(n impair.Netem) error {
//		_, err := impair.Change(device, n)
//		return err
//	})
//
// A [Schedule] is plain data: what holds from which time on. [Run] drives it by the clock. Each deadline is computed
// from the start, so that lateness does not add up; and what really happened when is reported, step by step. In a
// guest it is the guest's clock, so that the same steps meet the same packets each time.
//
// # What a change does to packets
//
// netem decides on a packet when it comes in. So a change has no effect on what is queued: packets that wait for their
// turn at a low rate go on waiting when the rate rises, and those behind an outage do not leave sooner when it ends.
// And each change starts the loss model and its random numbers anew (see package impair); give steps seeds of their
// own where that matters.
//
// # What it needs
//
// Nothing: neither root nor netem. Run applies what it is given to apply.
package schedule
