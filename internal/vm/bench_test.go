package vm_test

import (
	"testing"
	"time"

	"github.com/tcplab/tcplab/internal/vm"
)

// BenchmarkGuest measures, in one run, a guest that boots and does nothing; one that begins where another has
// booted; and what 600 idle virtual seconds cost on top of that:
//
//	TCPLAB_TEST_GUEST=1 go test -run '^$' -bench Guest -benchtime 3x ./internal/vm
func BenchmarkGuest(b *testing.B) {
	base := newBase(b, nil)
	image := newImage(b, base, nil)
	run := func(boot bool, args ...string) time.Duration {
		result, err := image.Run(b.Context(), vm.Job{Args: args, Seed: 1, Boot: boot})
		if err != nil {
			b.Fatal(err)
		}
		return result.Wall
	}
	run(false, "exit", "0")
	if !vm.HasState(base) {
		b.Fatal("the state of a booted guest was not kept")
	}
	var booted, begun, idle time.Duration
	for b.Loop() {
		booted += run(true, "exit", "0")
		begun += run(false, "exit", "0")
		idle += run(false, "idle", "600s")
	}
	n := float64(b.N)
	b.ReportMetric(booted.Seconds()/n, "s/boot")
	b.ReportMetric(begun.Seconds()/n, "s/begin")
	b.ReportMetric(booted.Seconds()/begun.Seconds(), "boot/begin")
	b.ReportMetric((idle-begun).Seconds()/n, "s/600-idle-s")
}
