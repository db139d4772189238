package harness

import (
	"errors"
	"fmt"
	"slices"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/netns/netdev"
	"github.com/tcplab/tcplab/results"
)

// A linkQueue is the netem, or the queue, of an end from when it was set on: its own account is evidence.
type linkQueue struct {
	ending
	end        *End
	discipline bool // of SetQueue; else netem
	cleared    bool
	stats      []results.Queue // once it is stopped, if it could be read
}

func (q *linkQueue) stage() stage { return stageQueues }

func (q *linkQueue) stop() error {
	return q.once(func() error {
		if q.cleared {
			return nil
		}
		var err error
		if q.discipline {
			err = q.readDisciplines()
		} else {
			err = q.readNetem()
		}
		if err != nil {
			return fmt.Errorf("queue of %s: %w", q.end, err)
		}
		return nil
	})
}

func (q *linkQueue) readNetem() error {
	stats, err := impair.ReadStats(q.end.Device())
	if err == nil {
		q.stats = []results.Queue{{End: q.end.String(), Kind: "netem", Stats: stats}}
	}
	return err
}

func (q *linkQueue) readDisciplines() error {
	all, err := queue.ReadStats(q.end.Device())
	for _, s := range all {
		q.stats = append(q.stats, results.Queue{End: q.end.String(), Kind: s.Kind, Stats: s.Stats, Own: s.Own})
	}
	return err
}

// record is what the record has of the queue; nothing if there is no account.
func (q *linkQueue) record() []results.Queue { return q.stats }

// queue returns the queue of an end that is impaired, or has one of SetQueue.
func (e *End) queue() *linkQueue {
	for _, q := range recordersOf[*linkQueue](e.lab) {
		if q.end == e && !q.cleared {
			return q
		}
	}
	return nil
}

// SetQueue sets how packets wait that leave through the end: a bottleneck with an AQM, CAKE, or FQ for a sender that paces. Delay and loss are
// Impair's, at other ends of the path: an end has one or the other.
//
//	net.ToServer.SetQueue(queue.Queue{
//		Bottleneck: queue.Bottleneck{BitsPerSecond: 20 * impair.Mbit},
//		Discipline: queue.FQCoDel{},
//	})
//	net.ToClient.Impair(impair.Netem{Delay: 40 * time.Millisecond})
//
// What the kernel made of it is read back and recorded, and so is what it has counted when the spec ends. To set it again makes a new queue:
// what is in the old one is lost. On a kernel that has no such queue the spec is skipped with the reason.
func (e *End) SetQueue(q queue.Queue) queue.Applied {
	ginkgo.GinkgoHelper()
	check(q.Validate())
	check(e.readyForRules())
	check(e.lab.jitterWithin())
	at := e.lab.elapsed()
	applied, setErr := e.setQueue(q)
	checkAvailable(onlyIf(setErr, queue.ErrNotSupported), queue.ErrNotSupported)
	if setErr != nil && !isMismatch(setErr) {
		check(fmt.Errorf("%s: %w", e, setErr)) // nothing was done
	}
	check(e.recordSetting(at, applied.Asked, applied.Got, applied.Notes))
	if setErr != nil {
		check(fmt.Errorf("%s: %w", e, setErr))
	}
	return applied
}

func (e *End) setQueue(q queue.Queue) (queue.Applied, error) {
	e.lab.links.Lock()
	defer e.lab.links.Unlock()
	before := e.queue()
	if before != nil && !before.discipline {
		return queue.Applied{}, errors.New("the end is impaired (Impair): netem can be neither above nor below a queue; impair another end of the path")
	}
	applied, err := queue.Apply(e.Device(), q)
	if before == nil && (err == nil || isMismatch(err)) {
		e.lab.add(&linkQueue{end: e, discipline: true})
	}
	return applied, err
}

// onlyIf is the error if it is of that kind.
func onlyIf(err, kind error) error {
	if errors.Is(err, kind) {
		return err
	}
	return nil
}

// QueueStats reads what the qdiscs of an end with a queue have counted: of a bottleneck the token bucket's first, then the discipline's, with
// counters of its own: the number of packets that were marked, of new flows.
func (e *End) QueueStats() []queue.Stats {
	ginkgo.GinkgoHelper()
	check(e.lab.faulty("read the queue of " + e.String()))
	stats, err := queue.ReadStats(e.Device())
	check(err)
	return stats
}

// A Policer drops what leaves through an end faster than its rate, from its start until its Stop.
type Policer struct {
	ending
	end   *End
	stats netdev.Stats // once it is stopped
}

// Police drops what leaves through the end faster than a rate, by a token bucket in which nothing waits. It comes before the end's queue or
// netem. A policer has the place of rules: an end has one or the other, and since Impair and SetQueue keep that place for rules, police an end
// before. On a kernel that has none the spec is skipped with the reason.
func (e *End) Police(p queue.Policer) *Policer {
	ginkgo.GinkgoHelper()
	check(p.Validate())
	check(e.lab.jitterWithin())
	at := e.lab.elapsed()
	if e.rules() != nil {
		check(fmt.Errorf("police %s: the end has rules, or was made ready for them by Impair or SetQueue: police it before", e))
	}
	policed, err := queue.Police(e.Device(), p)
	checkAvailable(onlyIf(err, queue.ErrNotSupported), queue.ErrNotSupported)
	if err != nil {
		check(fmt.Errorf("%s: %w", e, err))
	}
	check(e.recordSetting(at, policed.Asked, policed.Got, policed.Notes))
	policer := &Policer{end: e}
	e.lab.add(policer)
	return policer
}

// policed tells whether the end has a policer.
func (e *End) policed() bool {
	return slices.ContainsFunc(recordersOf[*Policer](e.lab), func(p *Policer) bool { return p.end == e && !p.stopped })
}

// Stats is what the policer has counted: Packets and Bytes of all that came to it, Drops of those that it did not let pass.
func (p *Policer) Stats() netdev.Stats {
	ginkgo.GinkgoHelper()
	if p.stopped {
		return p.stats
	}
	check(p.end.lab.faulty("read the policer of " + p.end.String()))
	stats, err := queue.PolicerStats(p.end.Device())
	check(err)
	return stats
}

// Stop removes the policer.
func (p *Policer) Stop() *Policer {
	ginkgo.GinkgoHelper()
	check(p.end.lab.jitterWithin())
	check(p.stop())
	return p
}

func (p *Policer) stage() stage { return stageQueues }

// stop keeps what it has counted, and removes it.
func (p *Policer) stop() error {
	return p.once(func() error {
		var err error
		if p.stats, err = queue.PolicerStats(p.end.Device()); err == nil {
			p.end.lab.record.Queues = append(p.end.lab.record.Queues, results.Queue{End: p.end.String(), Kind: "police", Stats: p.stats})
		}
		if err := errors.Join(err, queue.Unpolice(p.end.Device())); err != nil {
			return fmt.Errorf("policer of %s: %w", p.end, err)
		}
		return nil
	})
}
