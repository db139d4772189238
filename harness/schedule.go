package harness

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/onsi/ginkgo/v2"

	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/schedule"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/results"
)

// A Schedule is an impairment that changes over time, while it runs.
type Schedule struct {
	lab   *Lab
	end   *netns.End
	plan  schedule.Schedule
	ended context.CancelFunc
	done  chan struct{}

	mutex   sync.Mutex
	applied []scheduled

	once sync.Once
	list []schedule.Done
	err  error
}

// scheduled is a step that was applied.
type scheduled struct {
	at      time.Time
	applied impair.Applied
}

func (s scheduled) comment(end *netns.End) string {
	text, err := results.Raw(s.applied.Asked)
	if err != nil {
		return fmt.Sprintf("impairment of %s changed", end)
	}
	return fmt.Sprintf("impairment of %s changed to %s", end, text)
}

// Schedule changes the impairment of an end over time, from now until the schedule is over, until
// Stop or until the spec ends; what it has set then stays. The end must not be impaired otherwise
// meanwhile. Each step stands in the record with its time, and in captures as a comment on the
// first packet behind it.
//
// Netems without a seed get one that follows from the lab's, the same in all steps.
func (l *Lab) Schedule(end *netns.End, plan schedule.Schedule) *Schedule {
	ginkgo.GinkgoHelper()
	check(plan.Validate())
	ctx, cancel := context.WithCancel(l.life)
	s := &Schedule{lab: l, end: end, plan: plan, ended: cancel, done: make(chan struct{})}
	seed := l.nextSeed()
	check(l.readyForRules(end))
	check(l.jitterWithin())
	l.schedules = append(l.schedules, s)
	go func() {
		defer close(s.done)
		s.list, s.err = schedule.Run(ctx, plan, func(n impair.Netem) error {
			if n.Seed == 0 {
				n.Seed = seed
			}
			at := time.Now()
			got, err := l.setNetem(end, n)
			if err != nil {
				return fmt.Errorf("%s: %w", end, err)
			}
			s.mutex.Lock()
			defer s.mutex.Unlock()
			s.applied = append(s.applied, scheduled{at: at, applied: got})
			return nil
		})
	}()
	return s
}

// Wait waits until a schedule without a period is over, and returns what became of its steps. With a period it never is,
// which fails the spec.
func (s *Schedule) Wait() []schedule.Done {
	ginkgo.GinkgoHelper()
	if s.plan.Period != 0 {
		check(fmt.Errorf("wait for the schedule of %s: it begins again every %v, for ever: use Stop", s.end, s.plan.Period))
	}
	began := time.Now()
	select {
	case <-s.done:
	case <-s.lab.ctx.Done():
		check(fmt.Errorf("wait for the schedule of %s: after %v %d of its %d steps are done: %w",
			s.end, time.Since(began).Round(time.Millisecond), len(s.steps()), len(s.plan.Steps), context.Cause(s.lab.ctx)))
	}
	return s.Stop()
}

// Stop ends the schedule and returns what became of its steps.
func (s *Schedule) Stop() []schedule.Done {
	ginkgo.GinkgoHelper()
	check(s.stop())
	return s.list
}

// stop ends the schedule and records its steps. That it is ended before it is over is no error.
func (s *Schedule) stop() error {
	s.ended()
	<-s.done
	s.once.Do(func() {
		if errors.Is(s.err, context.Canceled) {
			s.err = nil
		}
		for _, step := range s.steps() {
			at := results.Duration(step.at.Sub(s.lab.start))
			s.err = errors.Join(s.err, s.lab.recordImpairment(at, s.end, step.applied))
		}
	})
	return s.err
}

func (s *Schedule) steps() []scheduled {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.applied
}
