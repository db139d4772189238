//go:build linux && amd64

package guest

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// A guest whose program does not end is asked by the host to say what it is doing, and to end. The host presses Ctrl-Alt-Del:
// the machine has a keyboard controller whether it is used or not, so that no other guest's bytes depend on it.

// stopRequests has the kernel send /init the signal for Ctrl-Alt-Del, instead of rebooting (reboot(2), CAD_OFF).
func stopRequests() (<-chan os.Signal, error) {
	requests := make(chan os.Signal, 1)
	signal.Notify(requests, unix.SIGINT)
	if err := unix.Reboot(unix.LINUX_REBOOT_CMD_CAD_OFF); err != nil {
		return nil, fmt.Errorf("Ctrl-Alt-Del to /init: %w", err)
	}
	return requests, nil
}

// How long a program may take, on the guest's clock, to print its goroutines, and to die.
const (
	quitPatience = 5 * time.Second
	killPatience = time.Second
	peerPatience = 200 * time.Millisecond // between two pieces of what a peer says last
	peerWords    = 256 << 10              // of one peer
)

// stopProgram ends the program and all that it has started, and tells what was running: in short, and to report at length.
// Those that are in Go print their goroutines.
func stopProgram(program *os.Process, done <-chan struct{}, report func(text []byte) error) (running string, err error) {
	var text bytes.Buffer
	fmt.Fprintf(&text, "The guest's clock was at %s when it was asked to stop.\n", uptime())
	for _, file := range []string{"/proc/loadavg", "/proc/meminfo"} {
		fmt.Fprintf(&text, "\n%s:\n%s", file, firstLines(file, 5))
	}
	processes, err := listProcesses()
	if err != nil {
		return "", err
	}
	for _, p := range processes {
		p.describe(&text)
	}
	// The program must not take its peers' end for a fault of theirs, nor read what they say: it stops first.
	stopErr := program.Signal(unix.SIGSTOP)
	for _, p := range processes {
		if p.pid != program.Pid && !p.kernel {
			p.quit(&text)
		}
	}
	err = errors.Join(stopErr, report(text.Bytes()))
	err = errors.Join(err, program.Signal(unix.SIGQUIT), program.Signal(unix.SIGCONT)) // it prints into the output
	for _, step := range []struct {
		patience time.Duration
		then     func() error
	}{{quitPatience, program.Kill}, {killPatience, func() error { return errors.New("the program could not be killed") }}} {
		select {
		case <-done:
			return inShort(processes), err
		case <-time.After(step.patience):
			err = errors.Join(err, step.then())
		}
	}
	return inShort(processes), err
}

// A process is a line of ps, and more.
type process struct {
	pid, parent int
	name        string
	state       string // a letter, as in proc(5)
	kernel      bool   // it is one of the kernel's threads
	used        time.Duration
	command     string
	where       string // in the kernel it sleeps, or empty
}

// states in words; the others are rare.
var states = map[string]string{"R": "running", "S": "sleeping", "D": "in an uninterruptible sleep", "T": "stopped", "Z": "ended"}

// listProcesses lists all but this one, and kernel threads only where they are at work, after the processes: the request to
// stop comes at any moment, and a thread of the kernel that happens to run at it is not what a reader looks for first.
func listProcesses() ([]process, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var processes []process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		p, err := readProcess(pid)
		messenger := strings.HasPrefix(p.name, "kworker/") && p.state == "R" // of the request to stop
		if err == nil && (!p.kernel || p.state == "D" || p.state == "R" && !messenger) {
			processes = append(processes, p)
		}
	}
	slices.SortFunc(processes, kernelLast)
	return processes, nil
}

// kernelLast compares by process ID, and places the kernel's threads behind all processes.
func kernelLast(a, b process) int {
	switch {
	case a.kernel == b.kernel:
		return a.pid - b.pid
	case b.kernel:
		return -1
	default:
		return 1
	}
}

