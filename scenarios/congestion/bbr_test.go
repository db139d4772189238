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

// samplePeriod is how often the socket is sampled. A busy host samples less often.
const samplePeriod = 10 * time.Millisecond

// bbrFlow sends a number of segments with BBR over a link without loss.
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

// model is what BBR has estimated of the path, by a sample of its socket.
func model(p kernel.Point) oracle.BBR {
	mss := int(p.TCPInfo.Snd_mss)
	return oracle.BBR{
		Bandwidth: float64(p.BBR.Bandwidth) / float64(mss),
		MinRTT:    time.Duration(p.BBR.MinRTT) * time.Microsecond,
		MSS:       mss,
	}
}

// checkModel checks BBR's estimates against the path. A bandwidth sample covers at least one RTT, and hosts may delay
// the ACK at either end of it.
func checkModel(lab *harness.Lab, m oracle.BBR, path oracle.Bottleneck) {
	GinkgoHelper()
	carried := 1 / path.Frame().Seconds()
	lab.Check("bandwidth found", bounds.In(m.Bandwidth, "segments/s"),
		bounds.Around(carried, carried*harness.HostDelay.Seconds()/path.RTT.Seconds()), "tcp_rate_gen")
	lab.Check("min RTT found", m.MinRTT, oracle.Exactly(path.RTT).LateBy(harness.HostDelay), "of the SYN, which is short")
}

// A phase is a time in which BBR keeps its gains. Its begin and its end each lie between two samples.
type phase struct {
	pacing, cwnd float64
	points       []kernel.Point // samples during the phase
	after        time.Duration  // last sample of the phase before
	until        time.Duration  // first sample of the next phase
}

// seen returns the times of the first and the last sample of the phase.
func (p phase) seen() (first, last time.Duration) {
	return p.points[0].At, p.points[len(p.points)-1].At
}

// least and most bound the length of the phase.
func (p phase) least() time.Duration {
	first, last := p.seen()
	return last - first
}

func (p phase) most() time.Duration { return p.until - p.after }

// check checks the length of the phase. A sample is taken some time after its At: the system call may be interrupted.
func (p phase) check(lab *harness.Lab, name string, expected oracle.Span) {
	GinkgoHelper()
	if r := expected.Range(); r.Lower > 0 {
		lab.Check(name+", at most", p.most()+harness.HostDelay, bounds.AtLeast(expected.Earliest-oracle.Grain), r.Source)
	}
	lab.Check(name+", at least", p.least()-harness.HostDelay, bounds.AtMost(expected.Latest), expected.Source)
}

