package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"unicode"

	"golang.org/x/sys/unix"
)

// A machineState is that of a guest that has booted and has not read its job yet. All guests of a base are alike
// until then, to the last instruction: seed, program and files come after it.
type machineState struct {
	disk    *os.File // where QEMU has put it
	console []byte   // what the kernel has printed
	used    *os.File // by this it is in use, if it is in the cache
}

func (s *machineState) close() {
	s.disk.Close()
	if s.used != nil {
		s.used.Close()
	}
}

// A guestSize is what guests of a base can differ in before they have booted.
type guestSize struct{ memoryMiB, shift int }

func (j Job) guestSize() guestSize { return guestSize{j.memoryMiB(), j.shift()} }

// A stateSlot is for the state of a machine.
type stateSlot struct {
	state  *machineState // nil: there is none yet
	making chan struct{} // closed when the guest that makes one has done so, or has not; nil: none does
	unkept error         // why there can be none
}

// slot is called with the mutex held.
func (b *Base) slot(g guestSize) *stateSlot {
	slot := b.states[g]
	if slot == nil {
		slot = &stateSlot{}
		b.states[g] = slot
	}
	return slot
}

// unkept tells why there can be no state, if that is so.
func (b *Base) unkept(g guestSize) error {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.slot(g).unkept
}

// A beginning is how a guest begins: with a boot, or where another one was after its own.
type beginning struct {
	arguments []string
	monitor   *monitor
	theirs    *os.File // QEMU's end of it
	stop      *stop    // nil: it is not stopped when it has booted
	made      func()   // nil: nobody waits for the state that it makes
}

func (b beginning) close() {
	b.monitor.close()
	b.theirs.Close()
	if b.made != nil {
		b.made()
	}
}

// stateTag is the name of the only state on a disk.
const stateTag = "booted"

// Arguments by which a guest goes on when it has booted, is stopped then, and begins there. One that is to be stopped
// waits for the monitor before it begins, so that no event is missed.
var (
	monitorArguments = []string{"-chardev", "socket,id=monitor,fd=11", "-mon", "chardev=monitor,mode=control"}
	goOnArguments    = []string{"-action", "watchdog=none"}
	diskArguments    = []string{"-drive", "if=none,id=state,format=qcow2,cache=unsafe,file=/proc/self/fd/8"}
	stopArguments    = append([]string{"-S", "-action", "watchdog=pause"}, diskArguments...)
	loadArguments    = append(append([]string{"-loadvm", stateTag}, goOnArguments...), diskArguments...)
)

// runGuest runs a guest to its end, from wherever it can begin.
func (b *Base) runGuest(ctx context.Context, job Job, files *guestFiles) (ending, error) {
	start, err := b.begin(ctx, job, files)
	if err != nil {
		return ending{}, err
	}
	return b.qemu.run(ctx, start, job, files)
}

// begin chooses how a guest begins.
func (b *Base) begin(ctx context.Context, job Job, files *guestFiles) (start beginning, err error) {
	start.monitor, start.theirs, err = newMonitor()
	if err != nil {
		return start, err
	}
	defer func() {
		if err != nil {
			start.close()
		}
	}()
	start.arguments = append(arguments(b.kernel.image, job), monitorArguments...)
	if job.Boot {
		start.arguments = append(start.arguments, goOnArguments...)
		return start, nil
	}
	state, made, err := b.await(ctx, job)
	start.made = made
	if err != nil {
		return start, err
	}
	if state != nil {
		err := state.copyTo(files)
		if err == nil {
			start.arguments = append(start.arguments, loadArguments...)
			return start, nil
		}
		// The guest boots instead, and so do all others: for want of room, most likely.
		b.drop(job, state, withRoom(fmt.Errorf("begin where another guest has booted: %w", err)))
	}
	if made == nil {
		start.arguments = append(start.arguments, goOnArguments...)
		return start, nil
	}
	if err := writeDisk(io.NewOffsetWriter(files.disk, 0)); err != nil {
		return start, withRoom(err)
	}
	start.arguments = append(start.arguments, stopArguments...)
	monitor := start.monitor
	start.stop = &stop{monitor: monitor, keep: func() {
		b.setState(job, files, func() (*machineState, error) { return b.keep(monitor, job, files) })
		made()
	}}
	return start, nil
}

