package oracle

import (
	"cmp"
	"time"
)

// modelRTO is the RTO that the kernel's model of a time-out begins with, whatever tcp_rto_min_us says
// (include/net/tcp.h: TCP_RTO_MIN).
const modelRTO = 200 * time.Millisecond

// RTOMin is the least that the RTO is above the SRTT: 200 ms, or tcp_rto_min_us (Linux 6.11). A route's rto_min is
// not looked at.
func (k Kernel) RTOMin() time.Duration {
	return k.inJiffies(time.Duration(k.Sysctls.RTOMin) * time.Microsecond)
}

// RTOMax is the greatest RTO: 120 s, or tcp_rto_max_ms (Linux 6.15).
func (k Kernel) RTOMax() time.Duration { return time.Duration(k.Sysctls.RTOMax) * time.Millisecond }

// WithRTOMax is the kernel as a socket with TCP_RTO_MAX_MS sees it (Linux 6.15), which takes the place of tcp_rto_max_ms;
// 0 is not set.
func (k Kernel) WithRTOMax(most time.Duration) Kernel {
	if most != 0 {
		k.Sysctls.RTOMax = int(most / time.Millisecond)
	}
	return k
}

// RACK reports whether losses are found by RACK, that is by time (RFC 8985): then a retransmission that is lost as well is
// found by the ACK of what was sent after it. Before Linux 6.17 RACK can be off (tcp_recovery, bit 0): then losses are
// found by the number of duplicate ACKs and SACK blocks alone (RFC 6675), and a lost retransmission by a time-out
// (net/ipv4/tcp_input.c: tcp_is_rack, tcp_identify_packet_loss; tcp_recovery.c: tcp_rack_detect_loss).
func (k Kernel) RACK() bool { return k.Sysctls.Recovery&1 != 0 || k.Version.AtLeast(6, 17) }

// rto is the retransmission time-out of an estimate: SRTT + max(200 ms, 4 RTTVAR), rounded up to jiffies, at most
// 120 s (net/ipv4/tcp_input.c: tcp_set_rto; RFC 6298, 2.3, with the minimum on the variance and not on the sum).
//
// RTTVAR is not TCP_INFO's tcpi_rttvar, which is the latest mean deviation: the kernel takes its greatest value of the
// last round trip, and lets it fall by a quarter a round. [Estimator] follows that.
func (k Kernel) rto(srtt, rttvar time.Duration) time.Duration {
	return min(k.inJiffies(srtt+max(k.RTOMin(), 4*rttvar)), k.RTOMax())
}

// RTOAfterHandshake is the RTO from the one sample that a handshake gives: the SRTT is the sample and RTTVAR half of
// it (RFC 6298, 2.2), so it is RTT + 200 ms up to a round trip of 100 ms, and three times the round trip above. A clean
// path brings it down to RTT + 200 ms within some rounds.
func (k Kernel) RTOAfterHandshake(rtt time.Duration) time.Duration { return k.rto(rtt, rtt/2) }

// Estimator follows the kernel's estimate of the round-trip time, sample by sample (net/ipv4/tcp_input.c:
// tcp_rtt_estimator). It is RFC 6298's, with two changes: the deviation falls at an eighth of the pace when the samples
// become smaller, and the variance is the greatest deviation of a round trip.
type Estimator struct {
	kernel Kernel

	// In microseconds, scaled as in the kernel: eight times the mean, four times the deviations.
	srtt8, mdev4, mdevMax4, rttvar4 int64
}

// NewEstimator returns an estimator that has no sample yet.
func (k Kernel) NewEstimator() *Estimator { return &Estimator{kernel: k} }

// Sample adds an RTT measurement. newRound is true for the first sample of each round trip: the one that acknowledges what
// was sent after the previous round had been acknowledged.
func (e *Estimator) Sample(rtt time.Duration, newRound bool) {
	m := max(rtt.Microseconds(), 1)
	floor := e.kernel.RTOMin().Microseconds()
	if e.srtt8 == 0 {
		e.srtt8, e.mdev4 = 8*m, 2*m
		e.rttvar4 = max(e.mdev4, floor)
		e.mdevMax4 = e.rttvar4
		return
	}
	deviation := m - e.srtt8/8
	e.srtt8 = max(e.srtt8+deviation, 1)
	if deviation < 0 {
		// Smaller samples are no reason for a greater RTO (Eifel): the deviation grows an eighth as fast.
		if deviation = -deviation - e.mdev4/4; deviation > 0 {
			deviation /= 8
		}
	} else {
		deviation -= e.mdev4 / 4
	}
	e.mdev4 += deviation
	e.mdevMax4 = max(e.mdevMax4, e.mdev4)
	e.rttvar4 = max(e.rttvar4, e.mdevMax4)
	if newRound {
		if e.mdevMax4 < e.rttvar4 {
			e.rttvar4 -= (e.rttvar4 - e.mdevMax4) / 4
		}
		e.mdevMax4 = floor
	}
}

