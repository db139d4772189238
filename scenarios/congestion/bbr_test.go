package congestion

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// BBR's constants, in net/ipv4/tcp_bbr.c, where gains are in units of 1/256 (BBR_UNIT).
const (
	highGain  = 739. / 256 // bbr_high_gain: 2/ln 2, with which the rate doubles in a round trip
	drainGain = 88. / 256  // bbr_drain_gain: its inverse
	cwndGain  = 2.         // bbr_cwnd_gain: for ACKs that are late or tell of many segments

	pacingMargin = 0.99 // bbr_pacing_margin_percent: the rate is 1 % less than the gain says

	probePhases = 8                      // CYCLE_LEN: of the gains 1.25, 0.75, and 1 six times
	probeWindow = 4                      // bbr_cwnd_min_target, segments
	probeTime   = 200 * time.Millisecond // bbr_probe_rtt_mode_ms
	probeEvery  = 10 * time.Second       // bbr_min_rtt_win_sec
)

// What BBR adds to its windows for bursts, in segments: three of two (bbr_quantization_budget), one to make it even, and
// what ACKs that came together have told of (bbr_ack_aggregation_cwnd), which a link that only delays keeps to a few.
const bbrQuanta = 3*2 + 1 + 3

// bbrSlack, in segments, is of what is sent in a time: some more are sent where the one before was late, as pacing makes up
// for that (tcp_update_skb_after_send), and the time begins and ends between two.
const bbrSlack = 3

// samplePeriod is how often BBR is asked, or less often where the host has more to do.
const samplePeriod = 10 * time.Millisecond

// bbrFlow sends as many segments by BBR over a link that loses nothing.
func bbrFlow(lab *harness.Lab, net *netns.Topology, bitRate int64, roundTrip time.Duration, segments int64) flow {
	GinkgoHelper()
	lab.Impair(net.ToServer, impair.Netem{Delay: roundTrip / 2, Rate: impair.Rate{BitsPerSecond: bitRate}, Limit: 1000})
	lab.Impair(net.ToClient, impair.Netem{Delay: roundTrip / 2})
	f := transfer(lab, net, samplePeriod, peers.BulkClient{
		Connect: harness.Addr(net.Server(), port), Bytes: segments * segment(), Socket: peers.Socket{Congestion: "bbr"},
	}, peers.Socket{})
	Expect(f.Connection.Congestion).To(Equal("bbr"))
	Expect(lab.Counters(net.Client())).To(HaveGrown("TcpRetransSegs", 0))
	Expect(len(phases(f.socket))).To(BeNumerically(">", 2), "phases")
	return f
}

// A phase is a time in which BBR does not change its gains. It began between two samples, and ended between two.
type phase struct {
	pacing, cwnd float64
	points       []kernel.Point // in it
	after        time.Duration  // when the one before was last seen
	until        time.Duration  // when the next one was first seen
}

// seen is when it was seen first, and when last.
func (p phase) seen() (first, last time.Duration) {
	return p.points[0].At, p.points[len(p.points)-1].At
}

// least and most are what its length was between. A sample is of some time after its At.
func (p phase) least() time.Duration {
	first, last := p.seen()
	return last - first - hostDelay
}

func (p phase) most() time.Duration { return p.until - p.after + hostDelay }

// phases are all but the last one, which has no end.
func phases(socket []kernel.Point) []phase {
	var all []phase
	for _, p := range socket {
		last := len(all) - 1
		if last < 0 || all[last].pacing != p.BBR.PacingGain || all[last].cwnd != p.BBR.CwndGain {
			next := phase{pacing: p.BBR.PacingGain, cwnd: p.BBR.CwndGain}
			if last >= 0 {
				all[last].until = p.At
				_, next.after = all[last].seen()
			}
			all = append(all, next)
			last++
		}
		all[last].points = append(all[last].points, p)
	}
	return all[:len(all)-1]
}

// inFlight is how many segments were on their way after each one that was sent, by the capture.
func inFlight(f flow) []int {
	var counts []int
	for s := range analysis.Classify(slices.Values(f.segments)) {
		if s.Length > 0 && s.Src == f.Local {
			counts = append(counts, s.BytesInFlight/int(segment()))
		}
	}
	return counts
}

