package congestion

import (
	"fmt"
	"math"
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/statistics"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

// A lossy path loses packets at random.
type lossy struct {
	oracle.Bottleneck
	loss     float64       // 0 to 1
	clean    time.Duration // for so long nothing is lost, and nothing measured: losses can end STARTUP
	late     time.Duration // for so long packets are lost, and nothing measured: what that makes of STARTUP does not count
	measured time.Duration // for so long after that
}

// The paths. Wide has a BDP of 1.25 MB. BBR keeps up to two of those in flight, each loss holds up a receive window of another for a round trip, and a
// program writes as much ahead as tcp_wmem allows.
var (
	near = oracle.Bottleneck{Rate: 20 * impair.Mbit, RTT: 40 * time.Millisecond}
	far  = oracle.Bottleneck{Rate: 20 * impair.Mbit, RTT: 100 * time.Millisecond}
	wide = oracle.Bottleneck{Rate: 100 * impair.Mbit, RTT: 100 * time.Millisecond}
)

// from is when on it is measured.
func (l lossy) from() time.Duration { return l.clean + l.late }

// duration is how long it takes in all.
func (l lossy) duration() time.Duration { return l.from() + l.measured }

// behind is what can be acknowledged on top, in percent of the link, if it is not measured from the begin on: what had arrived before behind a hole,
// a window at most, of BBR.
func (l lossy) behind() float64 {
	if l.from() == 0 {
		return 0
	}
	return 100 * oracle.BBRWindowGain * l.RTT.Seconds() / l.measured.Seconds()
}

const (
	period = 100 * time.Millisecond // of samples of socket and queue

	// roomBDPs BDPs fit into the path, so that what is lost is random. BBR has up to 2.885 of them in flight in STARTUP. If the
	// queue overflows, it loses a fifth and more at once, which BBR takes for a policer's doing: it then sends at the rate of
	// that moment for 48 round trips (bbr_lt_bw_sampling).
	roomBDPs = 4

	miss = 1e-7 // the probability that a figure is outside its bounds by chance
)

// cubicShare is the share of the link that CUBIC gets: its average window divided by the BDP. RFC 9438 has the
// formula for evenly spread losses. The number of losses varies by chance, and each lost retransmission may cost an
// RTO and a slow start. It gets no more than it may with the losses that there were: see [filling.cubicAtMost].
func cubicShare(path lossy, f filling) bounds.Range {
	share := func(p float64) float64 { return 100 * oracle.CubicResponse(p, path.RTT) / path.BDP() }
	packets := oracle.CubicResponse(path.loss, path.RTT) * path.duration().Seconds() / path.RTT.Seconds()
	least, most := statistics.Binomial(int(packets), path.loss, miss)
	_, lostRetransmits := statistics.Binomial(most, path.loss, miss)
	const slowStart = 4 // round trips from one segment to no more than 16
	timeout := f.net.Client().Oracle().RetransmissionTimer(oracle.Exactly(path.RTT)).Latest + slowStart*path.RTT
	busy := 1 - float64(lostRetransmits)*timeout.Seconds()/path.duration().Seconds()
	byChance, byLosses := share(max(float64(least), 1)/packets), f.cubicAtMost(path)
	source := fmt.Sprintf("RFC 9438, 5.2: %.0f %%; of %d to %d losses by chance; 4.2 to 4.7 with those that there were", share(path.loss), least, most)
	return bounds.Between(busy*share(float64(most)/packets), min(byChance, byLosses, 100)).In("%").From(source)
}

// cubicAtMost is the share of the link in percent that RFC 9438 lets CUBIC have at most with the packets lost that the link has lost, whose times the samples
// of its queue tell. Until the first one it is what was sent; from then on it follows from the window at that loss, in CUBIC's favour where the samples leave a
// choice (in 30 runs the edge was 1.3 to 2.6 times the share):
//
//   - A loss was no sooner than the sample that has it. The window is what it was for a round trip, until the loss is known. The curve begins after the
//     recovery, which takes another one, and the window aims a round trip ahead (tcp_cubic.c: bictcp_update).
//   - Losses that follow each other within two round trips, as far as the samples tell, are one: of the same window, or of retransmissions.
//   - The window is the greatest of Reno's (4.3) and of the curves (4.2) that end at the window at the loss, and below it by fast convergence (4.7).
//   - No time-out costs anything.
func (f filling) cubicAtMost(path lossy) float64 {
	const (
		c       = 410. / 1024 // segments / s^3: tcp_cubic.c: bic_scale, of RFC 9438, 5.1
		alpha   = 8. / 15     // segments a round trip: tcp_cubic.c: beta_scale, of RFC 9438, 4.3
		inRound = 20          // steps
	)
	var losses []kernel.QdiscSample
	for i, s := range f.link[1:] {
		if s.Drops > f.link[i].Drops {
			losses = append(losses, s)
		}
	}
	if len(losses) == 0 {
		return 100
	}
	atLoss := 0.
	for _, p := range f.socket {
		atLoss = max(atLoss, float64(window(p)))
		if p.At > losses[0].At+2*path.RTT+period { // it is reduced
			if threshold(p) < infiniteThreshold {
				atLoss = max(atLoss, float64(oracle.CubicWindowBefore(threshold(p))))
			}
			break
		}
	}
	sent, now, began, next := float64(losses[0].Packets), atLoss, losses[0].At, 0
	for at, step := began, path.RTT/inRound; at < last(f.link).At; at += step {
		for ; next < len(losses) && losses[next].At <= at; next++ {
			if next > 0 && losses[next].At-losses[next-1].At > 2*path.RTT+period {
				atLoss, began = now, at
			}
		}
		now = atLoss
		if after := (at - began - path.RTT).Seconds(); after > 0 {
			least := max(cubicBeta*atLoss, 2)
			now = least + alpha*after/path.RTT.Seconds()
			for _, level := range []float64{atLoss, (1 + cubicBeta) / 2 * atLoss} {
				now = max(now, level+c*math.Pow(after-math.Cbrt((level-least)/c), 3))
			}
		}
		sent += min(now/path.RTT.Seconds(), 1/path.Frame().Seconds()) * step.Seconds()
	}
	return 100 * sent * path.Frame().Seconds() / (last(f.link).At - f.link[0].At).Seconds()
}

// bbrShare is the share of the link that BBR gets, once it has found its rate. Linux's BBR models bandwidth and RTT, and ignores loss up to a
// fifth (draft-cardwell-iccrg-bbr-congestion-control-00; bbr_lt_loss_thresh in net/ipv4/tcp_bbr.c). It loses 1 % to
// loss and 1 % to pacing below the bandwidth; and of 10 s, 200 ms and two RTTs with 4 packets in flight. That is 5 %. The cost of loss recovery in
// almost each RTT (bbr_set_cwnd_to_recover_or_restore) has not been derived. It is small, and the rest of the fifth covers it.
func bbrShare(path lossy, _ filling) bounds.Range {
	return bounds.Between(80., 100.+path.behind()).In("%").From("draft-cardwell-iccrg-bbr-congestion-control-00")
}

// bbrStarted is when BBR has found the rate of such a path, if nothing was lost until then: from 10 to 833 segments a round trip it takes seven round
// trips, and three more to see that there is no more (bbr_full_bw_cnt). What DRAIN and the first cycle take is in it as well.
const bbrStarted = 3 * time.Second

// bbrRamp is when BBR has the path's rate at the latest, also where losses in the first windows have ended STARTUP, as the bandwidth did not grow by a
// quarter in three round trips (bbr_check_full_bw_reached): from then on it finds 1.25 times as much a cycle, which a loss ends after a round trip
// (bbr_is_next_cycle_phase). From the initial window of 10 to 165 segments a round trip it takes 13 cycles of eight.
const bbrRamp = 13 * 8 * 100 * time.Millisecond * 5 / 4

// bbrDelivers is what BBR gets of the link where it only loses what the link loses: rate (1 - p), as in the figure up to 5 %, less a tenth for the rest.
func bbrDelivers(path lossy, _ filling) bounds.Range {
	delivered := 100 * (1 - path.loss)
	return bounds.Between(0.9*delivered, delivered+path.behind()).In("%").From("Cardwell and others, Queue 14(5), 2016, figure 8: rate (1 - p), within 10 %")
}

// bbrCollapses is what is left beyond a fifth of loss, at most. PROBE_BW sends 1.25 times what it believes that the path carries; of that 1 - p arrives,
// which is less than it believed. So in the ten round trips that a bandwidth counts (bbr_bw_rtts) it goes down by 1.25 (1 - p), again and again
// (bbr_pacing_gain), until so few are in flight that chance hides it.
func bbrCollapses(path lossy, _ filling) bounds.Range {
	return bounds.AtMost(100 * path.BBRCollapse(path.loss, path.late)).In("%").From("tcp_bbr.c: 1.25 (1 - p) < 1 in each bbr_bw_rtts")
}

var _ = DescribeTable("1 % random loss on 20 Mbit/s and 40 ms", Label("long", "netem"),
	func(ctx SpecContext, congestion string, path lossy, share func(lossy, filling) bounds.Range) {
		fill(harness.NewLab(ctx), path, congestion, share)
	},
	Entry("BBR fills more than 80 % of the link", Label("linux"), "bbr",
		lossy{Bottleneck: near, loss: .01, clean: 2 * time.Second, measured: 10 * time.Second}, bbrShare),
	Entry("CUBIC fills less than half of it", Label("rfc9438"), "cubic",
		lossy{Bottleneck: near, loss: .01, measured: 10 * time.Second}, cubicShare),
)

var _ = DescribeTable("random loss on 20 Mbit/s and 100 ms:", Label("long", "netem"),
	func(ctx SpecContext, congestion string, path lossy, share func(lossy, filling) bounds.Range) {
		fill(harness.NewLab(ctx), path, congestion, share, harness.Sysctls(
			netns.IPv4("tcp_wmem", "4096 16384 16777216"), netns.IPv4("tcp_rmem", "4096 4194304 16777216")))
	},
	Entry("BBR delivers rate (1 - p) at 0.1 %", Label("linux"), "bbr",
		lossy{Bottleneck: far, loss: .001, late: bbrRamp, measured: 12 * time.Second}, bbrDelivers),
	Entry("BBR delivers rate (1 - p) at 1 %", Label("linux"), "bbr",
		lossy{Bottleneck: far, loss: .01, late: bbrRamp, measured: 12 * time.Second}, bbrDelivers),
	Entry("BBR delivers rate (1 - p) at 5 %", Label("linux"), "bbr",
		lossy{Bottleneck: far, loss: .05, late: bbrRamp, measured: 12 * time.Second}, bbrDelivers),
	Entry("BBR collapses at 30 %, as beyond a fifth probing finds less than there was", Label("linux"), "bbr",
		lossy{Bottleneck: far, loss: .30, late: 30 * time.Second, measured: 30 * time.Second}, bbrCollapses),
	Entry("CUBIC has RFC 9438's window at 0.1 %", Label("rfc9438"), "cubic",
		lossy{Bottleneck: far, loss: .001, measured: time.Minute}, cubicShare),
	Entry("CUBIC has RFC 9438's window at 1 %", Label("rfc9438"), "cubic",
		lossy{Bottleneck: far, loss: .01, measured: time.Minute}, cubicShare),
)

var _ = DescribeTable("random loss on 100 Mbit/s and 100 ms, with buffers of up to 64 MB:", Label("long", "netem"),
	func(ctx SpecContext, congestion string, path lossy, share func(lossy, filling) bounds.Range) {
		lab := harness.NewLab(ctx)
		// The receive buffer begins with 16 MB: tuned by the kernel (tcp_rcv_space_adjust) it stays at twice what the
		// program reads in a round trip, which is too little for a window with a hole in it.
		net := fill(lab, path, congestion, share, harness.Sysctls(
			netns.IPv4("tcp_wmem", "4096 16384 67108864"), netns.IPv4("tcp_rmem", "4096 16777216 67108864")))
		// All hosts of a guest share tcp_mem. Where that is spent the receiver closes its window, and memory is what was
		// measured (tcp_enter_memory_pressure).
		for _, host := range []*harness.Host{net.Client(), net.Server()} {
			Expect(host.Counters()).To(HaveCounters{"TcpExtTCPMemoryPressures": 0, "TcpExtPruneCalled": 0})
		}
	},
	Entry("BBR delivers rate (1 - p) at 0.1 %", Label("linux"), "bbr",
		lossy{Bottleneck: wide, loss: .001, clean: bbrStarted, measured: 6 * time.Second}, bbrDelivers),
	Entry("BBR delivers rate (1 - p) at 1 %", Label("linux"), "bbr",
		lossy{Bottleneck: wide, loss: .01, clean: bbrStarted, measured: 8 * time.Second}, bbrDelivers),
	Entry("BBR delivers rate (1 - p) at 5 %", Label("linux"), "bbr",
		lossy{Bottleneck: wide, loss: .05, clean: bbrStarted, measured: 6 * time.Second}, bbrDelivers),
	Entry("CUBIC has RFC 9438's window at 0.1 %", Label("rfc9438"), "cubic",
		lossy{Bottleneck: wide, loss: .001, measured: time.Minute}, cubicShare),
	Entry("CUBIC has RFC 9438's window at 1 %", Label("rfc9438"), "cubic",
		lossy{Bottleneck: wide, loss: .01, measured: time.Minute}, cubicShare),
)

var _ = It("1 % random loss on 100 Mbit/s and 100 ms: with the default buffers it is these that limit BBR", Label("long", "netem", "linux"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lossy{Bottleneck: wide, loss: .01, clean: bbrStarted, measured: 8 * time.Second}
		f := sendOver(lab, path, "bbr")
		lab.Measure("share of the link", f.goodput, bounds.AtMost(bbrDelivers(path, f).Lower).In("%"), "less than with large buffers")
		// Each cycle probes for a quarter more, for one phase of eight. What keeps it from finding that is in the way then, at least.
		lab.Measure("limited by buffers", f.limited, bounds.AtLeast(100./8).In("%"), "TCP_INFO: tcpi_rwnd_limited, tcpi_sndbuf_limited; bbr_pacing_gain")
	})

// A filling is how much of a link a flow fills.
type filling struct {
	net     *harness.Network
	goodput bounds.Value // share of the link's rate that arrives at the program
	carried bounds.Value // and that the link carried: with headers and retransmissions
	limited bounds.Value // share of the time in which a buffer was in the way

	// The samples of that time, of which there is one each period.
	link   []kernel.QdiscSample
	socket []kernel.Point
}

// fill sends for the duration over a path with random loss, and measures which share of the link's rate arrives.
func fill(lab *harness.Lab, path lossy, congestion string, share func(lossy, filling) bounds.Range, config ...netns.Config) *harness.Network {
	GinkgoHelper()
	f := sendOver(lab, path, congestion, config...)
	expected := share(path, f)
	lab.Measure("share of the link", f.goodput, expected)
	if path.late == 0 {
		lab.Check("carried by the link", f.carried, expected)
	}
	lab.Note("limited by buffers", f.limited)
	return f.net
}

func sendOver(lab *harness.Lab, path lossy, congestion string, config ...netns.Config) filling {
	GinkgoHelper()
	net := lab.Routed(config...)
	toServer := impair.Netem{Delay: path.RTT / 2, Rate: impair.Rate{BitsPerSecond: path.Rate}, Limit: roomBDPs * int(path.BDP())}
	loses := toServer
	loses.Loss = impair.RandomLoss{Percent: impair.Percent(100 * path.loss)}
	if path.clean == 0 {
		toServer = loses
	}
	net.ToServer.Impair(toServer)
	net.ToClient.Impair(impair.Netem{Delay: path.RTT / 2})

	server := lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port)})
	client := lab.Start(net.Client(), peers.BulkClient{
		Connect: net.Server().Addr(port), Socket: peers.Socket{Congestion: congestion}, Duration: path.duration(),
	})
	queue := net.ToServer.SampleQueue(period)
	samples := net.Client().Sample(period, kernel.SocketFilter{States: []kernel.State{kernel.Established}, Port: port})
	if path.clean > 0 {
		time.Sleep(path.clean)
		net.ToServer.Impair(loses)
	}
	client.Wait()
	received := server.Wait()
	connection := received.Connections[0]
	socket := samples.Stop().Connection(connection.Remote, connection.Local)
	Expect(socket).To(HaveEach(HaveField("Congestion", congestion)))
	link := queue.Stop().List()

	goodput := received.Bulk.Goodput
	if path.from() > 0 {
		from := slices.IndexFunc(socket, func(p kernel.Point) bool { return p.At-socket[0].At >= path.from() })
		Expect(from).To(BeNumerically(">", 0), "what is measured")
		socket = socket[from:]
	}
	begin, end := socket[0], last(socket)
	if path.from() > 0 {
		goodput = float64(end.TCPInfo.Bytes_acked-begin.TCPInfo.Bytes_acked) * 8 / (end.At - begin.At).Seconds()
	}
	lab.Note("goodput", bounds.Mbit(goodput))
	link = slices.DeleteFunc(link, func(s kernel.QdiscSample) bool { return s.At < begin.At || s.At > end.At })
	return filling{
		net:     net,
		goodput: bounds.Percent(goodput / float64(8*harness.MSS()) * path.Frame().Seconds()),
		// No ACKs, which go the other way.
		carried: bounds.Percent(float64(last(link).Bytes-link[0].Bytes) * 8 / (last(link).At - link[0].At).Seconds() / float64(path.Rate)),
		limited: bounds.Percent(float64(limited(end)-limited(begin)) / float64(end.TCPInfo.Busy_time-begin.TCPInfo.Busy_time)),
		link:    link,
		socket:  socket,
	}
}

// limited is for how long a buffer was in the way, in microseconds.
func limited(p kernel.Point) uint64 { return p.TCPInfo.Rwnd_limited + p.TCPInfo.Sndbuf_limited }
