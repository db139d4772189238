package oracle

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/kernelversion"
)

// Running is the kernel that this process runs on, with the sysctls of the network namespace that the calling thread
// is in. It needs no privilege.
func Running() (Kernel, error) {
	version, err := kernelversion.Running()
	if err != nil {
		return Kernel{}, err
	}
	hz, err := RunningHZ()
	if err != nil {
		return Kernel{}, err
	}
	return Read(procSys{}, version, hz)
}

// RunningHZ returns the ticks a second of the running kernel: the coarse clocks advance once a tick, and tell how far
// (kernel/time/posix-timers.c: posix_get_coarse_res).
func RunningHZ() (int, error) {
	var resolution unix.Timespec
	if err := unix.ClockGetres(unix.CLOCK_MONOTONIC_COARSE, &resolution); err != nil {
		return 0, fmt.Errorf("kernel's HZ: clock_getres(CLOCK_MONOTONIC_COARSE): %w", err)
	}
	tick := time.Duration(resolution.Nano())
	if tick <= 0 || tick > time.Second {
		return 0, fmt.Errorf("kernel's HZ: clock_getres(CLOCK_MONOTONIC_COARSE) says %v, want up to 1s", tick)
	}
	return int((time.Second + tick/2) / tick), nil
}

// procSys reads the sysctls of the calling thread's network namespace.
type procSys struct{}

func (procSys) Sysctl(key string) (string, error) {
	text, err := os.ReadFile("/proc/sys/" + strings.ReplaceAll(key, ".", "/"))
	return strings.TrimSpace(string(text)), err
}
