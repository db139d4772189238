package oracle

import (
	"math"
	"time"

	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/internal/ethernet"
)

// InfiniteThreshold is TCP_INFO's slow-start threshold as long as slow start has no end (include/net/tcp.h:
// TCP_INFINITE_SSTHRESH).
const InfiniteThreshold = 0x7fffffff

// ackSegments is how many segments an ACK acknowledges: two at most, where every other full segment is acknowledged
// (RFC 5681, 4.2), unless a host was so late that several came at once.
const ackSegments = 2

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

// windowAfterIdle is the congestion window after a pause since the last transmission: halved for each RTO, down to the
// initial window (net/ipv4/tcp_output.c: tcp_cwnd_restart; RFC 2861). With tcp_slow_start_after_idle 0, and with BBR,
// it stays.
func (k Kernel) windowAfterIdle(window int, idle, rto time.Duration) int {
	least := min(window, k.InitialWindow(0))
	if k.Sysctls.SlowStartAfterIdle == 0 {
		return window
	}
	for idle -= rto; idle > 0 && window > least; idle -= rto {
		window /= 2
	}
	return max(window, least)
}

// WindowAfterPause is [Kernel.windowAfterIdle] for a pause as it was seen: the kernel counts it in jiffies, so that by
// its count it can be a tick more or less.
func (k Kernel) WindowAfterPause(window int, seen, rto time.Duration) bounds.Range {
	grain := k.Tick() + Grain
	return bounds.Between(k.windowAfterIdle(window, seen+grain, rto), k.windowAfterIdle(window, seen-grain, rto)).
		From("RFC 2861; tcp_cwnd_restart, tcp_slow_start_after_idle")
}

// PacingRatio is TCP's pacing rate in percent of window / SRTT: tcp_pacing_ss_ratio in slow start (below half of
// ssthresh), tcp_pacing_ca_ratio after it (net/ipv4/tcp_input.c: tcp_update_pacing_rate). It is obeyed by fq, or by TCP
// itself with SO_MAX_PACING_RATE or BBR; else the rate only sizes bursts. BBR sets its own.
func (k Kernel) PacingRatio(window, ssthresh int) int {
	if window < ssthresh/2 {
		return k.Sysctls.PacingSSRatio
	}
	return k.Sysctls.PacingCARatio
}

// PacingAsACKComes is the range of a socket's pacing rate by TCP_INFO, in whole percent of window / SRTT, where an ACK
// may have come as it was asked. tcp_get_info reads the rate, then the window, and then, under the socket's lock, the
// rest: the rate may be the one before that ACK, of a smaller window and of another SRTT. sample is the ACK's RTT.
func PacingAsACKComes(ratio, window int, srtt time.Duration, sample Span) bounds.Range {
	// tcp_rtt_estimator: SRTT = 7/8 of SRTT before + 1/8 of the sample.
	before := func(sample time.Duration) time.Duration { return (8*srtt - sample) / 7 }
	slower := float64(srtt) / float64(max(srtt, before(sample.Earliest))) * float64(window-ackSegments) / float64(window)
	faster := float64(srtt) / float64(min(srtt, before(sample.Latest)))
	least, most := math.Floor(float64(ratio)*slower), math.Ceil(float64(ratio)*faster)
	return bounds.Between(int(least), int(most)).In("%").From(pacingSource)
}

// pacingSource is of both ratios.
const pacingSource = "tcp_update_pacing_rate: tcp_pacing_ss_ratio, tcp_pacing_ca_ratio"

// PacedBurst is the time from the first segment to the last of a paced burst of `window` segments, in the round of slow
// start in which the window doubles to that: each leaves at a pacing rate between the one of half the window and the one of all of it
// (net/ipv4/tcp_output.c: tcp_update_skb_after_send; net/sched/sch_fq.c).
func (k Kernel) PacedBurst(window int, srtt Span) Span {
	gaps := time.Duration(window - 1)
	each := func(srtt time.Duration, w int) time.Duration {
		return srtt * 100 / time.Duration(k.Sysctls.PacingSSRatio*w)
	}
	return Between(gaps*each(srtt.Earliest, window), gaps*each(srtt.Latest, window/2)).
		From("tcp_update_pacing_rate: tcp_pacing_ss_ratio")
}

