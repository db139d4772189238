package schedule

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/tcplab/tcplab/impair"
)

// Done is the report of a step.
type Done struct {
	Step

	// Began and Ended are the begin and the end of its application, since the start of the schedule. Began is At or
	// later; the change took effect between the two.
	Began time.Duration `json:"began_ns"`
	Ended time.Duration `json:"ended_ns"`

	// Skipped says that the step was not applied, as the next one was already due.
	Skipped bool `json:"skipped,omitzero"`
}

// Run applies the steps of a schedule at their times, counted from now. If several steps are already due when one is
// done, only the last of them is applied, and the others are reported as skipped: a slow apply loses steps, but
// lateness does not add up.
//
// Run returns when all steps are done, when apply fails, with its error, or when ctx ends, with its cause. Only the
// last two end a schedule with a period. It always returns the steps done so far, without a failed one.
func Run(ctx context.Context, s Schedule, apply func(impair.Netem) error) ([]Done, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	start := time.Now()
	var done []Done
	next, stop := iter.Pull(s.all())
	defer stop()
	for step, ok := next(); ok; {
		if err := sleepUntil(ctx, start.Add(step.At)); err != nil {
			return done, err
		}
		following, more := next()
		d := Done{Step: step, Began: time.Since(start)}
		d.Skipped = more && d.Began >= following.At
		if !d.Skipped {
			if err := apply(step.Netem); err != nil {
				return done, fmt.Errorf("schedule: step at %v: %w", step.At, err)
			}
		}
		d.Ended = time.Since(start)
		done = append(done, d)
		step, ok = following, more
	}
	return done, nil
}

// sleepUntil returns at a time, or when ctx ends with its cause.
func sleepUntil(ctx context.Context, t time.Time) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	wait := time.Until(t)
	if wait <= 0 {
		return nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return context.Cause(ctx) // if both are due, the end wins: no chance decides
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
