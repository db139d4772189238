package oracle

import (
	"testing"
	"time"

	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness/bounds"
)

// edges are a range's, without its source.
func edges[T bounds.Number](lower, upper T) bounds.Range { return bounds.Between(lower, upper) }

func withoutSource(r bounds.Range) bounds.Range { return r.From("") }

func TestCongestion(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.12")
	g.Expect(k.SlowStart(100)).To(Equal([]int{10, 20, 40, 30}))
	g.Expect(k.InitialWindow(0)).To(Equal(10))
	g.Expect(k.InitialWindow(1)).To(Equal(10))
	g.Expect(k.InitialWindow(2)).To(Equal(1))
	g.Expect(renoAfterLoss(100)).To(Equal(50))
	g.Expect(renoAfterLoss(3)).To(Equal(2))
	g.Expect(Throughput(UnscaledWindow, 100*time.Millisecond)).To(BeNumerically("~", 5.24e6, .01e6))
}

func TestWindowAfterIdle(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.12")
	rto := 300 * time.Millisecond
	g.Expect(k.windowAfterIdle(100, 2*time.Second, rto)).To(Equal(10))
	g.Expect(k.windowAfterIdle(100, 700*time.Millisecond, rto)).To(Equal(25), "two whole RTOs")
	g.Expect(k.windowAfterIdle(100, 200*time.Millisecond, rto)).To(Equal(100))
	g.Expect(k.windowAfterIdle(4, 2*time.Second, rto)).To(Equal(4))
	off := with(t, k, "tcp_slow_start_after_idle=0")
	g.Expect(off.windowAfterIdle(100, time.Hour, rto)).To(Equal(100))

	// As it was seen, near the end of an RTO it may be either side of it.
	for pause, want := range map[time.Duration]bounds.Range{
		450: edges(50, 50), 596: edges(25, 50), 604: edges(25, 50), 606: edges(25, 25), 294: edges(100, 100), 296: edges(50, 100),
	} {
		g.Expect(withoutSource(k.WindowAfterPause(100, pause*time.Millisecond, rto))).To(Equal(want), "%d ms", pause)
	}
	g.Expect(withoutSource(off.WindowAfterPause(100, time.Minute, rto))).To(Equal(edges(100, 100)))
}

func TestPacing(t *testing.T) {
	g := NewWithT(t)
	k := with(t, defaults(t, "6.12"), "tcp_pacing_ss_ratio=300")
	g.Expect(k.PacingRatio(10, InfiniteThreshold)).To(Equal(300))
	g.Expect(k.PacingRatio(10, 22)).To(Equal(300))
	g.Expect(k.PacingRatio(10, 21)).To(Equal(120), "half of ssthresh, rounded down, is the window")

	// 300 % of 80 segments in 100 ms: 40 to 80 segments a burst, of 79 gaps
	burst := k.PacedBurst(80, Exactly(100*time.Millisecond))
	g.Expect(burst.Earliest.Seconds()).To(BeNumerically("~", 79*.1/240, 1e-6))
	g.Expect(burst.Latest.Seconds()).To(BeNumerically("~", 79*.1/120, 1e-6))

	// SRTT 100 ms, which a sample of 160 ms has raised from 91.43 ms, or one of 90 ms lowered from 101.43 ms.
	const srtt = 100 * time.Millisecond
	r := PacingAsACKComes(200, 20, srtt, Between(90*time.Millisecond, 160*time.Millisecond))
	g.Expect(withoutSource(r)).To(Equal(edges(177, 219).In("%"))) // 200 * 18/20 * 100/101.43; 200 * 100/91.43
	// Where all samples are SRTT, only the window has changed.
	g.Expect(withoutSource(PacingAsACKComes(200, 20, srtt, Exactly(srtt)))).To(Equal(edges(180, 200).In("%")))
}

