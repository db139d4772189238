package harness

import (
	"errors"
	"fmt"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/impair"
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
	if e.queue() != nil {
		return impair.Change(e.Device(), n)
	}
	applied, err := impair.Apply(e.Device(), n)
	if err == nil || isMismatch(err) {
		e.lab.add(&queue{end: e})
	}
	return applied, err
}

// A queue is the netem of an end from when it is impaired on: its own account is evidence.
type queue struct {
	ending
	end     *End
	cleared bool
	stats   *netdev.Stats // once it is stopped, if it could be read
}

func (q *queue) stage() stage { return stageQueues }

func (q *queue) stop() error {
	return q.once(func() error {
		if q.cleared {
			return nil
		}
		stats, err := impair.ReadStats(q.end.Device())
		if err != nil {
			return fmt.Errorf("queue of %s: %w", q.end, err)
		}
		q.stats = &stats
		return nil
	})
}

// record is what the record has of the queue; nothing if there is no account.
func (q *queue) record() []results.Queue {
	if q.stats == nil {
		return nil
	}
	return []results.Queue{{End: q.end.String(), Kind: "netem", Stats: *q.stats}}
}

// queue returns the queue of an end that is impaired.
func (e *End) queue() *queue {
	for _, q := range recordersOf[*queue](e.lab) {
		if q.end == e && !q.cleared {
			return q
		}
	}
	return nil
}

// isMismatch reports whether the kernel has set something, but not what was asked for.
func isMismatch(err error) bool {
	var mismatch *impair.MismatchError
	return errors.As(err, &mismatch)
}

// recordImpairment records what was set on the end, and what the kernel made of it.
func (e *End) recordImpairment(at time.Duration, applied impair.Applied) error {
	asked, err := results.Raw(applied.Asked)
	if err != nil {
		return err
	}
	got, err := results.Raw(applied.Got)
	if err != nil {
		return err
	}
	e.lab.record.Impairments = append(e.lab.record.Impairments, results.Impairment{
		At: at, End: e.String(), Direction: "egress", Asked: asked, Applied: got, Notes: applied.Notes,
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

// ClearImpairment makes the link perfect again. What was queued is lost.
func (e *End) ClearImpairment() {
	ginkgo.GinkgoHelper()
	check(e.lab.jitterWithin())
	at := e.lab.elapsed()
	check(impair.Clear(e.Device()))
	e.lab.links.Lock()
	if q := e.queue(); q != nil {
		q.cleared = true
	}
	e.lab.links.Unlock()
	e.lab.record.Impairments = append(e.lab.record.Impairments, results.Impairment{At: at, End: e.String(), Direction: "egress"})
}

// Queue reads the statistics of the qdisc on an impaired end: the link's own account of what it
// sent and dropped.
func (e *End) Queue() netdev.Stats {
	ginkgo.GinkgoHelper()
	check(e.lab.faulty("read the queue of " + e.String()))
	stats, err := impair.ReadStats(e.Device())
	check(err)
	return stats
}
