// Package thread runs functions on operating system threads that end with them, and so may be left in any namespace.
package thread

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// Start runs f on an operating system thread that nothing else has run on since f began, or ever will: f may
// leave it in any namespace. It returns at once.
//
// The goroutine ends without unlocking its thread, which ends the thread. That does not work for the main thread:
// it cannot end, Go would park it for good wherever it is, and /proc/self/net, /proc/net and /proc/PID/ns/net show
// its namespace. So whoever finds itself on the main thread holds it until another goroutine has got a different
// one. (The usual cure, runtime.LockOSThread in an init function, would bind the main goroutine of every program
// that imports this package.)
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

// Run runs f by Start and waits for it. A panic in f, and a runtime.Goexit (testing's FailNow calls it),
// go on in the caller.
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