func TestBottleneck(t *testing.T) {
	g := NewWithT(t)
	// 10 Mbit/s: 1.2112 ms a frame, 33.02 of them in 40 ms. In a full queue of 100, 99 or 100 frames and half an RTT.
	b := Bottleneck{Rate: 10_000_000, RTT: 40 * time.Millisecond}
	g.Expect(b.Frame()).To(Equal(1211200 * time.Nanosecond))
	g.Expect(b.BDP()).To(BeNumerically("~", 33.025, .001))
	g.Expect(b.FullQueueRTT(100)).To(haveEdges(139908800*time.Nanosecond, 141120*time.Microsecond))
	// measured on 6.1
	g.Expect(79925 * time.Microsecond).To(b.FullQueueRTT(50))
	g.Expect(261595 * time.Microsecond).To(b.FullQueueRTT(200))
	// Where all are in the line there is no queue.
	g.Expect(b.FullQueueRTT(10)).To(haveEdges(40*time.Millisecond, 40*time.Millisecond))
}

func TestCubic(t *testing.T) {
	g := NewWithT(t)
	// RFC 9438, 4.6 and 5.1
	g.Expect(CubicBeta).To(BeNumerically("~", .7, .001))
	g.Expect(cubicC).To(BeNumerically("~", .4, .001))
	g.Expect(CubicAfterLoss(100)).To(Equal(70))
	g.Expect(CubicAfterLoss(84)).To(Equal(58))
	g.Expect(CubicAfterLoss(2)).To(Equal(2))

	// K is where it is back, and at 0 it is where the loss has brought it.
	c := CubicCurveAfter(100)
	g.Expect(c).To(Equal(CubicCurve{Most: 100, Least: 70}))
	g.Expect(c.window(c.k())).To(BeNumerically("~", 100, 1e-6))
	g.Expect(c.window(0)).To(BeNumerically("~", 70, 1e-6))
	g.Expect(c.k().Seconds()).To(BeNumerically("~", 4.217, .005))
	g.Expect(c.reno(0, time.Second)).To(BeNumerically("~", 70, 1e-9))
	g.Expect(c.reno(10*time.Second, time.Second)).To(BeNumerically("~", 75.3, .01), "0.53 segments a round trip")
}

func TestCubicRounds(t *testing.T) {
	g := NewWithT(t)
	c := CubicCurveAfter(84)
	const rtt = 400 * time.Millisecond
	expect := func(rounds []int) (failed int) {
		before := c.Least
		for i, sent := range rounds {
			if !c.Round(i, before, rtt).Contains(bounds.Value{Number: float64(sent), Whole: true}) {
				failed++
			}
			before = sent
		}
		return failed
	}
	// measured on 6.1
	cubic := []int{63, 69, 75, 78, 80, 82, 83, 84, 84, 84, 84, 84, 84, 85, 88, 89, 92, 96}
	g.Expect(expect(cubic)).To(BeZero())
	var reno, fast []int
	for i := range cubic {
		reno, fast = append(reno, 58+i), append(fast, 58+10*i)
	}
	g.Expect(expect(reno)).To(BeNumerically(">", 3), "a segment a round trip is too slow")
	g.Expect(expect(fast)).To(BeNumerically(">", 3), "ten are too fast")
	g.Expect(withoutSource(c.Reduced())).To(Equal(edges(56, 60)))

	// Where a round trip is short, the curve is slower than Reno: 0.53 segments a round trip.
	least, most := c.Round(39, 78, time.Millisecond).Lower, c.Round(39, 78, time.Millisecond).Upper
	g.Expect([]float64{least, most}).To(Equal([]float64{75, 83}))
}

// RFC 9438's tables 1 and 3 (average window at RTT 0.1 s and 0.01 s; Reno, CUBIC with C 0.4)
func TestResponse(t *testing.T) {
	g := NewWithT(t)
	for _, row := range []struct{ p, reno, cubicLong, cubicShort float64 }{
		{1e-2, 12, 12, 12},
		{1e-3, 38, 38, 38},
		{1e-4, 120, 187, 120},
		{1e-5, 387, 1054, 387},
		{1e-6, 1225, 5927, 1225},
		{1e-7, 3873, 33332, 5927},
		{1e-8, 12247, 187439, 33332},
	} {
		g.Expect(renoResponse(row.p)).To(BeNumerically("~", row.reno, .025*row.reno), "%v", row.p)
		g.Expect(CubicResponse(row.p, 100*time.Millisecond)).To(BeNumerically("~", row.cubicLong, .025*row.cubicLong), "%v", row.p)
		g.Expect(CubicResponse(row.p, 10*time.Millisecond)).To(BeNumerically("~", row.cubicShort, .025*row.cubicShort), "%v", row.p)
	}
}

