package oracle

import (
	"math"
	"time"

	"github.com/tcplab/tcplab/harness/bounds"
)

// CUBIC's constants are the kernel's, in units of 1/1024 (net/ipv4/tcp_cubic.c: beta, 10 * bic_scale). RFC 9438, 4.6
// and 5.1 say 0.7 and 0.4.
const (
	cubicScale = 1024
	cubicBeta  = 717

	CubicBeta = cubicBeta / float64(cubicScale)
	cubicC    = 10 * 41 / float64(cubicScale) // segments / s^3
)

// CubicAfterLoss is the window after a loss: 717/1024 of it, two segments at least (tcp_cubic.c:
// cubictcp_recalc_ssthresh).
func CubicAfterLoss(window int) int { return max(window*cubicBeta/cubicScale, 2) }

// A CubicCurve is CUBIC's way from a window that a loss has reduced back to the one before, and beyond (RFC 9438, 4.2).
// Times count from the first ACK after the recovery.
type CubicCurve struct {
	Most  int // the window at the loss: W_max
	Least int // the window after it
}

// CubicCurveAfter is the curve after a loss at a window: the first one of a connection, or one at a greater window than
// the loss before (tcp_cubic.c: fast_convergence).
func CubicCurveAfter(window int) CubicCurve { return CubicCurve{window, CubicAfterLoss(window)} }

// CubicCurveConverging is the curve after a loss at a window that is less than the one at the loss before: the flow leaves room for others, and its
// curve is level at (1 + beta)/2 of the window, between what it has and what it had (RFC 9438, 4.7; tcp_cubic.c: fast_convergence).
func CubicCurveConverging(window int) CubicCurve {
	return CubicCurve{window * (cubicScale + cubicBeta) / (2 * cubicScale), CubicAfterLoss(window)}
}

// CubicWindowBefore is the window at a loss that has reduced it to that: the least, which [CubicAfterLoss] rounds down to it.
func CubicWindowBefore(after int) int { return (after*cubicScale + cubicBeta - 1) / cubicBeta }

// Level is when the curve is level: K, seen as the middle between the times at which the window is `away` segments below and
// above W_max, as the curve is symmetric about that point (RFC 9438, 4.2). Each of these times is seen when a round trip's ACKs come: a round trip
// sooner, as the window aims a round trip ahead, or later. And windows are whole: each time is off by what the curve takes there for a segment.
func (c CubicCurve) Level(away int, rtt time.Duration) Span {
	t := math.Cbrt(float64(away) / cubicC)
	off := rtt + seconds(1/(3*cubicC*t*t))
	return Between(c.k()-off, c.k()+off).From("RFC 9438, 4.2: K = cbrt((W_max - cwnd)/C)")
}

// Grown is how much the window grows from one part of K to another: as much as the curve, which is a round trip early or late, and in whole
// segments.
func (c CubicCurve) Grown(from, to float64, rtt time.Duration) bounds.Range {
	at := func(part float64, shift time.Duration) float64 {
		return c.window(time.Duration(part*float64(c.k())) + shift)
	}
	least := min(at(to, rtt)-at(from, rtt), at(to, -rtt)-at(from, -rtt), at(to, 0)-at(from, 0))
	most := max(at(to, rtt)-at(from, rtt), at(to, -rtt)-at(from, -rtt), at(to, 0)-at(from, 0))
	return bounds.Between(int(math.Floor(least))-1, int(math.Ceil(most))+1).In("segments").From("RFC 9438, 4.2: C (t - K)^3")
}

// k is how long it takes back to the window that there was: the cube root of what is missing by C. As Reno, where that
// is faster, it takes less: see [CubicCurve.Round].
func (c CubicCurve) k() time.Duration { return seconds(math.Cbrt(float64(c.Most-c.Least) / cubicC)) }

// window is the window a time after the loss: C (t - K)^3 + W_max.
func (c CubicCurve) window(t time.Duration) float64 {
	past := (t - c.k()).Seconds()
	return float64(c.Most) + cubicC*past*past*past
}

// reno is the window that Reno would have, with CUBIC's decrease: CUBIC takes the greater of the two (RFC 9438, 4.3).
func (c CubicCurve) reno(t, rtt time.Duration) float64 {
	const increase = 3 * (1 - CubicBeta) / (1 + CubicBeta) // segments a round trip
	return float64(c.Least) + increase*t.Seconds()/rtt.Seconds()
}

// Slack in segments of what is sent in a round trip. The window that it was, the one that it aims at and what is sent
// are whole numbers, each rounded in its own way; and a delayed ACK or two move a segment into the round before or
// after.
const (
	roundingSlack   = 2
	delayedACKSlack = 2
)

// Reduced is the range of what is sent in the round trip of the loss, instead of a window.
func (c CubicCurve) Reduced() bounds.Range {
	return bounds.Around(c.Least, roundingSlack).From("RFC 9438, 4.6; tcp_cubic.c: beta")
}

