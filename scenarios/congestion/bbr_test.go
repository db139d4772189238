package congestion

import (
	"fmt"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/peers"
)

// samplePeriod is how often BBR is asked, or less often where the host has more to do.
const samplePeriod = 10 * time.Millisecond

// bbrFlow sends as many segments by BBR over a link that loses nothing.
func bbrFlow(lab *harness.Lab, net *harness.Network, path oracle.Bottleneck, segments int64) flow {
	GinkgoHelper()
	impairBottleneck(net, path, queueLimit)
	f := transfer(lab, net, samplePeriod, peers.BulkClient{
		Connect: net.Server().Addr(port), Bytes: segments * harness.MSS(), Socket: peers.Socket{Congestion: "bbr"},
	}, peers.Socket{})
	Expect(f.Connection.Congestion).To(Equal("bbr"))
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	Expect(len(phases(f.socket))).To(BeNumerically(">", 2), "phases")
	return f
}

// model is what BBR has found out of the path, as a sample tells it.
func model(p kernel.Point) oracle.BBR {
	mss := int(p.TCPInfo.Snd_mss)
	return oracle.BBR{
		Bandwidth: float64(p.BBR.Bandwidth) / float64(mss),
		MinRTT:    time.Duration(p.BBR.MinRTT) * time.Microsecond,
		MSS:       mss,
	}
}

// checkModel checks that BBR has found what the path is. A bandwidth is of what is acknowledged in an RTT at least, at
// whose beginning and end hosts may hold an ACK back.
func checkModel(lab *harness.Lab, m oracle.BBR, path oracle.Bottleneck) {
	GinkgoHelper()
	carried := 1 / path.Frame().Seconds()
	lab.Check("bandwidth found", bounds.In(m.Bandwidth, "segments/s"),
		bounds.Around(carried, carried*harness.HostDelay.Seconds()/path.RTT.Seconds()), "tcp_rate_gen")
	lab.Check("least RTT found", m.MinRTT, oracle.Exactly(path.RTT).LateBy(harness.HostDelay), "of the SYN, which is short")
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

// least and most are what its length was between.
func (p phase) least() time.Duration {
	first, last := p.seen()
	return last - first
}

func (p phase) most() time.Duration { return p.until - p.after }

// check checks how long the phase was. A sample is of some time after its At, by a system call that may be interrupted.
func (p phase) check(lab *harness.Lab, name string, expected oracle.Span) {
	GinkgoHelper()
	if r := expected.Range(); r.Lower > 0 {
		lab.Check(name+", at most", p.most()+harness.HostDelay, bounds.AtLeast(expected.Earliest-oracle.Grain), r.Source)
	}
	lab.Check(name+", at least", p.least()-harness.HostDelay, bounds.AtMost(expected.Latest), expected.Source)
}

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
			counts = append(counts, s.BytesInFlight/int(harness.MSS()))
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
// (bbr_check_probe_rtt_done), or began. That was between two samples, or with the SYN ACK, as TCP_INFO tells in
// milliseconds that are made from jiffies: it can be a jiffy more.
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
		path := oracle.Bottleneck{Rate: 4 * impair.Mbit, RTT: 100 * time.Millisecond}
		lab := harness.NewLab(ctx)
		f := bbrFlow(lab, lab.Routed(largeBuffers), path, 800)

		// The socket: STARTUP, DRAIN, and the first phase of PROBE_BW, when the queue is gone.
		seen := phases(f.socket)
		Expect([]float64{seen[0].pacing, seen[0].cwnd}).To(Equal([]float64{oracle.BBRHighGain, oracle.BBRHighGain}))
		Expect([]float64{seen[1].pacing, seen[1].cwnd}).To(Equal([]float64{oracle.BBRDrainGain, oracle.BBRHighGain}))
		first := seen[2].points[0]
		Expect(first.BBR.CwndGain).To(Equal(oracle.BBRWindowGain))
		checkModel(lab, model(first), path)
		lab.Check("in flight after DRAIN", first.TCPInfo.Unacked, model(first).AfterDrain(first.At+harness.HostDelay-seen[2].after))

		// The wire: up to so many segments in flight, then so few of them in a round trip.
		flight := inFlight(f)
		most := slices.Max(flight)
		fewest := slices.Min(sent(f.data[slices.Index(flight, most):], path.RTT))
		started, drained := model(last(seen[0].points)), model(last(seen[1].points))
		lab.Measure("most in flight in STARTUP", bounds.In(most, "segments"), started.MostInStartup())
		lab.Measure("fewest sent in an RTT in DRAIN", bounds.In(fewest, "segments"),
			drained.Sent(oracle.BBRDrainGain, path.RTT, harness.HostDelay))
		lab.Note("BDP of the path", bounds.In(path.BDP(), "segments"))
	})

