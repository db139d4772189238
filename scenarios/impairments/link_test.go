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
	"github.com/tcplab/tcplab/peers"
)

// miss is the chance that a figure is outside its bounds although all is as it should be. A run of the
// suite has fewer than 100 such figures: all runs with 10,000 seeds together fail by chance less than once in a million.
const miss = 1e-12

// hostDelay bounds what the router and the receiving host add to most delays: an interrupt or two.
const hostDelay = time.Millisecond

// late bounds what they add to a single one: where much is due at once, the work is left to ksoftirqd, which has to wait for
// its turn (__do_softirq).
func late(net *harness.Network) time.Duration {
	GinkgoHelper()
	return hostDelay + net.Server().Oracle().Tick()
}

const (
	ethernetHeader = 14
	udpHeader      = 8
)

// probeHeaders is the length of a probe's headers on the wire: Ethernet, IP, UDP.
func probeHeaders() int { return ethernetHeader + harness.IPHeader() + udpHeader }

// A link carries probes from client to server over a router, which impairs them. They are seen before the
// impairment, as they come to the router, and behind it, as they come to the server.
type link struct {
	lab            *harness.Lab
	net            *harness.Network
	wire           *harness.Capture
	before, behind string // the names of the two ends
	receiver       *harness.Peer
	sender         *harness.Peer
}

// newLink builds the link and impairs it.
func newLink(lab *harness.Lab, n impair.Netem) *link {
	GinkgoHelper()
	net := lab.Routed()
	net.ToServer.Impair(n)
	before, behind := net.Routers[0].End("eth0"), net.Server().End("eth0")
	return &link{
		lab: lab, net: net, before: before.String(), behind: behind.String(),
		wire:     lab.Capture(before, behind),
		receiver: lab.Start(net.Server(), peers.ProbeReceiver{Listen: net.Server().Addr(5005)}),
	}
}

// begin begins to send probes.
func (l *link) begin(p peers.ProbeSender) {
	GinkgoHelper()
	p.Connect = l.net.Server().Addr(5005)
	l.sender = l.lab.Start(l.net.Client(), p)
}

// A probe is what became of one.
type probe struct {
	came time.Duration   // to the router
	went []time.Duration // to the server: none if it was lost, two if it was doubled
	ecn  uint8           // as it came to the server: the codepoint in the IP header
}

func (p probe) lost() bool { return len(p.went) == 0 }

// delay is how long it was on its way; below 0 for one that was lost.
func (p probe) delay() time.Duration {
	if p.lost() {
		return -1
	}
	return p.went[0] - p.came
}

// An account is what three witnesses say of all probes.
type account struct {
	probes   []probe           // in the capture, by number
	order    []int             // their numbers as they came to the server, copies included
	received peers.ProbeResult // by the receiver
	queue    impair.Stats      // by the qdisc
	late     time.Duration     // by how much a host may delay one of them
}

// account waits until all is sent and the link is empty, and sees that the witnesses agree on what has passed it.
func (l *link) account() account {
	GinkgoHelper()
	sent := l.sender.Wait().Probe.Sent
	Eventually(func() uint32 { return l.net.ToServer.Queue().QueueLength }).WithTimeout(time.Minute).Should(BeZero())
	a := account{received: *l.receiver.Stop().Probe, queue: l.net.ToServer.Queue(), late: late(l.net)}
	a.read(l.wire.Stop().Frames(), l)
	Expect(a.probes).To(HaveLen(sent), "probes that came to the router, and those that were sent")
	Expect(a.queue.Packets).To(BeEquivalentTo(len(a.order)), "packets that the qdisc let go, and those that came to the server")
	Expect(a.received.Received).To(Equal(len(a.order)), "probes that were read, and those that came to the server")
	return a
}

// read makes the capture into what became of each probe. All are there by number, since none is lost before the router.
func (a *account) read(frames []analysis.Frame, l *link) {
	GinkgoHelper()
	for _, f := range frames {
		number, ecn, ok := decodeProbe(f.Data)
		switch {
		case !ok || f.Direction != analysis.Inbound:
		case f.Interface == l.before:
			a.probes = append(a.probes, probe{came: f.At})
		case f.Interface == l.behind:
			Expect(number).To(BeNumerically("<", len(a.probes)), "a probe that came to the server, but not to the router")
			a.probes[number].went = append(a.probes[number].went, f.At)
			a.probes[number].ecn = ecn
			a.order = append(a.order, number)
		}
	}
}

// decodeProbe returns the number of a probe, and the ECN codepoint of the packet it is in. In IPv4 that is the end of the
// second byte; in IPv6 of the traffic class, which begins after the four bits of the version (RFC 791, RFC 8200, RFC 3168).
func decodeProbe(frame []byte) (number int, ecn uint8, ok bool) {
	const udp = 17
	if len(frame) < probeHeaders() {
		return 0, 0, false
	}
	ip := frame[ethernetHeader:]
	version, protocol, ecn := byte(4), ip[9], ip[1]&3
	if harness.IPv6() {
		version, protocol, ecn = 6, ip[6], ip[1]>>4&3
	}
	if ip[0]>>4 != version || protocol != udp {
		return 0, 0, false
	}
	number, ok = peers.ProbeNumber(frame[probeHeaders():])
	return number, ecn, ok
}

// losses tells of each probe whether it was lost.
func (a account) losses() []bool {
	lost := make([]bool, len(a.probes))
	for i, p := range a.probes {
		lost[i] = p.lost()
	}
	return lost
}

// count is how many are true.
func count(all []bool) int {
	n := 0
	for _, is := range all {
		if is {
			n++
		}
	}
	return n
}

// passage compares the TCP segments from client to server as they came to the router and to the server: how long each took
// in between, and which did not come. They must come in the order in which they left.
func passage(segments []analysis.Segment, net *harness.Network) (delays []time.Duration, lost []analysis.Segment) {
	server := net.Server().IP()
	same := func(a, b analysis.Segment) bool {
		return a.Seq == b.Seq && a.Ack == b.Ack && a.Length == b.Length && a.Flags == b.Flags && a.Options.TSVal == b.Options.TSVal
	}
	var waiting []analysis.Segment
	for _, s := range segments {
		switch {
		case s.Dst.Addr() != server || s.Direction != analysis.Inbound:
		case s.Interface == net.Routers[0].End("eth0").String():
			waiting = append(waiting, s)
		default:
			came := slices.IndexFunc(waiting, func(w analysis.Segment) bool { return same(w, s) })
			Expect(came).To(BeNumerically(">=", 0), "came to the server, but not to the router: %v", s)
			lost = append(lost, waiting[:came]...)
			delays = append(delays, s.At-waiting[came].At)
			waiting = waiting[came+1:]
		}
	}
	return delays, append(lost, waiting...)
}

// due is when a probe is behind the impairment that netem has given that delay.
func (a account) due(delay time.Duration) oracle.Span {
	return oracle.Exactly(delay).LateBy(a.late).From("netem_dequeue: not before time_to_send")
}

// delays of the probes that were not lost, in the order in which they were sent.
func (a account) delays() []time.Duration {
	var delays []time.Duration
	for _, p := range a.probes {
		if !p.lost() {
			delays = append(delays, p.delay())
		}
	}
	return delays
}

// reordered counts the probes that came to the server after one with a higher number (RFC 4737, section 3.3).
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
