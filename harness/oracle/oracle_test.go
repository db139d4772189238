package oracle

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	gomegatypes "github.com/onsi/gomega/types"

	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernelversion"
)

func version(t *testing.T, release string) kernelversion.Version {
	t.Helper()
	v, err := kernelversion.Parse(release)
	NewWithT(t).Expect(err).NotTo(HaveOccurred())
	return v
}

// haveEdges compares a span's edges, and leaves its source out.
func haveEdges(earliest, latest time.Duration) gomegatypes.GomegaMatcher {
	return And(HaveField("Earliest", earliest), HaveField("Latest", latest))
}

func defaults(t *testing.T, release string) Kernel { return Defaults(version(t, release)) }

func with(t *testing.T, k Kernel, settings ...string) Kernel {
	t.Helper()
	for _, s := range settings {
		key, value, _ := strings.Cut(s, "=")
		NewWithT(t).Expect(k.Set("net.ipv4."+key, value)).To(Succeed())
	}
	return k
}

// sums are the times of events with these gaps between them.
func sums(gaps []time.Duration) []float64 {
	var at time.Duration
	var list []float64
	for _, gap := range gaps {
		at += gap
		list = append(list, at.Seconds())
	}
	return list
}

// ip-sysctl.rst on tcp_syn_retries, of 6.1: "63 seconds till the last retransmission ... the final timeout ... after
// 127seconds"; of 6.12: 67 and 131; and on tcp_syn_linear_timeouts: 1, 1, 1, 1, 1, 2, 4.
func TestConnect(t *testing.T) {
	g := NewWithT(t)
	old := defaults(t, "6.1").Connect(ConnectOptions{})
	g.Expect(sums(old.Timers)).To(Equal([]float64{1, 3, 7, 15, 31, 63, 127}))
	g.Expect(old.End.Earliest).To(Equal(127 * time.Second))
	g.Expect([]int{old.Fewest, old.Most}).To(Equal([]int{6, 6}))

	newer := defaults(t, "6.12").Connect(ConnectOptions{})
	g.Expect(sums(newer.Timers)).To(Equal([]float64{1, 2, 3, 4, 5, 7, 11, 19, 35, 67, 131}))
	g.Expect(newer.Most).To(Equal(10))
	least, most := timeouts(newer)
	g.Expect([]int{least, most}).To(Equal([]int{11, 11}))

	// measured on 6.18: 135 s; on 6.1: 129.5 s
	g.Expect(135 * time.Second).To(newer.End)
	g.Expect(129500 * time.Millisecond).To(old.End)
}

// The same as the suites' own arithmetic, which was checked on 6.1 and 6.12.
func TestConnectGaps(t *testing.T) {
	g := NewWithT(t)
	for _, retries := range []string{"2", "3", "4", "5", "6"} {
		for _, linear := range []string{"0", "1", "2"} {
			k := with(t, defaults(t, "6.12"), "tcp_syn_retries="+retries, "tcp_syn_linear_timeouts="+linear)
			gaps := slices.Repeat([]time.Duration{time.Second}, k.Sysctls.SYNLinearTimeouts)
			for i := range k.Sysctls.SYNRetries + 1 {
				gaps = append(gaps, time.Second<<i)
			}
			// Those without an end by the time: the last retransmission is before the model's time-out.
			if sum := sums(gaps[:len(gaps)-1]); sum[len(sum)-1] >= float64(int(2)<<k.Sysctls.SYNRetries-1) {
				continue
			}
			r := k.Connect(ConnectOptions{})
			g.Expect(r.Timers).To(Equal(gaps), "%s retries, %s linear", retries, linear)
			g.Expect(r.Sent).To(HaveLen(len(gaps) - 1))
		}
	}
}