// SRTT is the smoothed round-trip time: TCP_INFO's tcpi_rtt.
func (e *Estimator) SRTT() time.Duration { return time.Duration(e.srtt8/8) * time.Microsecond }

// RTTVar is RFC 6298's RTTVAR, of which the RTO has four: the greatest mean deviation of a round trip, and a quarter of
// TCP_RTO_MIN at least. TCP_INFO does not have it.
func (e *Estimator) RTTVar() time.Duration { return time.Duration(e.rttvar4/4) * time.Microsecond }

// rto is the retransmission time-out: TCP_INFO's tcpi_rto.
func (e *Estimator) rto() time.Duration {
	rto := time.Duration(e.srtt8/8+e.rttvar4) * time.Microsecond
	return min(e.kernel.inJiffies(rto), e.kernel.RTOMax())
}

// lossProbe is when a tail loss probe is sent after the last transmission or acknowledgement, if there is one: 2 SRTT
// and 2 ms, or, for a single segment, whose ACK may be delayed, 2 SRTT and the least RTO; never later than the RTO. It
// takes SACK on both sides, tcp_early_retrans 3 or 4, and no loss that is being repaired (net/ipv4/tcp_output.c:
// tcp_schedule_loss_probe; RFC 8985, 7.2). The 2 ms are of Linux 6.6, and of stable releases since the end of 2023; in older
// ones they are two jiffies.
func (k Kernel) lossProbe(srtt time.Duration, inFlight int, rto time.Duration) (timer time.Duration, ok bool) {
	const leastTimer = 2 * time.Millisecond // TCP_TIMEOUT_MIN_US
	if k.Sysctls.EarlyRetrans < 3 || k.Sysctls.SACK == 0 {
		return 0, false
	}
	timer = 2*srtt + leastTimer
	if inFlight <= 1 {
		timer = 2*srtt + k.RTOMin()
	}
	return min(k.inJiffies(timer), rto), true
}

// TailLossProbe is when a tail loss probe is sent after the last transmission or acknowledgement, on a path whose RTT has not
// varied from that. It is the zero Span where the sysctls allow none.
func (k Kernel) TailLossProbe(rtt Span, inFlight int) Span {
	earliest, ok := k.lossProbe(rtt.Earliest, inFlight, k.rto(rtt.Earliest, 0))
	if !ok {
		return Span{}
	}
	latest, _ := k.lossProbe(rtt.Latest, inFlight, k.rto(rtt.Latest, 0))
	return Between(earliest, latest+k.late(latest)).From("RFC 8985, 7.2; tcp_schedule_loss_probe")
}

// RetransmissionTimer is when the retransmission timer goes off after it was set, on a path whose RTT has not varied from
// that.
func (k Kernel) RetransmissionTimer(rtt Span) Span {
	latest := k.rto(rtt.Latest, 0)
	return Between(k.rto(rtt.Earliest, 0), latest+k.late(latest)).From("RFC 6298, 2 and 5; tcp_set_rto")
}

// Flow is an established connection that gets no answer any more.
type Flow struct {
	// RTT is the round-trip time that has been measured until then: from the path's delay to that and what the hosts
	// take. A range of a millisecond can be one of a jiffy in the RTO, which doubles with each time-out.
	RTT Span

	// RTO, if known, from TCP_INFO; else it is that of a clean path: RTT + 200 ms.
	RTO time.Duration

	InFlight    int           // segments that are not acknowledged; 0 is 1
	UserTimeout time.Duration // TCP_USER_TIMEOUT; 0 is not set
	Orphan      bool          // the program has closed it: what is not acknowledged includes a FIN
	NoProbe     bool          // no tail loss probe, for another reason than the sysctls: a loss is being repaired
}

// flowRTO is a flow's RTO, if it is not known that of a clean path.
func (k Kernel) flowRTO(f Flow) Span {
	if f.RTO != 0 {
		return Exactly(f.RTO)
	}
	return Between(k.rto(f.RTT.Earliest, 0), k.rto(f.RTT.Latest, 0))
}

