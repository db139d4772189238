package services

import (
	"encoding/json"
	"fmt"
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

// An iperfReport is part of what iperf3 -J prints.
type iperfReport struct {
	Error string `json:"error"`
	End   struct {
		Sent struct {
			Retransmits int `json:"retransmits"`
		} `json:"sum_sent"`
		Received struct {
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
		_, port := streams(wire, net)
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
		goodput := report.End.Received.BitsPerSecond
		// A full frame carries an MSS, and its Ethernet header counts, too (tc-netem(8): rate).
		most := float64(rate) * float64(harness.MSS()) / 1514
		if loss == 0 {
			lab.Measure("goodput", bounds.Mbit(goodput), bounds.Between(0.85*most/1e6, most/1e6), "the link's rate, without headers; slow start and rounding of times take some")
		} else {
			lab.Measure("goodput", bounds.Mbit(goodput), bounds.Between(0., most/1e6), "the link's rate, without headers")
		}
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
		client := lab.Start(net.Client(), iperfClient(net, time.Hour, "-b", "1M", "-l", "1K"), harness.MayFail)
		Eventually(net.Server().Sockets(kernel.SocketFilter{States: []kernel.State{kernel.Established}})).Should(HaveState(kernel.Established, 2))
		time.Sleep(5 * time.Second)
		net.ToServer.Blackhole()
		net.ToClient.Blackhole()
		client.Kill()
		said(server)
		ended := time.Now()
		heard := wire.Stop().Segments(analysis.To(net.Server().IP()), analysis.WithData)
		// It counts whole blocks, and looks when its timers wake it, each second (iperf_server_api.c: iperf_run_server).
		lab.Measure("ended after", ended.Sub(heard[len(heard)-1].Time), oracle.Between(limit-programDelay, limit+time.Second).LateBy(100*time.Millisecond),
			"iperf3(1): --rcv-timeout, 120 s by default; the end of a program")
	},
	Entry("ends after two minutes by default", 120*time.Second),
	Entry("ends after 3 s with --rcv-timeout 3000", 3*time.Second, "--rcv-timeout", "3000"),
)

// While data flows on the one connection, the one for control is idle: for as long as the test takes.
var _ = Describe("iperf3 behind a NAT that forgets after 10 s", harness.Programs("iperf3"), func() {
	const forgets = 10 * time.Second
	measure := func(lab *harness.Lab, d time.Duration, config ...netns.Config) (*harness.Network, *harness.Capture, peers.CommandResult) {
		GinkgoHelper()
		net := lab.Path(rtt, config...)
		net.Routers[0].Middlebox(middlebox.Box{NAT: true, Outside: net.ToServer.Name(), IdleTimeout: forgets})
		lab.Start(net.Server(), iperfServer(net))
		wire := lab.Capture(net.Client())
		got := said(lab.Start(net.Client(), iperfClient(net, d, "-b", "1M")))
		return net, wire.Stop(), got
	}

	It("has a result of a test that takes 5 s", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, _, got := measure(lab, forgets/2)
		var report iperfReport
		Expect(json.Unmarshal([]byte(got.Stdout), &report)).To(Succeed())
		lab.Measure("goodput", bounds.Mbit(report.End.Received.BitsPerSecond), bounds.Between(0.9, 1.1), "iperf3 -b 1M: 128 KB at a time")
		Expect(net.Client().Counters()).To(HaveCounters{"TcpExtTCPAbortOnTimeout": 0})
	})

	// With the default of tcp_retries2 that is a quarter of an hour, during which iperf3 3.12 also takes all of a CPU: select(2) says
	// that it could write data.
	It("hangs after one that takes 15 s until tcp_retries2 ends it (3), as its control connection is forgotten", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		lab.AllowBusy()
		net, wire, got := measure(lab, forgets+5*time.Second, harness.ClientSysctls(netns.IPv4("tcp_retries2", 3)))
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
		Expect(net.Client().Counters()).To(HaveGrown("TcpExtTCPAbortOnTimeout", BeNumerically(">=", 1)))
	})
})
