package oracle

import (
	"math"
	"time"

	"github.com/tcplab/tcplab/harness/bounds"
)

// The gains of BBR, version 1, which is what Linux has, in 256ths as in the kernel (net/ipv4/tcp_bbr.c: BBR_UNIT,
// bbr_high_gain, bbr_drain_gain, bbr_cwnd_gain, bbr_pacing_gain).
const (
	bbrUnit = 256

	BBRHighGain   = (bbrUnit*2885/1000 + 1) / float64(bbrUnit) // of rate and window in STARTUP: 2/ln 2
	BBRDrainGain  = (bbrUnit * 1000 / 2885) / float64(bbrUnit) // of the rate in DRAIN
	BBRWindowGain = 2.                                         // of the window in PROBE_BW, for ACKs that are late
	BBRProbeGain  = 1.25                                       // of the rate in PROBE_BW's first phase
	BBRYieldGain  = 0.75                                       // in its second
)

// bbrCycle is the gain of the rate in the eight phases of PROBE_BW (bbr_pacing_gain).
func bbrCycle() []float64 { return []float64{BBRProbeGain, BBRYieldGain, 1, 1, 1, 1, 1, 1} }

// BBRLeastWindow is the window in PROBE_RTT, in segments (bbr_cwnd_min_target).
const BBRLeastWindow = 4

// BBRMinRTTLasts is for how long a least RTT counts (bbr_min_rtt_win_sec).
const BBRMinRTTLasts = 10 * time.Second

const (
	bbrPaced     = 0.99                   // of the estimated bandwidth (bbr_pacing_margin_percent)
	bbrProbeRTT  = 200 * time.Millisecond // with the least window (bbr_probe_rtt_mode_ms)
	bbrSourceBDP = "tcp_bbr.c: bbr_bdp, bbr_quantization_budget"
)

// BBR is BBR's model of a path, as a socket reports it (kernel.BBRInfo). All that BBR does follows from it
// (draft-cardwell-iccrg-bbr-congestion-control-00).
type BBR struct {
	Bandwidth float64       // segments a second
	MinRTT    time.Duration // the least RTT
	MSS       int           // bytes
}

// pacingRate is the rate in segments a second with a gain (bbr_rate_bytes_per_sec).
func (b BBR) pacingRate(gain float64) float64 { return b.Bandwidth * gain * bbrPaced }

// window is how many segments BBR wants in flight with a gain of the window, while it paces with another: the gain
// times bandwidth times least RTT, rounded up, three bursts for the hosts, and rounded up to an even number
// (bbr_inflight).
func (b BBR) window(gain, pacing float64) int {
	window := int(math.Ceil(b.Bandwidth*b.MinRTT.Seconds()*gain)) + 3*b.burst(pacing)
	return (window + 1) &^ 1
}

// burst is how many segments BBR would send at once: what a millisecond takes, but two at least, or one below 1.2
// Mbit/s (bbr_tso_segs_goal, bbr_min_tso_segs).
func (b BBR) burst(pacing float64) int {
	const slow, perMillisecond = 1_200_000 / 8, 1024 // bytes a second; sk_pacing_shift 10
	rate := b.pacingRate(pacing) * float64(b.MSS)
	least := 2
	if rate < slow {
		least = 1
	}
	return max(int(rate/perMillisecond)/b.MSS, least)
}

// probeWindow is what PROBE_BW's first phase wants in flight before it ends: two more than at another time
// (bbr_quantization_budget).
func (b BBR) probeWindow() int { return b.window(BBRProbeGain, BBRProbeGain) + 2 }

// MostInStartup is the range of the most segments that STARTUP has in flight: its window, which the last ACK may have
// raised by two where one was missing (bbr_set_cwnd), or of which one is left that waits for another.
func (b BBR) MostInStartup() bounds.Range {
	window := b.window(BBRHighGain, BBRHighGain)
	return bounds.Between(window-1, window-1+ackSegments).From(bbrSourceBDP + ", bbr_high_gain")
}

// AfterDrain is the range of the segments in flight some time after DRAIN, at most. It ends with the first ACK that
// finds no more in the network than bandwidth times RTT, and what is paced and not sent yet does not count: it is what
// leaves the network before the next segment is sent (bbr_check_drain, bbr_packets_in_net_at_edt). After that it is a
// quarter more or less than what comes back, at most, and changes by an ACK's segments, and by one that is sent.
func (b BBR) AfterDrain(after time.Duration) bounds.Range {
	drained := float64(b.window(1, BBRDrainGain))
	drift := (BBRProbeGain - 1) * b.Bandwidth * after.Seconds()
	unsent := 1 / (BBRDrainGain * bbrPaced)
	return bounds.Between(int(drained-2*ackSegments-drift), int(math.Ceil(drained+unsent+1+drift))).
		From(bbrSourceBDP + ", bbr_check_drain")
}

