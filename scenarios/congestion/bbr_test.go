package congestion

import (
	"fmt"
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

	probePhases = 8                      // CYCLE_LEN: of the gains 1.25, 0.75, and 1 six times
	probeWindow = 4                      // bbr_cwnd_min_target, segments
	probeTime   = 200 * time.Millisecond // bbr_probe_rtt_mode_ms
	probeEvery  = 10 * time.Second       // bbr_min_rtt_win_sec
)

// samplePeriod is how often BBR is asked: a phase that is seen has begun up to so long before.
const samplePeriod = 10 * time.Millisecond

// bbrFlow sends as many segments by BBR over a link that loses nothing.
func bbrFlow(lab *harness.Lab, net *netns.Topology, bitRate int64, roundTrip time.Duration, segments int64) flow {
	GinkgoHelper()
	lab.Impair(net.ToServer, impair.Netem{Delay: roundTrip / 2, Rate: impair.Rate{BitsPerSecond: bitRate}, Limit: 1000})
	lab.Impair(net.ToClient, impair.Netem{Delay: roundTrip / 2})
	f := transfer(lab, net, samplePeriod, peers.BulkClient{
		Connect: harness.Addr(net.Server(), port), Bytes: segments * segment, Socket: peers.Socket{Congestion: "bbr"},
	}, peers.Socket{})
	Expect(lab.Counters(net.Client())).To(HaveGrown("TcpRetransSegs", 0))
	return f
}

// A phase is a time in which BBR does not change its gains.
type phase struct {
	pacing, cwnd float64
	start        time.Duration
	end          time.Duration  // when the next one was seen
	points       []kernel.Point // in it
}

func (p phase) length() time.Duration { return p.end - p.start }

// phases are all but the last one, which has no end.
func phases(socket []kernel.Point) []phase {
	var all []phase
	for _, p := range socket {
		last := len(all) - 1
		if last < 0 || all[last].pacing != p.BBR.PacingGain || all[last].cwnd != p.BBR.CwndGain {
			if last >= 0 {
				all[last].end = p.At
			}
			all = append(all, phase{pacing: p.BBR.PacingGain, cwnd: p.BBR.CwndGain, start: p.At})
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
			counts = append(counts, s.BytesInFlight/segment)
		}
	}
	return counts
}

var _ = It("BBR starts", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	const roundTrip, bitRate = 100 * time.Millisecond, 4 * impair.Mbit
	lab := harness.NewLab(ctx)
	f := bbrFlow(lab, lab.Routed(largeBuffers), bitRate, roundTrip, 800)
	for _, p := range phases(f.socket) {
		fmt.Println(p.pacing, p.cwnd, p.start, p.length(), p.points[0].TCPInfo.Unacked, p.points[0].BBR.MinRTT, p.points[0].BBR.Bandwidth, p.points[0].TCPInfo.Snd_cwnd)
	}
	fmt.Println(slices.Max(inFlight(f)), bandwidthDelay(bitRate, roundTrip))
	fmt.Println(bursts(f.data, roundTrip/4))
})

var _ = It("BBR cycles", Label("long", "netem", "linux"), func(ctx SpecContext) {
	const roundTrip, bitRate = 200 * time.Millisecond, 4 * impair.Mbit
	lab := harness.NewLab(ctx)
	f := bbrFlow(lab, lab.Routed(largeBuffers), bitRate, roundTrip, 2400)
	for _, p := range phases(f.socket) {
		fmt.Println(p.pacing, p.cwnd, p.start, p.length(), p.points[0].TCPInfo.Unacked, p.points[0].BBR.MinRTT, p.points[0].BBR.Bandwidth, p.points[0].TCPInfo.Snd_cwnd)
	}
	var n []int
	for i, s := range f.data {
		c := 0
		for _, t := range f.data[i:] {
			if t.At < s.At+roundTrip/2 {
				c++
			}
		}
		n = append(n, c)
	}
	fmt.Println(n)
})

var _ = It("BBR probes", Label("long", "netem", "linux"), func(ctx SpecContext) {
	const roundTrip, bitRate = 100 * time.Millisecond, 2 * impair.Mbit
	lab := harness.NewLab(ctx)
	f := bbrFlow(lab, lab.Routed(largeBuffers), bitRate, roundTrip, 3500)
	for _, p := range phases(f.socket) {
		fmt.Println(p.pacing, p.cwnd, p.start, p.length(), p.points[0].TCPInfo.Unacked, p.points[0].BBR.MinRTT, p.points[0].BBR.Bandwidth, p.points[0].TCPInfo.Snd_cwnd)
	}
	var since time.Duration
	for i, p := range f.socket {
		if i == 0 || p.BBR.MinRTT != f.socket[i-1].BBR.MinRTT {
			fmt.Println("minrtt", p.At, p.BBR.MinRTT)
		}
	}
	for s := range analysis.Classify(slices.Values(f.segments)) {
		if s.Length > 0 && s.Src == f.Local {
			if s.BytesInFlight <= 4*segment {
				if since == 0 {
					since = s.At
				}
			} else if since > 0 {
				fmt.Println("low", since, s.At-since)
				since = 0
			}
		}
	}
})
