package schedule

import (
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/tcplab/tcplab/impair"
)

// A Step is an impairment and the time from which it applies, since the start of the schedule.
type Step struct {
	At    time.Duration `json:"at_ns"`
	Netem impair.Netem  `json:"netem"`
}

// A Schedule is a list of steps. Make one with [List], [Ramp], [Outages] or [Trace.Schedule], which check it.
type Schedule struct {
	// Steps are in the order of their times. The first may be later than 0: nothing changes until then.
	Steps []Step `json:"steps"`

	// Period is the time after which the steps begin again, forever; 0 means never.
	Period time.Duration `json:"period_ns,omitzero"`
}

// ErrInvalid is in every error about a schedule or a trace: use errors.Is. The text says what is wrong.
var ErrInvalid = errors.New("invalid schedule")

func refused(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrInvalid}, args...)...)
}

// List is a schedule of these steps.
func List(steps ...Step) (Schedule, error) {
	s := Schedule{Steps: steps}
	return s, s.Validate()
}

// Validate returns what is wrong with a schedule: no step, a time that is negative or not after the one before, a
// period that is not longer than the last time, an impairment that netem refuses (an [*invalid.FieldError] for each
// field).
func (s Schedule) Validate() error {
	if len(s.Steps) == 0 {
		return refused("it has no steps")
	}
	for i, step := range s.Steps {
		switch {
		case step.At < 0:
			return refused("step %d is at %v: allowed are 0 and more", i+1, step.At)
		case i > 0 && step.At <= s.Steps[i-1].At:
			return refused("step %d is at %v, not after step %d at %v", i+1, step.At, i, s.Steps[i-1].At)
		}
		if err := step.Netem.Validate(); err != nil {
			return fmt.Errorf("%w: step %d, at %v: %w", ErrInvalid, i+1, step.At, err)
		}
	}
	if last := s.Steps[len(s.Steps)-1].At; s.Period != 0 && s.Period <= last {
		return refused("the period is %v: allowed are 0, and what is longer than the last step's time, %v", s.Period, last)
	}
	return nil
}

// all returns the steps with their times from the schedule's begin; without an end, if it has a period.
func (s Schedule) all() iter.Seq[Step] {
	return func(yield func(Step) bool) {
		for round := time.Duration(0); ; round += s.Period {
			for _, step := range s.Steps {
				if !yield(Step{round + step.At, step.Netem}) {
					return
				}
			}
			if s.Period == 0 || len(s.Steps) == 0 {
				return
			}
		}
	}
}

// At returns the impairment at a time since the start of the schedule; false before the first step.
func (s Schedule) At(t time.Duration) (impair.Netem, bool) {
	var found impair.Netem
	ok := false
	if s.Period > 0 && t >= s.Period {
		t %= s.Period
		// Before the first step of a round, the last one of the round before applies.
		found, ok = s.Steps[len(s.Steps)-1].Netem, true
	}
	for _, step := range s.Steps {
		if step.At > t {
			break
		}
		found, ok = step.Netem, true
	}
	return found, ok
}

// Outages is a link with periodic outages: it is as up says, and loses everything in the last part of each period, of
// length down.
func Outages(up impair.Netem, period, down time.Duration) (Schedule, error) {
	if down <= 0 || down >= period {
		return Schedule{}, refused("an outage of %v: allowed is more than 0, and less than the period, %v", down, period)
	}
	s := Schedule{
		Steps:  []Step{{0, up}, {period - down, dead(up)}},
		Period: period,
	}
	return s, s.Validate()
}

// dead is the same link, with all packets lost.
func dead(n impair.Netem) impair.Netem {
	n.Loss, n.ECN = impair.RandomLoss{Percent: 100}, false
	return n
}

// Ramp changes from one impairment to another in equal steps: the first at 0, the last at length, and steps in
// between, the last included. Delay, Jitter, the rate, the limit and the percentages of random loss, duplication,
// reordering and corruption change linearly; all else must be equal in both.
func Ramp(from, to impair.Netem, length time.Duration, steps int) (Schedule, error) {
	const most = 1_000_000
	if steps < 1 || steps > most {
		return Schedule{}, refused("a ramp in %d steps: allowed are 1 to %d", steps, most)
	}
	if length < time.Duration(steps) {
		return Schedule{}, refused("a ramp of %v in %d steps: a step has to take a nanosecond at least", length, steps)
	}
	if (from.Rate.BitsPerSecond == 0) != (to.Rate.BitsPerSecond == 0) {
		return Schedule{}, refused("a ramp from %v to %v: a rate of 0 is none at all, there is nothing between it and another", from.Rate, to.Rate)
	}
	if between(from, to, 1) != to || between(from, to, 0) != from {
		return Schedule{}, refused("a ramp from %v to %v: only delay, jitter, rate, limit and the percentages of random loss, "+
			"duplication, reordering and corruption can change, and a limit of 0 can only stay", from, to)
	}
	var s Schedule
	for i := range steps + 1 {
		part := float64(i) / float64(steps)
		s.Steps = append(s.Steps, Step{time.Duration(part * float64(length)), between(from, to, part)})
	}
	return s, s.Validate()
}

// between is what lies between two impairments: 0 is from, 1 is to. What cannot change is from's.
func between(from, to impair.Netem, part float64) impair.Netem {
	n := from
	n.Delay = mix(from.Delay, to.Delay, part)
	n.Jitter = mix(from.Jitter, to.Jitter, part)
	n.Rate.BitsPerSecond = mix(from.Rate.BitsPerSecond, to.Rate.BitsPerSecond, part)
	if from.Limit != 0 && to.Limit != 0 {
		n.Limit = mix(from.Limit, to.Limit, part)
	}
	n.Duplicate.Percent = mix(from.Duplicate.Percent, to.Duplicate.Percent, part)
	n.Reorder.Percent = mix(from.Reorder.Percent, to.Reorder.Percent, part)
	n.Corrupt.Percent = mix(from.Corrupt.Percent, to.Corrupt.Percent, part)

	first, ok := from.Loss.(impair.RandomLoss)
	last, lastOK := to.Loss.(impair.RandomLoss)
	if ok || lastOK {
		correlation := max(first.Correlation, last.Correlation)
		percent := mix(first.Percent, last.Percent, part)
		if n.Loss = nil; percent > 0 {
			n.Loss = impair.RandomLoss{Percent: percent, Correlation: correlation}
		}
	}
	return n
}

// mix interpolates linearly between two numbers, exact at both ends.
func mix[N ~int | ~int64 | ~float64](from, to N, part float64) N {
	if part == 1 {
		return to
	}
	return from + N(part*float64(to-from))
}
