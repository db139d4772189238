package vm_test

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/harness/vm"
)

// BenchmarkIdle measures what 600 idle virtual seconds cost on top of a boot, in one run:
//
//	TCPLAB_TEST_GUEST=1 go test -run '^$' -bench Idle -benchtime 3x ./harness/vm
func BenchmarkIdle(b *testing.B) {
	image := newImage(b, nil)
	run := func(args ...string) time.Duration {
		result, err := image.Run(b.Context(), vm.Job{Args: args, Seed: 1})
		if err != nil {
			b.Fatal(err)
		}
		return result.Wall
	}
	var boot, idle time.Duration
	for b.Loop() {
		boot += run("exit", "0")
		idle += run("idle", "600s")
	}
	n := float64(b.N)
	b.ReportMetric(boot.Seconds()/n, "s/boot")
	b.ReportMetric((idle-boot).Seconds()/n, "s/600-idle-s")
	b.ReportMetric(idle.Seconds()/boot.Seconds(), "idle/boot")
}