func TestConnectEndsByTime(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		release string
		count   int
		end     time.Duration
		sent    int
	}{
		{"6.1", 1, 3 * time.Second, 1},
		{"6.12", 1, 3 * time.Second, 2}, // 1, 2, and at 3 s the model's 1+2 have passed
		{"6.12", 2, 7 * time.Second, 5}, // 1, 2, 3, 4, 5, and at 7 s the model's 1+2+4
		{"6.1", 2, 7 * time.Second, 2},
		{"6.12", 3, 19 * time.Second, 7}, // at 11 s 6 retransmissions, model 15 s
	} {
		r := defaults(t, c.release).Connect(ConnectOptions{SYNCount: c.count})
		g.Expect(r.End.Earliest).To(Equal(c.end), "%+v", c)
		g.Expect([]int{r.Fewest, r.Most}).To(Equal([]int{c.sent, c.sent}), "%+v", c)
	}
	// TCP_USER_TIMEOUT cuts the last timer to itself.
	r := defaults(t, "6.12").Connect(ConnectOptions{UserTimeout: 2500 * time.Millisecond})
	g.Expect(sums(r.Timers)[:2]).To(Equal([]float64{1, 2}))
	g.Expect(r.End.Earliest).To(Equal(2500 * time.Millisecond))
	g.Expect(r.End.Latest).To(BeNumerically("<", 2600*time.Millisecond))
	g.Expect(r.Most).To(Equal(2))
	// One that is shorter than the first time-out ends with the one after it, a jiffy later.
	r = defaults(t, "6.12").Connect(ConnectOptions{UserTimeout: 500 * time.Millisecond})
	g.Expect(r.End.Earliest).To(BeNumerically("~", time.Second, 10*time.Millisecond))
	g.Expect(r.Most).To(Equal(1))
}

// ip-sysctl.rst on tcp_synack_retries: "31seconds till the last retransmission ... final timeout ... after 63seconds".
func TestSYNACKs(t *testing.T) {
	g := NewWithT(t)
	for _, release := range []string{"6.1", "6.12", "6.18"} {
		r := defaults(t, release).SYNACKs()
		g.Expect(sums(r.Timers)).To(Equal([]float64{1, 3, 7, 15, 31, 63}))
		g.Expect(r.Most).To(Equal(5))
	}
	g.Expect(sums(defaults(t, "6.12").WithSYNCount(2).SYNACKs().Timers)).To(Equal([]float64{1, 3, 7}))
	g.Expect(sums(defaults(t, "6.12").WithSYNCount(1).SYNACKsCrowded().Timers)).To(Equal([]float64{1, 3}))
	g.Expect(defaults(t, "6.12").WithSYNCount(0)).To(Equal(defaults(t, "6.12")))
	g.Expect(sums(defaults(t, "6.12").SYNACKsCrowded().Timers)).To(Equal([]float64{1, 3, 7}))
	g.Expect(sums(with(t, defaults(t, "6.12"), "tcp_synack_retries=0").SYNACKsCrowded().Timers)).To(Equal([]float64{1}))
}

// ip-sysctl.rst on tcp_retries2: "15 yields a hypothetical timeout of 924.6 seconds"; the others are of the formula, and
// in BEHAVIOURS.md.
func TestModelTimeout(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.12")
	for n, want := range map[int]time.Duration{
		0: 200 * time.Millisecond, 3: 3 * time.Second, 5: 12600 * time.Millisecond,
		8: 102200 * time.Millisecond, 9: 204600 * time.Millisecond, 10: 324600 * time.Millisecond, 15: 924600 * time.Millisecond,
	} {
		g.Expect(k.modelTimeout(n, modelRTO)).To(Equal(want), "%d", n)
	}
	g.Expect(k.modelTimeout(6, initialRTO)).To(Equal(127 * time.Second))
	g.Expect(k.modelTimeout(7, initialRTO)).To(Equal(247 * time.Second))
	// Linux 6.15: 1 s at most, so doubled twice, then linear: 0.2 0.4 0.8 1 1 1
	small := with(t, defaults(t, "6.15"), "tcp_rto_max_ms=1000")
	g.Expect(small.modelTimeout(5, modelRTO)).To(Equal(4400 * time.Millisecond))
}

// BEHAVIOURS.md's figures have one digit after the point.
func rounded(s Span) Span {
	const half = 50 * time.Millisecond
	return Between(s.Earliest-half, s.Latest+half)
}

// What was measured on 6.18 and 6.12 (BEHAVIOURS.md), at a round trip of next to nothing.
func TestBlackhole(t *testing.T) {
	g := NewWithT(t)
	near := Between(20*time.Microsecond, time.Millisecond)
	k := defaults(t, "6.12")
	r := k.Blackhole(Flow{RTT: near})
	for i, at := range []float64{.207, .415, .847, 1.68, 3.34, 6.7, 13.4, 26.7, 54, 108, 214} {
		measured := time.Duration(at * float64(time.Second))
		g.Expect(measured).To(r.Sent[i].LateBy(time.Second/2), "%d", i) // the figures are rounded
	}
	g.Expect(939 * time.Second).To(r.End)
	g.Expect(r.End.Earliest).To(BeNumerically(">=", 924600*time.Millisecond))
	g.Expect(r.Probes).To(Equal(1))
	least, most := timeouts(r)
	g.Expect([]int{least, most}).To(Equal([]int{16, 16}))

	for retries2, measured := range map[string]time.Duration{"3": 6900, "5": 13500, "8": 107400} {
		g.Expect(measured * time.Millisecond).To(rounded(with(t, k, "tcp_retries2="+retries2).Blackhole(Flow{RTT: near}).End))
	}
	for user, measured := range map[time.Duration]time.Duration{1: 1400, 5: 5500} {
		g.Expect(measured * time.Millisecond).To(rounded(k.Blackhole(Flow{RTT: near, UserTimeout: user * time.Second}).End))
	}
	g.Expect(108 * time.Second).To(k.Blackhole(Flow{RTT: near, Orphan: true}).End)
}

