package middlebox

import (
	"errors"
	"fmt"
	"io/fs"

	"golang.org/x/sys/unix"
)

// Errors for callers to decide on. They are wrapped: use errors.Is.
var (
	// ErrNotSupported: the kernel lacks something that the box needs.
	ErrNotSupported = errors.New("not supported by this kernel: a middlebox needs Linux 5.18 or later with nf_tables, and the modules nf_conntrack, " +
		"nft_ct, nft_masq, nft_chain_nat and nft_reject_inet: modprobe them, or use a guest kernel: tcplab run")

	// ErrNotPermitted: the process may not change the namespace's firewall.
	ErrNotPermitted = errors.New("not permitted: run as root (CAP_NET_ADMIN over the namespace, CAP_SYS_ADMIN to enter it), " +
		"or use a guest kernel, which needs no root: tcplab run")

	// ErrBusy: the namespace has a middlebox already.
	ErrBusy = errors.New("the namespace has a middlebox already (nft list table inet tcplab): one Box has all that it does")
)

// A MismatchError says that the kernel has something else than what was sent.
type MismatchError struct {
	What      string // such as "rule 2 of chain forward", or a sysctl
	Sent, Got string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s: sent %s, the kernel has %s", e.What, e.Sent, e.Got)
}

// translate adds one of this package's errors to a system call's.
func translate(err error) error {
	var kind error
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		kind = ErrNotPermitted
	case errors.Is(err, unix.EEXIST):
		kind = ErrBusy
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.EPROTONOSUPPORT), errors.Is(err, fs.ErrNotExist):
		// An unknown expression or type of chain is ENOENT, as is a sysctl of a module that is not there.
		kind = ErrNotSupported
	default:
		return err
	}
	return fmt.Errorf("%w (%w)", kind, err)
}