// sent counts what is sent in each time of a length that begins with one of the segments.
func sent(data []analysis.Segment, length time.Duration) []int {
	var counts []int
	end := 0
	for i, s := range data {
		for end < len(data) && data[end].At < s.At+length {
			end++
		}
		if end == len(data) {
			break
		}
		counts = append(counts, end-i)
	}
	return counts
}

// renewed is from when BBR counted the time to its next probe: it found another shortest round trip, ended a probe
// (bbr_check_probe_rtt_done), or began. That was between two samples, or with the SYN ACK, as TCP_INFO tells in milliseconds
// that are made from jiffies.
func renewed(socket []kernel.Point, before, jiffy time.Duration) (after, until time.Duration) {
	opened := time.Duration(socket[0].TCPInfo.Last_ack_recv) * time.Millisecond
	after, until = socket[0].At-opened-jiffy, socket[0].At
	for i := 1; i < len(socket) && socket[i].At < before; i++ {
		last, this := socket[i-1].BBR, socket[i].BBR
		if this.MinRTT != last.MinRTT || last.CwndGain == 1 && this.CwndGain != 1 {
			after, until = socket[i-1].At, socket[i].At
		}
	}
	return after, until
}

// fewInFlight are the times in which each segment that was sent was one of a few in flight, if they are longer than a
// tenth of a second: not where the flow begins and ends.
func fewInFlight(f flow, few int) []time.Duration {
	var times []time.Duration
	counts := inFlight(f)
	for first := 0; first < len(counts); first++ {
		if counts[first] > few {
			continue
		}
		next := first
		for next < len(counts) && counts[next] <= few {
			next++
		}
		if next < len(counts) && f.data[next].At-f.data[first].At > 100*time.Millisecond {
			times = append(times, f.data[next].At-f.data[first].At)
		}
		first = next
	}
	return times
}

var _ = It("BBR starts at 2.885 times the rate that it finds, then drains the queue that this made", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		const roundTrip, bitRate = 100 * time.Millisecond, 4 * impair.Mbit
		lab := harness.NewLab(ctx)
		f := bbrFlow(lab, lab.Routed(largeBuffers), bitRate, roundTrip, 800)
		full := bandwidthDelay(bitRate, roundTrip)

		// The socket: STARTUP, DRAIN, and the first phase of PROBE_BW, when the queue is gone.
		seen := phases(f.socket)
		Expect([]float64{seen[0].pacing, seen[0].cwnd}).To(Equal([]float64{highGain, highGain}))
		Expect([]float64{seen[1].pacing, seen[1].cwnd}).To(Equal([]float64{drainGain, highGain}))
		first := seen[2].points[0]
		Expect(first.BBR.CwndGain).To(Equal(cwndGain))
		Expect(first.TCPInfo.Unacked).To(BeNumerically("~", full, bbrQuanta+bbrSlack))
		// Of the payload. A sample is of a round trip at least, in which hosts hold an ACK back at most so long.
		bandwidth := float64(bitRate/8*segment()) / packet
		Expect(float64(first.BBR.Bandwidth)).To(BeNumerically("~", bandwidth, bandwidth*hostDelay.Seconds()/roundTrip.Seconds()))

		// The wire: up to so many segments in flight, then so few of them in a round trip.
		flight := inFlight(f)
		most := slices.Max(flight)
		fewest := slices.Min(sent(f.data[slices.Index(flight, most):], roundTrip))
		Expect(most).To(BeNumerically("~", highGain*full, bbrQuanta))
		Expect(fewest).To(BeNumerically("~", drainGain*pacingMargin*full, bbrSlack))
		lab.Figure("gain of STARTUP", seen[0].pacing, "", "2.885: 2/ln 2")
		lab.Figure("most in flight", float64(most)/full, "times what the path holds", "2.885 and some segments")
	})