func TestBlackholeVariants(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.1")
	flow := Flow{RTO: 204 * time.Millisecond, NoProbe: true}
	r := with(t, k, "tcp_retries2=3").Blackhole(flow)
	// After the first retransmission .408, .816, 1.632, 3.264: the third comes at 2.856 s, before the model's 3 s,
	// the fourth at 6.12.
	g.Expect(r.Most).To(Equal(4))
	g.Expect(r.End.Earliest).To(Equal(6324 * time.Millisecond))

	// tcp_retries2=0 ends at the first time-out after a retransmission that finds 200 ms passed.
	r = with(t, k, "tcp_retries2=0").Blackhole(flow)
	g.Expect(sums(r.Timers)).To(Equal([]float64{.204, .612}))

	// An RTO so near to the model's that the lateness decides: 1.5 s and 3 s pass against 3.0.
	r = with(t, k, "tcp_retries2=3").Blackhole(Flow{RTO: 748 * time.Millisecond, NoProbe: true})
	g.Expect(r.Fewest).To(Equal(2), "1.496 s and at least 1.496+2.992 s pass against 3.0")
	r = with(t, k, "tcp_retries2=3").Blackhole(Flow{RTO: 1496 * time.Millisecond, NoProbe: true})
	g.Expect([]int{r.Fewest, r.Most}).To(Equal([]int{1, 2}), "2.992 s, and up to 256 ms more, against 3.0")
	g.Expect(r.End.Earliest).To(BeNumerically("~", 4496*time.Millisecond, 2*time.Millisecond))

	// With TCP_USER_TIMEOUT a timer that is late is the last one; if it is in time, one more follows that is sure to be: the
	// former can end later.
	r = k.Blackhole(Flow{RTT: Between(40*time.Millisecond, 42*time.Millisecond), UserTimeout: 15 * time.Second})
	g.Expect([]int{r.Fewest, r.Most}).To(Equal([]int{6, 7}))
	sixth := r.Sent[5].Latest + r.Gaps[6].Latest
	g.Expect(sixth).To(BeNumerically(">", r.Sent[6].Latest+r.Gaps[7].Latest))
	g.Expect(r.End.Latest).To(BeNumerically("~", sixth, 500*time.Millisecond))
	g.Expect(15550*time.Millisecond).To(r.End, "measured, with the program's end")

	// At 120 s it is linear, and an orphan without retries of its own is over as soon as the RTO is there.
	r = k.Blackhole(Flow{RTO: 60 * time.Second, NoProbe: true})
	g.Expect(slices.Max(r.Timers)).To(Equal(120 * time.Second))
	r = k.Blackhole(Flow{RTO: 60 * time.Second, NoProbe: true, Orphan: true})
	g.Expect(sums(r.Timers)).To(Equal([]float64{60, 180}))
	g.Expect(r.Most).To(Equal(1))

	// Thin streams: six at the same RTO.
	r = with(t, k, "tcp_thin_linear_timeouts=1", "tcp_retries2=5").Blackhole(flow)
	g.Expect(r.Timers[:8]).To(Equal(append(slices.Repeat([]time.Duration{204 * time.Millisecond}, 7), 408*time.Millisecond)))

	g.Expect(with(t, k, "tcp_early_retrans=0").Blackhole(Flow{RTO: time.Second}).Probes).To(Equal(0))
	g.Expect(with(t, k, "tcp_sack=0").Blackhole(Flow{RTO: time.Second}).Probes).To(Equal(0))
}

