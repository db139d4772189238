package netns

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Processes returns the ids of all processes in the host: those of [Host.Start], and those that they started,
// including daemons without a parent. This program is never among them.
func (h *Host) Processes() ([]int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, fmt.Errorf("list the processes of host %s: %w", h.name, ErrClosed)
	}
	return h.processes()
}

func (h *Host) processes() ([]int, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list the processes of host %s: %w", h.name, err)
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list the processes of host %s: %w", h.name, err)
	}
	var found []int
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil || pid == os.Getpid() {
			continue
		}
		if h.has(pid) {
			found = append(found, pid)
		}
	}
	return found, nil
}

// has reports whether a process is in the host. A process that has ended is not. One that this program may not
// inspect belongs to somebody else.
func (h *Host) has(pid int) bool {
	var own, its unix.Stat_t
	return unix.Fstat(h.fd, &own) == nil && unix.Stat(fmt.Sprintf("/proc/%d/ns/net", pid), &its) == nil &&
		own.Dev == its.Dev && own.Ino == its.Ino
}

// killLeft kills the processes in the host that were not started by it: what its processes have started and left
// behind. It returns when none is left.
func (h *Host) killLeft() error {
	deadline := time.Now().Add(eventTimeout)
	for {
		left, err := h.processes()
		if err != nil || len(left) == 0 {
			return err
		}
		for _, pid := range left {
			if err := h.killProcess(pid, deadline); err != nil {
				return err
			}
		}
		// A killed process may have started another one meanwhile.
		if time.Now().After(deadline) {
			return fmt.Errorf("end the processes of host %s: after %v there still are some: %s: kill them, or their namespace stays",
				h.name, eventTimeout, describe(left))
		}
	}
}

// killProcess kills a process that is in the host, and waits for its end. It need not be a child of this one.
func (h *Host) killProcess(pid int, deadline time.Time) error {
	// A pidfd refers to this process only, and not to a later one with the same number.
	fd, err := unix.PidfdOpen(pid, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("end the processes of host %s: %s: %w", h.name, describe([]int{pid}), os.NewSyscallError("pidfd_open", err))
	}
	defer unix.Close(fd)
	// Until the pidfd was opened, the number could have been reused.
	if !h.has(pid) {
		return nil
	}
	what := describe([]int{pid})
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("end the processes of host %s: %s: %w", h.name, what, os.NewSyscallError("pidfd_send_signal", err))
	}
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(max(0, time.Until(deadline))/time.Millisecond))
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("end the processes of host %s: %s: %w", h.name, what, os.NewSyscallError("poll", err))
		case n == 0:
			return fmt.Errorf("end the processes of host %s: %s does not end, %v after it was killed; its namespace stays with it",
				h.name, what, eventTimeout)
		default:
			return nil
		}
	}
}

// describe is for people: ids and names of processes.
func describe(pids []int) string {
	var list []string
	for _, pid := range pids {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil {
			list = append(list, fmt.Sprintf("process %d", pid))
			continue
		}
		list = append(list, fmt.Sprintf("process %d (%s)", pid, strings.TrimSpace(string(name))))
	}
	return strings.Join(list, ", ")
}
