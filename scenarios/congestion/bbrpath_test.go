package congestion

import (
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
	"github.com/tcplab/tcplab/impair/queue"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

// What BBR does where the path or the program changes: after draft-ietf-ccwg-bbr's example test cases, which are written for version 3. These are what
// version 1 does, which is Linux's; where version 3 is to do something else, the spec says so.

// bbrSteps runs steps of a client with BBR, and samples its socket.
func bbrSteps(lab *harness.Lab, net *harness.Network, meanwhile func(), steps ...peers.Step) []kernel.Point {
	GinkgoHelper()
	samples := net.Client().Sample(samplePeriod, kernel.SocketFilter{States: []kernel.State{kernel.Established}, Port: port})
	lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port)})
	client := lab.Start(net.Client(), peers.Script{Connect: net.Server().Addr(port), Socket: peers.Socket{Congestion: "bbr"}, Steps: steps})
	if meanwhile != nil {
		meanwhile()
	}
	c := client.Wait().Connections[0]
	socket := samples.Stop().Connection(c.Local, c.Remote)
	Expect(socket).To(HaveEach(HaveField("Congestion", "bbr")))
	return socket
}

// from are the samples from a time on, since the first one.
func from(socket []kernel.Point, t time.Duration) []kernel.Point {
	GinkgoHelper()
	i := slices.IndexFunc(socket, func(p kernel.Point) bool { return p.At-socket[0].At >= t })
	Expect(i).To(BeNumerically(">=", 0), "samples after %v", t)
	return socket[i:]
}

var _ = It("BBR finds a rate that is ten times as high by 1.25 in each round trip, and forgets one that is gone in ten round trips", Label("long", "netem", "linux"),
	func(ctx SpecContext) {
		const low, high, settled, buffer = 1 * impair.Mbit, 10 * impair.Mbit, 5 * time.Second, 200
		const rtt, atHigh = 40 * time.Millisecond, 4 * time.Second
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		narrow, wide := oracle.Bottleneck{Rate: low, RTT: rtt}, oracle.Bottleneck{Rate: high, RTT: rtt}
		at := func(path oracle.Bottleneck) {
			net.ToServer.Impair(impair.Netem{Rate: impair.Rate{BitsPerSecond: path.Rate}, Limit: buffer})
		}
		at(narrow)
		net.ToClient.Impair(impair.Netem{Delay: rtt, Limit: queueLimit})
		var began, up, down time.Time
		socket := bbrSteps(lab, net, func() {
			began = time.Now()
			time.Sleep(settled)
			at(wide)
			up = time.Now()
			time.Sleep(atHigh)
			at(narrow)
			down = time.Now()
		}, peers.Write(10_000_000), peers.Sleep(time.Millisecond)) // so much that the old rate is forgotten before the end, with a full queue each round
		carries := func(path oracle.Bottleneck) float64 { return 1 / path.Frame().Seconds() }
		before := model(last(slices.DeleteFunc(slices.Clone(socket), func(p kernel.Point) bool { return p.At-socket[0].At > settled })))
		lab.Check("bandwidth at first", bounds.In(before.Bandwidth, "segments/s"), bounds.Around(carries(narrow), carries(narrow)/10), "tcp_rate_gen")
		rises := from(socket, up.Sub(began))
		found := slices.IndexFunc(rises, func(p kernel.Point) bool { return model(p).Bandwidth >= 0.9*carries(wide) })
		Expect(found).To(BeNumerically(">", 0), "the new rate is found")
		lab.Measure("ten times the rate, found after", rises[found].At-rises[0].At, before.Grows(0.9*carries(wide)/before.Bandwidth))
		falls := from(socket, down.Sub(began))
		forgotten := slices.IndexFunc(falls, func(p kernel.Point) bool { return model(p).Bandwidth <= 1.1*carries(narrow) })
		Expect(forgotten).To(BeNumerically(">", 0), "the old rate is forgotten")
		lab.Measure("a tenth of the rate, known after", falls[forgotten].At-falls[0].At, model(falls[0]).Shrinks(buffer*narrow.Frame()+rtt))
	})

