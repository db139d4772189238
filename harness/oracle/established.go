package oracle

import (
	"cmp"
	"math"
	"time"
)

// ProbeOptions is what the probes of a closed window depend on: the path, and what the program has set on its socket.
type ProbeOptions struct {
	RTT         Span          // the round-trip time that has been measured
	RTO         time.Duration // if known, from TCP_INFO; else RTT + 200 ms
	UserTimeout time.Duration // TCP_USER_TIMEOUT; 0 is not set
}

// ZeroWindowProbes is when the first n probes of a closed window are sent, counted from the ACK that closed it, or from the
// write that found it closed. Each is answered by an ACK, which takes an RTT and starts the timer again: the gaps
// are the RTO (200 ms at least), doubling, and the round trip; 120 s at most. As long as they are answered it goes on
// for ever (net/ipv4/tcp_timer.c: tcp_probe_timer; tcp_output.c: tcp_send_probe0; tcp_input.c: tcp_ack_probe;
// include/net/tcp.h: tcp_probe0_when; RFC 9293, 3.8.6.1).
//
// Unless there is a TCP_USER_TIMEOUT, which ends it ([Kernel.ZeroWindowEnd]): then there are no more probes than can be
// sent until then.
func (k Kernel) ZeroWindowProbes(p ProbeOptions, n int) Spans {
	probes, _ := k.answeredProbes(p, n)
	return probes
}

// ZeroWindowEnd is when a TCP_USER_TIMEOUT ends a connection whose window is closed, with ETIMEDOUT and although its probes
// are answered, from the ACK that closed it on, as in [Kernel.ZeroWindowProbes]. It counts from the first probe on, which
// starts a clock that only an open window stops, and the last timer is cut to it (net/ipv4/tcp_timer.c: tcp_probe_timer,
// icsk_probes_tstamp; tcp_clamp_probe0_to_user_timeout). Without one, it never ends.
func (k Kernel) ZeroWindowEnd(p ProbeOptions) (end Span, ends bool) {
	if p.UserTimeout == 0 {
		return Span{}, false
	}
	_, end = k.answeredProbes(p, math.MaxInt)
	return end, true
}

// answeredProbes is the first n probes, if not before a user time-out has ended it, and when that is.
func (k Kernel) answeredProbes(p ProbeOptions, n int) (probes Spans, end Span) {
	timer := k.probeTimer(p, 0)
	first := Between(timer.Earliest, timer.Latest+k.late(timer.Latest))
	var passed Span // since the first probe
	for i := 1; len(probes) < n; i++ {
		if p.UserTimeout > 0 {
			if passed.Latest >= p.UserTimeout && end.Earliest == 0 {
				end.Earliest = first.Earliest + max(passed.Earliest, p.UserTimeout)
			}
			if passed.Earliest >= p.UserTimeout {
				end.Latest = first.Latest + passed.Latest
				break
			}
			passed.Latest = min(passed.Latest, p.UserTimeout) // else it would have ended
		}
		probes = append(probes, first.Plus(passed).From("RFC 9293, 3.8.6.1; tcp_probe0_when"))
		// An answer comes a round trip after the probe, and sets the timer again, to the same.
		passed = passed.Plus(p.RTT)
		timer := k.probeTimer(p, i)
		if p.UserTimeout > 0 {
			_, passed = k.clamp(timer, passed, p.UserTimeout, k.leastProbeTimer())
		} else {
			passed = passed.Plus(Between(timer.Earliest, timer.Latest+k.late(timer.Latest)))
		}
	}
	return probes, end.From("tcp_probe_timer: TCP_USER_TIMEOUT")
}

// leastProbeTimer is the least that a probe's timer is cut to (include/net/tcp.h: TCP_TIMEOUT_MIN).
func (k Kernel) leastProbeTimer() time.Duration { return 2 * k.Tick() }

// probeTimer is the time to the next probe after n (include/net/tcp.h: tcp_probe0_base, tcp_probe0_when).
func (k Kernel) probeTimer(p ProbeOptions, n int) Span {
	rto := Between(k.rto(p.RTT.Earliest, 0), k.rto(p.RTT.Latest, 0))
	if p.RTO != 0 {
		rto = Exactly(p.RTO)
	}
	rto = Between(max(rto.Earliest, modelRTO), max(rto.Latest, modelRTO))
	const doublings = 10 // ilog2(TCP_RTO_MAX / TCP_RTO_MIN) + 1
	return k.backedOff(rto, min(n, doublings, k.Sysctls.Retries2))
}

// zeroWindowUnanswered is what becomes of a sender whose probes are no longer answered: after tcp_retries2 of them it is
// ETIMEDOUT. (tcp_probe_timer: icsk_probes_out.) A TCP_USER_TIMEOUT ends it sooner; it counts from the first probe on,
// and the last timer is cut to it (tcp_clamp_probe0_to_user_timeout).
func (k Kernel) zeroWindowUnanswered(p ProbeOptions) Retry {
	source := "tcp_probe_timer: tcp_retries2"
	if p.UserTimeout != 0 {
		source += ", TCP_USER_TIMEOUT"
	}
	return k.retry(plan{
		timer:       func(n int) Span { return k.probeTimer(p, n) },
		most:        k.Sysctls.Retries2,
		userTimeout: p.UserTimeout,
		leastTimer:  k.leastProbeTimer(),
	}).from(source)
}

