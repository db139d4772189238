package oracle

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/tcplab/tcplab/harness/bounds"
)

// What a congestion control gets of a path that loses one segment in n: the model of RFC 9438, 5.1, and of Mathis and others (The
// Macroscopic Behavior of the TCP Congestion Avoidance Algorithm, 1997).

// The constants C of the square-root law: the average window is C / sqrt(p). They are for windows that grow by one a round trip, as
// Linux's do whether ACKs are delayed or not: it counts what is acknowledged, not ACKs (net/ipv4/tcp_cong.c: tcp_cong_avoid_ai).
const (
	MathisPeriodic   = 1.2247 // sqrt(3/2): one loss in 1/p segments
	MathisRandom     = 1.31   // each segment is lost with p (table 1, after Ott, Kemperman and Mathis)
	MathisDelayedACK = 0.8660 // sqrt(3/4): periodic, for a window that grows by one for every other ACK that is due
)

// A Cycle is what goes on from one loss to the next, where one in so many segments is lost.
type Cycle struct {
	Segments int
	Rounds   float64 // round trips
	Most     float64 // the window at the loss, in segments
}

// Window is the average window, in segments.
func (c Cycle) Window() float64 { return float64(c.Segments) / c.Rounds }

// Law is the average window as the constant of the square-root law: W sqrt(p).
func (c Cycle) Law() float64 { return c.Window() / math.Sqrt(float64(c.Segments)) }

// cycle is the one of n segments, where `of` says how many segments and round trips one takes that ends at a window.
func cycle(n int, of func(w float64) (segments, rounds float64)) Cycle {
	least, most := 1., float64(n)
	for range 60 {
		middle := (least + most) / 2
		if segments, _ := of(middle); segments < float64(n) {
			least = middle
		} else {
			most = middle
		}
	}
	_, rounds := of(most)
	return Cycle{Segments: n, Rounds: rounds, Most: most}
}

// RenoCycle is Reno's. The first round trip goes by until the loss is known, and a whole window is still sent in it; in the second, of
// recovery, half of one (RFC 6937); then the window goes from half to the whole, by one a round. The law leaves the recovery out, and counts
// continuously: 3/8 W^2 = n.
func RenoCycle(n int) Cycle {
	return cycle(n, func(w float64) (segments, rounds float64) {
		return w/2 + (w/2+1)*w*3/4, w/2 + 2
	})
}

// cubicGrain is for how long before and after K the curve is less than a segment from W_max: C t^3 < 1. Windows are whole numbers
// (tcp_cubic.c: bictcp_update), so for so long the window is W_max, and a loss leaves W_max as it is.
func cubicGrain() float64 { return math.Cbrt(1 / cubicC) }

// cubicCycle is CUBIC's cycle with a loss so many seconds after K: the two round trips of the loss as Reno's, and the curve from beta W_max,
// of which the average is W_max (3 + beta)/4 (RFC 9438, 5.1).
func cubicCycle(n int, rtt time.Duration, late float64) Cycle {
	return cycle(n, func(w float64) (segments, rounds float64) {
		k := math.Cbrt((1 - CubicBeta) * w / cubicC)
		curve, level := k/rtt.Seconds(), late/rtt.Seconds()
		return (1+CubicBeta)*w + w*(3+CubicBeta)/4*curve + w*level, 2 + curve + level
	})
}

// cubicRenoCycle is CUBIC's cycle in the Reno-friendly region: beta W_max to W_max by alpha a round (RFC 9438, 4.3; in the kernel 8/15:
// beta_scale). The window is a round behind W_est, of which it is one short at most (bictcp_update: max_cnt).
func cubicRenoCycle(n int) Cycle {
	const alpha = 8. / 15
	return cycle(n, func(w float64) (segments, rounds float64) {
		grows := (1 - CubicBeta) * w / alpha
		return (1+CubicBeta)*w + CubicBeta*w + (1+CubicBeta)/2*w*grows, 3 + grows
	})
}