func TestRTO(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.12")
	ms := time.Millisecond
	for _, c := range []struct{ srtt, rttvar, rto time.Duration }{
		{20 * ms, 0, 220 * ms},
		{20*ms + time.Microsecond, 0, 224 * ms}, // the next jiffy
		{20 * ms, 60 * ms, 260 * ms},
		{200 * time.Second, 0, 120 * time.Second},
	} {
		g.Expect(k.rto(c.srtt, c.rttvar)).To(Equal(c.rto), "%+v", c)
	}
	g.Expect(k.RTOAfterHandshake(100 * ms)).To(Equal(300 * ms))
	g.Expect(k.RTOAfterHandshake(300 * ms)).To(Equal(900 * ms))
	g.Expect(with(t, k, "tcp_rto_min_us=5000").rto(20*ms, 0)).To(Equal(28*ms), "5 ms are two jiffies")

	timer, ok := k.lossProbe(20*ms, 2, 220*ms)
	g.Expect(timer).To(Equal(44*ms), "42 ms, in jiffies")
	g.Expect(ok).To(BeTrue())
	timer, _ = k.lossProbe(20*ms, 1, 220*ms)
	g.Expect(timer).To(Equal(220*ms), "240 ms, but not later than the RTO")
	timer, _ = k.lossProbe(20*ms, 1, 500*ms)
	g.Expect(timer).To(Equal(240 * ms))
}

// RFC 6298's own arithmetic, for what the kernel does not do differently.
func TestEstimator(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.12")
	e := k.NewEstimator()
	e.Sample(300*time.Millisecond, true)
	g.Expect(e.rto()).To(Equal(k.RTOAfterHandshake(300 * time.Millisecond)))
	g.Expect(mDev(e)).To(Equal(150 * time.Millisecond))

	e.Sample(400*time.Millisecond, true)
	g.Expect(e.SRTT()).To(Equal(312500 * time.Microsecond)) // 7/8 300 + 1/8 400
	g.Expect(mDev(e)).To(Equal(137500 * time.Microsecond))  // 3/4 150 + 1/4 100
	g.Expect(e.rto()).To(Equal(k.inJiffies(912500 * 1000))) // the variance is still the greatest deviation: 600 ms
	g.Expect(e.RTTVar()).To(Equal(150 * time.Millisecond))
	for range 100 {
		e.Sample(300*time.Millisecond, true)
	}
	g.Expect(e.SRTT()).To(BeNumerically("~", 300*time.Millisecond, time.Millisecond))
	g.Expect(4*e.RTTVar()).To(Equal(k.RTOMin()), "no less")
	g.Expect(e.rto()).To(Equal(504*time.Millisecond), "SRTT, which rounding keeps a microsecond above, and 200 ms")
}

func TestKeepalive(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.12")
	r := k.Keepalive(KeepaliveOptions{Time: 2 * time.Second, Interval: time.Second, Probes: 3})
	g.Expect(sums(r.Timers)).To(Equal([]float64{2, 3, 4, 5}))
	g.Expect([]int{r.Fewest, r.Most}).To(Equal([]int{3, 3}))
	g.Expect(5 * time.Second).To(r.End)

	r = k.Keepalive(KeepaliveOptions{Time: 2 * time.Second, Interval: time.Second, Probes: 9, UserTimeout: 5500 * time.Millisecond})
	g.Expect([]int{r.Fewest, r.Most}).To(Equal([]int{4, 4}))
	g.Expect(6100 * time.Millisecond).To(r.End)
	// Just on a timer: the timers before are late by a jiffy at least, so it has passed.
	r = k.Keepalive(KeepaliveOptions{Time: 2 * time.Second, Interval: time.Second, Probes: 9, UserTimeout: 5 * time.Second})
	g.Expect([]int{r.Fewest, r.Most}).To(Equal([]int{3, 3}))
	// A user time-out shorter than the idle time still waits for one probe.
	r = k.Keepalive(KeepaliveOptions{Time: 2 * time.Second, Interval: time.Second, UserTimeout: time.Second})
	g.Expect([]int{r.Fewest, r.Most}).To(Equal([]int{1, 1}))

	// ip-sysctl.rst: 2 hours, and "~11 minutes of retries" for 9 probes of 75 s.
	g.Expect(k.Keepalive(KeepaliveOptions{}).End.Earliest).To(BeNumerically("~", 2*time.Hour+9*75*time.Second, time.Second))
}

func TestZeroWindow(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.12")
	// Up to 20 ms, as delayed ACKs of the stalling reader are in the estimate.
	probes := k.ZeroWindowProbes(ProbeOptions{RTT: Between(0, 20*time.Millisecond)}, 7)
	for i, at := range []float64{.22, .64, 1.5, 3.2, 6.7, 13.6, 27} { // measured
		g.Expect(time.Duration(at*float64(time.Second))).To(rounded(probes[i]), "%d", i)
	}
	_, ends := k.ZeroWindowEnd(ProbeOptions{RTO: 200 * time.Millisecond})
	g.Expect(ends).To(BeFalse(), "while they are answered")
	r := with(t, k, "tcp_retries2=3").zeroWindowUnanswered(ProbeOptions{RTO: 200 * time.Millisecond})
	g.Expect(sums(r.Timers)).To(Equal([]float64{.2, .6, 1.4, 3}))
	g.Expect(r.Most).To(Equal(3))
	r = k.zeroWindowUnanswered(ProbeOptions{RTO: 200 * time.Millisecond, UserTimeout: time.Second})
	g.Expect(r.End.Earliest).To(Equal(1200*time.Millisecond), "one second after the first probe")
}