// renoAfterLoss is Reno's window after a loss: half of it (net/ipv4/tcp_cong.c: tcp_reno_ssthresh).
func renoAfterLoss(window int) int { return max(window/2, 2) }

// renoResponse is Reno's average window, in segments, at a loss rate p (0 to 1, one loss in 1/p segments, evenly
// spread): sqrt(3 / 2p), without delayed ACKs, which Linux counts by bytes (RFC 3649, 2; RFC 9438, 5.1; Mathis and
// others, 1997).
func renoResponse(p float64) float64 { return math.Sqrt(1.5 / p) }

// frameBits is the size of a full frame as netem counts it.
const frameBits = 8 * ethernet.FrameLength

// A Bottleneck is a path of two netems, each of which delays by half of the RTT, where the one to the receiver has a
// rate.
type Bottleneck struct {
	Rate int64         // bit/s
	RTT  time.Duration // without the time that a packet takes at the rate
}

// Frame is how long a full frame takes.
func (b Bottleneck) Frame() time.Duration { return seconds(frameBits / float64(b.Rate)) }

// BDP is the bandwidth-delay product in full frames: what fills the path, and no queue.
func (b Bottleneck) BDP() float64 { return float64(b.Rate) * b.RTT.Seconds() / frameBits }

// FullQueueRTT is the RTT of a packet that found the last free place of a netem with a limit in packets.
//
// The limit counts the packets in the delay line, too, and they all leave one after the other at the rate
// (net/sched/sch_netem.c: netem_enqueue). So the packet leaves when as many have left as the limit says, itself among
// them, the first of which was on its way already.
func (b Bottleneck) FullQueueRTT(limit int) Span {
	away := func(frames int) time.Duration {
		return max(time.Duration(frames)*b.Frame(), b.RTT/2) + b.RTT/2
	}
	return Between(away(limit-1), away(limit)).From("netem_enqueue: limit")
}

// Throughput is what a window allows at most, in bits a second: a window each round trip.
func Throughput(windowBytes int, rtt time.Duration) float64 {
	return float64(windowBytes) * 8 / rtt.Seconds()
}

// UnscaledWindow is the greatest window without window scaling, in bytes (RFC 7323, 2.2).
const UnscaledWindow = 1<<16 - 1

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// Jain is Jain's index of fairness of some flows' rates: 1 where all have the same, 1/n where one has all (Jain, Chiu and Hawe, 1984).
func Jain(rates ...float64) float64 {
	var sum, squares float64
	for _, r := range rates {
		sum += r
		squares += r * r
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(rates)) * squares)
}

// Unfairness is the range of the rate of the flow with the shorter RTT by that of the other, on a shared bottleneck, whose queue adds up to `queue` to
// both. Where losses hit both at once it is as the windows that grow in the same time, by the RTTs; where each flow has the same share of
// losses it is the response function's.
//
// Reno: windows grow by one a round trip, so that the rates go as the RTTs squared; or as the RTTs (renoResponse).
// CUBIC: windows grow with the time, not with round trips, so that the rates go as the RTTs: RFC 9438, 3.3 calls it linear; or as their fourth
// root ([CubicResponse]).
func Unfairness(congestion string, short, long, queue time.Duration) bounds.Range {
	least, most := (long+queue).Seconds()/(short+queue).Seconds(), long.Seconds()/short.Seconds()
	if congestion == "cubic" {
		return bounds.Between(math.Pow(least, 0.25), most).From("RFC 9438, 3.3: linear")
	}
	return bounds.Between(least, most*most).From("RFC 3649, 2; Lakshman and Madhow, 1997: up to the square")
}

