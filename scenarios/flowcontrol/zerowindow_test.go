package flowcontrol

import (
	"fmt"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	"github.com/tcplab/tcplab/harness/kernel"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

const (
	nearRTT = 20 * time.Millisecond // RTT of the path in this file
	buffer  = 16 << 10              // SO_RCVBUF
	bytes   = 200_000               // more than the receive buffer takes

	// settle is the time after which the window is zero: a few RTTs, and delayed ACKs of 40 ms.
	settle = time.Second
)

// stall connects a client that writes bytes to a server that reads only after Continue, and waits until the window is
// zero. It also returns the RTO of the client, with which zero window probes begin.
func stall(lab *harness.Lab, net *harness.Network, client peers.Socket) (harness.Pair, time.Duration) {
	GinkgoHelper()
	pair := lab.Connect(net.Client(), net.Server(),
		peers.Script{Socket: client, Steps: peers.Steps(peers.Try(peers.Write(bytes)))},
		peers.Script{Socket: peers.Socket{ReceiveBuffer: buffer}, Steps: peers.Steps(peers.Await(), peers.ReadAll())})
	time.Sleep(settle)
	socket := harness.First(net.Client().Sockets(kernel.SocketFilter{Port: pair.Local.Port()}).List(), "sockets of the client")
	return pair, time.Duration(socket.TCPInfo.Rto) * time.Microsecond
}

// closed selects segments that advertise a zero window.
func closed(s analysis.Segment) bool { return s.Window == 0 && s.Flags == analysis.FlagACK }

// probing returns a filter for zero window probes: no data, and the sequence number before the right edge, as in a
// keepalive (tcp_xmit_probe_skb).
func probing(edge uint32) analysis.Filter {
	return func(s analysis.Segment) bool { return s.Length == 0 && s.Seq == edge-1 }
}

var _ = It("zero window probes back off exponentially", Label("long", "netem", "rfc9293"), func(ctx SpecContext) {
	const probes = 7
	lab := harness.NewLab(ctx)
	net := lab.Path(nearRTT)
	wire := lab.Capture(net.Client())
	_, rto := stall(lab, net, peers.Socket{})

	// RFC 9293, section 3.8.6.1: the first probe after an RTO, then exponential back-off.
	expected := net.Client().Oracle().ZeroWindowProbes(oracle.ProbeOptions{RTT: oracle.Between(nearRTT, nearRTT+harness.HostDelay), RTO: rto}, probes)
	time.Sleep(expected[probes-1].Latest)
	zero := harness.First(wire.Stop().Segments(closed), "segments that close the window")
	sent := wire.From(net.Client(), probing(zero.Ack))
	Expect(sent).To(HaveLen(probes))
	for i, probe := range sent {
		lab.Measure(fmt.Sprintf("probe %d after", i+1), probe.At-zero.At, expected[i])
	}
	Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPToZeroWindowAdv": 1, "TcpExtTCPFromZeroWindowAdv": 0})
	Expect(net.Client().Counters()).To(HaveGrown("TcpExtTCPWinProbe", probes))
	Expect(net.Client().Sockets()).To(HaveState(kernel.Established, 1))
})

var _ = It("resumes at once on a window update", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
	lab := harness.NewLab(ctx)
	net := lab.Path(nearRTT)
	wire := lab.Capture(net.Server())
	pair, _ := stall(lab, net, peers.Socket{})
	pair.Server.Continue()
	received := pair.Server.Wait().Connections[0].Received

	// RFC 9293, section 3.8.6.2.2: the receiver sends a window update once it has room for a segment, and waits for
	// no probe.
	zero := harness.First(wire.Stop().Segments(closed), "segments that close the window")
	later := func(s analysis.Segment) bool { return s.Frame > zero.Frame }
	update := harness.First(wire.From(net.Server(), later, analysis.Not(closed)), "window updates")
	next := harness.First(wire.Segments(analysis.WithData, later), "segments with data after it")
	Expect(update.Ack).To(Equal(zero.Ack))
	lab.Measure("update to data", next.At-update.At, oracle.Between(nearRTT, nearRTT+harness.HostDelay).From("RTT; RFC 9293, 3.8.6.2.2"))
	Expect(received).To(BeEquivalentTo(bytes))
	Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPToZeroWindowAdv": 1, "TcpExtTCPFromZeroWindowAdv": 1})
})