// TCP_USER_TIMEOUT counts from the first probe on, answered or not.
func TestZeroWindowUserTimeout(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.1")
	p := ProbeOptions{RTT: Between(20*time.Millisecond, 22*time.Millisecond), UserTimeout: 10 * time.Second}
	end, ends := k.ZeroWindowEnd(p)
	g.Expect(ends).To(BeTrue())
	g.Expect(10290 * time.Millisecond).To(end) // measured
	g.Expect(end.Earliest).To(Equal(10220 * time.Millisecond))
	// The timer that is cut runs for some 3.5 s: 256 ms of the wheel, a tick of rounding, and so on for the first.
	g.Expect(end.Latest).To(BeNumerically("<", end.Earliest+400*time.Millisecond))

	probes := k.ZeroWindowProbes(p, 8)
	g.Expect(probes).To(Equal(k.ZeroWindowProbes(ProbeOptions{RTT: p.RTT}, 5)), "0.22, 0.68, 1.6, 3.3, 6.8 s; the next were at 13.9")
	g.Expect(k.ZeroWindowProbes(p, 3)).To(HaveLen(3))
	for _, probe := range probes {
		g.Expect(probe.Latest).To(BeNumerically("<", end.Earliest))
	}

	// None but the first before a time-out that is over at once; the timer is cut to two ticks.
	p.UserTimeout = time.Millisecond
	end, _ = k.ZeroWindowEnd(p)
	g.Expect(k.ZeroWindowProbes(p, 8)).To(HaveLen(1))
	g.Expect(end.Earliest).To(Equal(240*time.Millisecond), "the answer comes after 20 ms")
	g.Expect(end.Latest).To(BeNumerically("<", 290*time.Millisecond))

	// A probe is there or not by the lateness of those before it.
	p.UserTimeout = 440 * time.Millisecond
	g.Expect(k.ZeroWindowProbes(p, 8)).To(HaveLen(1), "the next is due 460 ms after the first")
	p.UserTimeout = 480 * time.Millisecond
	end, _ = k.ZeroWindowEnd(p)
	g.Expect(k.ZeroWindowProbes(p, 8)).To(HaveLen(2))
	g.Expect(end.Earliest).To(Equal(700 * time.Millisecond))
}

func TestDelayedACK(t *testing.T) {
	g := NewWithT(t)
	ms := time.Millisecond
	// measured: 40 to 52 ms an exchange
	g.Expect(defaults(t, "6.12").DelayedACK(0)).To(haveEdges(40*ms, 45*ms))
	g.Expect(defaults(t, "6.1").DelayedACK(time.Second)).To(haveEdges(40*ms, 205*ms))
	g.Expect(defaults(t, "6.12").DelayedACK(time.Second)).To(haveEdges(40*ms, 201*ms))
	g.Expect(with(t, defaults(t, "6.12"), "tcp_rto_min_us=20000").DelayedACK(0)).To(haveEdges(16*ms, 21*ms))

	k := defaults(t, "6.12")
	g.Expect(k.QuickACKs(65536, 1448)).To(Equal(16))
	g.Expect(k.QuickACKs(8192, 1448)).To(Equal(2))
	g.Expect(k.QuickACKs(1000, 1448)).To(Equal(2))
}

func TestQueues(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.12")
	g.Expect(k.AcceptQueue(3)).To(Equal(4))
	g.Expect(k.AcceptQueue(-1)).To(Equal(4097))
	g.Expect(k.AcceptQueue(100_000)).To(Equal(4097))
	// measured, of 200 SYNs: 9 and 191; without cookies 191 drops; with 2, none held
	g.Expect(k.SYNFlood(200, 8)).To(Equal(Flood{Held: 9, Cookies: 191}))
	g.Expect(with(t, k, "tcp_syncookies=0").SYNFlood(200, 8)).To(Equal(Flood{Held: 9, Dropped: 191, Full: 191}))
	g.Expect(with(t, k, "tcp_syncookies=2").SYNFlood(200, 8)).To(Equal(Flood{Cookies: 200}))
	// The quarter in reserve: 128 - 32 + 1
	g.Expect(with(t, k, "tcp_syncookies=0").SYNFlood(200, 1000)).To(Equal(Flood{Held: 97, Dropped: 103}))
	g.Expect(k.SYNFlood(5, 8)).To(Equal(Flood{Held: 5}))
	g.Expect(with(t, k, "ip_local_port_range=40000 40009").EphemeralPorts()).To(Equal(10))
	g.Expect(k.EphemeralPorts()).To(Equal(28232))
}