// Round is the range of the segments that are sent in round trip n after the recovery, counted from 0, where the round
// trip before had `before` segments.
//
// In each round the window aims at where the curve is a round trip later (tcp_cubic.c: bictcp_update adds the least RTT
// to the time). Each ACK adds what is missing by the window (RFC 9438, 4.4), so that 1/e of it is still missing after
// all of them; but Linux computes what is missing once in a jiffy at most, and with ACKs that come in a burst it
// arrives.
func (c CubicCurve) Round(n, before int, rtt time.Duration) bounds.Range {
	t := time.Duration(n+1) * rtt
	was := float64(before)
	aim := max(c.window(t), c.reno(t, rtt), was)
	const slack = roundingSlack + delayedACKSlack
	least := aim - (aim-was)/math.E - slack
	return bounds.Between(int(math.Ceil(least)), int(math.Floor(aim+slack))).From("RFC 9438, 4.2 to 4.4; bictcp_update")
}

// CubicResponse is CUBIC's average window, in segments, at a loss rate p as in [renoResponse]: 1.054 * (RTT/p)^0.75, or
// Reno's where that is greater (RFC 9438, 5.1 and 5.2).
func CubicResponse(p float64, rtt time.Duration) float64 {
	factor := math.Pow(cubicC*(3+CubicBeta)/4/(1-CubicBeta), 0.25)
	return max(factor*math.Pow(rtt.Seconds()/p, 0.75), renoResponse(p))
}

// hyStart is where CUBIC leaves slow start before a queue overflows: when a round's least RTT is above delay, or when a
// train of ACKs lasts for longer than train.
type hyStart struct {
	delay time.Duration // TcpExtTCPHystartDelayDetect
	train time.Duration // TcpExtTCPHystartTrainDetect
}

// hyStart returns the bounds for a path with that least RTT: an eighth more, that is 4 to 16 ms; and half of the RTT
// plus up to half a millisecond, or, where a qdisc or TCP itself paces, the whole (net/ipv4/tcp_cubic.c:
// hystart_update, hystart_ack_delay).
func (k Kernel) hyStart(leastRTT time.Duration, paced bool) hyStart {
	const least, most = 4 * time.Millisecond, 16 * time.Millisecond // HYSTART_DELAY_MIN, HYSTART_DELAY_MAX
	const ackDelay = time.Millisecond                               // of hystart_ack_delay, at most
	h := hyStart{
		delay: leastRTT + min(max(leastRTT/8, least), most),
		train: leastRTT + ackDelay,
	}
	if !paced {
		h.train /= 2
	}
	return h
}

// HyStartTrainWindow is the window in which a train of ACKs ends slow start, where nothing paces: in the first round
// that has more segments than come back in half of the least RTT and half a millisecond, once these have come back. An
// ACK that is more than 2 ms after the one before is in no train (tcp_cubic.c: hystart_ack_delta_us): on a slower path
// it never happens.
//
// late is by how much ACKs may come sooner or later than at the link's rate.
func (k Kernel) HyStartTrainWindow(b Bottleneck, late time.Duration) (window bounds.Range, ok bool) {
	const longestGap = 2 * time.Millisecond // hystart_ack_delta_us
	if ackSegments*b.Frame() > longestGap {
		return bounds.Range{}, false
	}
	train := k.hyStart(b.RTT+b.Frame(), false).train
	back := func(train time.Duration) float64 { return float64(train) / float64(b.Frame()) }
	// The train begins with the ACK that ends the round before, and the ACK that is found too late does not count: an
	// ACK more or less.
	least, most := back(train-late)-ackSegments, back(train+late)+ackSegments
	shortest, _ := k.firstRound(back(train - late))
	_, longest := k.firstRound(back(train + late))
	return hyStartWindow(shortest+least, longest+most), true
}

// HyStartDelayWindow is the window in which longer RTTs end slow start: when eight samples of a round have all been
// longer than the least RTT by an eighth of it, 4 ms at least and 16 ms at most, with the next ACK (tcp_cubic.c:
// HYSTART_MIN_SAMPLES). These packets were sent at the beginning of the round before, into the queue that its window
// had left, and meanwhile the window has doubled.
//
// late is by how much RTTs may be longer or shorter than the link makes them.
func (k Kernel) HyStartDelayWindow(b Bottleneck, late time.Duration) bounds.Range {
	const samples = 8
	bound := k.hyStart(b.RTT+b.Frame(), false).delay
	queued := func(bound time.Duration) float64 { return float64(bound) / float64(b.Frame()) }
	shortest, _ := k.firstRound(queued(bound - late))
	_, longest := k.firstRound(queued(bound + late))
	return hyStartWindow(2*shortest-1+samples, 2*longest+ackSegments*samples)
}

func hyStartWindow(least, most float64) bounds.Range {
	const lowWindow = 16 // hystart_low_window: below, HyStart does not look
	return bounds.Between(int(max(math.Floor(least), lowWindow)), int(max(math.Ceil(most), lowWindow))).
		From("tcp_cubic.c: hystart_update")
}

// firstRound is the window at the beginning of the first round of slow start in which it is more than some segments. It
// is less than the initial window doubled once a round, as a round can begin with an ACK that also covers the segment
// before; what that leaves out doubles with each further round.
func (k Kernel) firstRound(segments float64) (least, most float64) {
	first := k.InitialWindow(0)
	window, short := first, 0
	for float64(window) <= segments {
		window, short = 2*window, 2*short+1
	}
	return float64(window - short), float64(window)
}