// Ware is the share of a drop-tail bottleneck that n BBR flows (version 1) get beside any number of loss-based flows, by the model of Ware and others
// (Modeling BBR's Interactions with Loss-Based Congestion Control, IMC 2019): the buffer in bandwidth-delay products. The time that it
// is over cancels out. Its authors state a median error of 5 % of the link against CUBIC, and of 8 % against Reno.
func Ware(b Bottleneck, buffer float64, n int) float64 {
	packets := buffer * b.BDP()
	loss := max(0, 0.5-1/(2*buffer)-4*float64(n)/packets) // what the loss-based flows keep
	queue := packets * b.Frame().Seconds()
	return (1 - loss) * (1 - b.bbrProbing(queue))
}

// bbrProbing is the share of the time in which a BBR flow is in PROBE_RTT behind a queue that takes so many seconds, by Ware and others: what is in the
// queue leaves, then it waits, and a round trip goes by until more is sent.
func (b Bottleneck) bbrProbing(queue float64) float64 {
	return (queue + bbrProbeRTT.Seconds() + b.RTT.Seconds()) / BBRMinRTTLasts.Seconds()
}

// BBRByLeastWindow is the share of a drop-tail bottleneck that a BBR flow (version 1) gets beside a CUBIC flow, by the least window of CUBIC's. Mishra, Tiu and
// Leong (Are We Heading Towards a BBR-Dominant Internet?, IMC 2022) have such a model, and state an error within 5 %; this one is derived here. The buffer is in
// bandwidth-delay products (BDP), of which the two flows fill 1 + buffer when one of them loses a packet.
//
//   - BBR sends no more than 2 BDP of what it believes: its share s of the rate, and the least RTT that it has seen in 10 s. That RTT is one of
//     PROBE_RTT, in which CUBIC alone has a queue: 1 + c for a queue of c BDP. A flow's share of the rate is its share of what is under way. So
//     s (1 + buffer) = 2 s (1 + c): CUBIC's queue is c = (buffer - 1)/2. So far this is Ware's model, which takes c for all that CUBIC ever has.
//   - But c is of its least window, for the least RTT counts: beta W = c + f, as a share f = 1 - s of the pipe is CUBIC's too. Between losses the window is
//     W (3 + beta)/4 on average (RFC 9438, 5.1), which is f (1 + buffer).
//
// It is no more than that, and near by errors that go both ways. In PROBE_RTT the whole pipe is CUBIC's, so that beta W would be 1 + c, which leaves BBR a third
// whatever the buffer. BBR is at its limit for half of the time or less: it gets there by a quarter more in one round trip of eight, and falls at once. On
// the other side the limit has some bursts and what ACKs bring at once on top (bbr_quantization_budget, bbr_ack_aggregation_cwnd), which is a good part of a
// BDP of 33 packets; on a path of a much greater BDP it may be wrong. With a buffer of 1 BDP c is 0, and what limits BBR is loss, which it does not know.
func BBRByLeastWindow(b Bottleneck, buffer float64) float64 {
	least := max(0, (buffer-1)/2)
	mean := (3 + CubicBeta) / 4 / CubicBeta / (1 + buffer) // the share that each BDP of the least window gets
	cubic := mean * least / (1 - mean)                     // f = mean (least + f)
	return (1 - cubic) * (1 - b.bbrProbing(buffer*b.BDP()*b.Frame().Seconds()))
}

// RenoOverQueue is the share of a bottleneck that a Reno flow alone fills, where its queue takes no longer at its greatest than a part f (0 to 1) of the RTT
// without one, and then it loses a packet (RFC 8289, 3.2).
func RenoOverQueue(f float64) float64 {
	f = min(f, 1) // from one BDP on the queue never is empty
	return (3 + 6*f - f*f) / (4 * (1 + f))
}

// WareMedianError is what the authors state, in parts of the link.
const WareMedianError = 0.05