var _ = It("BBR probes for bandwidth in cycles of eight phases: 1.25, 0.75, and six times 1", Label("long", "netem", "linux"),
	func(ctx SpecContext) {
		const roundTrip, bitRate = 200 * time.Millisecond, 4 * impair.Mbit
		// An ACK is of two segments, and in a phase of 0.75 they come at so much less than the link's rate.
		const acks = 2 * packet * 8 * time.Second / time.Duration(bitRate*75/100*99/100)
		lab := harness.NewLab(ctx)
		f := bbrFlow(lab, lab.Routed(largeBuffers), bitRate, roundTrip, 2800)

		// The socket. A phase lasts for the shortest round trip, which the next ACK ends; but the first one goes on
		// until the queue is there, and the second one ends when it is gone (bbr_is_next_cycle_phase).
		cycles := phases(f.socket)[2:]
		for len(cycles) > 0 && cycles[0].pacing != 1.25 { // BBR begins somewhere in a cycle, at random
			cycles = cycles[1:]
		}
		Expect(len(cycles)).To(BeNumerically(">=", 6), "two cycles")
		minRTT := time.Duration(cycles[0].points[0].BBR.MinRTT) * time.Microsecond
		Expect(minRTT).To(BeNumerically("~", roundTrip, hostDelay))
		for i, p := range cycles {
			Expect(p.cwnd).To(Equal(cwndGain))
			Expect(p.pacing).To(Equal([]float64{1.25, 0.75, 1}[i%3]))
			switch p.pacing {
			case 1.25:
				Expect(p.most()).To(BeNumerically(">=", minRTT))
			case 0.75:
				Expect(p.least()).To(BeNumerically("<=", minRTT+acks))
			case 1:
				Expect(p.most()).To(BeNumerically(">=", (probePhases-2)*minRTT))
				Expect(p.least()).To(BeNumerically("<=", (probePhases-2)*(minRTT+acks)))
			}
		}

		// The wire: what is sent in half a round trip goes up and down by a quarter.
		half := pacingMargin * bandwidthDelay(bitRate, roundTrip/2)
		counts := sent(f.data[len(f.data)/2:], roundTrip/2)
		Expect(slices.Max(counts)).To(BeNumerically("~", 1.25*half, bbrSlack))
		Expect(slices.Min(counts)).To(BeNumerically("~", 0.75*half, bbrSlack))
		lab.Figure("a cycle", float64(cycles[3].points[0].At-cycles[0].points[0].At)/float64(minRTT), "round trips", "about 8")
	})

var _ = It("BBR looks for the shortest round trip with four segments in flight, for 200 ms, when none was shorter for 10 s", Label("long", "netem", "linux"),
	func(ctx SpecContext) {
		const roundTrip, bitRate = 100 * time.Millisecond, 2 * impair.Mbit
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		f := bbrFlow(lab, net, bitRate, roundTrip, 3500)

		// The socket.
		probes := 0
		for _, p := range phases(f.socket) {
			if p.cwnd != 1 {
				continue
			}
			probes++
			first, _ := p.seen()
			after, until := renewed(f.socket, first, lab.Oracle(net.Client()).Tick())
			Expect(first - after + hostDelay).To(BeNumerically(">=", probeEvery))
			Expect(p.after - until).To(BeNumerically("<=", probeEvery+roundTrip))
			// What is in flight comes back first, then it waits for 200 ms or a round trip, and for the next ACK.
			Expect(p.most()).To(BeNumerically(">=", probeTime))
			Expect(p.least()).To(BeNumerically("<=", 2*2*roundTrip+probeTime))
			// A sample has the gains of one ACK later than the window (kernel.Socket), if that comes just then: not the first.
			// A sender with nothing in flight then has its window back before the ACK that ends the phase (bbr_cwnd_event).
			for _, point := range p.points[1:] {
				if point.At < p.after+probeTime-hostDelay {
					Expect(window(point)).To(Equal(probeWindow))
				}
			}
		}
		Expect(probes).To(Equal(2))

		// The wire.
		quiet := fewInFlight(f, probeWindow)
		Expect(quiet).To(HaveExactElements(BeNumerically(">=", probeTime), BeNumerically(">=", probeTime)))
		lab.Figure("with four segments in flight", quiet[0].Seconds()*1e3, "ms", "200 and more: BBR's probe_rtt_mode_ms")
	})
