package impair

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/internal/thread"
	"github.com/tcplab/tcplab/netdev"
)

// Probe tells whether this process may use netem on this kernel, by doing so:
// in a network namespace of its own, which is gone when it returns. nil means
// that it may; otherwise the error is [ErrNoNetem] or [ErrNotPermitted], or
// tells what else went wrong, in a line.
func Probe() error {
	err := inThrowawayNamespace(func() error {
		_, err := Apply(netdev.Device{Name: "lo"}, Netem{
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
	return thread.Run(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", translate(err))
		}
		return f()
	})
}
