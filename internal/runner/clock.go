package runner

import (
	"errors"
	"fmt"
	"os"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/vm"
	"github.com/tcplab/tcplab/results"
)

// A Clock is where a suite's time comes from.
type Clock string

// The clocks.
const (
	Auto    Clock = "auto"               // real where the kernel allows it, else virtual
	Virtual Clock = results.ClockVirtual // a guest kernel whose time is counted in instructions
	Real    Clock = results.ClockReal    // this kernel
)

// ParseClock reads a clock's name.
func ParseClock(name string) (Clock, error) {
	switch clock := Clock(name); clock {
	case Auto, Virtual, Real:
		return clock, nil
	}
	return "", fmt.Errorf("clock %q: allowed are %s, %s and %s", name, Auto, Virtual, Real)
}

// errCannotRun is for a clock that this machine cannot offer.
var errCannotRun = errors.New("cannot run here")

// Choose decides on a clock and says why in one line. An error says what is missing and
// what to do.
func Choose(wanted Clock) (Clock, string, error) {
	realErr := RealClock()
	if wanted == Real || wanted == Auto && realErr == nil {
		if realErr != nil {
			return "", "", fmt.Errorf("real clock: %w: %w; the virtual clock may: --clock virtual", errCannotRun, realErr)
		}
		return Real, "this kernel has sch_netem, and this is root", nil
	}
	if _, err := vm.FindQEMU(); err != nil {
		if wanted == Auto {
			return "", "", fmt.Errorf("%w on the real clock: %w; nor on the virtual one: %w", errCannotRun, realErr, err)
		}
		return "", "", fmt.Errorf("virtual clock: %w: %w", errCannotRun, err)
	}
	if wanted == Virtual {
		return Virtual, "as asked", nil
	}
	return Virtual, because(realErr), nil
}

// because says in a few words what keeps the real clock from being taken; doctor has the rest.
func because(err error) string {
	kernel := results.ThisKernel().Release
	switch {
	case errors.Is(err, impair.ErrNoNetem):
		return "this kernel, " + kernel + ", has no sch_netem"
	case errors.Is(err, errNotRoot):
		return "not root"
	default:
		return err.Error()
	}
}

var errNotRoot = errors.New("needs root (sudo)")

// RealClock tells whether scenarios can run on this kernel: nil, or what is missing.
func RealClock() error {
	if os.Geteuid() != 0 {
		return errNotRoot
	}
	return impair.Probe()
}
