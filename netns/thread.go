package netns

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// onThread runs f on an operating system thread that runs nothing else, from the begin of f on and ever after: f may
// leave it in any namespace. onThread returns at once.
//
// The goroutine ends without unlocking its thread, which ends the thread. That does not work for the main thread: it
// cannot end, and Go would park it in that namespace, which /proc/self/net, /proc/net and /proc/PID/ns/net show. So a
// goroutine on the main thread holds it until another goroutine has got another thread. (The usual solution,
// runtime.LockOSThread in an init function, would bind the main goroutine of every program that imports this
// package.)
func onThread(f func()) {
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

// throwAway runs f by onThread and waits for it. A panic in f continues in the caller, and so does runtime.Goexit,
// which FailNow of package testing calls.
func throwAway(f func() error) error {
	var (
		err      error
		panicked any
		exited   = true
		done     = make(chan struct{})
	)
	onThread(func() {
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