func TestClosing(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.1")
	g.Expect(60200 * time.Millisecond).To(k.TimeWait())
	g.Expect(k.TimeWait().Latest).To(BeNumerically("<", 63*time.Second))

	rto := 204 * time.Millisecond
	whole, orphan := with(t, k, "tcp_fin_timeout=3").FINWait2(rto, 0)
	g.Expect(3200 * time.Millisecond).To(whole)
	g.Expect(orphan).To(Equal(Span{}))
	whole, _ = with(t, k, "tcp_fin_timeout=1").FINWait2(400*time.Millisecond, 0)
	g.Expect(whole.Earliest).To(Equal(1400*time.Millisecond), "3.5 RTO")
	whole, orphan = with(t, k, "tcp_fin_timeout=90").FINWait2(rto, 0)
	g.Expect(whole.Earliest).To(Equal(60 * time.Second))
	g.Expect(orphan.Earliest).To(Equal(30 * time.Second))
	whole, orphan = k.FINWait2(rto, -1)
	g.Expect(whole).To(haveEdges(0, 0))
	g.Expect(orphan).To(haveEdges(0, 0))
	whole, orphan = k.FINWait2(rto, 120*time.Second)
	g.Expect(whole.Earliest).To(Equal(120 * time.Second))
	g.Expect(orphan.Earliest).To(Equal(60 * time.Second))

	held, overflow := with(t, k, "tcp_max_tw_buckets=50").TimeWaits(80)
	g.Expect([]int{held, overflow}).To(Equal([]int{50, 30}))

	_, ok := k.TimeWaitReuse(false)
	g.Expect(ok).To(BeFalse(), "tcp_tw_reuse is 2: on loopback only")
	age, ok := with(t, k, "tcp_tw_reuse=1").TimeWaitReuse(false)
	g.Expect(ok).To(BeTrue())
	g.Expect(age).To(haveEdges(0, time.Second))
	age, _ = with(t, defaults(t, "6.14"), "tcp_tw_reuse=1", "tcp_tw_reuse_delay=200").TimeWaitReuse(false)
	g.Expect(age.Earliest).To(Equal(200 * time.Millisecond))
}

func TestPath(t *testing.T) {
	g := NewWithT(t)
	k := with(t, defaults(t, "6.12"), "tcp_mtu_probing=1")
	flow := Flow{RTT: Between(0, time.Millisecond), InFlight: 10}
	hole, ok := k.BlackHole(flow, 1448)
	g.Expect(ok).To(BeTrue())
	g.Expect(6500 * time.Millisecond).To(hole.Found) // measured
	g.Expect(hole.MSS[:3]).To(Equal([]int{1024, 512, 256}))
	g.Expect(slices.Min(hole.MSS)).To(Equal(48))
	hole, _ = with(t, k, "tcp_mtu_probing=2").BlackHole(flow, 1448)
	g.Expect(hole.MSS[0]).To(Equal(512))
	hole, _ = k.BlackHole(flow, 536)
	g.Expect(hole.MSS[:2]).To(Equal([]int{536, 512}))
	for user, found := range map[time.Duration]bool{2 * time.Second: false, 3 * time.Second: false, time.Minute: true} {
		flow.UserTimeout = user
		_, ok = k.BlackHole(flow, 1448)
		g.Expect(ok).To(Equal(found), "%v", user)
	}
	flow.UserTimeout = 0
	_, ok = with(t, k, "tcp_mtu_probing=0").BlackHole(flow, 1448)
	g.Expect(ok).To(BeFalse())
	g.Expect(k.PathMTULife()).To(Equal(10 * time.Minute))
}

