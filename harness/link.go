package harness

import (
	"errors"
	"fmt"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/netns/netdev"
	"github.com/tcplab/tcplab/results"
)

// An End is a link's end in one of a lab's hosts. What it does that can fail fails the spec.
type End struct {
	*netns.End
	host *Host
	lab  *Lab
}

// Host is the host that the end is in.
func (e *End) Host() *Host { return e.host }

// Ends is the end alone, for what takes a [Place].
func (e *End) Ends() []*End { return []*End{e} }

// Impair sets what the link does to packets that leave through the end. An end that is impaired
// already is changed in mid-run, without a loss of what is queued. A Netem without a seed
// gets one that follows from the lab's. What the kernel made of it is recorded.
func (e *End) Impair(n impair.Netem) impair.Applied {
	ginkgo.GinkgoHelper()
	if n.Seed == 0 {
		n.Seed = e.lab.nextSeed()
	}
	check(e.readyForRules())
	check(e.lab.jitterWithin())
	at := e.lab.elapsed()
	applied, setErr := e.setNetem(n)
	if setErr != nil && !isMismatch(setErr) {
		check(fmt.Errorf("%s: %w", e, setErr)) // nothing was done
	}
	check(e.recordImpairment(at, applied))
	if setErr != nil {
		check(fmt.Errorf("%s: %w", e, setErr))
	}
	return applied
}

// setNetem impairs the end, or changes how it is impaired. It can be called from any goroutine.
func (e *End) setNetem(n impair.Netem) (impair.Applied, error) {
	e.lab.links.Lock()
	defer e.lab.links.Unlock()
	switch q := e.queue(); {
	case q == nil:
	case q.discipline:
		return impair.Applied{}, errors.New("the end has a queue (SetQueue): netem can be neither above nor below one; impair another end of the path")
	default:
		return impair.Change(e.Device(), n)
	}
	applied, err := impair.Apply(e.Device(), n)
	if err == nil || isMismatch(err) {
		e.lab.add(&linkQueue{end: e})
	}
	return applied, err
}

// isMismatch reports whether the kernel has set something, but not what was asked for.
func isMismatch(err error) bool {
	return errors.As(err, new(*impair.MismatchError)) || errors.As(err, new(*queue.MismatchError))
}

// recordImpairment records what was set on the end, and what the kernel made of it.
func (e *End) recordImpairment(at time.Duration, applied impair.Applied) error {
	return e.recordSetting(at, applied.Asked, applied.Got, applied.Notes)
}

// recordSetting records what somebody wanted of the end, and what the kernel has.
func (e *End) recordSetting(at time.Duration, wanted, has any, notes []string) error {
	asked, err := results.Raw(wanted)
	if err != nil {
		return err
	}
	got, err := results.Raw(has)
	if err != nil {
		return err
	}
	e.lab.record.Impairments = append(e.lab.record.Impairments, results.Impairment{
		At: at, End: e.String(), Direction: "egress", Asked: asked, Applied: got, Notes: notes,
	})
	return nil
}

// nextSeed gives each impairment of a scenario a sequence of its own: two directions must not lose the same packets. The
// factor is 2^64 divided by the golden ratio, which spreads small numbers over all bits.
func (l *Lab) nextSeed() uint64 {
	seed := (l.seed+1)*0x9e3779b97f4a7c15 + uint64(l.seeded)
	l.seeded++
	return seed
}

// ClearImpairment makes the link perfect again: it removes what Impair or SetQueue has set. What was queued is lost.
func (e *End) ClearImpairment() {
	ginkgo.GinkgoHelper()
	check(e.lab.jitterWithin())
	at := e.lab.elapsed()
	e.lab.links.Lock()
	defer e.lab.links.Unlock()
	q := e.queue()
	if q != nil && q.discipline {
		check(queue.Clear(e.Device()))
	} else {
		check(impair.Clear(e.Device()))
	}
	if q != nil {
		q.cleared = true
	}
	e.lab.record.Impairments = append(e.lab.record.Impairments, results.Impairment{At: at, End: e.String(), Direction: "egress"})
}

// Queue reads the statistics of the qdisc on an impaired end, or one with a queue: the link's own account of what it
// sent and dropped. See also [End.QueueStats].
func (e *End) Queue() netdev.Stats {
	ginkgo.GinkgoHelper()
	if q := e.queue(); q != nil && q.discipline {
		return e.QueueStats()[0].Stats
	}
	check(e.lab.faulty("read the queue of " + e.String()))
	stats, err := impair.ReadStats(e.Device())
	check(err)
	return stats
}
