package schedule

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/impair"
)

const ms = time.Millisecond

func delay(d time.Duration) impair.Netem { return impair.Netem{Delay: d} }

func list(t *testing.T, steps ...Step) Schedule {
	t.Helper()
	s, err := List(steps...)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return s
}

func TestListIsChecked(t *testing.T) {
	for _, c := range []struct {
		says string
		Schedule
	}{
		{"no steps", Schedule{}},
		{"step 1 is at -1s", Schedule{Steps: []Step{{-time.Second, impair.Netem{}}}}},
		{"step 2 is at 1s, not after step 1 at 1s", Schedule{Steps: []Step{{time.Second, impair.Netem{}}, {time.Second, impair.Netem{}}}}},
		{"step 1, at 0s: impairment field Delay", Schedule{Steps: []Step{{0, delay(-1)}}}},
		{"the period is 1s", Schedule{Steps: []Step{{time.Second, impair.Netem{}}}, Period: time.Second}},
		{"the period is -1s", Schedule{Steps: []Step{{0, impair.Netem{}}}, Period: -time.Second}},
	} {
		err := c.Validate()
		NewWithT(t).Expect(err).To(MatchError(ContainSubstring(c.says)))
		NewWithT(t).Expect(errors.Is(err, ErrInvalid)).To(BeTrue())
	}
	var field *invalid.FieldError
	_, err := List(Step{0, delay(-1)})
	NewWithT(t).Expect(errors.As(err, &field)).To(BeTrue())
}

func TestAllRepeats(t *testing.T) {
	g := NewWithT(t)
	s := list(t, Step{1 * ms, delay(1)}, Step{3 * ms, delay(2)})
	g.Expect(slices.Collect(s.all())).To(Equal(s.Steps))

	s.Period = 10 * ms
	var times []time.Duration
	for step := range s.all() {
		if times = append(times, step.At); len(times) == 5 {
			break
		}
	}
	g.Expect(times).To(Equal([]time.Duration{1 * ms, 3 * ms, 11 * ms, 13 * ms, 21 * ms}))

	for at, want := range map[time.Duration]time.Duration{1 * ms: 1, 2 * ms: 1, 3 * ms: 2, 9 * ms: 2, 10 * ms: 2, 11 * ms: 1, 25 * ms: 2} {
		n, ok := s.At(at)
		g.Expect(ok).To(BeTrue())
		g.Expect(n.Delay).To(Equal(want), "%v", at)
	}
	_, ok := s.At(0)
	g.Expect(ok).To(BeFalse())
}

func TestOutages(t *testing.T) {
	g := NewWithT(t)
	up := impair.Netem{Delay: 20 * ms, Loss: impair.SimpleGilbert(1, 20), ECN: true}
	s, err := Outages(up, 10*time.Second, 300*ms)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Steps[0].Netem).To(Equal(up))
	g.Expect(s.Steps[1]).To(Equal(Step{9700 * ms, impair.Netem{Delay: 20 * ms, Loss: impair.RandomLoss{Percent: 100}}}))
	g.Expect(s.Period).To(Equal(10 * time.Second))
	for _, down := range []time.Duration{0, -1, 10 * time.Second} {
		_, err := Outages(up, 10*time.Second, down)
		g.Expect(err).To(MatchError(ErrInvalid))
	}
}