// RenoFriendly tells whether CUBIC's window is Reno's, as that is the greater one (RFC 9438, 4.3).
func RenoFriendly(n int, rtt time.Duration) bool {
	return cubicRenoCycle(n).Window() > cubicCycle(n, rtt, 0).Window()
}

// A Cycles is the range of cycles that go on as they are.
type Cycles struct {
	Least, Most Cycle // by their windows
	source      string
}

// RenoCycles are [RenoCycle]'s. It is continuous; a cycle of whole windows is up to a round trip longer or shorter.
func RenoCycles(n int) Cycles {
	return aRoundMoreOrLess(RenoCycle(n), "Mathis and others, 1997; RFC 6937")
}

// CubicCycles are CUBIC's. A loss that comes while the curve is at its level leaves W_max as it is, whether early or late there: each
// of these cycles goes on. That of RFC 9438, 5.1 is in the middle.
func CubicCycles(n int, rtt time.Duration) Cycles {
	if RenoFriendly(n, rtt) {
		return aRoundMoreOrLess(cubicRenoCycle(n), "RFC 9438, 4.3")
	}
	return Cycles{cubicCycle(n, rtt, cubicGrain()), cubicCycle(n, rtt, -cubicGrain()), "RFC 9438, 5.1; whole windows: C t^3 < 1"}
}

func aRoundMoreOrLess(c Cycle, source string) Cycles {
	longer, shorter := c, c
	longer.Rounds++
	shorter.Rounds--
	return Cycles{longer, shorter, source}
}

// Window is the range of the average window, in segments.
func (c Cycles) Window() bounds.Range {
	return bounds.Between(c.Least.Window(), c.Most.Window()).In("segments").From(c.source)
}

// Period is the range of the round trips from a loss to the next.
func (c Cycles) Period() bounds.Range {
	return bounds.Between(c.Most.Rounds, c.Least.Rounds).In("RTT").From(c.source)
}

// AfterLoss is the range of the window after a loss, and so of ssthresh: half of the one at the loss, or CUBIC's part of it.
func (c Cycles) AfterLoss(congestion string) bounds.Range {
	after := renoAfterLoss
	if congestion == "cubic" {
		after = CubicAfterLoss
	}
	// Until the loss is known the window may have grown by one.
	return bounds.Between(after(int(c.Least.Most)), after(int(math.Ceil(c.Most.Most))+1)).In("segments").From(c.source)
}

// ResponseByRFC is the average window of the published formula, in segments, at a loss rate p: [CubicResponse], or Reno's sqrt(3/2p).
func ResponseByRFC(congestion string, p float64, rtt time.Duration) float64 {
	if congestion == "cubic" {
		return CubicResponse(p, rtt)
	}
	return renoResponse(p)
}

// RenoAtRandom simulates Reno's rounds on a path that loses each segment with p, over so many segments, so many times. It returns the mean and the
// standard deviation of the average window. The rounds are [RenoCycle]'s; what is lost of the same window counts once (RFC 6675), and a
// retransmission that is lost again takes a round more.
func RenoAtRandom(p float64, segments, times int) (mean, deviation float64) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a simulation, the same each time
	var sum, squares float64
	for range times {
		window, sent, rounds := int(MathisRandom/math.Sqrt(p)), 0, 0.
		for ; sent < segments; rounds++ {
			sent += window
			if random.Float64() < math.Pow(1-p, float64(window)) {
				window++ // nothing was lost
				continue
			}
			sent += window / 2 // until it is known: a round from the middle of this one, as a mean
			rounds += 0.5
			window = renoAfterLoss(window)
			for again := true; again; again = random.Float64() < p {
				sent += window
				rounds++
			}
		}
		average := float64(sent) / rounds
		sum, squares = sum+average, squares+average*average
	}
	mean = sum / float64(times)
	return mean, math.Sqrt(max(squares/float64(times)-mean*mean, 0))
}
