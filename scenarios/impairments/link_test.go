package impairments

import (
	"slices"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/internal/ethernet"
	"github.com/tcplab/tcplab/netns/netdev"
	"github.com/tcplab/tcplab/peers"
)

// miss is the probability that a figure is outside its bounds by chance. A run of the suite has fewer than 100 such
// figures: all runs with 10,000 seeds together fail by chance less than once in a million.
const miss = 1e-12

// hostDelay bounds what the router and the receiver add to most delays: an interrupt or two.
const hostDelay = time.Millisecond

// late bounds what they add to a single delay: if much is due at once, ksoftirqd does the work, and has to wait for
// its turn (__do_softirq).
func late(net *harness.Network) time.Duration {
	GinkgoHelper()
	return hostDelay + net.Server().Oracle().Tick()
}

const (
	ethernetHeader = ethernet.HeaderLength
	udpHeader      = 8
)

// probeHeaders is the length of a probe's headers on the wire: Ethernet, IP, UDP.
func probeHeaders() int { return ethernetHeader + harness.IPHeader() + udpHeader }

// A link carries probes from client to server over a router, which impairs them. They are captured before the
// impairment, on arrival at the router, and after it, on arrival at the server.
type link struct {
	lab           *harness.Lab
	net           *harness.Network
	wire          *harness.Capture
	before, after string // the names of the two ends
	receiver      *harness.Peer
	sender        *harness.Peer
}

// newLink builds the link and impairs it.
func newLink(lab *harness.Lab, n impair.Netem) *link {
	GinkgoHelper()
	net := lab.Routed()
	net.ToServer.Impair(n)
	before, after := net.Routers[0].End("eth0"), net.Server().End("eth0")
	return &link{
		lab: lab, net: net, before: before.String(), after: after.String(),
		wire:     lab.Capture(before, after),
		receiver: lab.Start(net.Server(), peers.ProbeReceiver{Listen: net.Server().Addr(5005)}),
	}
}

// begin starts the sender of probes.
func (l *link) begin(p peers.ProbeSender) {
	GinkgoHelper()
	p.Connect = l.net.Server().Addr(5005)
	l.sender = l.lab.Start(l.net.Client(), p)
}

// A probe has the times at which one probe was captured.
type probe struct {
	came time.Duration   // at the router
	went []time.Duration // at the server: none if it was lost, two if it was duplicated
	ecn  uint8           // codepoint in the IP header at the server
}

func (p probe) lost() bool { return len(p.went) == 0 }

// delay is the transit time; below 0 if the probe was lost.
func (p probe) delay() time.Duration {
	if p.lost() {
		return -1
	}
	return p.went[0] - p.came
}

// An account has what three witnesses report of all probes.
type account struct {
	probes   []probe           // in the capture, by number
	order    []int             // their numbers in the order of arrival at the server, duplicates included
	received peers.ProbeResult // the receiver's count
	queue    netdev.Stats      // the statistics of the qdisc
	late     time.Duration     // how much a host may delay a single probe
}

// account waits until all probes are sent and the link is empty, and checks that the witnesses agree on the number of
// packets.
func (l *link) account() account {
	GinkgoHelper()
	sent := l.sender.Wait().Probe.Sent
	Eventually(func() uint64 { return l.net.ToServer.Queue().Length }).WithTimeout(time.Minute).Should(BeZero())
	a := account{received: *l.receiver.Stop().Probe, queue: l.net.ToServer.Queue(), late: late(l.net)}
	a.read(l.wire.Stop().Datagrams(), l)
	Expect(a.probes).To(HaveLen(sent), "probes that arrived at the router, and those that were sent")
	Expect(a.queue.Packets).To(BeEquivalentTo(len(a.order)), "packets that the qdisc sent, and those that arrived at the server")
	Expect(a.received.Received).To(Equal(len(a.order)), "probes that were read, and those that arrived at the server")
	return a
}

// read collects the times of each probe from the capture. Probes are numbered without gaps, since none is lost before
// the router.
func (a *account) read(datagrams []analysis.Datagram, l *link) {
	GinkgoHelper()
	for _, d := range datagrams {
		number, ok := peers.ProbeNumber([]byte(d.Payload))
		switch {
		case !ok || d.Direction != analysis.Inbound:
		case d.Interface == l.before:
			a.probes = append(a.probes, probe{came: d.At})
		case d.Interface == l.after:
			Expect(number).To(BeNumerically("<", len(a.probes)), "a probe that arrived at the server, but not at the router")
			a.probes[number].went = append(a.probes[number].went, d.At)
			a.probes[number].ecn = d.ECN
			a.order = append(a.order, number)
		}
	}
}

// losses reports for each probe whether it was lost.
func (a account) losses() []bool {
	lost := make([]bool, len(a.probes))
	for i, p := range a.probes {
		lost[i] = p.lost()
	}
	return lost
}

// count returns how many are true.
func count(all []bool) int {
	n := 0
	for _, is := range all {
		if is {
			n++
		}
	}
	return n
}

// passage compares the TCP segments from client to server at the router and at the server. It returns the transit
// times, and the segments that were lost. Segments must arrive in order.
func passage(segments []analysis.Segment, net *harness.Network) (delays []time.Duration, lost []analysis.Segment) {
	GinkgoHelper()
	toServer := analysis.All(analysis.To(net.Server().IP()), analysis.Going(analysis.Inbound))
	atServer := analysis.All(toServer, analysis.On(net.Server().End("eth0").String()))
	var frames []int
	for _, t := range analysis.Transits(slices.Values(segments), analysis.All(toServer, analysis.On(net.Routers[0].End("eth0").String())), atServer) {
		if t.Lost() {
			lost = append(lost, t.Sent)
			continue
		}
		delays = append(delays, t.Delay())
		for _, s := range t.Arrived {
			frames = append(frames, s.Frame)
		}
	}
	Expect(frames).To(HaveLen(analysis.Count(analysis.Where(slices.Values(segments), atServer))), "came to the server, but not to the router")
	Expect(slices.IsSorted(frames)).To(BeTrue(), "in the order in which they left")
	return delays, lost
}

// due is the transit time of a probe with that delay by netem.
func (a account) due(delay time.Duration) oracle.Span {
	return oracle.Exactly(delay).LateBy(a.late).From("netem_dequeue: not before time_to_send")
}

// delays returns the transit times of the probes that were not lost, in the order of sending.
func (a account) delays() []time.Duration {
	var delays []time.Duration
	for _, p := range a.probes {
		if !p.lost() {
			delays = append(delays, p.delay())
		}
	}
	return delays
}

// reordered counts the probes that arrived after one with a higher number (RFC 4737, section 3.3).
func (a account) reordered() int {
	n, next := 0, 0
	for _, number := range a.order {
		if number < next {
			n++
		}
		next = max(next, number+1)
	}
	return n
}