// readProcess reads /proc/PID/stat: see proc(5).
func readProcess(pid int) (process, error) {
	p := process{pid: pid}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return p, err
	}
	_, rest, _ := strings.Cut(string(stat), "(")
	end := strings.LastIndex(rest, ") ")
	if end < 0 {
		return p, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	const (
		flagsField, userField, systemField = 6, 11, 12 // counted from the state
		kernelThread                       = 0x00200000
		tick                               = time.Second / 100 // USER_HZ
	)
	fields := strings.Fields(rest[end+2:])
	if len(fields) <= systemField {
		return p, fmt.Errorf("/proc/%d/stat: %q", pid, stat)
	}
	p.name, p.state = rest[:end], fields[0]
	number := func(field int) int {
		n, _ := strconv.Atoi(fields[field]) // the kernel writes numbers
		return n
	}
	p.parent, p.kernel = number(1), number(flagsField)&kernelThread != 0
	p.used = time.Duration(number(userField)+number(systemField)) * tick
	if where, err := os.ReadFile(fmt.Sprintf("/proc/%d/wchan", pid)); err == nil && p.state != "R" && string(where) != "0" {
		p.where = string(where)
	}
	command, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	p.command = strings.TrimSpace(string(bytes.ReplaceAll(command, []byte{0}, []byte{' '})))
	return p, err
}

// describe writes the process with its threads: the state of each, and where in the kernel it is.
func (p process) describe(to *bytes.Buffer) {
	fmt.Fprintf(to, "\n%d (child of %d) %s: %s, %s of CPU time: %s\n", p.pid, p.parent, p.name, p.stateText(), p.used, p.command)
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*", p.pid))
	if err != nil {
		return
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(filepath.Base(thread))
		if err != nil {
			continue
		}
		t, err := readProcess(tid)
		if err != nil {
			continue
		}
		fmt.Fprintf(to, "  thread %d %s: %s\n", t.pid, t.name, t.stateText())
		for _, line := range strings.Split(firstLines(filepath.Join(thread, "stack"), 6), "\n") {
			if line != "" {
				fmt.Fprintf(to, "      %s\n", strings.TrimPrefix(line, "[<0>] "))
			}
		}
	}
}

func (p process) stateText() string {
	text := states[p.state]
	if text == "" {
		text = "state " + p.state
	}
	if p.where != "" {
		text += " in " + p.where
	}
	return text
}

// quit ends a process by the signal at which a Go program prints its goroutines, and writes down what it says through a pipe,
// which is what its parent would have read.
func (p process) quit(to *bytes.Buffer) {
	name := fmt.Sprintf("/proc/%d/fd/2", p.pid)
	target, err := os.Readlink(name)
	isPipe := err == nil && strings.HasPrefix(target, "pipe:")
	pipe := -1
	if isPipe {
		if pipe, err = unix.Open(name, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0); err == nil {
			defer func() { _ = unix.Close(pipe) }()
		}
	}
	if unix.Kill(p.pid, unix.SIGQUIT) != nil || !isPipe || err != nil {
		return
	}
	said := make([]byte, 0, 64<<10)
	for piece := make([]byte, 64<<10); len(said) < peerWords; {
		time.Sleep(peerPatience)
		n, err := unix.Read(pipe, piece)
		if err != nil || n <= 0 {
			break
		}
		said = append(said, piece[:n]...)
	}
	if len(said) > 0 {
		fmt.Fprintf(to, "\nlast on standard error of %d, %s:\n%s\n", p.pid, p.name, bytes.TrimRight(said, "\n"))
	}
}

// inShort names the processes in one line.
func inShort(processes []process) string {
	const most = 6
	var texts []string
	for i, p := range processes {
		if i == most {
			texts = append(texts, fmt.Sprintf("%d more", len(processes)-most))
			break
		}
		texts = append(texts, fmt.Sprintf("%s (%d) %s", p.name, p.pid, p.stateText()))
	}
	if texts == nil {
		return "no process"
	}
	return strings.Join(texts, "; ")
}

func firstLines(file string, count int) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return err.Error() + "\n"
	}
	lines := strings.SplitAfter(string(text), "\n")
	return strings.Join(lines[:min(count, len(lines))], "")
}
