package vm

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tcplab/tcplab/internal/onecpu"
	"github.com/tcplab/tcplab/internal/subprocess"
	"github.com/tcplab/tcplab/internal/vm/guest"
)

// kernelParameters of every guest. "quiet" because each character of the console costs the
// guest time; tsc=reliable because the watchdog would compare two clocks that are one;
// mitigations=off and cryptomgr.notests because they only cost instructions here; oops=panic
// because a kernel that has stumbled is no witness; nolapic_timer because the calibration of that
// timer spins for 100 virtual ms around instructions that QEMU is slowest at: 1.6 of 4.1 s of a
// boot, measured. The HPET, with its 10 ns, drives the timers instead. noreplace-smp because patching code makes QEMU
// translate it again, and LOCK prefixes cost nothing here. rodata=off because the
// kernel would look through all its page tables for pages that are writable and executable: 250
// virtual ms. psi=0 because nobody reads how long tasks wait for what, which costs 5 % of a flow's instructions;
// init_on_alloc=0 because a guest has no secrets to wipe from memory, and QEMU executes each step of the instruction that does
// it as a block of its own.
const kernelParameters = "console=ttyS0 quiet panic=-1 oops=panic tsc=reliable cryptomgr.notests mitigations=off nolapic_timer noreplace-smp " +
	"rodata=off psi=0 init_on_alloc=0 initcall_blacklist=" + needlessInitcalls

// needlessInitcalls are left out of the boot. The first calibrates the HPET for /dev/hpet, in a loop of
// reads at which QEMU is slowest; the second is for tracing block devices, 50 virtual ms; the third tests a source
// of entropy that nobody asks, 290 virtual ms in 6.12. A kernel that has one of them not passes over its name.
const needlessInitcalls = "hpet_late_init,init_blk_tracer,jent_mod_init"

// guestFiles are the guest's ends on the host. None has a name, so that nothing is left
// behind, and QEMU finds each under the number that it inherits.
type guestFiles struct {
	initramfs, program, contents        *os.File // the image's
	console, output, results, job, disk *os.File
}

func newGuestFiles(image *Image, job guest.Job) (*guestFiles, error) {
	files := &guestFiles{initramfs: image.base.initramfs, program: image.program, contents: image.files}
	for _, file := range files.own() {
		var err error
		if *file, err = unnamedFile(); err != nil {
			files.close()
			return nil, err
		}
	}
	if err := json.NewEncoder(files.job).Encode(job); err != nil {
		files.close()
		return nil, fmt.Errorf("guest's job: %w", err)
	}
	return files, nil
}

func (f *guestFiles) own() []**os.File {
	return []**os.File{&f.console, &f.output, &f.results, &f.job, &f.disk}
}

func (f *guestFiles) close() {
	for _, file := range f.own() {
		if *file != nil {
			(*file).Close()
		}
	}
}

// The numbers of the guest's memory and of what takes the place of its kernel in QEMU, which come after all other files.
const memoryNumber, kernelNumber = 12, 13

// inherited are the files in the order of their numbers in QEMU, from 3 on.
func (f *guestFiles) inherited() []*os.File {
	return []*os.File{f.initramfs, f.console, f.output, f.results, f.job, f.disk, f.program, f.contents}
}

// machineDate is the guest's date when it is switched on.
var machineDate = time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)

// arguments of QEMU. What each is for, and what was measured, stands in docs/virtual-time.md.
func arguments(kernel string, job Job) []string {
	return []string{
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
		"-smp", "1", "-m", strconv.Itoa(job.memoryMiB()),
		"-accel", "tcg", "-cpu", "qemu64",
		"-icount", "shift=" + strconv.Itoa(job.shift()) + ",align=off,sleep=off,rr=record,rrfile=/dev/null",
		"-rtc", "base=" + machineDate.Format(time.DateOnly) + ",clock=vm",
		"-seed", "1",
		"-kernel", kernel,
		"-initrd", "/proc/self/fd/3",
		"-append", kernelParameters,
		"-fw_cfg", "name=" + guest.JobFile + ",file=/proc/self/fd/7",
		"-fw_cfg", "name=" + guest.ProgramFile + ",file=/proc/self/fd/9",
		"-fw_cfg", "name=" + guest.FilesFile + ",file=/proc/self/fd/10",
		"-device", "ib700", "-device", "pvpanic", "-action", "panic=none",
		"-chardev", "file,id=console,path=/proc/self/fd/4,append=on", "-serial", "chardev:console",
		"-device", "virtio-serial-pci,ioeventfd=off",
		"-chardev", "file,id=output,path=/proc/self/fd/5",
		"-device", "virtserialport,chardev=output,name=" + guest.OutputPort,
		"-chardev", "file,id=results,path=/proc/self/fd/6",
		"-device", "virtserialport,chardev=results,name=" + guest.ResultsPort,
	}
}

func commandLineHash(job Job) string {
	sum := sha256.Sum256([]byte(strings.Join(arguments("", job), "\x00")))
	return hex.EncodeToString(sum[:])
}

// An ending is how QEMU itself ended.
type ending struct {
	kind     error         // ErrTimeout, ErrNotReady or ErrTooMuch if a bound ended it
	after    time.Duration // that bound, of time
	clock    time.Duration // how far the guest's had come then; 0 if that is not known
	silent   bool          // it was asked to stop, and did not
	detail   string        // QEMU's own complaint
	hostFull string        // which directory has no room left, if so

	memoryMiB int
}

