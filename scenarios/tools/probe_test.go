package tools

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"time"

	. "github.com/onsi/ginkgo/v2"
	. "github.com/onsi/gomega"

	"github.com/tcplab/tcplab/harness"
	"github.com/tcplab/tcplab/harness/analysis"
	"github.com/tcplab/tcplab/harness/bounds"
	. "github.com/tcplab/tcplab/harness/matchers"
	"github.com/tcplab/tcplab/harness/oracle"
	"github.com/tcplab/tcplab/impair"
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/internal/probe"
	"github.com/tcplab/tcplab/peers"
)

// A webServer reads what it is sent, and answers each request with so many bytes, after some time.
type webServer struct {
	Address string
	Bytes   int
	Thinks  time.Duration
	TLS     bool
	Shakes  time.Duration // in the TLS handshake
}

var webServe = peers.Func("web-server", func(t *peers.Task, c webServer) (none struct{}, err error) {
	listener, err := net.Listen("tcp", c.Address)
	if err != nil {
		return none, err
	}
	if err := t.Ready(listener.Addr()); err != nil {
		return none, err
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		time.Sleep(c.Thinks)
		_, _ = w.Write(make([]byte, c.Bytes))
	}))
	server.Listener.Close()
	server.Listener = listener
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { time.Sleep(c.Shakes); return nil, nil }}
	if c.TLS {
		server.StartTLS()
	} else {
		server.Start()
	}
	<-t.Context().Done()
	server.CloseClientConnections()
	server.Close()
	return none, nil
})

var probing = peers.Func("probe", func(t *peers.Task, o probe.Options) (*probe.Report, error) {
	if err := t.Ready(nil); err != nil {
		return nil, err
	}
	return probe.Run(t.Context(), o, nil)
})

var iperf3 = peers.Func("iperf3-client", func(t *peers.Task, o probe.Iperf3) (*probe.Iperf3Report, error) {
	if err := t.Ready(nil); err != nil {
		return nil, err
	}
	return o.Run(t.Context(), nil)
})

