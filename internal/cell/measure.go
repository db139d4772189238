package cell

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/netns/netdev"
	"github.com/tcplab/tcplab/peers"
)

// Main is for programs that ask for measurements. In a guest of theirs it makes the measurements that the environment names, as a test program would
// run its specs, and does not return; anywhere else it does nothing.
func Main() {
	var all []Measurement
	for _, entry := range os.Environ() {
		key, text, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(key, variable) {
			continue
		}
		var c carrier
		if err := json.Unmarshal([]byte(text), &c); err != nil || c.carried() == nil {
			fmt.Fprintf(os.Stderr, "%s: no measurement: %v\n", key, err)
			os.Exit(2)
		}
		all = append(all, c.carried())
	}
	if len(all) == 0 {
		return
	}
	testing.Init() // the flags of a test program
	flag.Parse()
	for _, m := range all {
		ginkgo.It(m.String(), ginkgo.Label("netem"), func(ctx ginkgo.SpecContext) { m.measure(harness.NewLab(ctx)) })
	}
	if !harness.RunSpecs(program{}, SuiteName) {
		os.Exit(1)
	}
	os.Exit(0)
}

// program fails by its exit status.
type program struct{}

func (program) Fail() {}

// Metrics of a cell. Those of a kind of flow alone have its name before them: "cubic: goodput".
const (
	Goodput       = "goodput"               // of all bulk flows, over the whole time
	Later         = "goodput, later"        // in the second half
	Utilisation   = "utilisation"           // what the bottleneck carried of what it could, headers and retransmissions included
	Retransmitted = "retransmitted"         // of the bytes sent
	Limited       = "buffers limited"       // the share of the time in which a send buffer or a receive window limited a flow
	QueueMedian   = "queue, median"         // how long a packet waits in the bottleneck
	Queue95       = "queue, 95 %"           //
	Queue99       = "queue, 99 %"           //
	Dropped       = "dropped"               // of the packets that came to the bottleneck, by its loss model, its AQM or its end
	Marked        = "marked"                // CE, of the packets that left a queue that can mark
	FillTime      = "time to fill the pipe" // until the bottleneck first sent for a round trip at 95 % of its rate; none if it never did
	Fairness      = "Jain's index"          // of all bulk flows' goodput
	AnswerMedian  = "request, median"       // from when a request is written until its answer is read
	Answer95      = "request, 95 %"         //
	RoundTrips    = "round trips"           // a minute: 60 s over the mean time of a request
	CPU           = "CPU"                   // how busy the guest's processor was
)

const (
	port = 5001
	// queuePeriod is how often the bottleneck's queue is looked at.
	queuePeriod = 50 * time.Millisecond
	// roomBack is how many packets the way back holds: no ACK is lost.
	roomBack = 1_000_000
	// fullShare is what counts as full.
	fullShare = 0.95
	// leastWindow is over how long a rate is measured, at least: some looks at the queue.
	leastWindow = 4 * queuePeriod
	// The senders' sockets are looked at each samplePeriod, or less often where there would be more than mostRows of them.
	samplePeriod = 100 * time.Millisecond
	mostRows     = 3000
)

// A run is a cell that is measured.
type run struct {
	Cell
	lab    *harness.Lab
	net    *harness.Network
	at     []*harness.End  // the bottlenecks
	asking []*harness.Peer // programs that send requests
}

// measure makes the path and the flows, and notes what came of them.
func (c Cell) measure(lab *harness.Lab) {
	r := &run{Cell: c, lab: lab}
	r.net, r.at = c.path(lab)
	var queues []*harness.QueueSamples
	for _, end := range r.at {
		queues = append(queues, end.SampleQueue(queuePeriod))
	}
	for i, f := range c.Flows {
		sender(r.net, i, f).Sample(c.samplePeriod(), ours())
	}
	before := r.stats()
	began := time.Now()
	type step struct {
		at time.Duration
		do func()
	}
	var steps []step
	for i, f := range c.Flows {
		steps = append(steps, step{f.After, func() { r.start(i) }})
	}
	var middle []kernel.Socket
	steps = append(steps, step{c.Duration / 2, func() { middle = r.sockets() }}, step{c.Duration, func() {}})
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	for _, s := range steps {
		time.Sleep(time.Until(began.Add(s.at)))
		s.do()
	}
	took := time.Since(began)
	end := r.sockets()
	after := r.stats()
	r.noteFlows(took, middle, end)
	for i := range r.at {
		r.noteQueue(i, took, before[i], after[i], queues[i].Stop().List())
	}
	r.noteRequests()
}