// streamPeriod is how often, in wall time, the guest's output is passed on.
const streamPeriod = 50 * time.Millisecond

// reviewPeriod is how often, in wall time, a guest's CPU is chosen anew.
const reviewPeriod = time.Second

// run starts QEMU and waits for its end, passing the guest's output on. It returns an error
// only for what is not the guest's doing.
func (q QEMU) run(ctx context.Context, start beginning, job Job, files *guestFiles) (ending, error) {
	ended := ending{memoryMiB: job.memoryMiB()}
	defer start.close()
	command := exec.Command(q.Path, start.arguments...)
	command.ExtraFiles = slices.Concat(files.inherited(), []*os.File{start.theirs}, start.more())
	var complaint bytes.Buffer
	command.Stdout, command.Stderr = &complaint, &complaint
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // ^C goes to the runner, which decides
	wait, err := subprocess.Start(command)                    // a guest never outlives its runner
	if err != nil {
		return ended, fmt.Errorf("start %s: %w", q.Path, err)
	}
	done := make(chan error, 1)
	go func() { done <- wait() }()
	// The virtual CPU and QEMU's main loop, which each of the guest's timers wakes up, take turns: see rr=record.
	place := onecpu.Keep(command.Process.Pid)
	defer place.Release()

	readyLimit, wallLimit := job.ReadyLimit, job.WallLimit
	if readyLimit == 0 {
		readyLimit = defaultReadyLimit
	}
	if wallLimit == 0 {
		wallLimit = DefaultWallLimit
	}
	ready := time.NewTimer(readyLimit)
	defer ready.Stop()
	wall := time.NewTimer(wallLimit)
	defer wall.Stop()
	tick := time.NewTicker(streamPeriod)
	defer tick.Stop()
	review := time.NewTicker(reviewPeriod)
	defer review.Stop()
	stream := outputStream{from: files.output, to: job.Output}

	steered := start.steered()
	// ask asks the guest what it is doing. Until it goes on by itself, the monitor has another user.
	ask := func(toStop bool) bool {
		if steered != nil {
			return false
		}
		start.monitor.within(monitorPatience)
		if start.monitor.greet() != nil {
			return false
		}
		ended.clock, _ = start.monitor.clock() // what is not known is left out
		return toStop && start.monitor.interrupt() == nil
	}
	var exit error
	for running := true; running; {
		select {
		case ended.kind = <-steered:
			steered = nil
			if ended.kind == nil {
				continue
			}
		case exit = <-done:
			running = false
			continue
		case <-ctx.Done():
			ended.kind = ctx.Err()
		case <-ready.C:
			if info, err := files.results.Stat(); err == nil && info.Size() > 0 {
				continue
			}
			if used, err := subprocess.CPUTime(command.Process.Pid); err == nil && used < readyLimit {
				ready.Reset(readyLimit - used) // others had the processors
				continue
			}
			ended.kind, ended.after = ErrNotReady, readyLimit
			ask(false)
		case <-wall.C:
			ended.kind, ended.after = ErrTimeout, wallLimit
			if ask(true) {
				if exit, ended.silent = lastWords(ctx, command.Process.Pid, done, &stream, files); !ended.silent {
					running = false
					continue
				}
			}
		case <-review.C:
			place.Review()
			continue
		case <-tick.C:
			err := errors.Join(stream.forward(), files.bound())
			if err == nil {
				continue
			}
			ended.kind = err
			if errors.Is(err, ErrTooMuch) {
				ended.kind = ErrTooMuch
				ask(false)
			}
		}
		command.Process.Kill()
		exit = <-done
		running = false
	}
	if err := stream.finish(); err != nil && ended.kind == nil {
		ended.kind = err
	}
	ended.hostFull = fullDirectory(os.TempDir()) // before its files go
	var guests bool
	for _, kind := range []error{nil, ErrNotReady, ErrTimeout, ErrTooMuch} {
		guests = guests || errors.Is(ended.kind, kind)
	}
	if !guests {
		return ended, fmt.Errorf("guest: %w", ended.kind)
	}
	if exit != nil {
		ended.detail = fmt.Sprintf("%s: %v: %s", q.Path, exit, lastLine(complaint.String()))
	}
	return ended, nil
}

const (
	// monitorPatience is for an answer of QEMU's, which is not the guest's.
	monitorPatience = 5 * time.Second
	// A guest that was asked to stop has so much of QEMU's CPU time for it, and in any case no more than this in wall time.
	lastWordsLimit, lastWordsWait = 15 * time.Second, 90 * time.Second
)

// lastWords waits for the end of a guest that was asked to stop. It is silent if that does not come.
func lastWords(ctx context.Context, pid int, done <-chan error, stream *outputStream, files *guestFiles) (exit error, silent bool) {
	before, err := subprocess.CPUTime(pid)
	if err != nil {
		return <-done, false // it has ended
	}
	tick := time.NewTicker(streamPeriod)
	defer tick.Stop()
	late := time.NewTimer(lastWordsWait)
	defer late.Stop()
	for {
		select {
		case exit := <-done:
			return exit, false
		case <-ctx.Done():
			return nil, true
		case <-late.C:
			return nil, true
		case <-tick.C:
			now, err := subprocess.CPUTime(pid)
			if err == nil && now-before > lastWordsLimit || errors.Join(stream.forward(), files.bound()) != nil {
				return nil, true
			}
		}
	}
}
