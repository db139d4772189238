package netns

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotPermitted says that this process may not create or enter network namespaces.
	ErrNotPermitted = errors.New("needs root (CAP_SYS_ADMIN and CAP_NET_ADMIN): run it with sudo, or in a guest kernel with `tcplab run`")

	// ErrNotSupported says that the kernel lacks network namespaces, veth or IPv6.
	ErrNotSupported = errors.New("not supported by this kernel")

	// ErrClosed says that the host was closed before.
	ErrClosed = errors.New("the host is closed")

	// ErrNotPerHost says that a sysctl has one value for the whole machine, so a host cannot have a value of its own.
	ErrNotPerHost = errors.New("not a setting of a single host")
)

// A SysctlMismatchError says that the kernel accepted a value for a sysctl, but keeps another one.
type SysctlMismatchError struct {
	Host string
	Key  string
	Want string // what was written
	Got  string // what was read back
}

func (e *SysctlMismatchError) Error() string {
	return fmt.Sprintf("set sysctl %s on host %s: wrote %q, the kernel kept %q", e.Key, e.Host, e.Want, e.Got)
}

// explain adds what to do about an error from creating or entering a namespace.
func explain(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("%w: %w", err, ErrNotPermitted)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: the limit user.max_net_namespaces is reached", err)
	}
	return err
}