// Sent is the range of the segments that are sent with a gain in a time that begins with one of them. One may be late.
func (b BBR) Sent(gain float64, in, late time.Duration) bounds.Range {
	whole := func(in time.Duration) int { return int(b.pacingRate(gain)*in.Seconds()) + 1 }
	return bounds.Between(whole(in-late), whole(in+late)).From("tcp_bbr.c: bbr_pacing_gain, bbr_pacing_margin_percent")
}

// ackGap is how long BBR may wait for the next ACK, with the link's rate or less.
func (b BBR) ackGap() time.Duration { return seconds(ackSegments / b.pacingRate(BBRYieldGain)) }

// Phase is how long a phase of PROBE_BW lasts: the least RTT, which the next ACK ends. But the first one goes on until
// it has raised what is in flight, and the second one ends as soon as that is gone (bbr_is_next_cycle_phase).
func (b BBR) Phase(gain float64) Span {
	s := Between(b.MinRTT, b.MinRTT+b.ackGap())
	switch gain {
	case BBRProbeGain:
		// Without a queue, as little is in flight as the margin of the rate leaves, less an ACK. It comes back at the
		// path's rate.
		missing := float64(b.probeWindow()) - (b.Bandwidth*b.MinRTT.Seconds()*bbrPaced - ackSegments)
		faster := b.pacingRate(BBRProbeGain) - b.Bandwidth
		s.Latest = max(b.MinRTT, seconds(missing/faster)) + b.ackGap()
	case BBRYieldGain:
		s.Earliest = 0
	}
	return s.From("tcp_bbr.c: bbr_is_next_cycle_phase")
}

// Cruise is how long the six phases with a gain of 1 last.
func (b BBR) Cruise() Span {
	var all Span
	for _, gain := range bbrCycle()[2:] {
		all = all.Plus(b.Phase(gain))
	}
	return all
}

// Cycle is how long all eight phases last.
func (b BBR) Cycle() Span { return b.Phase(BBRProbeGain).Plus(b.Phase(BBRYieldGain)).Plus(b.Cruise()) }

// BBRProbesRTT is how long after it has found the least RTT, or ended the last such probe, BBR probes for it again: 10 s
// and a jiffy by the kernel's count, with the next ACK (bbr_update_min_rtt).
func (k Kernel) BBRProbesRTT(b BBR) Span {
	return Between(BBRMinRTTLasts, BBRMinRTTLasts+k.Tick()+b.ackGap()+dispatch).From("tcp_bbr.c: bbr_min_rtt_win_sec")
}

// AfterIdle is the RTT that BBR takes for a path's which it has not used for more than 10 s: that of the first ACK, of a burst that nothing is in the way of
// (bbr_update_min_rtt, idle_restart).
func (b BBR) AfterIdle(path Bottleneck) Span {
	burst := time.Duration(b.burst(1))
	return Between(path.RTT+path.Frame(), path.RTT+burst*path.Frame()).From("tcp_bbr.c: bbr_update_min_rtt, idle_restart")
}

// leastWindowRTT is the RTT in PROBE_RTT: what is in flight then may be sent in one burst.
func (b BBR) leastWindowRTT() time.Duration {
	return b.MinRTT + seconds((BBRLeastWindow+1)/b.Bandwidth)
}

// BBRProbeRTT is how long PROBE_RTT lasts. First what is in flight comes back, up to a window of PROBE_BW; then it
// waits for 200 ms, or a round trip if that is longer, and a jiffy by the kernel's count, and for the next ACK, which
// may take another round trip (bbr_update_min_rtt, bbr_check_probe_rtt_done).
func (k Kernel) BBRProbeRTT(b BBR) Span {
	comesBack := seconds(float64(b.window(BBRWindowGain, 1)) / b.Bandwidth)
	return Between(bbrProbeRTT, comesBack+max(bbrProbeRTT+k.Tick(), b.leastWindowRTT())+b.leastWindowRTT()+dispatch).
		From("tcp_bbr.c: bbr_probe_rtt_mode_ms")
}