var _ = It("BBR on a path that holds less than a packet: a few in flight fill it", Label("long", "netem", "linux"), func(ctx SpecContext) {
	path := oracle.Bottleneck{Rate: impair.Mbit, RTT: 2 * time.Millisecond} // a sixth of a packet
	lab := harness.NewLab(ctx)
	net := lab.Routed(largeBuffers)
	net.ToServer.Impair(impair.Netem{Rate: impair.Rate{BitsPerSecond: path.Rate}, Limit: queueLimit})
	net.ToClient.Impair(impair.Netem{Delay: path.RTT})
	backlog := net.ToServer.SampleQueue(20 * time.Millisecond)
	socket := bbrSteps(lab, net, nil, peers.Write(1_000_000), peers.Sleep(8*time.Second))
	later := from(socket, 3*time.Second)
	most := 0
	for _, p := range later {
		if p.BBR.CwndGain != oracle.BBRWindowGain {
			continue
		}
		most = max(most, int(p.TCPInfo.Unacked))
	}
	found := model(later[0])
	found.MinRTT = max(found.MinRTT, path.RTT+path.Frame()) // of the data, not of the SYN
	lab.Measure("most in flight", bounds.In(most, "segments"), found.MostInFlight())
	seen := backlog.Stop().List()
	a, b := seen[len(seen)/4], seen[len(seen)/2]
	carried := bounds.Percent(float64(b.Bytes-a.Bytes) * 8 / (b.At - a.At).Seconds() / float64(path.Rate))
	lab.Measure("carried by the link", carried, bounds.Between(95., 101.).In("%"), "a packet is always there, but in PROBE_RTT")
	Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
})

var _ = It("BBR keeps what it knows of the bandwidth while the program sends little (application-limited)", Label("long", "netem", "linux"), func(ctx SpecContext) {
	path := oracle.Bottleneck{Rate: 4 * impair.Mbit, RTT: 100 * time.Millisecond}
	lab := harness.NewLab(ctx)
	net := lab.Routed(largeBuffers)
	impairBottleneck(net, path, queueLimit)
	const little, every, times = 1448, 50 * time.Millisecond, 100 // a sixteenth of the link, for 50 round trips
	steps := []peers.Step{peers.Write(1_500_000), peers.Sleep(4 * time.Second), peers.Inspect()}
	for range times {
		steps = append(steps, peers.Write(little), peers.Sleep(every))
	}
	socket := bbrSteps(lab, net, nil, append(steps, peers.Inspect())...)
	full := slices.IndexFunc(socket, func(p kernel.Point) bool { return p.TCPInfo.Unacked == 0 && p.At-socket[0].At > time.Second })
	Expect(full).To(BeNumerically(">", 0), "all of the first part was sent")
	known := model(socket[full])
	checkModel(lab, known, path)
	later := model(last(socket))
	// tcp_bbr.c, bbr_update_bw: a sample that the application limits counts only if it is more than the maximum, and without samples the maximum
	// does not age, though ten round trips have gone by five times.
	Expect(last(socket).At - socket[full].At).To(BeNumerically(">", 40*path.RTT))
	lab.Measure("bandwidth after 50 round trips of little", bounds.In(later.Bandwidth, "segments/s"), bounds.Around(known.Bandwidth, known.Bandwidth/100),
		"tcp_bbr.c: bbr_update_bw, is_app_limited")
})