// stats are the bottlenecks' counters.
func (r *run) stats() []netdev.Stats {
	var all []netdev.Stats
	for _, end := range r.at {
		all = append(all, end.Queue())
	}
	return all
}

// ours are the flows' connections.
func ours() kernel.SocketFilter {
	return kernel.SocketFilter{States: []kernel.State{kernel.Established}, Port: port}
}

func (c Cell) samplePeriod() time.Duration {
	flows := 0
	for _, f := range c.Flows {
		flows += f.count()
	}
	return max(samplePeriod, (c.Duration * time.Duration(flows) / mostRows).Round(time.Millisecond))
}

// start begins the flows of one kind. They send for longer than is measured, and end with the lab.
func (r *run) start(i int) {
	f := r.Flows[i]
	from := sender(r.net, i, f)
	to := r.net.Servers[i]
	if f.Back {
		to = r.net.Clients[i]
	}
	socket := peers.Socket{Congestion: f.Congestion}
	if f.Traffic == InRequests {
		r.lab.Start(to, peers.EchoServer{Listen: to.Addr(port), Connections: f.count(), Socket: socket})
	} else {
		r.lab.Start(to, peers.BulkServer{Listen: to.Addr(port), Connections: f.count()})
	}
	for range f.count() {
		switch f.Traffic {
		case Bulk:
			r.lab.Start(from, peers.BulkClient{Connect: to.Addr(port), Duration: 2 * r.Duration, Socket: socket})
		case InBursts:
			r.lab.Start(from, peers.Script{Connect: to.Addr(port), Socket: socket, Steps: f.bursts(r.Duration)})
		case InRequests:
			r.asking = append(r.asking, r.lab.Start(from, peers.EchoClient{
				Connect: to.Addr(port), Socket: socket, Size: int(f.Size), Interval: f.Every, Requests: int(2*r.Duration/f.Every) + 1,
			}))
		}
	}
}

// mostBursts bounds a script.
const mostBursts = 2000

// bursts are the steps of a flow in bursts: as many as there can be.
func (f Flow) bursts(duration time.Duration) []peers.Step {
	var steps []peers.Step
	for range min(mostBursts, int(duration/f.Every)+1) {
		steps = append(steps, peers.Write(f.Size), peers.Sleep(f.Every))
	}
	return peers.Steps(append(steps, peers.Sleep(peers.UntilStopped))...)
}

// sockets are those of the bulk flows' senders, of the first kind of flow first.
func (r *run) sockets() []kernel.Socket {
	var all []kernel.Socket
	for i, f := range r.Flows {
		if f.sends() {
			all = append(all, sender(r.net, i, f).Sockets(ours()).List()...)
		}
	}
	return all
}

// noteFlows says what came of the bulk flows, by the senders' sockets.
func (r *run) noteFlows(took time.Duration, middle, end []kernel.Socket) {
	var kinds []Flow
	flows := 0
	for _, f := range r.Flows {
		if f.sends() {
			kinds = append(kinds, f)
			flows += f.count()
		}
	}
	gomega.Expect(end).To(gomega.HaveLen(flows), "flows that still run")
	if flows == 0 {
		return
	}
	var goodputs []float64
	var acked, later, sent, again, busy, limited uint64
	for _, s := range end {
		info := s.TCPInfo
		goodputs = append(goodputs, float64(info.Bytes_acked)*8/took.Seconds())
		acked += info.Bytes_acked
		later += info.Bytes_acked
		sent += info.Bytes_sent
		again += info.Bytes_retrans
		busy += info.Busy_time
		limited += info.Rwnd_limited + info.Sndbuf_limited
	}
	for _, s := range middle {
		later -= s.TCPInfo.Bytes_acked
	}
	r.lab.Note(Goodput, bounds.Mbit(float64(acked)*8/took.Seconds()))
	r.lab.Note(Later, bounds.Mbit(float64(later)*8/(took-r.Duration/2).Seconds()))
	r.lab.Note(Retransmitted, share(again, sent))
	r.lab.Note(Limited, share(limited, busy))
	if flows > 1 {
		r.lab.Note(Fairness, oracle.Jain(goodputs...))
	}
	if len(kinds) == 1 {
		return
	}
	for _, f := range kinds {
		var sum float64
		for range f.count() {
			sum, goodputs = sum+goodputs[0], goodputs[1:]
		}
		r.lab.Note(f.Kind()+": "+Goodput, bounds.Mbit(sum))
	}
}

