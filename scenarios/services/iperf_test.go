package services

import (
	"encoding/json"
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
	"github.com/tcplab/tcplab/impair/middlebox"
	"github.com/tcplab/tcplab/netns"
	"github.com/tcplab/tcplab/peers"
)

const iperfPort = 5201

// iperfServer serves one client, and then ends. With which status, where that client was lost, depends on its version.
func iperfServer(net *harness.Network, args ...string) peers.Command {
	GinkgoHelper()
	return peers.Command{
		Path: harness.ProgramPath("iperf3"), Args: append([]string{"-s", "-1", "-B", net.Server().IP().String()}, args...),
		Ready: peers.Readiness{Port: iperfPort}, ExitStatuses: []int{0, 1},
	}
}

// iperfClient sends for a while, and says in JSON what came of it.
func iperfClient(net *harness.Network, d time.Duration, args ...string) peers.Command {
	GinkgoHelper()
	return peers.Command{
		Path: harness.ProgramPath("iperf3"), ExitStatuses: []int{0, 1},
		Args: append([]string{"-c", net.Server().IP().String(), "-J", "-t", fmt.Sprint(d.Seconds())}, args...),
	}
}

// slowly is at 1 Mbit/s, by a timer that goes off each 100 ms, and not each millisecond, which costs a guest time.
var slowly = []string{"-b", "1M", "-l", "1K", "--pacing-timer", "100000"}

// An iperfReport is part of what iperf3 -J prints.
type iperfReport struct {
	Error string `json:"error"`
	End   struct {
		Sent struct {
			Retransmits int `json:"retransmits"`
		} `json:"sum_sent"`
		Received struct {
			Bytes         int     `json:"bytes"`
			BitsPerSecond float64 `json:"bits_per_second"`
		} `json:"sum_received"`
	} `json:"end"`
}

func iperfReportOf(p *harness.Peer) (r iperfReport) {
	GinkgoHelper()
	text := said(p).Stdout
	Expect(json.Unmarshal([]byte(text), &r)).To(Succeed(), text)
	return r
}

// The first connection of iperf3 is for control; the second one carries the data.
func streams(wire *harness.Capture, net *harness.Network) (control, data uint16) {
	GinkgoHelper()
	syns := wire.From(net.Client(), analysis.SYNs)
	Expect(len(syns)).To(BeNumerically(">=", 2))
	control = syns[0].Src.Port()
	for _, syn := range syns {
		if syn.Src.Port() != control {
			return control, syn.Src.Port()
		}
	}
	Fail("iperf3 has opened one connection only")
	return 0, 0
}

var _ = DescribeTable("iperf3 reports the goodput and the retransmits that were on the wire", harness.Programs("iperf3"), Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext, loss impair.Percent) {
		const rate, took = 10 * impair.Mbit, 5 * time.Second
		lab := harness.NewLab(ctx)
		net := lab.Routed()
		net.ToServer.Impair(impair.Netem{Delay: rtt / 2, Rate: impair.Rate{BitsPerSecond: rate}, Loss: impair.RandomLoss{Percent: loss}})
		net.ToClient.Impair(impair.Netem{Delay: rtt / 2})
		lab.Start(net.Server(), iperfServer(net))
		wire := lab.Capture(net.Client())
		report := iperfReportOf(lab.Start(net.Client(), iperfClient(net, took)))

		wire.Stop()
		control, port := streams(wire, net)
		data := wire.DataFrom(net.Client(), analysis.FromPort(port))
		var inTime, all int // retransmits
		sent := map[uint32]bool{}
		for _, s := range data {
			if sent[s.Seq] {
				all++
				if s.At-data[0].At < took-programDelay {
					inTime++
				}
			}
			sent[s.Seq] = true
		}
		// It reads TCP_INFO when its time is over; what is in flight then may have to be sent again later.
		lab.Measure("retransmits", report.End.Sent.Retransmits, bounds.Between(inTime, all), "the capture")

		// The data follow a cookie, when the server has said that the test begins. It ends by TEST_END, on the control connection: the server
		// closes that of the data, and counts what it has read until then. That is all that it has acknowledged, or it had to send a reset
		// (RFC 2525, 2.17); and no less than what was acknowledged here before TEST_END left, which comes behind that.
		begin := harness.First(wire.DataFrom(net.Client(), analysis.FromPort(port), func(s analysis.Segment) bool { return s.Seq == data[0].NextSeq() }), "data after the cookie")
		over := harness.First(wire.DataFrom(net.Client(), analysis.FromPort(control), func(s analysis.Segment) bool { return s.At > begin.At }), "control messages after the test")
		answers := wire.From(net.Server(), analysis.With(analysis.FlagACK), func(s analysis.Segment) bool { return s.Dst.Port() == port && s.At > begin.At })
		closed := slices.IndexFunc(answers, func(s analysis.Segment) bool { return s.Flags&(analysis.FlagFIN|analysis.FlagRST) != 0 })
		Expect(closed).To(BeNumerically(">", 0), "the server closes")
		acked := func(until time.Duration) (bytes int) {
			for _, s := range answers[:closed+1] {
				if s.At <= until {
					bytes = max(bytes, int(int32(s.Ack-begin.Seq)))
				}
			}
			return bytes
		}
		most := acked(answers[closed].At)
		fewest := most
		if answers[closed].Flags&analysis.FlagRST != 0 {
			fewest = acked(over.At)
		}
		// What was unread then is acknowledged and not received: between the two any number is right, and no margin says anything.
		lab.Note("bytes received", bounds.In(report.End.Received.Bytes, "bytes"))
		Expect(report.End.Received.Bytes).To(And(BeNumerically(">=", fewest), BeNumerically("<=", most)), "the capture: acknowledged when the server closed")
		goodput, lasted := report.End.Received.BitsPerSecond, answers[closed].At-begin.At
		rateOf := func(bytes int, d time.Duration) float64 { return 8 * float64(bytes) / d.Seconds() / 1e6 }
		lab.Measure("goodput", bounds.Mbit(goodput), bounds.Between(rateOf(fewest, lasted+programDelay), rateOf(most, lasted-programDelay)),
			"the capture: these bytes, from the first data until the server closed")
		// A full frame carries an MSS, and its Ethernet header counts, too (tc-netem(8): rate).
		Expect(goodput).To(BeNumerically("<=", float64(rate)*float64(harness.MSS())/1514), "the link's rate, without headers")
	},
	Entry("of a clean link", impair.Percent(0)),
	Entry("of one that loses 1 %", impair.Percent(1)),
)

