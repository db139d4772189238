package oracle

import (
	"math"
	"time"
)

// InfiniteThreshold is TCP_INFO's slow-start threshold as long as slow start has no end (include/net/tcp.h:
// TCP_INFINITE_SSTHRESH).
const InfiniteThreshold = 0x7fffffff

// SlowStart is how many segments leave in each round of a transfer without a loss, from the initial window on: each
// acknowledged segment brings two, also where ACKs are delayed (net/ipv4/tcp_cong.c: tcp_slow_start; RFC 5681, 3.1 and
// RFC 3465). It ends where the window reaches ssthresh, HyStart finds a queue, or the receiver's window is full: then
// rounds are smaller than this.
func (k Kernel) SlowStart(segments int) []int {
	var rounds []int
	for window := k.InitialWindow(0); segments > 0; window *= 2 {
		rounds = append(rounds, min(window, segments))
		segments -= window
	}
	return rounds
}

// WindowAfterIdle is the congestion window after a pause since the last transmission: halved for each RTO, down to the
// initial window (net/ipv4/tcp_output.c: tcp_cwnd_restart; RFC 2861). With tcp_slow_start_after_idle 0, and with BBR,
// it stays.
func (k Kernel) WindowAfterIdle(window int, idle, rto time.Duration) int {
	least := min(window, k.InitialWindow(0))
	if k.Sysctls.SlowStartAfterIdle == 0 {
		return window
	}
	for idle -= rto; idle > 0 && window > least; idle -= rto {
		window /= 2
	}
	return max(window, least)
}

// PacingRate is TCP's pacing rate in bits a second: a share of window / SRTT, tcp_pacing_ss_ratio in slow start (below
// half of ssthresh), tcp_pacing_ca_ratio after it (net/ipv4/tcp_input.c: tcp_update_pacing_rate). It is paced by fq, or
// by TCP itself with SO_MAX_PACING_RATE or BBR; else the rate only sizes bursts. BBR sets its own.
func (k Kernel) PacingRate(window, ssthresh, mss int, srtt time.Duration) float64 {
	ratio := k.Sysctls.PacingCARatio
	if window < ssthresh/2 {
		ratio = k.Sysctls.PacingSSRatio
	}
	return float64(window*mss*8) / srtt.Seconds() * float64(ratio) / 100
}

// HyStart's constants (net/ipv4/tcp_cubic.c: HYSTART_DELAY_MIN, HYSTART_DELAY_MAX, hystart_low_window,
// hystart_ack_delta_us, HYSTART_MIN_SAMPLES).
const (
	HyStartLeastWindow = 16                   // segments; below, HyStart does not look
	HyStartSamples     = 8                    // RTT samples of a round, before their minimum counts
	HyStartACKGap      = 2 * time.Millisecond // at most between two ACKs of a train
)

// HyStart is where CUBIC leaves slow start in front of a queue: when a round's least RTT is above Delay, or when a
// train of ACKs lasts for longer than Train.
type HyStart struct {
	Delay time.Duration `json:"delay"` // TcpExtTCPHystartDelayDetect
	Train time.Duration `json:"train"` // TcpExtTCPHystartTrainDetect
}

// HyStart returns the bounds for a path with that least RTT: an eighth more, that is 4 to 16 ms; and half of the RTT
// plus up to half a millisecond, or, where a qdisc or TCP itself paces, the whole (net/ipv4/tcp_cubic.c:
// hystart_update, hystart_ack_delay).
func (k Kernel) HyStart(leastRTT time.Duration, paced bool) HyStart {
	const least, most = 4 * time.Millisecond, 16 * time.Millisecond
	const ackDelay = time.Millisecond // of hystart_ack_delay, at most
	h := HyStart{
		Delay: leastRTT + min(max(leastRTT/8, least), most),
		Train: leastRTT + ackDelay,
	}
	if !paced {
		h.Train /= 2
	}
	return h
}

// CUBIC's constants (RFC 9438, 4.6 and 5.1). The kernel's are 717/1024 and 410/1024 (net/ipv4/tcp_cubic.c: beta,
// bic_scale).
const (
	CubicBeta = 0.7
	CubicC    = 0.4 // segments / s^3
)

// CubicAfterLoss is the window after a loss: 717/1024 of it, two segments at least (tcp_cubic.c:
// cubictcp_recalc_ssthresh).
func CubicAfterLoss(window int) int { return max(window*717/1024, 2) }

