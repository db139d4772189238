package onecpu

import (
	"strconv"
	"strings"
)

// userHz is how many ticks a second has in /proc/stat: USER_HZ of include/asm-generic/param.h.
const userHz = 100

// ticks are the times of a CPU since the machine was started.
type ticks struct{ idle, all int64 }

// parse reads /proc/stat (proc(5)): of each CPU the ticks in user, nice, system, idle, iowait, irq, softirq and steal. Guests' time,
// which follows, is counted under user, too. What cannot be read is left out.
func parse(stat string) map[int]ticks {
	const (
		idle, wait = 3, 4
		most       = 8
	)
	cpus := map[int]ticks{}
	for line := range strings.Lines(stat) {
		fields := strings.Fields(line)
		if len(fields) <= wait+1 {
			continue
		}
		name, found := strings.CutPrefix(fields[0], "cpu")
		cpu, err := strconv.Atoi(name)
		if !found || err != nil {
			continue // of all CPUs together, or of something else
		}
		var times ticks
		for i, field := range fields[1:min(len(fields), 1+most)] {
			n, err := strconv.ParseInt(field, 10, 64)
			if err != nil {
				break
			}
			times.all += n
			if i == idle || i == wait {
				times.idle += n
			}
		}
		cpus[cpu] = times
	}
	return cpus
}
