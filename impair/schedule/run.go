package schedule

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/tcplab/tcplab/impair"
)

// Done is what became of a step.
type Done struct {
	Step

	// Began and Ended are when it was applied, from the schedule's begin: Began is At or later, and the change came
	// into force between the two.
	Began time.Duration `json:"began"`
	Ended time.Duration `json:"ended"`

	// Skipped tells that it was not applied, as the next one was due already.
	Skipped bool `json:"skipped,omitzero"`
}

// Late is by how much the step was late to begin.
func (d Done) Late() time.Duration { return d.Began - d.At }

// Run applies a schedule's steps as their times come, counted from now. Steps with a time that has passed when the one
// before is done are not made up for: only the last of them is applied, and the others are reported as skipped. So with
// a slow apply steps are lost, and lateness does not add up.
//
// It returns when all is done; when apply fails, with its error; or when ctx ends, with the context's cause. A schedule
// with a period ends only so. What has been done by then is returned in each case, the step that failed not included.
func Run(ctx context.Context, s Schedule, apply func(impair.Netem) error) ([]Done, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	start := time.Now()
	var done []Done
	next, stop := iter.Pull(s.All())
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
		return context.Cause(ctx) // both at once is the end, not luck
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
