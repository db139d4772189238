package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
)

// A machineState is that of a guest that has booted and has not read its job yet. All guests of an image are alike
// until then, to the last instruction: the seed is in the job.
type machineState struct {
	disk      *os.File // where QEMU has put it
	memoryMiB int
	shift     int
	console   []byte // what the kernel has printed
}

// A beginning is how a guest begins: with a boot, or where another one was after its own.
type beginning struct {
	arguments []string
	monitor   *monitor
	theirs    *os.File // QEMU's end of it
	stop      *stop    // nil: it is not stopped when it has booted
}

func (b beginning) close() {
	b.monitor.close()
	b.theirs.Close()
}

// stateTag is the name of the only state on a disk.
const stateTag = "booted"

// Arguments by which a guest goes on when it has booted, is stopped then, and begins there. One that is to be stopped
// waits for the monitor before it begins, so that no event is missed.
var (
	monitorArguments = []string{"-chardev", "socket,id=monitor,fd=9", "-mon", "chardev=monitor,mode=control"}
	goOnArguments    = []string{"-action", "watchdog=none"}
	diskArguments    = []string{"-drive", "if=none,id=state,format=qcow2,cache=unsafe,file=/proc/self/fd/8"}
	stopArguments    = append([]string{"-S", "-action", "watchdog=pause"}, diskArguments...)
	loadArguments    = append(append([]string{"-loadvm", stateTag}, goOnArguments...), diskArguments...)
)

// runGuest runs a guest to its end, from wherever it can begin.
func (i *Image) runGuest(ctx context.Context, job Job, files *guestFiles) (ending, error) {
	start, err := i.begin(job, files)
	if err != nil {
		return ending{}, err
	}
	return i.qemu.run(ctx, start, job, files)
}

// begin chooses how a guest begins.
func (i *Image) begin(job Job, files *guestFiles) (beginning, error) {
	monitor, theirs, err := newMonitor()
	if err != nil {
		return beginning{}, err
	}
	start := beginning{arguments: append(arguments(i.kernel.image, job), monitorArguments...), monitor: monitor, theirs: theirs}
	state, unkept := i.keptState()
	if state != nil && state.memoryMiB == job.memoryMiB() && state.shift == job.shift() {
		err := state.copyTo(files)
		if err == nil {
			start.arguments = append(start.arguments, loadArguments...)
			return start, nil
		}
		// The guest boots instead, and so do all others: what is kept is what takes the room.
		unkept = withRoom(fmt.Errorf("begin where another guest has booted: %w", err))
		i.dropState(state, unkept)
		state = nil
	}
	if !job.Keep || state != nil || unkept != nil {
		start.arguments = append(start.arguments, goOnArguments...)
		return start, nil
	}
	if err := writeDisk(io.NewOffsetWriter(files.disk, 0)); err != nil {
		start.close()
		return start, withRoom(err)
	}
	start.arguments = append(start.arguments, stopArguments...)
	start.stop = &stop{monitor: monitor, keep: func() { i.setUnkept(i.keep(monitor, job, files)) }}
	return start, nil
}

// copyTo has a guest begin at the state. On an error the guest's files are as before.
func (s *machineState) copyTo(files *guestFiles) error {
	if err := copyFile(files.disk, s.disk); err != nil {
		return errors.Join(err, files.disk.Truncate(0))
	}
	if _, err := files.console.WriteAt(s.console, 0); err != nil {
		return errors.Join(err, files.disk.Truncate(0), files.console.Truncate(0))
	}
	return nil
}

// dropState gives up a state that the others cannot begin at, and says why.
func (i *Image) dropState(state *machineState, why error) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.state == state {
		i.state = nil
		state.disk.Close()
	}
	i.unkept = why
}

// keptState is the state to begin at, if there is one, and why there can be none.
func (i *Image) keptState() (*machineState, error) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	return i.state, i.unkept
}

// keep has QEMU write the state of a stopped guest to its disk, and takes a copy. Whatever comes of it, the guest's disk, which
// it has no more use for, takes no room afterwards: it may be what the guest lacks to go on.
func (i *Image) keep(m *monitor, job Job, files *guestFiles) (err error) {
	if state, _ := i.keptState(); state != nil {
		return nil // another guest was first
	}
	defer func() {
		if err != nil {
			err = withRoom(fmt.Errorf("keep a booted guest's state: %w", err))
		}
		err = errors.Join(err, files.disk.Truncate(0))
	}()
	// The disk is detached in any case, so that all of it is written, and nothing more.
	var errs []error
	for _, line := range []string{"savevm " + stateTag, "drive_del state"} {
		said, err := m.human(line)
		if err == nil && said != "" {
			err = fmt.Errorf("%s: %s", line, strings.Join(strings.FieldsFunc(said, unicode.IsControl), "; "))
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	console, err := readAll(files.console)
	if err != nil {
		return err
	}
	disk, err := unnamedFile()
	if err != nil {
		return err
	}
	if err := copyFile(disk, files.disk); err != nil {
		disk.Close()
		return err
	}
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.state != nil {
		return disk.Close() // another guest was faster
	}
	i.state = &machineState{disk: disk, memoryMiB: job.memoryMiB(), shift: job.shift(), console: console}
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
	keep    func()
}

// Events by which QEMU says that the machine has been stopped, and that the guest has come past where it is to be: see
// guest.pause.
const (
	stoppedEvent = "STOP"
	passedEvent  = "GUEST_CRASHLOADED"
)

// wait begins, and tells when the guest has been stopped and goes on. Of a guest that ends before, nothing is heard.
func (s *stop) wait() <-chan error {
	over := make(chan error, 1)
	go func() {
		if err := s.monitor.greet(); err != nil {
			return // QEMU has ended, and says more by that
		}
		if _, err := s.monitor.command("cont", nil); err != nil {
			return
		}
		first, err := s.monitor.awaitEvent(stoppedEvent, passedEvent)
		if err != nil {
			return
		}
		if first == stoppedEvent {
			s.keep()
		} else if _, err := s.monitor.awaitEvent(stoppedEvent); err != nil { // too late to be kept
			return
		}
		_, err = s.monitor.command("cont", nil)
		over <- err
	}()
	return over
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