// The wheel's table in kernel/time/timer.c, for HZ 1000, 300, 250 and 100.
func TestTimerWheel(t *testing.T) {
	g := NewWithT(t)
	for _, level := range []struct{ first, granularity int64 }{
		{0, 1}, {63, 8}, {504, 64}, {4032, 512}, {32256, 4096}, {258048, 32768}, {2064384, 262144}, {16515072, 2097152},
	} {
		g.Expect(wheelGranularity(level.first)).To(Equal(level.granularity), "%d", level.first)
		if level.first > 0 {
			g.Expect(wheelGranularity(level.first-1)).To(Equal(level.granularity/8), "%d", level.first)
		}
	}
	g.Expect(expiry(1000, 1)).To(BeEquivalentTo(1002), "never the jiffy itself: the current one has begun")
	g.Expect(expiry(1000, 250)).To(BeEquivalentTo(1256))
	g.Expect(expiry(1006, 250)).To(BeEquivalentTo(1264), "a multiple of eight is rounded up, too")

	// Whatever the phase, no timer is early, and none later than Late says.
	k := defaults(t, "6.12")
	for _, d := range []time.Duration{4, 40, 204, 248, 252, 1000, 2012, 2016, 8000, 16124, 16128, 60_000, 120_000} {
		d *= time.Millisecond
		var worst time.Duration
		for now := range int64(1024) {
			begun := time.Duration(now) * k.Tick() // the jiffy's begin; the timer may be set until just before its end
			fires := time.Duration(expiry(now, k.jiffies(d))) * k.Tick()
			g.Expect(fires - begun - k.Tick()).To(BeNumerically(">=", d))
			worst = max(worst, fires-begun-d)
		}
		g.Expect(worst).To(BeNumerically("<=", k.late(d)), "%v", d)
		g.Expect(k.late(d)-worst).To(BeNumerically("<=", dispatch+7*k.Tick()*time.Duration(wheelGranularity(k.jiffies(d)))), "%v", d)
	}
	g.Expect(k.late(time.Second)).To(Equal(33 * time.Millisecond))
	g.Expect(k.late(8 * time.Second)).To(Equal(257 * time.Millisecond))
}

type fakeHost map[string]string

func (h fakeHost) Sysctl(key string) (string, error) {
	if value, ok := h[key]; ok {
		return value, nil
	}
	return "", &fs.PathError{Op: "open", Path: key, Err: fs.ErrNotExist}
}

func TestRead(t *testing.T) {
	g := NewWithT(t)
	host := fakeHost{}
	for _, s := range sysctls {
		if s.since == [2]int{} {
			host[s.key] = strings.Trim(strings.Join(strings.Fields(fmt.Sprint(s.initial)), "\t"), "[]")
		}
	}
	old, err := Read(host, version(t, "6.12"), 250)
	g.Expect(err).NotTo(HaveOccurred())
	expected := Defaults(version(t, "6.1"))
	expected.Version = version(t, "6.12") // what the host has decides
	g.Expect(old).To(Equal(expected))

	host["net.ipv4.tcp_syn_linear_timeouts"] = "3"
	read, err := Read(host, version(t, "6.1"), 1000)
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(read.Sysctls.SYNLinearTimeouts).To(Equal(3))
	g.Expect(read.Tick()).To(Equal(time.Millisecond))

	delete(host, "net.ipv4.tcp_retries2")
	host["net.ipv4.tcp_sack"] = "often"
	_, err = Read(host, version(t, "6.1"), 250)
	g.Expect(err).To(MatchError(And(ContainSubstring("tcp_retries2"), ContainSubstring(`tcp_sack: value "often"`))))
}

func TestSet(t *testing.T) {
	k := defaults(t, "6.1")
	for _, c := range []struct{ key, value, says string }{
		{"net.ipv4.tcp_no_such", "1", "unknown sysctl"},
		{"net.ipv4.tcp_syn_linear_timeouts", "4", "Linux 6.5 brought it"},
		{"net.ipv4.tcp_syn_retries", "0", "allowed are 1 to 127"},
		{"net.ipv4.tcp_syn_retries", "six", "allowed are 1 to 127"},
		{"net.ipv4.tcp_syn_retries", "", "want 1 numbers"},
		{"net.ipv4.ip_local_port_range", "1000", "want 2 numbers"},
		{"net.ipv4.ip_local_port_range", "2000 1000", "lower number first"},
	} {
		NewWithT(t).Expect(k.Set(c.key, c.value)).To(MatchError(ContainSubstring(c.says)), "%s=%s", c.key, c.value)
	}
	NewWithT(t).Expect(k).To(Equal(defaults(t, "6.1")), "what is refused changes nothing")
}

func TestRunning(t *testing.T) {
	g := NewWithT(t)
	k, err := Running()
	g.Expect(err).NotTo(HaveOccurred())
	g.Expect(k.HZ).To(BeElementOf(100, 250, 300, 1000))
	g.Expect(k.Connect(ConnectOptions{}).Most).To(BeNumerically(">", 0))
}

