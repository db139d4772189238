package oracle

import "time"

// The geometry of the timer wheel (kernel/time/timer.c): levels of 64 buckets, each eight times as coarse as the one
// before (LVL_CLK_SHIFT 3).
const (
	wheelLevelSize  = 64
	wheelCoarser    = 8
	wheelMostLevels = 9
)

// dispatch is what may pass from the tick that a timer fires at to the packet, the event or the error that it causes:
// the soft interrupt and TCP's own work. The wheel's rule does not cover it. It is some 50 us on an idle machine; the
// guest's virtual clock runs at 500 million instructions a second, where a tick with all its work is below 1 ms.
const dispatch = time.Millisecond

// Tick is the time from one jiffy to the next.
func (k Kernel) Tick() time.Duration { return time.Second / time.Duration(k.hz()) }

// jiffies is the number of ticks that a time is rounded up to (kernel/time/time.c: msecs_to_jiffies, usecs_to_jiffies).
func (k Kernel) jiffies(d time.Duration) int64 {
	return int64((d + k.Tick() - 1) / k.Tick())
}

// inJiffies rounds a time up to whole ticks.
func (k Kernel) inJiffies(d time.Duration) time.Duration {
	return time.Duration(k.jiffies(d)) * k.Tick()
}

// wheelGranularity is how many jiffies a timer that is n jiffies away can be late: the width of a bucket of the level that
// it is put into (kernel/time/timer.c: calc_wheel_index, LVL_START, LVL_GRAN).
//
// At 250 Hz it is 1 jiffy (4 ms) up to 248 ms, 8 (32 ms) up to 2.012 s, 64 (256 ms) up to 16.124 s, and 512 (2.048 s)
// up to 129 s.
func wheelGranularity(n int64) int64 {
	granularity := int64(1)
	for range wheelMostLevels - 1 {
		// LVL_START of the next level
		if n < (wheelLevelSize-1)*granularity {
			break
		}
		granularity *= wheelCoarser
	}
	return granularity
}

// late is by how much a timer that is set to d may be late: what rounding up to jiffies adds, the timer wheel's
// granularity, and a millisecond for the work that follows.
//
// A timer fires with the tick, after more than d, and at most a granularity after the jiffy that d is rounded up to:
// the jiffy that it is set in has begun already, and the wheel rounds up past it.
func (k Kernel) late(d time.Duration) time.Duration {
	n := k.jiffies(d)
	// One more, as the wheel's own clock can be a tick behind when the timer is set.
	return time.Duration(n+wheelGranularity(n+1))*k.Tick() - d + dispatch
}

// Timer is when a timer goes off that is set to d.
func (k Kernel) Timer(d time.Duration) Span { return Between(d, d+k.late(d)) }