func TestRamp(t *testing.T) {
	g := NewWithT(t)
	from := impair.Netem{Delay: 10 * ms, Rate: impair.Rate{BitsPerSecond: 10 * impair.Mbit}, Limit: 100}
	to := impair.Netem{Delay: 30 * ms, Rate: impair.Rate{BitsPerSecond: 2 * impair.Mbit}, Limit: 300, Loss: impair.RandomLoss{Percent: 4}}
	s, err := Ramp(from, to, 4*time.Second, 4)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(s.Steps).To(HaveLen(5))
	g.Expect(s.Steps[0]).To(Equal(Step{0, from}))
	g.Expect(s.Steps[1]).To(Equal(Step{time.Second, impair.Netem{
		Delay: 15 * ms, Rate: impair.Rate{BitsPerSecond: 8 * impair.Mbit}, Limit: 150, Loss: impair.RandomLoss{Percent: 1},
	}}))
	g.Expect(s.Steps[4]).To(Equal(Step{4 * time.Second, to}))

	for _, c := range []struct {
		says   string
		from   impair.Netem
		to     impair.Netem
		length time.Duration
		steps  int
	}{
		{"a ramp in 0 steps", from, to, time.Second, 0},
		{"a nanosecond at least", from, to, 3, 4},
		{"a rate of 0 is none at all", impair.Netem{}, to, time.Second, 4},
		{"can change", impair.Netem{Loss: impair.SimpleGilbert(1, 20)}, impair.Netem{Loss: impair.SimpleGilbert(2, 20)}, time.Second, 4},
		{"can change", impair.Netem{Limit: 10}, impair.Netem{}, time.Second, 4},
		{"impairment field Delay", delay(0), delay(-1 * ms), time.Second, 4},
	} {
		_, err := Ramp(c.from, c.to, c.length, c.steps)
		g.Expect(err).To(MatchError(ContainSubstring(c.says)))
	}
}

// recorder applies by taking notes, and takes its time for it.
type recorder struct {
	takes   time.Duration
	applied []time.Duration // delays
	fails   error
}

func (r *recorder) apply(n impair.Netem) error {
	time.Sleep(r.takes)
	if r.fails != nil && n.Delay == 3 {
		return r.fails
	}
	r.applied = append(r.applied, n.Delay)
	return nil
}

// Time in a bubble of synctest stands still while anything runs, so that the steps are exact.
func TestRunIsOnTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		s := list(t, Step{0, delay(1)}, Step{10 * ms, delay(2)}, Step{20 * ms, delay(3)})
		r := recorder{takes: 3 * ms}
		done, err := Run(t.Context(), s, r.apply)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.applied).To(Equal([]time.Duration{1, 2, 3}))
		for i, d := range done {
			g.Expect(d).To(Equal(Done{Step: s.Steps[i], Began: s.Steps[i].At, Ended: s.Steps[i].At + 3*ms}))
		}
	})
}

func TestRunDoesNotDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		s := list(t, Step{0, delay(1)}, Step{7 * ms, delay(2)})
		s.Period = 10 * ms
		ctx, cancel := context.WithTimeoutCause(t.Context(), 9999*ms, errors.New("enough"))
		defer cancel()
		r := recorder{takes: 2 * ms}
		done, err := Run(ctx, s, r.apply)
		g.Expect(err).To(MatchError("enough"))
		g.Expect(done).To(HaveLen(2000))
		g.Expect(done[1999].At).To(Equal(9997 * ms))
		for _, d := range done {
			g.Expect(d.Began - d.At).To(BeZero())
		}
	})
}

func TestRunSkipsWhatIsOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		s := list(t, Step{0, delay(1)}, Step{10 * ms, delay(2)}, Step{20 * ms, delay(3)}, Step{30 * ms, delay(4)}, Step{100 * ms, delay(5)})
		r := recorder{takes: 35 * ms}
		done, err := Run(t.Context(), s, r.apply)
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(r.applied).To(Equal([]time.Duration{1, 4, 5}))
		g.Expect(done).To(HaveLen(5))
		g.Expect([]bool{done[0].Skipped, done[1].Skipped, done[2].Skipped, done[3].Skipped}).To(Equal([]bool{false, true, true, false}))
		g.Expect(done[3].Began - done[3].At).To(Equal(5 * ms))
		g.Expect(done[4].Began-done[4].At).To(BeZero(), "lateness does not add up")
	})
}

func TestRunEndsWithAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := NewWithT(t)
		s := list(t, Step{0, delay(1)}, Step{10 * ms, delay(3)}, Step{20 * ms, delay(4)})
		r := recorder{fails: errors.New("no device")}
		done, err := Run(t.Context(), s, r.apply)
		g.Expect(err).To(MatchError("schedule: step at 10ms: no device"))
		g.Expect(done).To(HaveLen(1))

		_, err = Run(t.Context(), Schedule{}, r.apply)
		g.Expect(err).To(MatchError(ErrInvalid))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		done, err = Run(ctx, s, r.apply)
		g.Expect(err).To(MatchError(context.Canceled))
		g.Expect(done).To(BeEmpty())
	})
}