func TestSpansMatch(t *testing.T) {
	g := NewWithT(t)
	spans := Spans{Between(time.Second, 2*time.Second), Exactly(3 * time.Second)}
	g.Expect([]time.Duration{time.Second, 3 * time.Second}).To(spans)
	g.Expect([]time.Duration{time.Second}).NotTo(spans)
	g.Expect([]time.Duration{time.Second, 4 * time.Second}).NotTo(spans)
	g.Expect(spans.FailureMessage([]time.Duration{time.Second, 4 * time.Second})).To(ContainSubstring("number 2 is 4s, allowed are 3s"))
	g.Expect(time.Second - Grain).To(spans[0])
	g.Expect(time.Second - Grain - 1).NotTo(spans[0])
	g.Expect(2*time.Second + 1).NotTo(spans[0])
	_, err := spans.Match(1)
	g.Expect(err).To(MatchError(ContainSubstring("not a int")))
	_, err = spans[0].Match(1.5)
	g.Expect(err).To(MatchError(ContainSubstring("not a float64")))
}

func TestSpansBy(t *testing.T) {
	g := NewWithT(t)
	spans := Spans{
		Between(time.Second, 1100*time.Millisecond).From("a timer"),
		Between(2*time.Second, 2200*time.Millisecond).From("a timer"),
		Between(4*time.Second, 4400*time.Millisecond).From("a timer"),
	}
	for _, c := range []struct {
		then         Span
		fewest, most int
	}{
		{Exactly(500 * time.Millisecond), 0, 0},
		{Exactly(time.Second - Grain), 0, 1}, // what is seen can be by a grain early
		{Exactly(1100 * time.Millisecond), 0, 1},
		{Exactly(1100*time.Millisecond + Grain), 1, 1},
		{Exactly(3 * time.Second), 2, 2},
		{Between(3*time.Second, 4*time.Second), 2, 3},
		{Exactly(time.Minute), 3, 3},
	} {
		g.Expect(spans.By(c.then)).To(Equal(bounds.Between(c.fewest, c.most).From("a timer")), "%v", c.then)
	}
}

// expiry is the jiffy at which a timer fires that is set in jiffy now to go off n jiffies later: the next multiple of
// its level's granularity after its time, never that time itself (kernel/time/timer.c: calc_index).
func expiry(now, n int64) int64 {
	granularity := wheelGranularity(n)
	return ((now+n)/granularity + 1) * granularity
}

// timeouts is by how much TcpExtTCPTimeouts grows, at least and at most: nothing is sent at the last one, and a probe
// is none.
func timeouts(r Retry) (fewest, most int) { return r.Fewest - r.Probes + 1, r.Most - r.Probes + 1 }

// mDev is the mean deviation: TCP_INFO's tcpi_rttvar.
func mDev(e *Estimator) time.Duration { return time.Duration(e.mdev4/4) * time.Microsecond }

// A router that answers each retransmission keeps the RTO down, so the end comes soon after the time of tcp_retries2; a slow one lets it
// grow until it can answer each.
func TestUnreachable(t *testing.T) {
	g := NewWithT(t)
	k := defaults(t, "6.1")
	flow := Flow{RTT: Between(40*time.Millisecond, 41*time.Millisecond), RTO: 248 * time.Millisecond}
	silent := k.Blackhole(flow)
	begins := silent.Sent[silent.Probes]
	limit := 924600 * time.Millisecond // tcp_retries2 = 15 (ip-sysctl.rst)
	for interval, rto := range map[time.Duration]time.Duration{
		0: 248 * time.Millisecond, time.Second: 1984 * time.Millisecond, 2 * time.Second: 3968 * time.Millisecond, time.Hour: 2 * time.Minute,
	} {
		end := k.Unreachable(flow, interval)
		g.Expect(end.Earliest).To(Equal(begins.Earliest+limit), "%v", interval)
		g.Expect(end.Latest-begins.Latest-limit).To(And(BeNumerically(">=", rto), BeNumerically("<", rto+rto/7+20*time.Millisecond)), "%v", interval)
	}
	flow.UserTimeout = 10 * time.Second
	g.Expect(k.Unreachable(flow, 0).Earliest).To(Equal(k.Blackhole(flow).Sent[1].Earliest + 10*time.Second))
}

// A thousandth, and 100 ms at most.
func TestPollTimeout(t *testing.T) {
	g := NewWithT(t)
	g.Expect(PollTimeout(5 * time.Second)).To(Equal(Between(5*time.Second, 5005*time.Millisecond).From("select_estimate_accuracy")))
	g.Expect(PollTimeout(time.Hour).Latest).To(Equal(time.Hour + 100*time.Millisecond))
}
