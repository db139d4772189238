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
	"github.com/tcplab/tcplab/results"
)

// A Schedule is an impairment that changes over time, from its start until it is over or its Stop.
type Schedule struct {
	ending
	end   *End
	plan  schedule.Schedule
	ended context.CancelFunc
	done  chan struct{}

	mutex   sync.Mutex
	applied []scheduled

	list []schedule.Done // once it is done
	err  error           // likewise
}

// scheduled is a step that was applied.
type scheduled struct {
	at      time.Time
	applied impair.Applied
}

func (s scheduled) comment(end *End) string {
	text, err := results.Raw(s.applied.Asked)
	if err != nil {
		return fmt.Sprintf("impairment of %s changed", end)
	}
	return fmt.Sprintf("impairment of %s changed to %s", end, text)
}

// Schedule changes the impairment of the end over time, from now until the schedule is over, until
// Stop or until the spec ends; what it has set then stays. The end must not be impaired otherwise
// meanwhile. Each step stands in the record with its time, and in captures as a comment on the
// first packet after it.
//
// Netems without a seed get one that follows from the lab's, the same in all steps.
func (e *End) Schedule(plan schedule.Schedule) *Schedule {
	ginkgo.GinkgoHelper()
	check(plan.Validate())
	ctx, cancel := context.WithCancel(e.lab.life)
	s := &Schedule{end: e, plan: plan, ended: cancel, done: make(chan struct{})}
	seed := e.lab.nextSeed()
	check(e.readyForRules())
	check(e.lab.jitterWithin())
	e.lab.add(s)
	go func() {
		defer close(s.done)
		s.list, s.err = schedule.Run(ctx, plan, func(n impair.Netem) error {
			if n.Seed == 0 {
				n.Seed = seed
			}
			at := time.Now()
			got, err := e.setNetem(n)
			if err != nil {
				return fmt.Errorf("%s: %w", e, err)
			}
			s.mutex.Lock()
			defer s.mutex.Unlock()
			s.applied = append(s.applied, scheduled{at: at, applied: got})
			return nil
		})
	}()
	return s
}

// Wait waits until a schedule without a period is over, and stops it. With a period it never is, which fails the spec.
func (s *Schedule) Wait() *Schedule {
	ginkgo.GinkgoHelper()
	if s.plan.Period != 0 {
		check(fmt.Errorf("wait for the schedule of %s: it begins again every %v, for ever: use Stop", s.end, s.plan.Period))
	}
	began := time.Now()
	select {
	case <-s.done:
	case <-s.end.lab.ctx.Done():
		check(fmt.Errorf("wait for the schedule of %s: after %v %d of its %d steps are done: %w",
			s.end, time.Since(began).Round(time.Millisecond), len(s.steps()), len(s.plan.Steps), context.Cause(s.end.lab.ctx)))
	}
	return s.Stop()
}

// Stop ends the schedule. What it has set stays.
func (s *Schedule) Stop() *Schedule {
	ginkgo.GinkgoHelper()
	check(s.stop())
	return s
}

// Steps are what became of the steps of a schedule that has been stopped.
func (s *Schedule) Steps() []schedule.Done {
	ginkgo.GinkgoHelper()
	check(s.over("the schedule of " + s.end.String()))
	return s.list
}

func (s *Schedule) stage() stage { return stageChanges }

// stop ends the schedule and records its steps. That it is ended before it is over is no error.
func (s *Schedule) stop() error {
	return s.once(func() error {
		s.ended()
		<-s.done
		err := s.err
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		for _, step := range s.steps() {
			at := step.at.Sub(s.end.lab.start)
			err = errors.Join(err, s.end.recordImpairment(at, step.applied))
		}
		return err
	})
}

func (s *Schedule) steps() []scheduled {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.applied
}