// KeepaliveOptions is what a program has set on a socket with SO_KEEPALIVE.
type KeepaliveOptions struct {
	Time        time.Duration // TCP_KEEPIDLE; 0 is tcp_keepalive_time
	Interval    time.Duration // TCP_KEEPINTVL; 0 is tcp_keepalive_intvl
	Probes      int           // TCP_KEEPCNT; 0 is tcp_keepalive_probes
	UserTimeout time.Duration // TCP_USER_TIMEOUT; 0 is not set
}

// Keepalive is what an idle connection does whose peer does not answer: probes, from the last segment that was received on,
// then a reset to the peer and ETIMEDOUT to the program, an interval after the last probe. With a TCP_USER_TIMEOUT the
// number of probes does not count: it ends at the first timer that the user time-out has passed at, after one probe at
// least (net/ipv4/tcp_timer.c: tcp_keepalive_timer; RFC 9293, 3.8.4).
//
// The kernel compares whole jiffies, so the first probe can be a tick early.
func (k Kernel) Keepalive(c KeepaliveOptions) Retry {
	const second = time.Second
	idle := cmp.Or(c.Time, time.Duration(k.Sysctls.KeepaliveTime)*second)
	interval := cmp.Or(c.Interval, time.Duration(k.Sysctls.KeepaliveInterval)*second)
	probes := cmp.Or(c.Probes, k.Sysctls.KeepaliveProbes)

	var r Retry
	var at Span
	sent := 0
	first := -1             // probes by the time that it may have ended first
	var least time.Duration // what has passed by the kernel's count: a timer set in a timer is a jiffy late at least
	for timer := idle; ; timer = interval {
		gap := k.Timer(timer)
		if len(r.Timers) == 0 {
			gap.Earliest -= k.Tick()
		}
		at = at.Plus(gap)
		if least += timer; sent > 0 {
			least += k.Tick()
		}
		r.Timers = append(r.Timers, timer)
		r.Gaps = append(r.Gaps, gap)

		sure, possible := sent >= probes, sent >= probes
		if c.UserTimeout > 0 {
			sure = sent > 0 && least >= c.UserTimeout
			possible = sent > 0 && at.Latest >= c.UserTimeout
		}
		if possible && first < 0 {
			first = sent
			r.End.Earliest = max(at.Earliest, c.UserTimeout-k.Tick())
		}
		if sure {
			r.Fewest, r.Most, r.End.Latest = first, sent, at.Latest
			return r.from("RFC 9293, 3.8.4; tcp_keepalive_timer")
		}
		sent++
		r.Sent = append(r.Sent, at)
	}
}

// The bounds of a delayed ACK (include/net/tcp.h: TCP_DELACK_MIN, TCP_ATO_MIN, TCP_DELACK_MAX).
const (
	leastDelay = 40 * time.Millisecond
	mostDelay  = 200 * time.Millisecond
)

// DelayedACK is when the timer of a delayed ACK goes off after the segment that started it, on a connection with that
// smoothed round-trip time. It is 40 ms for a start, if there is data (a FIN before any is acknowledged at the next
// tick). It grows, with the gaps between segments and each time that the timer goes off, but to no more than the
// round-trip time (of 40 ms at least), and 200 ms; from Linux 6.11 on a jiffy less than the least RTO, which is 196 ms
// (net/ipv4/tcp_output.c: tcp_send_delayed_ack, tcp_delack_max; tcp_input.c: tcp_event_data_recv).
//
// The ACK itself comes sooner where another full segment comes in, where data goes the other way, where the program's
// read moves the window, and in quick-ACK mode: see [Kernel.QuickACKs].
func (k Kernel) DelayedACK(srtt time.Duration) Span {
	most := mostDelay
	if k.Version.AtLeast(6, 11) {
		most = min(most, max(k.RTOMin(), 2*k.Tick())-k.Tick())
	}
	least := min(leastDelay, most)
	most = min(most, max(k.inJiffies(srtt), leastDelay))
	return Between(least, most+k.late(most)).From("RFC 9293, 3.8.6.3; tcp_send_delayed_ack")
}

// QuickACKs is how many segments are acknowledged at once at the start of a connection, after a pause of more than an
// RTO, and after a loss or reordering: half the window's segments, 16 at most (net/ipv4/tcp_input.c: tcp_incr_quickack;
// TCP_MAX_QUICKACKS). A program that answers within the delay leaves the mode (pingpong): from then on ACKs wait for
// its next answer.
func (k Kernel) QuickACKs(window, mss int) int {
	const most = 16
	if half := window / (2 * mss); half > 0 {
		return min(half, most)
	}
	return 2
}
