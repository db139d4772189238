package harness

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tcplab/tcplab/results"
)

// A moment is how long the processor of a guest had been idle at some time, both since the boot.
type moment struct {
	at, idle time.Duration
	over     bool // no peer ran from then on, until the next
}

// now reads it, with a resolution of 10 ms (fs/proc/uptime.c). The time that it is idle the kernel measures, where it counts the
// rest of /proc/stat in ticks.
func now() (moment, error) {
	const file = "/proc/uptime"
	text, err := os.ReadFile(file)
	if err != nil {
		return moment{}, fmt.Errorf("how busy the guest is: %w", err)
	}
	return parseUptime(string(text))
}

func parseUptime(text string) (moment, error) {
	var times []time.Duration
	for _, field := range strings.Fields(text) {
		d, err := time.ParseDuration(field + "s")
		if err != nil {
			return moment{}, fmt.Errorf("how busy the guest is: uptime %q: %w", text, err)
		}
		times = append(times, d)
	}
	if len(times) != 2 {
		return moment{}, fmt.Errorf("how busy the guest is: uptime %q: there are not two times", text)
	}
	return moment{at: times[0], idle: times[1]}, nil
}

// mark remembers how busy the guest was until now. On the real clock there is nothing to be remembered: the machine has other
// things to do, and other processors.
func (l *Lab) mark() error {
	if clock() != results.ClockVirtual {
		return nil
	}
	l.busy.Lock()
	defer l.busy.Unlock()
	m, err := now()
	if err == nil {
		m.over = !slices.ContainsFunc(l.peers, (*Peer).runs)
		l.moments = append(l.moments, m)
	}
	return err
}

// leastBusy is the length of what can be busy: to start a program keeps a guest busy for some milliseconds, and means nothing.
const leastBusy = time.Second

// AllowBusy says that the guest may be busy throughout: what the scenario measures are counts, which do not depend on how fast a
// machine is. Others are marked in the table, for their figures may be the machine's.
func (l *Lab) AllowBusy() { l.busyAllowed = true }

// howBusy tells it of the scenario.
func (l *Lab) howBusy() *results.Busy {
	l.busy.Lock()
	defer l.busy.Unlock()
	busy := howBusy(l.moments)
	if busy != nil {
		busy.Allowed = l.busyAllowed
	}
	return busy
}

// howBusy tells it of a scenario from its moments, in their order. While no peer runs there is nothing that the machine could be too
// slow for: what the spec computes then counts as idle.
func howBusy(moments []moment) *results.Busy {
	if len(moments) < 2 {
		return nil
	}
	moments = slices.Clone(moments)
	var over time.Duration
	for i := 1; i < len(moments); i++ {
		if before := moments[i-1]; before.over {
			over += moments[i].at - before.at - (moments[i].idle + over - before.idle)
		}
		moments[i].idle += over
	}
	share := func(from, to moment) float64 {
		passed := to.at - from.at
		if passed <= 0 {
			return 0
		}
		percent := 100 * float64(passed-(to.idle-from.idle)) / float64(passed)
		return min(max(percent, 0), 100) // two clocks that are rounded
	}
	first, last := moments[0], moments[len(moments)-1]
	busy := &results.Busy{Share: share(first, last)}
	to := 0
	for _, from := range moments {
		for to < len(moments) && moments[to].at-from.at < leastBusy {
			to++
		}
		if to == len(moments) {
			break
		}
		if most := share(from, moments[to]); most > busy.Most {
			busy.Most, busy.From, busy.For = most, from.at-first.at, moments[to].at-from.at
		}
	}
	return busy
}