var _ = It("BBR gets its window back when a recovery was for a segment that was only late", Label("quick", "netem", "linux"), func(ctx SpecContext) {
	path := oracle.Bottleneck{Rate: 4 * impair.Mbit, RTT: 100 * time.Millisecond}
	lab := harness.NewLab(ctx)
	net := lab.Routed(largeBuffers)
	impairBottleneck(net, path, queueLimit)
	late := net.ToServer.Rule(rules.Delay(path.RTT/3, rules.Data.Number(600))) // past RACK's first reordering window, in PROBE_BW
	socket := bbrSteps(lab, net, nil, peers.Write(1_500_000), peers.Sleep(3*time.Second))
	Expect(late.Hits()).To(HaveLen(1))
	counters := net.Client().Counters()
	Expect(counters).To(HaveCounters{"TcpExtTCPTimeouts": 0})
	Expect(counters["TcpExtTCPSackRecovery"]).To(BeNumerically("==", 1))
	Expect(counters["TcpExtTCPPartialUndo"] + counters["TcpExtTCPFullUndo"] + counters["TcpExtTCPDSACKUndo"]).To(BeNumerically("==", 1))
	const open, recovery = 0, 3
	in := slices.IndexFunc(socket, func(p kernel.Point) bool { return p.TCPInfo.Ca_state == recovery })
	Expect(in).To(BeNumerically(">", 0), "a sample in the recovery")
	out := in + slices.IndexFunc(socket[in:], func(p kernel.Point) bool { return p.TCPInfo.Ca_state == open })
	before, after := socket[in-1], socket[out]
	// tcp_bbr.c, bbr_undo_cwnd; bbr_set_cwnd_to_recover_or_restore: the window from before, or more.
	lab.Note("window before it", window(before))
	lab.Measure("window that it has lost", window(before)-window(after), bounds.AtMost(0), "tcp_bbr.c: bbr_save_cwnd")
	// Version 3 restores inflight_lo and inflight_hi as well (draft-ietf-ccwg-bbr, 5.5.11); version 1 has no such bounds.
	lab.Measure("bandwidth after it, by the one before", model(after).Bandwidth/model(before).Bandwidth, bounds.Between(0.95, 1.05), "the bandwidth does not depend on losses")
})

var _ = It("BBR behind a policer finds the policer's rate, and keeps to it", Label("long", "netem", "linux"), func(ctx SpecContext) {
	const policed, bucket, duration = 2 * impair.Mbit, 40_000, 30 * time.Second
	path := oracle.Bottleneck{Rate: 10 * impair.Mbit, RTT: 40 * time.Millisecond}
	lab := harness.NewLab(ctx)
	net := lab.Routed(largeBuffers)
	policer := net.ToServer.Police(queue.Policer{BitsPerSecond: policed, Burst: bucket})
	impairBottleneck(net, path, queueLimit)
	samples := net.Client().Sample(samplePeriod, kernel.SocketFilter{States: []kernel.State{kernel.Established}, Port: port})
	lab.Start(net.Server(), peers.BulkServer{Listen: net.Server().Addr(port)})
	c := lab.Start(net.Client(), peers.BulkClient{Connect: net.Server().Addr(port), Duration: duration, Socket: peers.Socket{Congestion: "bbr"}}).Wait().Connections[0]
	socket := samples.Stop().Connection(c.Local, c.Remote)
	later := from(socket, 5*time.Second)
	a, b := later[0], last(later)
	goodput := float64(b.TCPInfo.Bytes_acked-a.TCPInfo.Bytes_acked) * 8 / (b.At - a.At).Seconds() / float64(harness.MSS()*8) * oracle.Bottleneck{Rate: policed}.Frame().Seconds()
	lost := float64(b.TCPInfo.Bytes_retrans-a.TCPInfo.Bytes_retrans) / float64(b.TCPInfo.Bytes_sent-a.TCPInfo.Bytes_sent)
	Expect(policer.Stats().Drops).To(BeNumerically(">", 0))
	// What the bucket held comes on top.
	most := 100 * (1 + float64(8*bucket)/(float64(policed)*(b.At-a.At).Seconds()))
	lab.Measure("share of the policer's rate", bounds.Percent(goodput), bounds.Between(80., most).In("%"), "tcp_bbr.c: bbr_lt_bw_sampling")
	lab.Measure("retransmitted", bounds.Percent(lost), bounds.AtMost(100*oracle.BBRPolicerLoss).In("%"), "tcp_bbr.c: bbr_lt_loss_thresh")
	// Version 3 has no such sampling: it bounds what is in flight by the losses (draft-ietf-ccwg-bbr, 5.5.10).
})

