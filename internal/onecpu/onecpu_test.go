package onecpu

import (
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/subprocess"
)

// where are the CPUs that all threads of a process may run on.
func where(g *WithT, pid int) (cpus []string) {
	status, err := os.ReadDir("/proc/" + strconv.Itoa(pid) + "/task")
	g.Expect(err).NotTo(HaveOccurred())
	for _, thread := range status {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/task/" + thread.Name() + "/status")
		g.Expect(err).NotTo(HaveOccurred())
		_, list, _ := strings.Cut(string(text), "Cpus_allowed_list:")
		list, _, _ = strings.Cut(list, "\n")
		cpus = append(cpus, strings.TrimSpace(list))
	}
	return cpus
}

// Each process has a CPU with as few others as possible, and each of its threads is there. This process stays where it is.
func TestKeep(t *testing.T) {
	g := NewWithT(t)
	cpus := allowed()
	own := where(g, os.Getpid())
	used := map[string]int{}
	var all []*Process
	for range 2 * len(cpus) {
		cmd := exec.Command("sleep", "60")
		wait, err := subprocess.Start(cmd)
		g.Expect(err).NotTo(HaveOccurred())
		t.Cleanup(func() { _ = wait() })
		t.Cleanup(func() { cmd.Process.Kill() })
		p := Keep(cmd.Process.Pid)
		all = append(all, p)
		threads := where(g, cmd.Process.Pid)
		g.Expect(threads).To(HaveEach(strconv.Itoa(p.cpu)))
		used[threads[0]]++
		attr, err := unix.SchedGetAttr(cmd.Process.Pid, 0)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(attr.Policy).To(BeEquivalentTo(unix.SCHED_BATCH))
		p.Review()
	}
	g.Expect(used).To(HaveLen(len(cpus)))
	for _, p := range all {
		p.Release()
		p.Release()
		p.Review()
	}
	g.Expect(kept).To(HaveEach(0))
	g.Expect(where(g, os.Getpid())).To(HaveEach(own[0]))
}

// A process that has ended is nowhere.
func TestKeepNothing(t *testing.T) {
	const never = 1<<22 + 1 // above the largest number of a process (PID_MAX_LIMIT)
	p := Keep(never)
	NewWithT(t).Expect(p.cpu).To(Equal(nowhere))
	p.Review()
	p.Release()
}

func TestBetter(t *testing.T) {
	for name, c := range map[string]struct {
		used   float64
		busy   map[int]float64
		kept   map[int]int
		better int
	}{
		"alone":                                   {1, map[int]float64{0: 1, 1: 0, 2: 0}, map[int]int{0: 1}, 0},
		"beside another program":                  {0.5, map[int]float64{0: 1, 1: 0.2, 2: 0.1}, map[int]int{0: 1}, 2},
		"others are as busy":                      {0.5, map[int]float64{0: 1, 1: 0.3, 2: 0.4}, map[int]int{0: 1}, 0},
		"idle beside another program":             {0, map[int]float64{0: 1, 1: 0, 2: 0}, map[int]int{0: 1}, 1},
		"two of ours, and one CPU without":        {0.5, map[int]float64{0: 1, 1: 0, 2: 0.9}, map[int]int{0: 2, 2: 1}, 1},
		"one of ours is everywhere":               {0.5, map[int]float64{0: 1, 1: 0, 2: 0}, map[int]int{0: 1, 1: 1, 2: 1}, 0},
		"another CPU is not known, or is offline": {0.5, map[int]float64{0: 1}, map[int]int{0: 1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			NewWithT(t).Expect(better(0, c.used, c.busy, c.kept)).To(Equal(c.better))
		})
	}
}

func TestParse(t *testing.T) {
	const stat = "cpu  60 0 60 600 60 0 0 0 0 0\ncpu0 1 2 4 8 16 32 64 128 256 512\ncpu12 1 1 1 1 1 1\ncpu3 x\nintr 5 5 5 5 5 5 5\n"
	NewWithT(t).Expect(parse(stat)).To(Equal(map[int]ticks{0: {idle: 24, all: 255}, 12: {idle: 2, all: 6}}))

	text, err := os.ReadFile("/proc/stat")
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	now := parse(string(text))
	for _, cpu := range allowed() {
		NewWithT(t).Expect(now[cpu].all).To(BeNumerically(">", 0))
	}
}
