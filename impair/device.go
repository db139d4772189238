package impair

import (
	"errors"
	"fmt"
	"slices"

	"github.com/tcplab/tcplab/impair/internal/qdisc"
	"github.com/tcplab/tcplab/netns/netdev"
)

// Errors for callers to decide on. They are wrapped: use errors.Is.
var (
	// ErrNoNetem means that the kernel does not know netem.
	ErrNoNetem = errors.New("this kernel has no netem: modprobe sch_netem; if there is no such module, install the package that has it " +
		"(Debian: linux-image-amd64 or that of your architecture; Ubuntu: linux-modules-extra-$(uname -r); RHEL, Fedora: kernel-modules-extra), " +
		"or use a guest kernel: tcplab run")

	// ErrNotPermitted means that the caller lacks the permission.
	ErrNotPermitted = qdisc.ErrNotPermitted

	// ErrNotNetem means that the device's root qdisc is not a netem.
	ErrNotNetem = errors.New("the root qdisc is not a netem")
)

// Apply makes n the root qdisc of d. It replaces any qdisc, netem or not, and packets in that queue, or that arrive
// in that instant, are lost. Then Apply reads back what the kernel has.
//
// Errors: [*invalid.FieldError] (joined; nothing was done), [ErrNoNetem],
// [ErrNotPermitted], [netdev.ErrNoDevice], [*MismatchError] (it was done; see
// Applied).
func Apply(d netdev.Device, n Netem) (Applied, error) {
	return modify("apply", d, n, false)
}

// Change changes the netem on d while it works. Queued packets leave at their time; only later packets see the
// change. The loss model restarts in its good state, and the random numbers at Seed.
//
// The result is that of [Apply], with one exception. The kernel cannot unload a distribution table, nor report
// whether it has one. So a Uniform jitter, and the range of a slot, are sent as a table of 4096 equal steps, where
// Apply is exact to the nanosecond. A note says so.
//
// Errors: as Apply; [ErrNotNetem] if there is nothing to change.
func Change(d netdev.Device, n Netem) (Applied, error) {
	return modify("change", d, n, true)
}

func modify(operation string, d netdev.Device, n Netem, change bool) (a Applied, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("%s netem on %s: %w", operation, d, err)
		}
	}()
	r, err := prepare(n, change)
	if err := errors.Join(d.Validate(), err); err != nil {
		return Applied{}, err
	}
	sent := r.encode()
	payload, err := sent.marshal(r.tables)
	if err != nil {
		return Applied{}, err
	}

	err = qdisc.With(d, func(l *qdisc.Link) error {
		set := replaceNetem
		if change {
			set = changeNetem
		}
		if err := set(l, payload); err != nil {
			return err
		}
		q, err := netem(l)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		got, err := parseOptions(q.Options)
		if err != nil {
			return fmt.Errorf("read back: %w", err)
		}
		a = r.report(got)
		return verify(sent, got)
	})
	return a, err
}

// Clear removes the netem from d, with its queue. A device without a qdisc of its own is already clear: no error. Any
// other root qdisc stays, with the error [ErrNotNetem].
func Clear(d netdev.Device) error {
	err := qdisc.With(d, func(l *qdisc.Link) error {
		q, err := l.At(qdisc.Root)
		if err != nil {
			return err
		}
		switch {
		case q.Kind == netemKind:
			return l.Delete(qdisc.Root)
		case q.Handle == 0: // the kernel's default: noqueue, fq_codel, mq and others
			return nil
		}
		return notNetem(q)
	})
	if err != nil {
		return fmt.Errorf("clear netem on %s: %w", d, err)
	}
	return nil
}

// Read returns the netem that the kernel has on d, whoever set it. The kernel does not report the table of a
// distribution: that is [Unreported]. The error is [ErrNotNetem] if there is no netem.
func Read(d netdev.Device) (Netem, error) {
	var n Netem
	err := qdisc.With(d, func(l *qdisc.Link) error {
		q, err := netem(l)
		if err != nil {
			return err
		}
		o, err := parseOptions(q.Options)
		n = o.netem()
		return err
	})
	if err != nil {
		return Netem{}, fmt.Errorf("read netem on %s: %w", d, err)
	}
	return n, nil
}

// ReadStats reads the counters of the netem on d. If there is none it is
// [ErrNotNetem].
func ReadStats(d netdev.Device) (netdev.Stats, error) {
	var s netdev.Stats
	err := qdisc.With(d, func(l *qdisc.Link) error {
		q, err := netem(l)
		if err == nil {
			s, err = statsOf(q)
		}
		return err
	})
	if err != nil {
		return netdev.Stats{}, fmt.Errorf("read statistics of netem on %s: %w", d, err)
	}
	return s, nil
}

const netemKind = "netem"

// replaceNetem makes a new root qdisc.
func replaceNetem(l *qdisc.Link, options []byte) error {
	list, err := l.List()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(list, isKind(netemKind)) {
		// Some kernels (Debian's 6.1.192 is one) refuse a second netem on a device
		// if either of them duplicates ("cannot mix duplicating netems"), and the
		// old one is still there when the new one is made. The blackhole takes its
		// place meanwhile: better to lose what comes then, like what was queued,
		// than to let it pass.
		if _, err := l.Replace("blackhole", qdisc.Root, nil); err != nil {
			return fmt.Errorf("take the old one away: %w", lacksNetem(err))
		}
		if list, err = l.List(); err != nil {
			return err
		}
	}
	if _, err := l.Replace(netemKind, qdisc.Root, options); err != nil {
		// Whatever it is, the device is not left with a blackhole.
		if slices.ContainsFunc(list, isKind("blackhole")) {
			err = errors.Join(err, l.Delete(qdisc.Root))
		}
		return lacksNetem(err)
	}
	return nil
}

func isKind(kind string) func(qdisc.Qdisc) bool {
	return func(q qdisc.Qdisc) bool { return q.Kind == kind }
}

// lacksNetem says what to do about a kernel without netem.
func lacksNetem(err error) error {
	if errors.Is(err, qdisc.ErrUnknownKind) {
		return fmt.Errorf("%w (%w)", ErrNoNetem, err)
	}
	return err
}

func changeNetem(l *qdisc.Link, options []byte) error {
	q, err := netem(l)
	if err != nil {
		return err
	}
	return lacksNetem(l.Change(netemKind, q.Handle, options))
}

// netem returns the root qdisc if it is one.
func netem(l *qdisc.Link) (qdisc.Qdisc, error) {
	q, err := l.At(qdisc.Root)
	if err == nil && q.Kind != netemKind {
		err = notNetem(q)
	}
	return q, err
}

func notNetem(q qdisc.Qdisc) error {
	if q.Kind == "" {
		return fmt.Errorf("%w: there is none", ErrNotNetem)
	}
	return fmt.Errorf("%w: it is %s", ErrNotNetem, q.Kind)
}

// statsOf adds netem's own counters, where the kernel has them: since Linux 7.2.
func statsOf(q qdisc.Qdisc) (netdev.Stats, error) {
	s := q.Stats
	if q.App != nil {
		s.Injected = &netdev.Injected{}
		if err := qdisc.Unpack("struct tc_netem_xstats", q.App, s.Injected); err != nil {
			return netdev.Stats{}, err
		}
	}
	return s, nil
}