var _ = Describe("probe:", func() {
	const count = 10
	run := func(lab *harness.Lab, path *harness.Network, server webServer, o probe.Options) *probe.Report {
		GinkgoHelper()
		server.Address = path.Server().Addr(port).String()
		o.Host, o.Port, o.Count = path.Server().IP().String(), port, count
		lab.Start(path.Server(), webServe.With(server))
		report, err := probing.Value(lab.Start(path.Client(), probing.With(o)).Wait())
		Expect(err).NotTo(HaveOccurred())
		return report
	}
	phase := func(report *probe.Report, name string) probe.Spread {
		GinkgoHelper()
		for _, p := range report.Phases {
			if p.Name == name {
				return p.Spread
			}
		}
		Fail("no phase " + name)
		return probe.Spread{}
	}
	oneRTT := oracle.Between(rtt, rtt+programDelay).From("1 RTT")

	It("a clean path takes one RTT to connect, and the server's own time is in the first byte", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		const thinks = 100 * time.Millisecond
		wire := lab.Capture(path.Client())
		report := run(lab, path, webServer{Bytes: 1000, Thinks: thinks}, probe.Options{HTTP: "/"})
		Expect(report.Errors).To(BeEmpty())
		lab.Measure("least connect", phase(report, "connect").Least, oneRTT)
		lab.Measure("most connect", phase(report, "connect").Most, oneRTT)
		lab.Measure("first byte", phase(report, "first byte").Median, oneRTT.Plus(oracle.PollTimeout(thinks)), "1 RTT, and what the server takes")
		lab.Measure("base RTT", report.Path.BaseRTT, oracle.Between(rtt, rtt+harness.HostDelay), "the path")
		lab.Measure("slow connects", report.Path.SlowConnects, bounds.Exactly(0), "nothing is lost")
		Expect(wire.Stop().Segments(analysis.SYNs)).To(HaveLen(count))
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 0})
		Expect(report.Path.Retransmits).To(BeZero())
	})

	It("requests on a warm connection spare the handshake", Label("quick", "netem", "rfc9293"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		wire := lab.Capture(path.Client())
		report := run(lab, path, webServer{Bytes: 1000}, probe.Options{HTTP: "/", Warm: true})
		Expect(report.Errors).To(BeEmpty())
		Expect(phase(report, "connect").Count).To(Equal(1))
		Expect(phase(report, "first byte, warm").Count).To(Equal(count - 1))
		lab.Measure("first byte, warm", phase(report, "first byte, warm").Most, oneRTT)
		Expect(wire.Stop().Segments(analysis.SYNs)).To(HaveLen(1))
	})

	It("a lost SYN shows as a connect of an RTO more, and as a retransmit", Label("quick", "netem", "rfc6298"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		lost := path.ToServer.Rule(rules.Drop(rules.SYN.Number(1)).AtMost(1))
		report := run(lab, path, webServer{}, probe.Options{})
		Expect(report.Errors).To(BeEmpty())
		Expect(lost.Hits()).To(HaveLen(1))
		lab.Measure("slow connects", report.Path.SlowConnects, bounds.Exactly(1), "one SYN was dropped")
		lab.Measure("retransmits", report.Path.Retransmits, bounds.Exactly(1), "one SYN was dropped")
		syns := path.Client().Oracle().Connect(oracle.ConnectOptions{})
		lab.Measure("most connect", phase(report, "connect").Most, syns.Sent[0].Plus(oneRTT))
		lab.Measure("median connect", phase(report, "connect").Median, oneRTT)
		Expect(path.Client().Counters()).To(HaveCounters{"TcpRetransSegs": 1})
	})

	It("a narrow link is in the transfer, not in the connect", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		narrow := oracle.Bottleneck{Rate: 10 * impair.Mbit, RTT: rtt}
		path.ToClient.Impair(impair.Netem{Delay: rtt / 2, Rate: impair.Rate{BitsPerSecond: narrow.Rate}})
		wire := lab.Capture(path.Client())
		const size = 100_000
		report := run(lab, path, webServer{Bytes: size}, probe.Options{HTTP: "/"})
		Expect(report.Errors).To(BeEmpty())
		wire.Stop()
		frames := time.Duration(len(wire.DataFrom(path.Server())) / count)
		lab.Check("segments of an answer", int(frames), bounds.Between(size/int(harness.MSS()), size/int(harness.MSS())+2), "100 kB, and a header")
		// The first frame is there with the first byte. Slow start has three rounds (10, 20, 40 segments), and waits for two of them at most.
		lab.Measure("transfer", phase(report, "transfer").Median,
			oracle.Between((frames-1)*narrow.Frame(), frames*narrow.Frame()+2*(rtt+programDelay)).From("the rate; RFC 5681, 3.1"))
		lab.Measure("connect", phase(report, "connect").Median, oneRTT)
	})

	It("an upload is as fast as the link, by what was acknowledged", Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		narrow := oracle.Bottleneck{Rate: 10 * impair.Mbit, RTT: rtt}
		path.ToServer.Impair(impair.Netem{Delay: rtt / 2, Rate: impair.Rate{BitsPerSecond: narrow.Rate}})
		const size, samples = 1_000_000, 3
		lab.Start(path.Server(), peers.BulkServer{Listen: path.Server().Addr(port), Connections: samples})
		o := probe.Options{Host: path.Server().IP().String(), Port: port, Count: samples, Upload: size, Drain: true}
		report, err := probing.Value(lab.Start(path.Client(), probing.With(o)).Wait())
		Expect(err).NotTo(HaveOccurred())
		Expect(report.Errors).To(BeEmpty())
		Expect(report.Upload.Count).To(Equal(samples))
		// All of it crosses the link, a frame at a time, and the last ACK comes back. Slow start (10, 20, 40 segments) leaves the link idle for
		// less than two round trips; the last ACK may be a delayed one.
		frames := time.Duration((size + harness.MSS() - 1) / harness.MSS())
		least := (frames-1)*narrow.Frame() + rtt
		most := frames*narrow.Frame() + 3*rtt + path.Server().Oracle().DelayedACK(rtt).Latest + 2*programDelay
		rate := func(took time.Duration) float64 { return size * 8 / took.Seconds() }
		lab.Measure("upload", bounds.Mbit(report.Upload.Median), bounds.Between(rate(most)/1e6, rate(least)/1e6).In("Mbit/s"), "the rate; RFC 5681, 3.1")
		Expect(path.ToServer.Queue().Bytes).To(BeNumerically(">", samples*size))
	})

	It("an iperf3 server tells how fast the link is in both directions", harness.Programs("iperf3"), Label("quick", "netem", "linux"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		path := lab.Path(rtt)
		up, down := oracle.Bottleneck{Rate: 5 * impair.Mbit, RTT: rtt}, oracle.Bottleneck{Rate: 20 * impair.Mbit, RTT: rtt}
		path.ToServer.Impair(impair.Netem{Delay: rtt / 2, Rate: impair.Rate{BitsPerSecond: up.Rate}})
		path.ToClient.Impair(impair.Netem{Delay: rtt / 2, Rate: impair.Rate{BitsPerSecond: down.Rate}})
		lab.Start(path.Server(), peers.Command{
			Path: harness.ProgramPath("iperf3"), Args: []string{"-s", "-p", fmt.Sprint(port)}, Ready: peers.Readiness{Port: port},
		})
		const lasts = 4 * time.Second
		report, err := iperf3.Value(lab.Start(path.Client(), iperf3.With(probe.Iperf3{Host: path.Server().IP().String(), Port: port, Duration: lasts})).Wait())
		Expect(err).NotTo(HaveOccurred())
		// Of a segment of so many bytes on the wire the MSS is payload. Of the time slow start takes less than a tenth.
		payload := func(b oracle.Bottleneck) float64 { return float64(harness.MSS()) * 8 / b.Frame().Seconds() / 1e6 }
		for _, direction := range []struct {
			name string
			*probe.Transfer
			oracle.Bottleneck
		}{{"upload", report.Upload, up}, {"download", report.Download, down}} {
			most := payload(direction.Bottleneck)
			lab.Measure(direction.name, bounds.Mbit(direction.Transfer.Rate), bounds.Between(0.9*most, most).In("Mbit/s"), "the rate")
		}
		Expect(path.ToServer.Queue().Bytes).To(BeNumerically(">", report.Upload.Bytes))
		Expect(path.ToClient.Queue().Bytes).To(BeNumerically(">", report.Download.Bytes))
	})
})
