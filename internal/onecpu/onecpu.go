// Package onecpu keeps a process with all its threads on one CPU, the one of which other processes take the least, and has none of
// them interrupt another one.
//
// That is for a process whose threads take turns. The kernel would put them on two CPUs that are idle, so that each turn is an
// interrupt from one to the other, which has gone to sleep: in a virtual machine that costs more than what the threads do. And a thread
// that is woken up would run at once, only to wait for the lock of the one that it was woken by: so they are scheduled as batch jobs
// are (SCHED_BATCH, sched(7)), of which one goes on until it waits.
package onecpu

import (
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/subprocess"
)

// A Process is one that is kept.
type Process struct {
	pid  int
	cpu  int // nowhere in particular, if negative
	seen look
}

// A look is what is known at one time.
type look struct {
	used time.Duration // by the process
	cpus map[int]ticks
}

const nowhere = -1

// kept is how many processes are kept on each CPU, by this one.
var (
	kept  = map[int]int{}
	mutex sync.Mutex
)

// Keep keeps a process on one of the CPUs that this process may run on, with as few others of its kind as possible. Where that
// cannot be, the process stays as it is: that costs time, and nothing else.
func Keep(pid int) *Process {
	mutex.Lock()
	defer mutex.Unlock()
	p := &Process{pid: pid, cpu: nowhere}
	if cpus := allowed(); len(cpus) > 0 {
		p.move(fewest(cpus))
		p.look()
	}
	return p
}

// fewest chooses one of the CPUs with the fewest that are kept there.
func fewest(cpus []int) int {
	rand.Shuffle(len(cpus), func(i, j int) { cpus[i], cpus[j] = cpus[j], cpus[i] })
	return slices.MinFunc(cpus, func(a, b int) int { return kept[a] - kept[b] })
}

// Release is for when the process has ended.
func (p *Process) Release() {
	mutex.Lock()
	defer mutex.Unlock()
	p.leave()
}

// Review moves the process if others have taken much of its CPU since it was called last, and less of another one. Seconds should
// lie between: the kernel counts in hundredths.
func (p *Process) Review() {
	mutex.Lock()
	defer mutex.Unlock()
	if p.cpu == nowhere {
		return
	}
	before := p.seen
	p.look()
	used, busy := 0., map[int]float64{}
	for _, cpu := range allowed() {
		was, is := before.cpus[cpu], p.seen.cpus[cpu]
		span := float64(is.all - was.all)
		if span <= 0 {
			continue // it is offline, or this is too soon
		}
		busy[cpu] = 1 - float64(is.idle-was.idle)/span
		if cpu == p.cpu {
			used = (p.seen.used - before.used).Seconds() * userHz / span
		}
	}
	// Two that are kept by two processes would move in step for ever.
	if cpu := better(p.cpu, used, busy, kept); cpu != p.cpu && rand.IntN(2) == 0 {
		p.move(cpu)
	}
}

// margin is by what share of a CPU others must take less of another one: to move costs the caches.
const margin = 0.25

// better is the CPU to be on for a process that uses a share of its own: busy are the shares of all CPUs that are taken, kept how
// many processes are kept on each.
func better(own int, used float64, busy map[int]float64, kept map[int]int) int {
	best, least := own, busy[own]-used-margin
	for _, cpu := range slices.Sorted(maps.Keys(busy)) {
		if kept[cpu] < kept[own] && busy[cpu] < least {
			best, least = cpu, busy[cpu]
		}
	}
	return best
}

func (p *Process) look() {
	text, _ := os.ReadFile("/proc/stat")
	used, _ := subprocess.CPUTime(p.pid)
	p.seen = look{used: used, cpus: parse(string(text))}
}

// move moves all threads there are. Those to come are where the thread is that starts them; one that is started meanwhile is found in
// another turn.
func (p *Process) move(cpu int) {
	var set unix.CPUSet
	set.Set(cpu)
	for done := map[string]bool{}; ; {
		threads, err := os.ReadDir("/proc/" + strconv.Itoa(p.pid) + "/task")
		if err != nil {
			return
		}
		found := false
		for _, thread := range threads {
			if done[thread.Name()] {
				continue
			}
			id, err := strconv.Atoi(thread.Name())
			if err != nil || unix.SchedSetaffinity(id, &set) != nil && len(done) == 0 {
				return
			}
			_ = unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_BATCH}, 0) // one that has ended does not matter
			done[thread.Name()], found = true, true
		}
		if !found {
			break
		}
	}
	p.leave()
	p.cpu = cpu
	kept[cpu]++
}

func (p *Process) leave() {
	if p.cpu != nowhere {
		kept[p.cpu]--
		p.cpu = nowhere
	}
}

// allowed are the CPUs that this process may run on.
func allowed() []int {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil {
		return nil
	}
	var cpus []int
	for cpu := range len(set) * strconv.IntSize {
		if set.IsSet(cpu) {
			cpus = append(cpus, cpu)
		}
	}
	return cpus
}