var _ = It("sends zero window probes forever while answered, and gives up after tcp_retries2 unanswered", Label("long", "netem", "rfc9293"),
	func(ctx SpecContext) {
		const retries = 3
		lab := harness.NewLab(ctx)
		net := lab.Path(nearRTT, harness.ClientSysctls(netns.IPv4("tcp_retries2", 3)))
		wire := lab.Capture(net.Client(), net.Server())
		pair, rto := stall(lab, net, peers.Socket{})

		// tcp_probe_timer: icsk_probes_out counts unanswered probes. The back-off doubles at most tcp_retries2 times
		// (tcp_send_probe0).
		slowest := rto << retries
		time.Sleep(10 * slowest)
		Expect(net.Client().Sockets()).To(HaveState(kernel.Established, 1))
		net.ToServer.Blackhole()
		end := pair.Client.Wait().Connections[0].Steps[0].Err

		Expect(end).To(MatchError(unix.ETIMEDOUT))
		zero := harness.First(wire.Stop().Segments(closed, analysis.On(net.Client().End("eth0").String())), "segments that close the window")
		probes := wire.Transits(net.Client().End("eth0"), net.Server().End("eth0"), probing(zero.Ack))
		var answered []time.Duration
		for _, c := range probes {
			if !c.Lost() {
				answered = append(answered, c.Sent.At-zero.At)
			}
		}
		// Far more probes than tcp_retries2: as many as fit into the time.
		expected := net.Client().Oracle().ZeroWindowProbes(oracle.ProbeOptions{RTT: oracle.Between(nearRTT, nearRTT+harness.HostDelay), RTO: rto}, 10*retries)
		silenced := oracle.Exactly(10 * slowest).LateBy(2 * settle) // at most settle before the sleep, and the time that the lab takes after it
		lab.Measure("answered probes", len(answered), expected.By(silenced))
		harness.CheckEach(lab, "answered probes after", answered, expected[:len(answered)])
		lab.Measure("unanswered probes", len(probes)-len(answered), bounds.Exactly(retries), "tcp_retries2")
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPWinProbe": len(probes), "TcpExtTCPAbortOnTimeout": 1})
	})

var _ = It("gives up on a zero window after TCP_USER_TIMEOUT, although probes are answered", Label("quick", "netem", "linux"),
	func(ctx SpecContext) {
		const userTimeout = 5 * time.Second
		lab := harness.NewLab(ctx)
		net := lab.Path(nearRTT)
		wire := lab.Capture(net.Client())
		pair, rto := stall(lab, net, peers.Socket{UserTimeout: userTimeout})
		write := pair.Client.Wait().Connections[0].Steps[0]

		// RFC 9293, section 3.8.6.1: the connection stays open while probes are answered. TCP_USER_TIMEOUT ends it
		// earlier, and counts from the first probe (tcp_probe_timer: icsk_probes_tstamp).
		Expect(write.Err).To(MatchError(unix.ETIMEDOUT))
		zero := harness.First(wire.Stop().Segments(closed), "segments that close the window")
		sent := wire.From(net.Client(), probing(zero.Ack))
		answers := wire.From(net.Server(), closed, func(s analysis.Segment) bool { return s.Frame > zero.Frame })
		k := net.Client().Oracle()
		situation := oracle.ProbeOptions{RTT: oracle.Between(nearRTT, nearRTT+harness.HostDelay), RTO: rto, UserTimeout: userTimeout}
		expected := k.ZeroWindowProbes(situation, len(sent)+1)
		over, ends := k.ZeroWindowEnd(situation)
		Expect(ends).To(BeTrue())
		lab.Measure("probes", len(sent), expected.By(over))
		harness.CheckEach(lab, "probes after", times(sent, zero.At), expected[:len(sent)])
		// What is out of window is answered once in tcp_invalid_ratelimit (tcp_oow_rate_limited): not the second, if the RTO is below half of that.
		limit := time.Duration(net.Server().Sysctl("net.ipv4.tcp_invalid_ratelimit")) * time.Millisecond
		soon := 0
		for i := 1; i < len(sent); i++ {
			if sent[i].At-sent[i-1].At < limit+k.Tick() {
				soon++
			}
		}
		lab.Measure("answers", len(answers), bounds.Between(len(sent)-soon, len(sent)), "tcp_oow_rate_limited")
		Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPACKSkippedSeq": len(sent) - len(answers)})
		// The script's time and the capture's both begin with the SYN.
		lab.Measure("gave up after", write.End()-zero.At, over.LateBy(harness.HostDelay))
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPWinProbe": len(sent), "TcpExtTCPAbortOnTimeout": 1})
	})

// times returns the times of segments, relative to a given one.
func times(segments []analysis.Segment, since time.Duration) []time.Duration {
	var list []time.Duration
	for _, s := range segments {
		list = append(list, s.At-since)
	}
	return list
}
