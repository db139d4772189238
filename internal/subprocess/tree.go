package subprocess

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A tree is a process with all that it starts. Pdeathsig reaches the process only, and a process group only what stays in
// it. So between this process and the tree there is a keeper, this very program once more. It is the tree's
// subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): whoever loses its parent becomes the keeper's child, whatever its group or
// session, and so the keeper finds all of them. It learns of its own parent's end by that of a pipe, which cannot be
// missed, and is in a process group of its own, so that neither ^C nor the end of a terminal ends it before.

// keeperName is a keeper's first argument, by which it knows what it is. The descriptor of its pipe comes next, and
// then the tree's program and its arguments.
const keeperName = "tcplab: keeper"

// A keeper is not asked in main, but before: any program that links this package can be one.
func init() {
	if len(os.Args) > 3 && os.Args[0] == keeperName {
		keep()
	}
}

// RunTree runs a command that was not made with a context, and waits for it. When it ends, all that it started is killed.
// When this process ends, however that happens, it is killed with all that it started. When ctx ends it gets
// a signal, and grace later is killed, and so is all that it started; without grace at once. The error is then that of ctx.
//
// A process that has another user's rights, such as sudo, can be out of a keeper's reach. The command can have no ExtraFiles.
func RunTree(ctx context.Context, cmd *exec.Cmd, sig syscall.Signal, grace time.Duration) error {
	if cmd.Err != nil {
		return cmd.Err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	theirs, ours, err := os.Pipe()
	if err != nil {
		return err
	}
	defer ours.Close()
	const pipe = 3 // the first of ExtraFiles
	cmd.Args = append([]string{keeperName, strconv.Itoa(pipe), cmd.Path}, cmd.Args...)
	cmd.Path = "/proc/self/exe"
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		return err
	}
	var ended error
	done := make(chan struct{})
	go func() {
		ended = cmd.Wait()
		close(done)
	}()
	select {
	case <-done:
		return ended
	case <-ctx.Done():
	}
	if grace > 0 {
		_, _ = ours.Write([]byte{byte(sig)}) // if it cannot be told, it has ended
		select {
		case <-done:
			return ctx.Err()
		case <-time.After(grace):
		}
	}
	_ = ours.Close()
	<-done
	return ctx.Err()
}

// keep is a keeper: it never returns.
func keep() {
	// Caught, not ignored: what is ignored stays so in the programs that it starts.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGPIPE)
	status, err := keepTree(os.Args[1], os.Args[2], os.Args[3:])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		syscall.Exit(127)
	}
	if status.Signaled() {
		dieOf(status.Signal())
	}
	syscall.Exit(status.ExitStatus()) // os.Exit takes a second with the race detector
}

// keepTree starts the tree, and kills what is left of it when its first process or the pipe has ended.
func keepTree(pipeText, path string, args []string) (syscall.WaitStatus, error) {
	fd, err := strconv.Atoi(pipeText)
	if err != nil {
		return 0, err
	}
	unix.CloseOnExec(fd)
	pipe := os.NewFile(uintptr(fd), "pipe")
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("become the subreaper of %s: %w", path, err)
	}
	process, err := os.StartProcess(path, args, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		// Of its own, so that it can signal its group without the keeper.
		Sys: &syscall.SysProcAttr{Setpgid: true},
	})
	if err != nil {
		return 0, err
	}
	go func() {
		signals := make([]byte, 1)
		for {
			if n, err := pipe.Read(signals); n == 0 || err != nil {
				break
			}
			_ = process.Signal(syscall.Signal(signals[0]))
		}
		_ = process.Kill() // which ends the wait below
	}()
	var status syscall.WaitStatus
	for {
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == nil && pid == process.Pid {
			break
		}
		if err != nil && !errors.Is(err, syscall.EINTR) {
			return 0, err
		}
	}
	killChildren()
	return status, nil
}

// killChildren kills the children of this process, and then those that become its children by that, until there is none.
func killChildren() {
	for {
		var killed []int
		for _, pid := range children() {
			if err := unix.Kill(pid, unix.SIGKILL); err == nil {
				killed = append(killed, pid)
			}
		}
		if len(killed) == 0 {
			return // none, or only such as this process may not kill
		}
		for _, pid := range killed {
			for {
				if _, err := syscall.Wait4(pid, nil, 0, nil); !errors.Is(err, syscall.EINTR) {
					break
				}
			}
		}
	}
}

// children are the processes whose parent is this one.
func children() (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	self := strconv.Itoa(os.Getpid())
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		text, err := os.ReadFile("/proc/" + entry.Name() + "/stat")
		if err != nil {
			continue
		}
		// proc_pid_stat(5): pid (comm) state ppid ..., and a name can have anything in it.
		fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
		if len(fields) > 1 && fields[1] == self {
			pids = append(pids, pid)
		}
	}
	return pids
}

// dieOf ends this process by a signal, as the tree's own did, and without what Go says to some of them.
func dieOf(sig syscall.Signal) {
	if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
		_ = unix.Dup3(int(null.Fd()), 2, 0)
	}
	_ = unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{})
	// Go's own handlers do other things than the default action, and package os/signal does not remove them. A structure
	// of zeros is the default, without flags: SIG_DFL is 0.
	var action [4]uint64
	_, _, _ = unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(sig), uintptr(unsafe.Pointer(&action)), 0, 8, 0, 0)
	_ = unix.Kill(os.Getpid(), sig)
	time.Sleep(time.Second) // until it arrives
	syscall.Exit(128 + int(sig))
}
