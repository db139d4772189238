package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"
)

// A machineState is that of a guest that has booted and has not read its job yet. All guests of an image are alike
// until then, to the last instruction: the seed is in the job.
type machineState struct {
	disk      *os.File // where QEMU has put it
	memoryMiB int
	console   []byte // what the kernel has printed
}

// A beginning is how a guest begins: with a boot, or where another one was after its own.
type beginning struct {
	arguments []string
	stop      *stop // nil: it is not stopped when it has booted
}

// stateTag is the name of the only state on a disk.
const stateTag = "booted"

// Arguments by which a guest goes on when it has booted, is stopped then, and begins there.
var (
	goOnArguments = []string{"-action", "panic=none"}
	diskArguments = []string{"-drive", "if=none,id=state,format=qcow2,cache=unsafe,file=/proc/self/fd/8"}
	stopArguments = append([]string{"-action", "panic=pause", "-chardev", "socket,id=monitor,fd=9", "-mon", "chardev=monitor,mode=control"}, diskArguments...)
	loadArguments = append(append([]string{"-loadvm", stateTag}, goOnArguments...), diskArguments...)
)

// errSkewed is for a guest that was stopped, but whose clock went on to its next timer. QEMU lets the clock skip idle time,
// and there is a moment in which it takes the stopped guest for an idle one (icount_start_warp_timer in
// accel/tcg/icount-common.c). About one attempt in two ends so.
var errSkewed = errors.New("the guest's clock went on when it was stopped")

// keepAttempts bounds how often a guest is booted to keep its state: one image in a million has none. Its guests boot one by one.
const keepAttempts = 20

// runGuest runs a guest to its end, from wherever it can begin.
func (i *Image) runGuest(ctx context.Context, job Job, files *guestFiles) (ending, error) {
	for attempt := 1; ; attempt++ {
		start, err := i.begin(job, files)
		if err != nil {
			return ending{}, err
		}
		ended, err := i.qemu.run(ctx, start, job, files)
		if !errors.Is(err, errSkewed) {
			return ended, err
		}
		if attempt == keepAttempts {
			i.setUnkept(fmt.Errorf("keep a booted guest's state: %w, %d times", errSkewed, attempt))
		}
		if err := files.clear(); err != nil {
			return ending{}, err
		}
	}
}

// begin chooses how a guest begins.
func (i *Image) begin(job Job, files *guestFiles) (beginning, error) {
	start := beginning{arguments: arguments(i.kernel.image, job)}
	state, unkept := i.keptState()
	if state != nil && state.memoryMiB == job.memoryMiB() {
		start.arguments = append(start.arguments, loadArguments...)
		_, err := files.console.WriteAt(state.console, 0)
		return start, errors.Join(err, copyFile(files.disk, state.disk))
	}
	if !job.Keep || state != nil || unkept != nil {
		start.arguments = append(start.arguments, goOnArguments...)
		return start, nil
	}
	if err := files.disk.Truncate(0); err != nil {
		return start, err
	}
	if err := writeDisk(io.NewOffsetWriter(files.disk, 0)); err != nil {
		return start, err
	}
	monitor, theirs, err := newMonitor()
	if err != nil {
		return start, err
	}
	start.arguments = append(start.arguments, stopArguments...)
	start.stop = &stop{monitor: monitor, theirs: theirs, keep: func(err error) {
		if err == nil {
			err = i.keep(monitor, job, files)
		}
		i.setUnkept(err)
	}}
	return start, nil
}

// keptState is the state to begin at, if there is one, and why there can be none.
func (i *Image) keptState() (*machineState, error) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.state, i.unkept
}

// keep has QEMU write the state of a stopped guest to its disk, and takes a copy.
func (i *Image) keep(m *monitor, job Job, files *guestFiles) error {
	if state, _ := i.keptState(); state != nil {
		return nil // another guest was first
	}
	// The second command detaches the disk, so that all of it is written.
	for _, line := range []string{"savevm " + stateTag, "drive_del state"} {
		if said, err := m.human(line); err != nil || said != "" {
			return errors.Join(err, fmt.Errorf("keep a booted guest's state: %s: %s", line, said))
		}
	}
	console, err := readAll(files.console)
	if err != nil {
		return err
	}
	disk, err := unnamedFile()
	if err != nil {
		return fmt.Errorf("keep a booted guest's state: %w", err)
	}
	if err := copyFile(disk, files.disk); err != nil {
		disk.Close()
		return fmt.Errorf("keep a booted guest's state: %w", err)
	}
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.state != nil {
		return disk.Close() // another guest was faster
	}
	i.state = &machineState{disk: disk, memoryMiB: job.memoryMiB(), console: console}
	return nil
}

// setUnkept remembers why no state can be kept, if that is so: the guests boot one by one then.
func (i *Image) setUnkept(err error) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	i.unkept = err
}

// A stop is for a guest that is to be stopped when it has booted.
type stop struct {
	monitor *monitor
	theirs  *os.File // QEMU's end of it
	keep    func(error)
}

func (s *stop) close() {
	s.monitor.close()
	s.theirs.Close()
}

// wait tells when the guest has been stopped and goes on: nil, or [errSkewed] if it cannot. Of a guest that ends before,
// nothing is heard.
func (s *stop) wait() <-chan error {
	over := make(chan error, 1)
	go func() {
		if err := errors.Join(s.monitor.greet(), s.monitor.awaitEvent("STOP")); err != nil {
			return // QEMU has ended, and says more by that
		}
		skewed, err := s.skewed()
		if skewed {
			over <- errSkewed
			return
		}
		s.keep(err)
		_, err = s.monitor.command("cont", nil)
		over <- err
	}()
	return over
}

// skewed tells whether the clock of a stopped guest has gone on: then it stands at the time of the next
// timer, which the guest would have reached only by waiting. The timer is the HPET's first, and its counter is
// the clock (IA-PC HPET specification, 2.3.7 and 2.3.9.2).
func (s *stop) skewed() (bool, error) {
	const hpet, counterAt, comparatorAt = 0xfed00000, 0xf0, 0x108
	counter, err := s.register(hpet + counterAt)
	if err != nil {
		return false, err
	}
	comparator, err := s.register(hpet + comparatorAt)
	return counter >= comparator, err
}

var registerValue = regexp.MustCompile(`: 0x([0-9a-f]{16})`)

// register reads 64 bits of the machine's memory.
func (s *stop) register(address uint64) (uint64, error) {
	line := fmt.Sprintf("xp /1gx %#x", address)
	said, err := s.monitor.human(line)
	if err != nil {
		return 0, err
	}
	found := registerValue.FindStringSubmatch(said)
	if found == nil {
		return 0, fmt.Errorf("QEMU's monitor: %s: %q is no value", line, said)
	}
	return strconv.ParseUint(found[1], 16, 64)
}

// copyFile copies a file from its beginning to the beginning of another.
func copyFile(to, from *os.File) error {
	info, err := from.Stat()
	if err == nil {
		err = to.Truncate(0)
	}
	if err != nil {
		return err
	}
	_, err = io.Copy(io.NewOffsetWriter(to, 0), io.NewSectionReader(from, 0, info.Size()))
	return err
}
