package subprocess

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// CPUTime is what a process that runs, with its threads, has had of the processors.
func CPUTime(pid int) (time.Duration, error) {
	const scheduled = 2 // CPUCLOCK_SCHED: see MAKE_PROCESS_CPUCLOCK in the kernel's include/linux/posix-timers.h
	var used unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|scheduled), &used); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(used.Nano()), nil
}