// phases splits samples into phases, without the last one, which has no end. Before the first ACK of data there is none. The gains are then those
// that the SYN-ACK has set, which the kernel takes into account before it initializes BBR: on a host that is up for more than five minutes
// they are those of PROBE_RTT (tcp_rcv_synsent_state_process: tcp_ack, then tcp_init_congestion_control; bbr_update_min_rtt with a
// min_rtt_stamp of 0). They have no effect: the rate is set with STARTUP's gain (bbr_init_pacing_rate_from_rtt).
func phases(socket []kernel.Point) []phase {
	var all []phase
	for _, p := range socket {
		if p.BBR.Bandwidth == 0 {
			continue
		}
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

// inFlight is the number of segments in flight after each segment sent, by the capture.
func inFlight(f flow) []int {
	var counts []int
	for s := range analysis.Classify(slices.Values(f.segments)) {
		if s.Length > 0 && s.Src == f.Local {
			counts = append(counts, s.BytesInFlight/int(harness.MSS()))
		}
	}
	return counts
}

// sent counts the segments in each interval of a length that begins with a segment.
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

// renewed bounds the time from which BBR counts to its next PROBE_RTT: when it found a lower RTT, left PROBE_RTT
// (bbr_check_probe_rtt_done), or started. That was between two samples, or at the SYN-ACK. TCP_INFO has that time in
// milliseconds converted from jiffies, so it can be one jiffy later. Gains from before the first ACK of data are no PROBE_RTT's: see
// phases.
func renewed(socket []kernel.Point, before, jiffy time.Duration) (after, until time.Duration) {
	opened := time.Duration(socket[0].TCPInfo.Last_ack_recv) * time.Millisecond
	after, until = socket[0].At-opened-jiffy, socket[0].At
	for i := 1; i < len(socket) && socket[i].At < before; i++ {
		last, this := socket[i-1].BBR, socket[i].BBR
		left := last.Bandwidth > 0 && last.CwndGain == 1 && this.CwndGain != 1
		if left || this.MinRTT != last.MinRTT {
			after, until = socket[i-1].At, socket[i].At
		}
	}
	return after, until
}

// fewInFlight returns the intervals in which no segment was sent with more than a few in flight, if they are longer
// than 0.1 s. That excludes the start and the end of the flow.
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

var _ = It("BBR paces at 2.885 times the bandwidth in STARTUP, then empties the queue in DRAIN", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		path := oracle.Bottleneck{Rate: 4 * impair.Mbit, RTT: 100 * time.Millisecond}
		lab := harness.NewLab(ctx)
		f := bbrFlow(lab, lab.Routed(largeBuffers), path, 800)

		// The socket: STARTUP, DRAIN, and the first phase of PROBE_BW, after the queue has drained.
		seen := phases(f.socket)
		Expect([]float64{seen[0].pacing, seen[0].cwnd}).To(Equal([]float64{oracle.BBRHighGain, oracle.BBRHighGain}))
		Expect([]float64{seen[1].pacing, seen[1].cwnd}).To(Equal([]float64{oracle.BBRDrainGain, oracle.BBRHighGain}))
		first := seen[2].points[0]
		Expect(first.BBR.CwndGain).To(Equal(oracle.BBRWindowGain))
		checkModel(lab, model(first), path)
		lab.Check("in flight after DRAIN", first.TCPInfo.Unacked, model(first).AfterDrain(first.At+harness.HostDelay-seen[2].after))

		// The wire: the most segments in flight, then the fewest sent in one RTT.
		flight := inFlight(f)
		most := slices.Max(flight)
		fewest := slices.Min(sent(f.data[slices.Index(flight, most):], path.RTT))
		started, drained := model(last(seen[0].points)), model(last(seen[1].points))
		lab.Measure("most in flight in STARTUP", bounds.In(most, "segments"), started.MostInStartup())
		lab.Measure("fewest sent in an RTT in DRAIN", bounds.In(fewest, "segments"),
			drained.Sent(oracle.BBRDrainGain, path.RTT, harness.HostDelay))
		lab.Note("BDP of the path", bounds.In(path.BDP(), "segments"))
	})

var _ = It("BBR cycles through eight PROBE_BW gains: 1.25, 0.75, and six times 1", Label("long", "netem", "linux"),
	func(ctx SpecContext) {
		path := oracle.Bottleneck{Rate: 4 * impair.Mbit, RTT: 200 * time.Millisecond}
		lab := harness.NewLab(ctx)
		f := bbrFlow(lab, lab.Routed(largeBuffers), path, 2800)

		cycles := phases(f.socket)[2:]
		for len(cycles) > 0 && cycles[0].pacing != oracle.BBRProbeGain { // BBR begins at a random phase of the cycle
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
		// Begin and end are known to one sample.
		expected := found.Cycle()
		expected.Earliest -= cycles[0].points[0].At - cycles[0].after
		expected.Latest += cycles[3].points[0].At - cycles[3].after
		lab.Measure("a cycle", cycles[3].points[0].At-cycles[0].points[0].At, expected)

		// The wire: the segments sent in half an RTT vary by a quarter.
		half := path.RTT / 2
		counts := sent(f.data[len(f.data)/2:], half)
		most, fewest := bounds.In(slices.Max(counts), "segments"), bounds.In(slices.Min(counts), "segments")
		lab.Measure("most sent in half an RTT", most, found.Sent(oracle.BBRProbeGain, half, harness.HostDelay))
		lab.Measure("fewest sent in half an RTT", fewest, found.Sent(oracle.BBRYieldGain, half, harness.HostDelay))
	})

var _ = It("BBR enters PROBE_RTT, four segments in flight for 200 ms, when its min RTT is 10 s old", Label("long", "netem", "linux"),
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
			// A sample can have gains that are one ACK newer than its window (kernel.Socket): so the first sample
			// does not count. A sender with nothing in flight gets its window back before the ACK that ends the phase
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
