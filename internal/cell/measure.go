package cell

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/onsi/ginkgo/v2"
	"github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	"github.com/tcplab/tcplab/impair"
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

// Metrics of a cell. A flow's own have its congestion control before them: "cubic: goodput".
const (
	Goodput       = "goodput"         // of all flows, over the whole time
	Later         = "goodput, later"  // in the second half
	Utilisation   = "utilisation"     // what the bottleneck carried of what it could, headers and retransmissions included
	Retransmitted = "retransmitted"   // of the bytes sent
	Limited       = "buffers limited" // the share of the time in which a send buffer or a receive window limited a flow
	QueueMedian   = "queue, median"   // how long a packet waits in the bottleneck
	Queue95       = "queue, 95 %"
	Fairness      = "Jain's index" // of all flows' goodput
)

const (
	port = 5001
	// queuePeriod is how often the bottleneck's queue is looked at.
	queuePeriod = 50 * time.Millisecond
	// roomBack is how many packets the way back holds: no ACK is lost.
	roomBack = 1_000_000
)

// measure makes the path and the flows, and notes what came of them.
func (c Cell) measure(lab *harness.Lab) {
	net := c.build(lab)
	queue := net.ToServer.SampleQueue(queuePeriod)
	before := net.ToServer.Queue()
	began := time.Now()
	type step struct {
		at time.Duration
		do func()
	}
	var steps []step
	for i, f := range c.Flows {
		steps = append(steps, step{f.After, func() { c.start(lab, net, i) }})
	}
	var middle []kernel.Socket
	steps = append(steps, step{c.Duration / 2, func() { middle = c.sockets(net) }}, step{c.Duration, func() {}})
	slices.SortStableFunc(steps, func(a, b step) int { return cmp.Compare(a.at, b.at) })
	for _, s := range steps {
		time.Sleep(time.Until(began.Add(s.at)))
		s.do()
	}
	took := time.Since(began)
	end := c.sockets(net)
	after := net.ToServer.Queue()
	c.note(lab, took, middle, end)
	lab.Note(Utilisation, bounds.Percent(float64(after.Bytes-before.Bytes)*8/took.Seconds()/float64(c.Rate)))
	var waits []float64
	for _, s := range queue.Stop().List() {
		waits = append(waits, float64(s.Backlog)*8/float64(c.Rate))
	}
	lab.Note(QueueMedian, quantile(waits, 0.5))
	lab.Note(Queue95, quantile(waits, 0.95))
}

// build is a pair of hosts for each kind of flow, and a bottleneck between two routers. The delay is on the way back, so that the
// bottleneck's limit is its buffer and nothing else.
func (c Cell) build(lab *harness.Lab) *harness.Network {
	net := lab.Dumbbell(len(c.Flows), settingsOf(c.Sysctls))
	bottleneck := impair.Netem{Rate: impair.Rate{BitsPerSecond: c.Rate}, Limit: c.buffer()}
	if c.Loss > 0 {
		bottleneck.Loss = impair.RandomLoss{Percent: impair.Percent(100 * c.Loss)}
	}
	net.ToServer.Impair(bottleneck)
	if c.RTT > 0 {
		net.ToClient.Impair(impair.Netem{Delay: c.RTT, Limit: roomBack})
	}
	for i, f := range c.Flows {
		if f.RTT > 0 {
			net.Servers[i].Ends()[0].Impair(impair.Netem{Delay: f.RTT, Limit: roomBack})
		}
	}
	return net
}

// start begins the flows of one kind. They send for longer than is measured, and end with the lab.
func (c Cell) start(lab *harness.Lab, net *harness.Network, i int) {
	f, server := c.Flows[i], net.Servers[i]
	lab.Start(server, peers.BulkServer{Listen: server.Addr(port), Connections: f.count()})
	for range f.count() {
		lab.Start(net.Clients[i], peers.BulkClient{
			Connect: server.Addr(port), Duration: 2 * c.Duration, Socket: peers.Socket{Congestion: f.Congestion},
		})
	}
}

// sockets are those of all senders, of the first kind of flow first.
func (c Cell) sockets(net *harness.Network) []kernel.Socket {
	var all []kernel.Socket
	for _, client := range net.Clients {
		all = append(all, client.Sockets(kernel.SocketFilter{States: []kernel.State{kernel.Established}, Port: port}).List()...)
	}
	return all
}

// note says what came of the flows, by the senders' sockets.
func (c Cell) note(lab *harness.Lab, took time.Duration, middle, end []kernel.Socket) {
	flows := 0
	for _, f := range c.Flows {
		flows += f.count()
	}
	gomega.Expect(end).To(gomega.HaveLen(flows), "flows that still run")
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
	lab.Note(Goodput, bounds.Mbit(float64(acked)*8/took.Seconds()))
	lab.Note(Later, bounds.Mbit(float64(later)*8/(took-c.Duration/2).Seconds()))
	lab.Note(Retransmitted, share(again, sent))
	lab.Note(Limited, share(limited, busy))
	if flows > 1 {
		lab.Note(Fairness, jain(goodputs))
	}
	if len(c.Flows) == 1 {
		return
	}
	for _, f := range c.Flows {
		var sum float64
		for range f.count() {
			sum, goodputs = sum+goodputs[0], goodputs[1:]
		}
		lab.Note(f.Congestion+": "+Goodput, bounds.Mbit(sum))
	}
}

func share(part, whole uint64) bounds.Value {
	if whole == 0 {
		return bounds.Percent(0)
	}
	return bounds.Percent(float64(part) / float64(whole))
}

// jain is the index of fairness of Jain, Chiu and Hawe (1984): 1 where all have the same, 1/n where one has all.
func jain(values []float64) float64 {
	var sum, squares float64
	for _, v := range values {
		sum += v
		squares += v * v
	}
	if squares == 0 {
		return 1
	}
	return sum * sum / (float64(len(values)) * squares)
}

// quantile is the time that a share of the times, in seconds, does not exceed.
func quantile(seconds []float64, share float64) time.Duration {
	if len(seconds) == 0 {
		return 0
	}
	slices.Sort(seconds)
	return time.Duration(seconds[min(len(seconds)-1, int(share*float64(len(seconds))))] * float64(time.Second))
}