// RenoAfterLoss is the same for Reno: half of it (net/ipv4/tcp_cong.c: tcp_reno_ssthresh).
func RenoAfterLoss(window int) int { return max(window/2, 2) }

// CubicK is the time that CUBIC takes from a loss back to the window that it had: the cube root of
// window * (1 - beta) / C (RFC 9438, 4.2). As Reno, where that is faster, it takes less: see [CubicFriendly].
func CubicK(window float64) time.Duration {
	return seconds(math.Cbrt(window * (1 - CubicBeta) / CubicC))
}

// CubicWindow is CUBIC's window a time after a loss at a window: C (t - K)^3 + window (RFC 9438, 4.2). The kernel adds
// the least RTT to t: it aims a round trip ahead (tcp_cubic.c: bictcp_update).
func CubicWindow(window float64, t time.Duration) float64 {
	past := (t - CubicK(window)).Seconds()
	return CubicC*past*past*past + window
}

// CubicFriendly is the window that Reno would have a time after a loss at a window, with CUBIC's decrease: CUBIC takes
// the greater of the two (RFC 9438, 4.3).
func CubicFriendly(window float64, t, rtt time.Duration) float64 {
	const increase = 3 * (1 - CubicBeta) / (1 + CubicBeta) // segments a round trip
	return CubicBeta*window + increase*t.Seconds()/rtt.Seconds()
}

// RenoResponse is Reno's average window, in segments, at a loss rate p (0 to 1, one loss in 1/p segments, evenly spread):
// sqrt(3 / 2p), without delayed ACKs, which Linux counts by bytes (RFC 3649, 2; RFC 9438, 5.1; Mathis and others, 1997).
func RenoResponse(p float64) float64 { return math.Sqrt(1.5 / p) }

// CubicResponse is CUBIC's: 1.054 * (RTT/p)^0.75 for beta 0.7 and C 0.4, or Reno's where that is greater (RFC 9438,
// 5.1 and 5.2).
func CubicResponse(p float64, rtt time.Duration) float64 {
	factor := math.Pow(CubicC*(3+CubicBeta)/4/(1-CubicBeta), 0.25)
	return max(factor*math.Pow(rtt.Seconds()/p, 0.75), RenoResponse(p))
}

// BBR's constants, of version 1, which is what Linux has (net/ipv4/tcp_bbr.c: bbr_high_gain, bbr_drain_gain,
// bbr_pacing_gain, bbr_cwnd_gain, bbr_cwnd_min_target, bbr_min_rtt_win_sec, bbr_probe_rtt_mode_ms,
// bbr_pacing_margin_percent, bbr_full_bw_thresh, bbr_full_bw_cnt). The kernel's gains are in 256ths, rounded down.
const (
	BBRStartupGain    = (256*2885/1000 + 1) / 256.0 // 2/ln 2
	BBRDrainGain      = (256 * 1000 / 2885) / 256.0
	BBRWindowGain     = 2.0
	BBRLeastWindow    = 4    // segments, in ProbeRTT
	BBRPacingMargin   = 0.99 // of the estimated bandwidth
	BBRFullGrowth     = 1.25 // less, three rounds in a row, ends Startup
	BBRFullRounds     = 3
	BBRMinRTTLife     = 10 * time.Second       // then ProbeRTT
	BBRProbeRTTLength = 200 * time.Millisecond // and a round trip at least
)

// BBRCycle is the pacing gain in the eight phases of ProbeBW, of a least RTT each.
func BBRCycle() []float64 { return []float64{1.25, 0.75, 1, 1, 1, 1, 1, 1} }

// frame is the size of a full frame in netem's eyes: an MTU of 1500 and an Ethernet header.
const frame = 1514

// QueueDelay is the time that a full queue of netem adds to the delay: what its limit, in packets, leaves besides the
// packets in the delay line, at its rate in bits a second. netem's limit counts the delay line, too
// (net/sched/sch_netem.c: netem_enqueue).
func QueueDelay(limit int, rate int64, oneWay time.Duration) time.Duration {
	inLine := float64(rate) * oneWay.Seconds() / (8 * frame)
	return seconds(max(float64(limit)-inLine, 0) * 8 * frame / float64(rate))
}

// Throughput is what a window allows at most, in bits a second: a window each round trip.
func Throughput(windowBytes int, rtt time.Duration) float64 {
	return float64(windowBytes) * 8 / rtt.Seconds()
}

// UnscaledWindow is the greatest window without window scaling, in bytes (RFC 7323, 2.2).
const UnscaledWindow = 1<<16 - 1

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
