package vm

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// A machineState is that of a guest that has booted and has not read its job yet. All guests of a base are alike
// until then, to the last instruction: seed, program and files come after it.
type machineState struct {
	disk    *os.File // where QEMU has put it, but for the memory
	memory  *os.File
	console []byte   // what the kernel has printed
	used    *os.File // by this it is in use, if it is in the cache
}

func (s *machineState) close() {
	s.disk.Close()
	s.memory.Close()
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
	theirs    *os.File             // QEMU's end of it
	memory    *os.File             // nil: QEMU's own
	kernel    *os.File             // nil: the base's
	steer     func(*monitor) error // by the monitor, until the guest goes on by itself; nil: it does from the start
	made      func()               // nil: nobody waits for the state that it makes
}

func (b beginning) close() {
	b.monitor.close()
	b.theirs.Close()
	for _, file := range b.more() {
		file.Close()
	}
	if b.made != nil {
		b.made()
	}
}

// more are the files that QEMU inherits after all others: see memoryNumber.
func (b beginning) more() (files []*os.File) {
	for _, file := range []*os.File{b.memory, b.kernel} {
		if file != nil {
			files = append(files, file)
		}
	}
	return files
}

// steered has the guest steered, and tells when it goes on by itself, or why it cannot. Of one that has ended nothing is heard:
// QEMU says more by that.
func (b beginning) steered() <-chan error {
	if b.steer == nil {
		return nil
	}
	over := make(chan error, 1)
	go func() {
		err := b.monitor.greet()
		if err == nil {
			err = b.steer(b.monitor)
		}
		if !errors.Is(err, errMonitorGone) {
			over <- err
		}
	}()
	return over
}

// stateTag is the name of the only state on a disk.
const stateTag = "booted"

// Arguments by which a guest goes on when it has booted, is stopped then, and begins there. The latter two wait for the monitor
// before they begin.
var (
	goOnArguments = []string{"-action", "watchdog=none"}
	diskArguments = []string{"-drive", "if=none,id=state,format=qcow2,cache=unsafe,file=/proc/self/fd/8"}
	stopArguments = append([]string{"-S", "-action", "watchdog=pause"}, diskArguments...)
	loadArguments = append(append([]string{"-S"}, goOnArguments...), diskArguments...)
)

// runToEnd runs a guest to its end, from wherever it can begin.
func (b *Base) runToEnd(ctx context.Context, job Job, files *guestFiles) (ending, error) {
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
	begin := func(kernel string, more ...[]string) {
		start.arguments = slices.Concat(append([][]string{arguments(kernel, job), start.monitor.arguments()}, more...)...)
	}
	if job.Boot {
		begin(b.kernel.image, goOnArguments)
		return start, nil
	}
	state, made, err := b.await(ctx, job)
	start.made = made
	if err != nil {
		return start, err
	}
	if state != nil {
		start.kernel, err = noKernel()
		if err == nil {
			start.memory, err = state.copyTo(files)
		}
		if err == nil {
			begin(fmt.Sprintf("/proc/self/fd/%d", kernelNumber), memoryArguments(job, false), loadArguments)
			start.steer = beginThere
			return start, nil
		}
		// The guest boots instead, and so do all others: for want of room, most likely.
		b.drop(job, state, withRoom(fmt.Errorf("begin where another guest has booted: %w", err)))
	}
	if made == nil {
		begin(b.kernel.image, goOnArguments)
		return start, nil
	}
	if err := writeDisk(io.NewOffsetWriter(files.disk, 0)); err != nil {
		return start, withRoom(err)
	}
	if start.memory, err = newMemory(job.memoryMiB()); err != nil {
		return start, err
	}
	events := start.monitor.withEvents()
	begin(b.kernel.image, memoryArguments(job, true), stopArguments)
	memory := start.memory
	start.steer = func(m *monitor) error {
		return stopThere(m, events, func() {
			b.setState(job, files, func() (*machineState, error) { return b.keep(m, job, files, memory) })
			made()
		})
	}
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

// copyTo has a guest begin at the state, with a memory that is the caller's to close. On an error the guest's files are as before.
func (s *machineState) copyTo(files *guestFiles) (memory *os.File, err error) {
	if err := copyFile(files.disk, s.disk); err != nil {
		return nil, errors.Join(err, files.disk.Truncate(0))
	}
	if _, err = files.console.WriteAt(s.console, 0); err == nil {
		memory, err = duplicate(s.memory) // the state can be given up before the guest has it
	}
	if err != nil {
		return nil, errors.Join(err, files.disk.Truncate(0), files.console.Truncate(0))
	}
	return memory, nil
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

// keep has QEMU write the state of a stopped guest to its disk, and takes a copy of that and of its memory.
func (b *Base) keep(m *monitor, job Job, files *guestFiles, memory *os.File) (*machineState, error) {
	// The disk is detached in any case, so that all of it is written, and nothing more.
	if err := errors.Join(m.humanSilent("savevm "+stateTag), m.humanSilent("drive_del state")); err != nil {
		return nil, err
	}
	console, err := readAll(files.console)
	if err != nil {
		return nil, err
	}
	if b.cache != "" {
		state, err := b.stateStore().add(b.stateKey(job), machineState{disk: files.disk, memory: memory, console: console})
		if err == nil {
			return state, nil
		}
		b.progress(fmt.Sprintf("the state of a booted guest is not kept in the cache, for this run only: %v", err))
	}
	state := &machineState{console: console}
	if state.disk, err = unnamedFile(); err != nil {
		return nil, err
	}
	if state.memory, err = newMemory(job.memoryMiB()); err == nil {
		err = errors.Join(copyFile(state.disk, files.disk), copyMemory(state.memory, memory))
	}
	if err != nil {
		state.close()
		return nil, err
	}
	return state, nil
}

// Events by which QEMU says that the machine has been stopped, and that the guest has come past where it is to be: see
// guest.pause.
const (
	stoppedEvent = "STOP"
	passedEvent  = "GUEST_CRASHLOADED"
)

// stopThere lets a guest boot, has its state kept when it has been stopped, and lets it go on.
func stopThere(m *monitor, events *qmp, keep func()) error {
	if err := m.leaveMemoryOut(); err != nil {
		return err
	}
	if err := m.goOn(); err != nil {
		return err
	}
	first, err := events.awaitEvent(stoppedEvent, passedEvent)
	if err != nil {
		return err
	}
	if first == stoppedEvent {
		keep()
	} else if _, err := events.awaitEvent(stoppedEvent); err != nil { // too late to be kept
		return err
	}
	return m.goOn()
}

// beginThere has a guest begin at the state on its disk.
func beginThere(m *monitor) error {
	if err := m.leaveMemoryOut(); err != nil {
		return err
	}
	if err := m.humanSilent("loadvm " + stateTag); err != nil {
		return err
	}
	return m.goOn()
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