func TestHyStart(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.12")
	g.Expect(k.hyStart(100*time.Millisecond, false)).To(Equal(hyStart{delay: 112500 * time.Microsecond, train: 50500 * time.Microsecond}))
	g.Expect(k.hyStart(10*time.Millisecond, true)).To(Equal(hyStart{delay: 14 * time.Millisecond, train: 11 * time.Millisecond}))
	g.Expect(k.hyStart(time.Second, false).delay).To(Equal(1016 * time.Millisecond))

	// 16 Mbit/s, 100 ms: 0.757 ms a frame, 67.2 of them in 50.9 ms, so it is the round of 80, or 73 if each round
	// before began a segment early.
	fast := Bottleneck{Rate: 16_000_000, RTT: 100 * time.Millisecond}
	window, ok := k.HyStartTrainWindow(fast, 0)
	g.Expect(ok).To(BeTrue())
	g.Expect(withoutSource(window)).To(Equal(edges(73+65, 80+70)))
	g.Expect(window.Contains(bounds.Value{Number: 148})).To(BeTrue(), "measured on 6.1")
	// 4 Mbit/s: 3.028 ms a frame, 38.3 of them in 115.9 ms: the round after the one of 40, after eight to 16 segments.
	slow := Bottleneck{Rate: 4_000_000, RTT: 100 * time.Millisecond}
	g.Expect(withoutSource(k.HyStartDelayWindow(slow, 0))).To(Equal(edges(2*37-1+8, 80+16)))
	_, ok = k.HyStartTrainWindow(slow, 0)
	g.Expect(ok).To(BeFalse(), "an ACK each 6 ms is no train")
	// What is late can bring it into the next round.
	g.Expect(k.HyStartDelayWindow(slow, 10*time.Millisecond).Upper).To(Equal(160. + 16))
	// A short path is left at the window that HyStart looks at first.
	window, _ = k.HyStartTrainWindow(Bottleneck{Rate: 100_000_000}, 0)
	g.Expect(window.Lower).To(Equal(16.))
}

func TestBBR(t *testing.T) {
	g := NewWithT(t)
	g.Expect(BBRHighGain).To(Equal(739. / 256))
	g.Expect(BBRDrainGain).To(Equal(88. / 256))
	mean := 0.
	for _, gain := range bbrCycle() {
		mean += gain / 8
	}
	g.Expect(mean).To(Equal(1.), "PROBE_BW neither fills nor drains in the long run")

	// As measured on 6.1, at 4 Mbit/s and 100 ms: 33.13 segments, for STARTUP 95.6 and six more, for the end of DRAIN
	// 34 and six.
	b := BBR{Bandwidth: 478747. / 1448, MinRTT: 100205 * time.Microsecond, MSS: 1448}
	g.Expect(b.window(BBRHighGain, BBRHighGain)).To(Equal(102))
	g.Expect(b.window(1, BBRDrainGain)).To(Equal(40))
	g.Expect(withoutSource(b.MostInStartup())).To(Equal(edges(101, 103)))
	g.Expect(withoutSource(b.AfterDrain(0))).To(Equal(edges(36, 44)))
	g.Expect(withoutSource(b.AfterDrain(50*time.Millisecond))).To(Equal(edges(31, 49)), "330 a second, a quarter of them")
	// 327.3 a second
	g.Expect(withoutSource(b.Sent(1, 100*time.Millisecond, 0))).To(Equal(edges(33, 33)))
	g.Expect(withoutSource(b.Sent(1, 100*time.Millisecond, 3*time.Millisecond))).To(Equal(edges(32, 34)))

	// Bursts are of one segment below 1.2 Mbit/s, of two above, and of a millisecond's segments where these are more.
	half, ten := b, b
	half.Bandwidth /= 4
	ten.Bandwidth *= 250
	g.Expect([]int{half.burst(1), b.burst(1), ten.burst(1)}).To(Equal([]int{1, 2, 79}))
}

