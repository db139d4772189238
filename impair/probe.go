package impair

import (
	"fmt"
	"runtime"
	"time"

	"golang.org/x/sys/unix"
)

// Probe tells whether this process may use netem on this kernel, by doing so:
// in a network namespace of its own, which is gone when it returns. nil means
// that it may; otherwise the error is [ErrNoNetem] or [ErrNotPermitted], or
// tells what else went wrong, in a line.
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
			// The main thread cannot end before the process does, and would stay in
			// the namespace. As long as it is held here, another one is taken.
			defer runtime.UnlockOSThread()
			done <- inThrowawayNamespace(f)
			return
		}
		// Not unlocked: the runtime ends a thread that is locked when its goroutine ends.
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("make a network namespace: %w", translate(err))
			return
		}
		done <- f()
	}()
	return <-done
}