var _ = DescribeTable("an iperf3 server whose client has vanished", harness.Programs("iperf3"), Label("quick", "netem", "linux"),
	func(ctx SpecContext, limit time.Duration, args ...string) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		server := lab.Start(net.Server(), iperfServer(net, args...))
		wire := lab.Capture(net.Server())
		client := lab.Start(net.Client(), iperfClient(net, time.Hour, slowly...), harness.MayFail)
		net.Server().AwaitSockets(2, kernel.SocketFilter{States: []kernel.State{kernel.Established}})
		time.Sleep(5 * time.Second)
		net.ToServer.Blackhole()
		net.ToClient.Blackhole()
		client.Kill()
		said(server)
		ended := time.Now()
		heard := wire.Stop().Segments(analysis.To(net.Server().IP()), analysis.WithData)
		// It counts whole blocks, and looks when its timers wake it, each second (iperf_server_api.c: iperf_run_server).
		lab.Measure("ended after", ended.Sub(heard[len(heard)-1].Time), oracle.Between(limit-programDelay, limit+time.Second).LateBy(programEnd),
			"iperf3(1): --rcv-timeout, 120 s by default; the end of a program")
	},
	Entry("ends after two minutes by default", 120*time.Second),
	Entry("ends after 3 s with --rcv-timeout 3000", 3*time.Second, "--rcv-timeout", "3000"),
)

// While data flows on the one connection, the one for control is idle: for as long as the test takes.
var _ = Describe("iperf3 behind a NAT that forgets after 10 s", harness.Programs("iperf3"), func() {
	const forgets = 10 * time.Second
	measure := func(lab *harness.Lab, d time.Duration, config ...netns.Config) (net *harness.Network, wire *harness.Capture, got peers.CommandResult, ended time.Time) {
		GinkgoHelper()
		net = lab.Path(rtt, config...)
		net.Routers[0].Middlebox(middlebox.Box{NAT: true, Outside: net.ToServer.Name(), IdleTimeout: forgets})
		lab.Start(net.Server(), iperfServer(net))
		wire = lab.Capture(net.Client())
		got = said(lab.Start(net.Client(), iperfClient(net, d, slowly...)))
		ended = time.Now()
		return net, wire.Stop(), got, ended
	}

	It("has a result of a test that takes 5 s", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, _, got, _ := measure(lab, forgets/2)
		var report iperfReport
		Expect(json.Unmarshal([]byte(got.Stdout), &report)).To(Succeed())
		lab.Measure("goodput", bounds.Mbit(report.End.Received.BitsPerSecond), bounds.Between(0.9, 1.1), "iperf3 -b 1M")
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPAbortOnTimeout": 0})
	})

	// With the default of tcp_retries2 that is a quarter of an hour, during which iperf3 3.12 also takes all of a CPU: select(2) says
	// that it could write data.
	It("hangs after one that takes 15 s until tcp_retries2 ends it (3), as its control connection is forgotten", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		lab.AllowBusy()
		net, wire, got, ended := measure(lab, forgets+5*time.Second, harness.ClientSysctls(netns.IPv4("tcp_retries2", 3)))
		control, _ := streams(wire, net)
		sent := wire.DataFrom(net.Client(), analysis.FromPort(control))
		last := sent[len(sent)-1]
		var end []analysis.Segment // transmissions of TEST_END: one byte
		for _, s := range sent {
			if s.Seq == last.Seq {
				end = append(end, s)
			}
		}
		Expect(end).To(HaveEach(HaveField("Length", 1)))
		var report iperfReport
		Expect(json.Unmarshal([]byte(got.Stdout), &report)).To(Succeed())
		Expect(report.Error).To(ContainSubstring("unable to send control message"))
		expected := net.Client().Oracle().Blackhole(oracle.Flow{RTT: pathRTT})
		lab.Measure("retransmits of the last byte", len(end)-1, expected.Count())
		lab.Measure("last one after", last.At-end[0].At, expected.Sent[len(end)-2])
		lab.Measure("gave up after", ended.Sub(end[0].Time), expected.End.LateBy(programEnd))
		Expect(net.Client().Counters()).To(HaveGrown("TcpExtTCPAbortOnTimeout", BeNumerically(">=", 1)))
	})
})
