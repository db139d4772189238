package impair

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Probe reports whether this process may use netem on this kernel, by using it in a temporary network namespace. nil
// means yes. The error is [ErrNoNetem] or [ErrNotPermitted], or says in a line what else failed.
func Probe() error {
	err := inThrowawayNamespace(func() error {
		_, err := Apply(Device{Name: "lo"}, Netem{
			Delay: time.Millisecond,
			Loss:  SimpleGilbert(1, 10),
			Rate:  Rate{BitsPerSecond: Mbit},
		})
		return err
	})
	if err != nil {
		return fmt.Errorf("probe netem: %w", err)
	}
	return nil
}

// inThrowawayNamespace runs f on a thread of its own in a new network
// namespace. The thread ends with f, and takes the namespace along.
func inThrowawayNamespace(f func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end before the process does, and would stay in the namespace. While it is held
			// here, another thread is used.
			defer runtime.UnlockOSThread()
			done <- inThrowawayNamespace(f)
			return
		}
		// The thread stays locked: the runtime ends it with its goroutine.
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("make a network namespace: %w", translate(err))
			return
		}
		done <- f()
	}()
	return <-done
}
