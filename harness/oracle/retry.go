package oracle

import (
	"cmp"
	"time"

	"github.com/tcplab/tcplab/harness/bounds"
)

// Retry is what a sender does that gets no answer: it retransmits with back-off, and gives up.
//
// Times count from the first transmission. Where the end goes by the time that has passed, the timers' lateness can
// decide whether one more is sent; then Fewest is not Most, and the lists have what is sent at most.
type Retry struct {
	// Timers are what the timer is set to, at least: before each repetition, and, last, before giving up.
	Timers []time.Duration

	// Gaps are the same with their lateness, and with what is not known of the sender's RTO: the gaps in a capture.
	Gaps Spans

	// Sent is when each repetition leaves.
	Sent Spans

	// Probes is how many of the repetitions, the first ones, are tail loss probes: 0 or 1. They are in Sent, and no
	// time-outs.
	Probes int

	// End is when it gives up.
	End Span

	// Fewest and Most are how many repetitions there are. TcpExtTCPTimeouts grows by one more than those that are no
	// probes: nothing is sent at the last time-out.
	Fewest int
	Most   int
}

// from names the source of all times.
func (r Retry) from(source string) Retry {
	for _, spans := range []Spans{r.Gaps, r.Sent} {
		for i := range spans {
			spans[i].Source = source
		}
	}
	r.End.Source = source
	return r
}

// Count is how many repetitions there are.
func (r Retry) Count() bounds.Range { return bounds.Between(r.Fewest, r.Most).From(r.End.Source) }

// clockStep is the resolution that the kernel measures the passed time in (tcp_time_stamp: milliseconds, rounded down
// at both ends, so that a difference can be one more than what has passed).
const clockStep = time.Millisecond

// A plan is what decides on a Retry. Times that have "passed" are those that tcp_sock.retrans_stamp tells: since the
// first transmission of a SYN, since the first retransmission of anything else.
type plan struct {
	// timer is what the timer is set to after n retransmissions, in whole jiffies.
	timer func(n int) Span

	// most retransmissions, or -1 if their number does not matter.
	most int

	// limit, if not nil, ends it at a time-out after n retransmissions once that time has passed. It is a span where
	// the limit goes by what is not known exactly.
	limit func(n int) Span

	// userTimeout is TCP_USER_TIMEOUT; it takes the place of limit. 0 is none.
	userTimeout time.Duration

	// leastTimer is the least that a timer is cut to by userTimeout. 0 is a tick.
	leastTimer time.Duration

	// sinceFirst is set where the time passes since the first transmission.
	sinceFirst bool
}

// retry follows a plan (net/ipv4/tcp_timer.c: tcp_retransmit_timer, tcp_write_timeout, retransmits_timed_out,
// tcp_clamp_rto_to_user_timeout).
func (k Kernel) retry(p plan) Retry {
	var (
		r        Retry
		stamp    Span // when the passed time began
		passed   Span
		at       Span // the last transmission
		undoubt  = -1 // retransmissions by the time that it may have ended first, or -1
		earliest time.Duration
		latest   time.Duration // of all time-outs at which it may have ended: one that is late can be the last, though a later one is surer
	)
	for n := 0; ; n++ {
		timer := p.timer(n)
		gap := Between(timer.Earliest, timer.Latest+k.late(timer.Latest))
		counting := p.sinceFirst || n > 0
		switch {
		case counting && n > 0 && p.userTimeout > 0:
			timer, passed = k.clamp(timer, passed, p.userTimeout, cmp.Or(p.leastTimer, k.Tick()))
			gap = Between(timer.Earliest, timer.Latest+k.late(timer.Latest))
			at = stamp.Plus(passed)
		case counting:
			passed = passed.Plus(gap)
			at = stamp.Plus(passed)
		default:
			at = at.Plus(gap)
		}
		r.Timers = append(r.Timers, timer.Earliest)
		r.Gaps = append(r.Gaps, gap)

		sure, possible, limit := p.over(n, passed)
		if possible {
			latest = max(latest, at.Latest)
		}
		if possible && undoubt < 0 {
			undoubt, earliest = n, at.Earliest
			if !sure {
				earliest = max(at.Earliest, stamp.Earliest+limit-clockStep)
			}
		}
		if sure {
			r.Fewest, r.Most = undoubt, n
			r.End = Between(earliest, latest)
			return r
		}
		if possible { // it went on, so the limit had not passed
			passed.Latest = min(passed.Latest, limit)
			at.Latest = min(at.Latest, stamp.Latest+limit)
		}
		r.Sent = append(r.Sent, at)
		if !p.sinceFirst && n == 0 {
			stamp = at // tcp_retransmit_skb: the first retransmission
		}
	}
}

// over reports whether a time-out after n retransmissions surely, or possibly, is the last; and after what time at the
// earliest, if it goes by time.
func (p plan) over(n int, passed Span) (sure, possible bool, limit time.Duration) {
	if p.most >= 0 && n >= p.most {
		return true, true, passed.Earliest
	}
	if n == 0 { // retransmits_timed_out: not before there was a retransmission
		return false, false, 0
	}
	var limits Span
	switch {
	case p.userTimeout > 0:
		limits = Exactly(p.userTimeout)
	case p.limit != nil:
		limits = p.limit(n)
	default:
		return false, false, 0
	}
	return passed.Earliest >= limits.Latest, passed.Latest > limits.Earliest-clockStep, limits.Earliest
}

// clamp cuts a timer to what is left of the user time-out, and to no less than least (tcp_clamp_rto_to_user_timeout,
// tcp_clamp_probe0_to_user_timeout), and tells what has passed when it goes off.
func (k Kernel) clamp(timer, passed Span, user, least time.Duration) (cut, after Span) {
	cut = Between(
		min(timer.Earliest, max(user-passed.Latest, least)),
		min(timer.Latest, k.inJiffies(max(user-passed.Earliest, least))),
	)
	after = Between(
		max(min(passed.Earliest+timer.Earliest, user), passed.Earliest),
		min(passed.Latest+timer.Latest, max(user, passed.Latest)+least)+k.late(cut.Latest),
	)
	return cut, after
}

// modelTimeout is the time that n retransmissions would take from an RTO that begins at base: the limit that the
// kernel compares the passed time with (net/ipv4/tcp_timer.c: tcp_model_timeout; ip-sysctl.rst on tcp_retries2).
func (k Kernel) modelTimeout(n int, base time.Duration) time.Duration {
	rtoMax := k.RTOMax()
	linear := 0 // ilog2(rtoMax / base)
	for base<<(linear+1) <= rtoMax {
		linear++
	}
	if n <= linear {
		return (2<<n - 1) * base
	}
	return (2<<linear-1)*base + time.Duration(n-linear)*rtoMax
}

// backedOff is a timer after n doublings, up to the greatest RTO.
func (k Kernel) backedOff(rto Span, n int) Span {
	double := func(d time.Duration) time.Duration {
		for range n {
			if d >= k.RTOMax() {
				break
			}
			d *= 2
		}
		return min(d, k.RTOMax())
	}
	return Between(double(rto.Earliest), double(rto.Latest))
}
