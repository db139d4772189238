package impair

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/impair/internal/qdisc"
	"github.com/tcplab/tcplab/internal/thread"
	"github.com/tcplab/tcplab/netns/netdev"
)

// Probe reports whether this process may use netem on this kernel, by using it in a temporary network namespace. nil
// means yes. The error is [ErrNoNetem] or [ErrNotPermitted], or says in a line what else failed.
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
			return fmt.Errorf("make a network namespace: %w", qdisc.Translate(err))
		}
		return f()
	})
}