var _ = It("BBR fills the link though the ACKs come in lumps", Label("long", "netem", "linux"), func(ctx SpecContext) {
	const lump = 50 * time.Millisecond // more than the RTT
	path := oracle.Bottleneck{Rate: 4 * impair.Mbit, RTT: 40 * time.Millisecond}
	lab := harness.NewLab(ctx)
	net := lab.Routed(largeBuffers)
	net.ToServer.Impair(impair.Netem{Rate: impair.Rate{BitsPerSecond: path.Rate}, Limit: queueLimit})
	net.ToClient.Impair(impair.Netem{Delay: path.RTT, Slot: impair.Slot{MinDelay: lump, MaxDelay: lump}, Limit: queueLimit})
	wire := lab.Capture(net.Client())
	backlog := net.ToServer.SampleQueue(20 * time.Millisecond)
	socket := bbrSteps(lab, net, nil, peers.Write(4_000_000), peers.Sleep(8*time.Second))
	acks := wire.Stop().From(net.Server())
	lumps := 0
	for i := range acks[1:] {
		if acks[i+1].At-acks[i].At > lump/2 {
			lumps++
		}
	}
	Expect(lumps).To(BeNumerically(">", 50), "lumps of ACKs")
	seen := backlog.Stop().List()
	a, b := seen[len(seen)/4], seen[len(seen)/2]
	carried := bounds.Percent(float64(b.Bytes-a.Bytes) * 8 / (b.At - a.At).Seconds() / float64(path.Rate))
	// Twice the bandwidth-delay product, and since Linux 5.1 what lumps have brought beyond the bandwidth (bbr_ack_aggregation_cwnd), are in flight.
	lab.Measure("carried by the link", carried, bounds.Between(90., 101.).In("%"), "tcp_bbr.c: bbr_cwnd_gain, bbr_extra_acked")
	lab.Note("window, at most", slices.MaxFunc(socket, func(p, q kernel.Point) int { return window(p) - window(q) }).TCPInfo.Snd_cwnd)
})

var _ = It("BBR that was idle for more than 10 s takes the RTT of its first ACK for the path's, and needs no PROBE_RTT", Label("long", "netem", "linux"),
	func(ctx SpecContext) {
		path := oracle.Bottleneck{Rate: 4 * impair.Mbit, RTT: 100 * time.Millisecond}
		const sending, idle = 4 * time.Second, 12 * time.Second
		lab := harness.NewLab(ctx)
		net := lab.Routed(largeBuffers)
		impairBottleneck(net, path, queueLimit)
		wire := lab.Capture(net.Client())
		longer := path
		longer.RTT = 2 * path.RTT
		socket := bbrSteps(lab, net, func() {
			time.Sleep(sending + idle/2)
			impairBottleneck(net, longer, queueLimit) // while nothing is on its way
		}, peers.Write(1_000_000), peers.Sleep(sending+idle), peers.Write(1_000_000), peers.Sleep(sending))

		data := wire.Stop().DataFrom(net.Client())
		pause := slices.IndexFunc(data[1:], func(s analysis.Segment) bool { return s.At-data[0].At > sending })
		Expect(pause).To(BeNumerically(">", 0), "data after the pause")
		before, after := data[:pause+1], data[pause+1:]
		lab.Measure("idle", after[0].At-last(before).At, bounds.AtLeast(oracle.BBRMinRTTLasts), "tcp_bbr.c: bbr_min_rtt_win_sec")
		// The socket. The model is from before, but for the RTT, which has become old: the first sample is as good as any (bbr_update_min_rtt).
		began := slices.IndexFunc(socket, func(p kernel.Point) bool { return p.At-socket[0].At > sending+idle/2 && p.TCPInfo.Unacked > 0 })
		Expect(began).To(BeNumerically(">", 0), "samples after the pause")
		known := model(socket[began-1])
		checkModel(lab, known, path)
		for _, p := range socket[began:] {
			Expect(p.BBR.CwndGain).NotTo(BeEquivalentTo(1), "PROBE_RTT at %v", p.At)
		}
		renewed := slices.IndexFunc(socket[began:], func(p kernel.Point) bool { return model(p).MinRTT > known.MinRTT+path.RTT/2 })
		Expect(renewed).To(BeNumerically(">", 0), "a new RTT")
		lab.Measure("min RTT after it", model(socket[began+renewed]).MinRTT, known.AfterIdle(longer).LateBy(harness.HostDelay))
		// The wire. It goes on at the bandwidth from before, and not with the four segments of PROBE_RTT.
		lab.Measure("sent in the first RTT after it", bounds.In(sent(after, longer.RTT)[0], "segments"), known.Sent(1, longer.RTT, harness.HostDelay))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
	})
