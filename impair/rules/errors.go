package rules

import (
	"errors"
	"fmt"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/netns/netdev"
)

// Errors for callers to decide on. They are wrapped: use errors.Is.
var (
	// ErrNotSupported: the kernel lacks something that rules need.
	ErrNotSupported = errors.New("not supported by this kernel: rules need Linux 6.1 or later with BPF (CONFIG_BPF_SYSCALL), and the modules " +
		"sch_ingress and cls_bpf; Corrupt also cls_matchall and act_csum, Delay also veth and sch_netem: modprobe them, or use a guest kernel: tcplab run")

	// ErrNotPermitted: the process may not load BPF programs, or not change the device.
	ErrNotPermitted = errors.New("not permitted: run as root (CAP_BPF and CAP_NET_ADMIN on the machine, CAP_NET_ADMIN over the device's namespace), " +
		"or use a guest kernel, which needs no root: tcplab run")

	// ErrBusy: the device has a clsact or ingress qdisc already, of another Set or of somebody else.
	ErrBusy = errors.New("the device has a clsact or ingress qdisc already: one Set has all rules of a device (tc qdisc show)")

	// errFull: the set has had as many rules as it can.
	errFull = fmt.Errorf("a set takes at most %d rules in its time, removed ones included", maxRules)

	// errClosed: the set is closed.
	errClosed = errors.New("the set of rules is closed")

	// ErrIncomplete: hits or counts are incomplete. The error says what is missing.
	ErrIncomplete = errors.New("the account of the rules is incomplete")
)

// translate adds one of this package's errors to a system call's.
func translate(err error) error {
	var kind error
	var verifier *ebpf.VerifierError
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES) && !errors.As(err, &verifier):
		kind = ErrNotPermitted
	case errors.Is(err, unix.ENOENT), errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS),
		errors.Is(err, ebpf.ErrNotSupported), errors.As(err, &verifier):
		// An unknown kind of qdisc, filter or action is ENOENT; an unknown helper is the verifier's.
		kind = ErrNotSupported
	case errors.Is(err, unix.ENODEV):
		kind = netdev.ErrNoDevice
	default:
		return err
	}
	return fmt.Errorf("%w (%w)", kind, err)
}
