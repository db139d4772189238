// Package schedule changes an impairment over time: by a list of steps, a ramp, a periodic outage, or a trace of a
// link's rate in mahimahi's format.
//
//	s, err := schedule.Outages(impair.Netem{Delay: 20 * time.Millisecond}, 10*time.Second, 300*time.Millisecond)
//	done, err := schedule.Run(ctx, s, func(n impair.Netem) error {
//		_, err := impair.Change(device, n)
//		return err
//	})
//
// A [Schedule] is plain data: impairments and the times from which they apply. [Run] drives it by the clock. Each
// deadline is computed from the start, so that lateness does not add up, and the actual time of each step is
// reported. In a guest it is the guest's clock, so that the same steps meet the same packets each time.
//
// # What a change does to packets
//
// netem schedules a packet when it arrives. So a change does not affect queued packets: packets that wait at a low
// rate still wait when the rate rises, and those queued in an outage do not leave sooner when it ends. Each change
// restarts the loss model and its random numbers (see package impair): give steps seeds of their own where that
// matters.
//
// # What it needs
//
// Neither root nor netem: Run calls the function that it is given.
package schedule
