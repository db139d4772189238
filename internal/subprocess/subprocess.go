// Package subprocess starts processes that do not outlive the one that started them, however that ends.
//
// Linux does it: Pdeathsig is sent to a child when its parent ends. But the parent is the *thread* that forked, not the
// process (prctl(2), PR_SET_PDEATHSIG), and in a Go program any goroutine may end a thread on which another one has
// started something: it suffices that it returns with its thread locked. So who sets Pdeathsig has to keep the thread
// until the child has ended. This package is the only one that sets it.
package subprocess

import (
	"os/exec"
	"runtime"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Start starts a process that is killed when this one ends, and returns a function that waits for its end: it calls
// [exec.Cmd.Wait], so read all of a pipe of cmd.StdoutPipe before. Any goroutine may call it, any number of times,
// and one has to: until then a process that has ended stays in the kernel's table. Processes that the process itself
// starts are not covered.
func Start(cmd *exec.Cmd) (wait func() error, err error) {
	Bind(cmd)
	started := make(chan error, 1)
	ended := make(chan struct{})
	go func() {
		// No other goroutine can run on this thread before it is unlocked, and so none can end it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			AwaitEnd(cmd.Process.Pid)
			close(ended)
		}
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return sync.OnceValue(func() error { <-ended; return cmd.Wait() }), nil
}

// Run is Start, and waits.
func Run(cmd *exec.Cmd) error {
	wait, err := Start(cmd)
	if err != nil {
		return err
	}
	return wait()
}

// Bind has a command's process killed when the thread that starts it ends. It is for who has a thread to start it on,
// such as one in another namespace, and keeps that thread until AwaitEnd returns. What else cmd.SysProcAttr has stays
// as it is, and the structure itself is not written to: it may be another command's, too.
func Bind(cmd *exec.Cmd) {
	attr := syscall.SysProcAttr{}
	if cmd.SysProcAttr != nil {
		attr = *cmd.SysProcAttr
	}
	attr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr = &attr
}

// AwaitEnd returns when a child of this process has ended, and leaves it to be waited for.
func AwaitEnd(pid int) {
	for {
		// No error but EINTR is possible before it is waited for, and who does that is told of any other one.
		if err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != unix.EINTR {
			return
		}
	}
}