func TestBBRPhases(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.12")
	b := BBR{Bandwidth: 330.25, MinRTT: 200 * time.Millisecond, MSS: 1448}
	ack := b.ackGap()
	g.Expect(ack.Seconds()).To(BeNumerically("~", .00816, .0001))
	g.Expect(b.Phase(1)).To(haveEdges(b.MinRTT, b.MinRTT+ack))
	g.Expect(b.Phase(BBRYieldGain)).To(haveEdges(0, b.MinRTT+ack))
	g.Expect(b.Cruise()).To(haveEdges(6*b.MinRTT, 6*(b.MinRTT+ack)))
	// From 63.4 in flight to 92 at 0.2375 of 330 a second.
	g.Expect(b.Phase(BBRProbeGain).Earliest).To(Equal(b.MinRTT))
	g.Expect(b.Phase(BBRProbeGain).Latest.Seconds()).To(BeNumerically("~", 28.6/78.4+ack.Seconds(), .002))
	g.Expect(b.Cycle().Earliest).To(Equal(7 * b.MinRTT))
	g.Expect(1610 * time.Millisecond).To(b.Cycle()) // measured on 6.1

	b = BBR{Bandwidth: 165.1, MinRTT: 100 * time.Millisecond, MSS: 1448}
	g.Expect(k.BBRProbesRTT(b).Earliest).To(Equal(10 * time.Second))
	g.Expect(k.BBRProbesRTT(b).Latest).To(BeNumerically("~", 10021*time.Millisecond, time.Millisecond))
	for _, s := range []Span{k.BBRProbeRTT(b), k.BBRFewInFlight(b)} {
		g.Expect(s.Source).NotTo(BeEmpty())
		g.Expect(s.Latest).To(BeNumerically("<", 700*time.Millisecond))
	}
	g.Expect(350 * time.Millisecond).To(k.BBRProbeRTT(b))    // measured on 6.1
	g.Expect(233 * time.Millisecond).To(k.BBRFewInFlight(b)) // likewise
	g.Expect(k.BBRFewInFlight(b).Earliest).To(BeNumerically("<", 200*time.Millisecond))
	// On a long path it waits for a round trip, and for another one until the next ACK.
	b.MinRTT = time.Second
	g.Expect(k.BBRFewInFlight(b).Latest).To(BeNumerically(">", 2*time.Second))
}

// Ware's figures are of the paper's formula, for 10 Mbit/s and 40 ms, in packets of 1500 bytes. Here frames have 1514, so that a queue has 1 % less of them: of
// the 16/q that 4 flows take with 2 BDP, that is 0.0025.
func TestBBRBesideCubic(t *testing.T) {
	g := NewWithT(t)
	path := Bottleneck{Rate: 10e6, RTT: 40 * time.Millisecond}
	for buffer, want := range map[float64][2]float64{1: {.972, .972}, 2: {.784, .958}, 4: {.629, .715}, 8: {.545, .588}, 16: {.491, .512}, 32: {.440, .450}, 64: {.367, .371}} {
		g.Expect(Ware(path, buffer, 1)).To(BeNumerically("~", want[0], .003), "%v BDP", buffer)
		g.Expect(Ware(path, buffer, 4)).To(BeNumerically("~", want[1], .003), "%v BDP, 4 flows", buffer)
	}
	// With 2 BDP: c = 1/2, and f = 0.925/0.7/3 (1/2 + f) = 0.393; PROBE_RTT takes 0.08 + 0.2 + 0.04 s of 10.
	g.Expect(BBRByLeastWindow(path, 2)).To(BeNumerically("~", (1-.393)*(1-.032), .001))
	g.Expect(BBRByLeastWindow(path, 4)).To(BeNumerically("~", .443, .001))
	g.Expect(BBRByLeastWindow(path, 1)).To(BeNumerically("~", 1-.028, 1e-9), "CUBIC has no queue")
	// CUBIC's share is its own part of what is under way: what makes the formula.
	least := 3.5 + (1 - BBRByLeastWindow(path, 8)/(1-path.bbrProbing(.32)))
	g.Expect(least / CubicBeta * (3 + CubicBeta) / 4 / 9).To(BeNumerically("~", least-3.5, .001))
}

// RFC 8289: three quarters without a queue, all with one of a bandwidth-delay product.
func TestRenoOverQueue(t *testing.T) {
	g := NewWithT(t)
	g.Expect([]float64{RenoOverQueue(0), RenoOverQueue(1), RenoOverQueue(3)}).To(Equal([]float64{.75, 1, 1}))
	g.Expect(RenoOverQueue(.05)).To(BeNumerically("~", .785, .001))
}
