package vm

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// What can become of a guest, for errors.Is on a [GuestError].
var (
	ErrNotReady    = errors.New("the guest never said that it was ready")
	ErrTimeout     = errors.New("the guest did not finish in time")
	ErrPanic       = errors.New("the guest's kernel panicked")
	ErrOutOfMemory = errors.New("the guest ran out of memory")
	ErrNoStatus    = errors.New("the guest ended without a status")
	ErrInit        = errors.New("the guest could not run the program")
	ErrTooMuch     = errors.New("the guest has sent more files than it may")
	ErrHostFull    = errors.New("no room for what the guest has sent")
)

// What a host can lack.
var (
	ErrNoQEMU   = errors.New("no qemu-system-x86_64")
	ErrNoKernel = errors.New("no guest kernel")
)

// A GuestError says what became of a guest that did not deliver its program's status.
type GuestError struct {
	Kind    error    // one of the sentinels above
	Detail  string   // what was seen, or empty
	Console []string // the last lines of the kernel's console
}

func (e *GuestError) Error() string {
	var text strings.Builder
	text.WriteString(e.Kind.Error())
	if e.Detail != "" {
		fmt.Fprintf(&text, ": %s", e.Detail)
	}
	if len(e.Console) == 0 {
		text.WriteString("; its console is empty")
		return text.String()
	}
	fmt.Fprintf(&text, "; the last %d lines of its console:", len(e.Console))
	for _, line := range e.Console {
		text.WriteString("\n    " + line)
	}
	return text.String()
}

func (e *GuestError) Unwrap() error { return e.Kind }

// OfHost tells whether the host can be why: it was too slow, had no room, or ended the emulator. Then another run with the same
// inputs may end in another way, as no other error of a guest may.
func (e *GuestError) OfHost() bool {
	return slices.Contains([]error{ErrNotReady, ErrTimeout, ErrNoStatus, ErrHostFull}, e.Kind)
}