// await returns the state to begin at. If there is none, either the caller is to make it, and to call made then, or there can be
// none. One guest boots, and the others wait for it and begin where it is: a second boot would cost more CPU time.
func (b *Base) await(ctx context.Context, job Job) (state *machineState, made func(), err error) {
	for {
		b.mutex.Lock()
		slot := b.slot(job.guestSize())
		if slot.state != nil || slot.unkept != nil {
			defer b.mutex.Unlock()
			return slot.state, nil, nil
		}
		wait := slot.making
		if wait == nil {
			break
		}
		b.mutex.Unlock()
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
	slot := b.slot(job.guestSize())
	slot.making = make(chan struct{})
	b.mutex.Unlock()

	state, unlock, err := b.cached(ctx, job)
	made = sync.OnceFunc(func() {
		unlock()
		b.mutex.Lock()
		defer b.mutex.Unlock()
		close(slot.making)
		slot.making = nil
	})
	if err != nil {
		return nil, made, err
	}
	if state != nil {
		b.mutex.Lock()
		slot.state = state
		b.mutex.Unlock()
		made()
		return state, nil, nil
	}
	return nil, made, nil
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

// drop gives up a state that guests cannot begin at, and says why.
func (b *Base) drop(job Job, state *machineState, why error) {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	slot := b.slot(job.guestSize())
	if slot.state == state {
		slot.state = nil
		state.close()
	}
	slot.unkept = why
}

// setState has a state made. Whatever comes of it, the guest's disk, which it has no more use for, takes no room afterwards: it
// may be what the guest lacks to go on.
func (b *Base) setState(job Job, files *guestFiles, make func() (*machineState, error)) {
	state, err := make()
	if err != nil {
		err = withRoom(fmt.Errorf("keep a booted guest's state: %w", err))
	}
	err = errors.Join(err, files.disk.Truncate(0))
	b.mutex.Lock()
	defer b.mutex.Unlock()
	slot := b.slot(job.guestSize())
	slot.state, slot.unkept = state, err
}

// keep has QEMU write the state of a stopped guest to its disk, and takes a copy.
func (b *Base) keep(m *monitor, job Job, files *guestFiles) (*machineState, error) {
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
		return nil, err
	}
	console, err := readAll(files.console)
	if err != nil {
		return nil, err
	}
	if b.cache != "" {
		state, err := b.stateStore().add(b.stateKey(job), files.disk, console)
		if err == nil {
			return state, nil
		}
		b.progress(fmt.Sprintf("the state of a booted guest is not kept in the cache, for this run only: %v", err))
	}
	disk, err := unnamedFile()
	if err != nil {
		return nil, err
	}
	if err := copyFile(disk, files.disk); err != nil {
		disk.Close()
		return nil, err
	}
	return &machineState{disk: disk, console: console}, nil
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

// copyFile copies a file from its beginning to the beginning of another. The kernel does it, by sharing what it can.
func copyFile(to, from *os.File) error {
	info, err := from.Stat()
	if err == nil {
		err = to.Truncate(0)
	}
	if err != nil {
		return err
	}
	var read, written int64
	for read < info.Size() {
		n, err := unix.CopyFileRange(int(from.Fd()), &read, int(to.Fd()), &written, int(info.Size()-read), 0)
		if err != nil || n == 0 { // between two file systems, or on one that cannot
			_, err := io.Copy(io.NewOffsetWriter(to, read), io.NewSectionReader(from, read, info.Size()-read))
			return err
		}
	}
	return nil
}