// noteQueue says what a bottleneck did, by its own counters. The first one's metrics have no name before them.
func (r *run) noteQueue(i int, took time.Duration, before, after netdev.Stats, samples []kernel.QdiscSample) {
	note := func(name string, value any) {
		if i > 0 {
			name = fmt.Sprintf("bottleneck %d: %s", i+1, name)
		}
		r.lab.Note(name, value)
	}
	rate := float64(r.Rate)
	note(Utilisation, bounds.Percent(float64(after.Bytes-before.Bytes)*8/took.Seconds()/rate))
	var waits []float64
	for _, s := range samples {
		waits = append(waits, float64(s.Backlog)*8/rate)
	}
	note(QueueMedian, quantile(waits, 0.5))
	note(Queue95, quantile(waits, 0.95))
	note(Queue99, quantile(waits, 0.99))
	drops, left := after.Drops-before.Drops, after.Packets-before.Packets
	note(Dropped, share(drops, drops+left))
	if r.Queue != nil {
		stats := r.at[i].QueueStats()
		note(Marked, share(stats[len(stats)-1].Marks(), left))
	}
	if at, full := fillTime(samples, r.Rate, max(leastWindow, r.RTT)); full {
		note(FillTime, at)
	}
}

// fillTime is when a bottleneck had first sent at its rate for some time, since the first sample.
func fillTime(samples []kernel.QdiscSample, rate int64, window time.Duration) (time.Duration, bool) {
	from := 0
	for _, s := range samples {
		for from+1 < len(samples) && s.At-samples[from+1].At >= window {
			from++
		}
		since := s.At - samples[from].At
		if since >= window && float64(s.Bytes-samples[from].Bytes)*8 >= fullShare*float64(rate)*since.Seconds() {
			return s.At - samples[0].At, true
		}
	}
	return 0, false
}

// noteRequests says how long requests took.
func (r *run) noteRequests() {
	var all []float64
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, peer := range r.asking {
		// Not by the lab: where an answer is still under way, or the end of the connection behind a queue, that it is stopped is an error of it.
		result, err := peer.Peer.Stop(ctx)
		if err != nil && !errors.Is(err, unix.ECANCELED) {
			gomega.Expect(err).NotTo(gomega.HaveOccurred())
		}
		if result.Echo != nil {
			for _, latency := range result.Echo.Latencies {
				all = append(all, latency.Seconds())
			}
		}
	}
	if len(r.asking) == 0 {
		return
	}
	gomega.Expect(all).NotTo(gomega.BeEmpty(), "requests that were answered")
	var sum float64
	for _, v := range all {
		sum += v
	}
	r.lab.Note(AnswerMedian, quantile(all, 0.5))
	r.lab.Note(Answer95, quantile(all, 0.95))
	r.lab.Note(RoundTrips, bounds.In(time.Minute.Seconds()/(sum/float64(len(all))), "/min"))
}

func share(part, whole uint64) bounds.Value {
	if whole == 0 {
		return bounds.Percent(0)
	}
	return bounds.Percent(float64(part) / float64(whole))
}

// quantile is the time that a share of the times, in seconds, does not exceed.
func quantile(seconds []float64, share float64) time.Duration {
	if len(seconds) == 0 {
		return 0
	}
	slices.Sort(seconds)
	return time.Duration(seconds[min(len(seconds)-1, int(share*float64(len(seconds))))] * float64(time.Second))
}