// Blackhole is what a flow does without any answer: a tail loss probe, then retransmissions, the RTO doubling up to 120 s,
// and ETIMEDOUT. Only then, at a time-out, does it end, once the time since the first retransmission is no less than
// tcp_retries2 would take from an RTO of 200 ms (924.6 s for 15), whatever the RTO really is.
//
// A TCP_USER_TIMEOUT takes the place of that, and the last timer is cut to it. So it lasts the user time-out from the
// first retransmission on, which itself comes after a probe and an RTO.
//
// An orphan ends by tcp_orphan_retries, 0 standing for 8; and by the number itself, 0 for the first time-out, once the
// RTO has grown to 120 s. (net/ipv4/tcp_timer.c: tcp_write_timeout, tcp_orphan_retries, tcp_model_timeout;
// tcp_output.c: tcp_send_loss_probe; ip-sysctl.rst.)
func (k Kernel) Blackhole(f Flow) Retry {
	rto := k.flowRTO(f)
	r := k.retry(plan{
		timer:       func(n int) Span { return k.flowTimer(f, rto, n) },
		most:        -1,
		limit:       func(n int) Span { return k.flowLimit(f, rto, n) },
		userTimeout: f.UserTimeout,
	})
	if !f.NoProbe {
		k.prependProbe(&r, f, rto)
	}
	switch {
	case f.UserTimeout != 0:
		return r.from("tcp_clamp_rto_to_user_timeout: TCP_USER_TIMEOUT")
	case f.Orphan:
		return r.from("RFC 6298, 5; tcp_orphan_retries")
	default:
		return r.from("RFC 6298, 5; tcp_model_timeout: tcp_retries2")
	}
}

// Unreachable is when a flow ends whose retransmissions a router answers with ICMP, network or host unreachable, though not more often than
// at that interval (net.ipv4.icmp_ratelimit). It does not end at once: to an established connection such an error is no more than
// the reason that it gives in the end, where a [Kernel.Blackhole]'s is ETIMEDOUT (RFC 1122, 4.2.3.9). But each message takes one doubling of the
// RTO back (RFC 6069), so the RTO grows until the router can answer each time, and not beyond; and the timer that a message sets is not cut
// to a TCP_USER_TIMEOUT (net/ipv4/tcp_ipv4.c: tcp_ld_RTO_revert).
func (k Kernel) Unreachable(f Flow, interval time.Duration) Span {
	silent := k.Blackhole(f)
	limit := cmp.Or(f.UserTimeout, k.modelTimeout(k.Sysctls.Retries2, modelRTO))
	rto := k.flowRTO(f)
	last := rto.Latest
	for n := 1; last < min(interval, k.RTOMax()); n++ {
		last = k.backedOff(rto, n).Latest
	}
	first := silent.Sent[silent.Probes] // the first retransmission that is no probe: there is always one
	return first.Plus(Between(limit, limit+last+k.late(last))).From("RFC 1122, 4.2.3.9; RFC 6069; tcp_ld_RTO_revert")
}

// flowTimer is the RTO after n retransmissions. With tcp_thin_linear_timeouts a thin flow, of fewer than four segments,
// doubles it only after six (net/ipv4/tcp_timer.c: tcp_retransmit_timer; TCP_THIN_LINEAR_RETRIES).
func (k Kernel) flowTimer(f Flow, rto Span, n int) Span {
	const thin, linearRetries = 4, 6
	if k.Sysctls.ThinLinearTimeouts != 0 && cmp.Or(f.InFlight, 1) < thin && !f.Orphan {
		return k.backedOff(rto, max(0, n-linearRetries))
	}
	return k.backedOff(rto, n)
}

// flowLimit is the time after which a flow ends.
func (k Kernel) flowLimit(f Flow, rto Span, n int) Span {
	if !f.Orphan {
		return Exactly(k.modelTimeout(k.Sysctls.Retries2, modelRTO))
	}
	timer := k.flowTimer(f, rto, n)
	// The greater RTO reaches the maximum first, and then the limit is the lesser.
	return Between(k.orphanLimit(timer.Latest), k.orphanLimit(timer.Earliest))
}

func (k Kernel) orphanLimit(rto time.Duration) time.Duration {
	const safeRetries = 8 // tcp_orphan_retries
	retries := k.Sysctls.OrphanRetries
	if retries == 0 && rto < k.RTOMax() {
		retries = safeRetries
	}
	return k.modelTimeout(retries, modelRTO)
}

// prependProbe puts a tail loss probe before all. The RTO starts again with it, so all else comes later.
func (k Kernel) prependProbe(r *Retry, f Flow, rto Span) {
	earliest, ok := k.lossProbe(f.RTT.Earliest, f.InFlight, rto.Earliest)
	latest, _ := k.lossProbe(f.RTT.Latest, f.InFlight, rto.Latest)
	if !ok {
		return
	}
	probe := Between(earliest, latest+k.late(latest))
	for i := range r.Sent {
		r.Sent[i] = r.Sent[i].Plus(probe)
	}
	r.End = r.End.Plus(probe)
	r.Timers = append([]time.Duration{earliest}, r.Timers...)
	r.Gaps = append(Spans{probe}, r.Gaps...)
	r.Sent = append(Spans{probe}, r.Sent...)
	r.Probes = 1
	r.Fewest++
	r.Most++
}
