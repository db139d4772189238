package bench

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/runner"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/internal/vm/guest"
	"github.com/tcplab/tcplab/results"
)

func TestMain(m *testing.M) {
	guest.Main() // guests run this very program as their /init
	os.Exit(m.Run())
}

// BenchmarkFlow has one bulk flow on a path of 40 ms at each rate, bare and with each observer. What the guest says of itself is the
// same each time (virtual-us/packet: how long its CPU was busy, for each segment with data; busy-%). QEMU's CPU time, from which that
// of a guest with nothing to do is taken, is not:
//
//	TCPLAB_TEST_GUEST=1 go test -run '^$' -bench Flow -benchtime 1x ./harness/internal/bench
func BenchmarkFlow(b *testing.B) {
	testenv.BootsGuests(b)
	var log bytes.Buffer
	options := runner.RunOptions{Seed: 1, Root: b.TempDir(), Jobs: 1, Fresh: true, Quiet: true}
	session, err := runner.Open(b.Context(), runner.SessionOptions{Patterns: []string{"./testdata/flows"}, Clock: runner.Virtual, Log: &log})
	if err != nil {
		b.Fatal(err)
	}
	defer session.Close()
	runs := 0
	run := func(b *testing.B, spec string) (figures map[string]float64, cpu time.Duration) {
		b.Helper()
		runs++
		o := options
		o.ID, o.Filter = fmt.Sprint(runs), runner.Filter{Focus: []string{"^flows " + regexp.QuoteMeta(spec) + "$"}}
		before := childrenTime(b)
		summary, err := session.Run(b.Context(), o)
		if err != nil {
			b.Fatalf("%v\n%s", err, &log)
		}
		if len(summary.Records) != 1 || summary.Records[0].Verdict != results.Passed {
			b.Fatalf("%s: %s\n%s", spec, results.Count(summary.Records), &log)
		}
		figures = map[string]float64{}
		for _, figure := range summary.Records[0].Metrics {
			figures[figure.Name] = figure.Value
		}
		return figures, childrenTime(b) - before
	}
	// The first run of a session boots, and the second may do so once more, and is kept.
	run(b, "nothing")
	run(b, "nothing")
	_, nothing := run(b, "nothing")
	for _, rate := range []int{1, 10, 20, 50, 100} {
		var bare float64
		for _, observer := range []string{"bare", "capture", "sample", "events", "rule"} {
			b.Run(fmt.Sprintf("Mbit=%d/with=%s", rate, observer), func(b *testing.B) {
				var figures map[string]float64
				var cpu time.Duration
				for b.Loop() {
					var once time.Duration
					figures, once = run(b, fmt.Sprintf("%d Mbit/s, %s", rate, observer))
					cpu += max(0, once-nothing)
				}
				b.ReportMetric(0, "ns/op") // of a whole guest: it says nothing
				for _, unit := range []string{"busy-%", "virtual-us/packet"} {
					b.ReportMetric(figures[unit], unit)
				}
				b.ReportMetric(cpu.Seconds()/float64(b.N)/figures["virtual-s"], "cpu-s/virtual-s")
				if strings.HasSuffix(b.Name(), "=bare") {
					bare = figures["virtual-us/packet"]
				}
				if bare > 0 {
					b.ReportMetric(figures["virtual-us/packet"]/bare, "x-bare")
				}
			})
		}
	}
}

// childrenTime is the CPU time of the processes that this one has started and that have ended: QEMU is one.
func childrenTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
