// Package thread runs functions on operating system threads that end with them, and so may be left in any namespace.
package thread

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Start runs f on an operating system thread that runs nothing else, from the begin of f on and ever after: f may
// leave it in any namespace. Start returns at once.
//
// The goroutine ends without unlocking its thread, which ends the thread. That does not work for the main thread: it
// cannot end, and Go would park it in that namespace, which /proc/self/net, /proc/net and /proc/PID/ns/net show. So a
// goroutine on the main thread holds it until another goroutine has got another thread. (The usual solution,
// runtime.LockOSThread in an init function, would bind the main goroutine of every program that imports this
// package.)
func Start(f func()) {
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() != unix.Getpid() {
			f()
			return
		}
		taken := make(chan struct{})
		go func() {
			runtime.LockOSThread()
			close(taken)
			f()
		}()
		<-taken
		runtime.UnlockOSThread()
	}()
}

// Run runs f by Start and waits for it. A panic in f continues in the caller, and so does runtime.Goexit,
// which FailNow of package testing calls.
func Run(f func() error) error {
	var (
		err      error
		panicked any
		exited   = true
		done     = make(chan struct{})
	)
	Start(func() {
		defer close(done)
		defer func() {
			if panicked = recover(); panicked != nil {
				exited = false
			}
		}()
		err = f()
		exited = false
	})
	<-done
	if panicked != nil {
		panic(panicked)
	}
	if exited {
		runtime.Goexit()
	}
	return err
}

// In runs f in the network namespace of a file descriptor by Run, or, if that is 0, here, in the namespace of the calling
// thread.
func In(namespace int, f func() error) error {
	if namespace == 0 {
		return f()
	}
	return Run(func() error {
		if err := unix.Setns(namespace, unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the namespace: %w", err)
		}
		return f()
	})
}