var _ = It("BBR probes for bandwidth in cycles of eight phases: 1.25, 0.75, and six times 1", Label("long", "netem", "linux"),
	func(ctx SpecContext) {
		path := oracle.Bottleneck{Rate: 4 * impair.Mbit, RTT: 200 * time.Millisecond}
		lab := harness.NewLab(ctx)
		f := bbrFlow(lab, lab.Routed(largeBuffers), path, 2800)

		cycles := phases(f.socket)[2:]
		for len(cycles) > 0 && cycles[0].pacing != oracle.BBRProbeGain { // BBR begins somewhere in a cycle, at random
			cycles = cycles[1:]
		}
		Expect(len(cycles)).To(BeNumerically(">=", 6), "two cycles")
		found := model(cycles[0].points[0])
		checkModel(lab, found, path)
		for i, p := range cycles {
			Expect(p.cwnd).To(Equal(oracle.BBRWindowGain))
			Expect(p.pacing).To(Equal([]float64{oracle.BBRProbeGain, oracle.BBRYieldGain, 1}[i%3]))
			expected := found.Phase(p.pacing)
			if p.pacing == 1 {
				expected = found.Cruise()
			}
			p.check(lab, fmt.Sprintf("phase with a gain of %v", p.pacing), expected)
		}
		// Both ends were seen with the next sample.
		expected := found.Cycle()
		expected.Earliest -= cycles[0].points[0].At - cycles[0].after
		expected.Latest += cycles[3].points[0].At - cycles[3].after
		lab.Measure("a cycle", cycles[3].points[0].At-cycles[0].points[0].At, expected)

		// The wire: what is sent in half a round trip goes up and down by a quarter.
		half := path.RTT / 2
		counts := sent(f.data[len(f.data)/2:], half)
		most, fewest := bounds.In(slices.Max(counts), "segments"), bounds.In(slices.Min(counts), "segments")
		lab.Measure("most sent in half an RTT", most, found.Sent(oracle.BBRProbeGain, half, harness.HostDelay))
		lab.Measure("fewest sent in half an RTT", fewest, found.Sent(oracle.BBRYieldGain, half, harness.HostDelay))
	})

var _ = It("BBR looks for the shortest round trip with four segments in flight, for 200 ms, when none was shorter for 10 s", Label("long", "netem", "linux"),
	func(ctx SpecContext) {
		path := oracle.Bottleneck{Rate: 2 * impair.Mbit, RTT: 100 * time.Millisecond}
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		f := bbrFlow(lab, net, path, 3500)

		// The socket.
		k := net.Client().Oracle()
		seen := phases(f.socket)
		found := model(last(seen[0].points))
		checkModel(lab, found, path)
		every, lasts := k.BBRProbesRTT(found), k.BBRProbeRTT(found)
		probes := 0
		for _, p := range seen {
			if p.cwnd != 1 {
				continue
			}
			probes++
			first, _ := p.seen()
			after, until := renewed(f.socket, first, k.Tick())
			waited := phase{points: []kernel.Point{{At: until}, {At: p.after}}, after: after, until: first}
			waited.check(lab, "time to a probe", every)
			p.check(lab, "PROBE_RTT", lasts)
			// A sample has the gains of one ACK later than the window (kernel.Socket), if that comes just then: not the
			// first. A sender with nothing in flight then has its window back before the ACK that ends the phase
			// (bbr_cwnd_event).
			for _, point := range p.points[1:] {
				if point.At < p.after+lasts.Earliest-harness.HostDelay {
					Expect(window(point)).To(Equal(oracle.BBRLeastWindow))
				}
			}
		}
		Expect(probes).To(Equal(2))

		// The wire.
		quiet := fewInFlight(f, oracle.BBRLeastWindow)
		Expect(quiet).To(HaveLen(probes))
		for _, long := range quiet {
			lab.Measure("with four segments in flight", long, k.BBRFewInFlight(found))
		}
	})