// BBRFewInFlight is how long each segment that is sent is one of four in flight, by a capture: from the first one that
// is sent in PROBE_RTT to the first that makes more. The 200 ms begin when no more than four are in flight, but if it
// is just four then nothing is sent before the next ACK. After the end it takes some segments until there are more than
// four.
func (k Kernel) BBRFewInFlight(b BBR) Span {
	more := seconds((ackSegments + 1) / b.pacingRate(BBRYieldGain))
	return Between(bbrProbeRTT-b.ackGap(), max(bbrProbeRTT+k.Tick(), b.leastWindowRTT())+b.leastWindowRTT()+more+dispatch).
		From("tcp_bbr.c: bbr_probe_rtt_mode_ms, bbr_cwnd_min_target")
}

// BBRCollapse is the share of a bottleneck's rate that BBR has at most some time after the beginning, at a loss p of more than a fifth. PROBE_BW's greatest gain
// times 1 - p is what its bandwidth becomes in ten round trips, of which it is the maximum (tcp_bbr.c: bbr_bw_rtts; draft-cardwell-iccrg-bbr-
// congestion-control-00, 4.3.4.2), as long as that much arrives: where few are in flight, chance brings more than that in one round or another. That is where
// a standard deviation of what arrives is what is missing. At less loss it is 1: nothing decays.
//
// The first such window is STARTUP's and the second may be the one in which it was found, so that two do not count.
func (b Bottleneck) BBRCollapse(p float64, after time.Duration) float64 {
	const window, first = 10, 2
	gain := BBRProbeGain * (1 - p)
	if gain >= 1 {
		return 1
	}
	windows := after.Seconds()/b.RTT.Seconds()/window - first
	missing := (1/gain - 1) * (1 - p)
	few := p * (1 - p) / (missing * missing) // packets a round
	return min(max(math.Pow(gain, max(windows, 0)), few/b.BDP()), 1)
}

// Grows is how long BBR takes in PROBE_BW to find a rate that is `factor` times what it believes, on a path that has it at once. The phase with a gain
// of 1.25 ends only when it has raised what is in flight to 1.25 times the bandwidth-delay product and some bursts (bbr_is_next_cycle_phase,
// bbr_quantization_budget), which it cannot where no queue builds up: so it goes on, and finds 1.25 times as much in each round trip. Before
// it may be at the beginning of the cycle's other phases; and what was delivered is known a round trip later.
func (b BBR) Grows(factor float64) Span {
	rounds := time.Duration(math.Floor(math.Log(factor) / math.Log(BBRProbeGain)))
	return Between(rounds*b.MinRTT, b.Cycle().Latest+(rounds+3)*(b.MinRTT+b.ackGap())).
		From("tcp_bbr.c: bbr_is_next_cycle_phase: 1.25 in each round trip")
}

// Shrinks is how long BBR takes to forget a rate that its path has no more: ten round trips, for which a bandwidth counts (bbr_bw_rtts), and one to
// measure. A round trip takes no more than all that is in flight, or waits in a full queue: `most`.
func (b BBR) Shrinks(most time.Duration) Span {
	const rounds = 10
	return Between((rounds-1)*b.MinRTT, (rounds+2)*most).From("tcp_bbr.c: bbr_bw_rtts")
}

// MostInFlight is the most segments that BBR has in flight in PROBE_BW: twice bandwidth times least RTT, and some bursts; or its least window.
func (b BBR) MostInFlight() bounds.Range {
	most := max(b.window(BBRWindowGain, 1), b.window(BBRWindowGain, BBRProbeGain)+2, BBRLeastWindow)
	return bounds.AtMost(most).In("segments").From(bbrSourceBDP)
}

// BBRPolicerLoss is the loss from which on BBR takes a rate that stays the same for a policer's: it keeps to that for 48 round trips, and then probes
// anew (bbr_lt_bw_sampling, bbr_lt_loss_thresh, bbr_lt_bw_max_rtts). Less than that is lost in the long run.
const BBRPolicerLoss = 50. / bbrUnit

// BBRWait is the range of the wait in the queue of a BBR flow alone, whatever the buffer: none, or what a quarter of the bandwidth-delay product takes that the first phase
// of PROBE_BW adds, and some bursts (bbr_quantization_budget).
func (b Bottleneck) BBRWait() Span {
	const bursts = 3 + 2
	return Between(0, seconds((BBRProbeGain-1)*b.RTT.Seconds()+bursts*b.Frame().Seconds())).From("tcp_bbr.c: 1.25 BDP in the first phase of PROBE_BW")
}
