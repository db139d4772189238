package services

import (
	"encoding/json"
	"fmt"
	"strings"
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
	"github.com/tcplab/tcplab/impair/rules"
	"github.com/tcplab/tcplab/peers"
)

// nginxConf has nginx in the foreground, with nothing outside of its folder.
const nginxConf = `
daemon off; master_process off; user root; pid nginx.pid; error_log stderr;
events {}
http {
	access_log off; sendfile off; client_max_body_size 64k;
	client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
	server { %s location / { root www; } }
}
`

// nginx is a server in a new folder with these files, configured by directives of its server block, and ready at a port.
func nginx(port int, files map[string]string, directives ...string) peers.Command {
	GinkgoHelper()
	files["nginx.conf"] = fmt.Sprintf(nginxConf, strings.Join(directives, "; ")+";")
	return peers.Command{
		Path: harness.ProgramPath("nginx"), Args: []string{"-p", folder(files), "-c", "nginx.conf", "-e", "stderr"},
		Ready: peers.Readiness{Port: port},
	}
}

// curl is a client that says what came of it, and that has to end with a status: see EXIT CODES in curl(1).
func curl(status int, args ...string) peers.Command {
	return peers.Command{
		Path: harness.ProgramPath("curl"), Args: append([]string{"-q", "-sS", "-o", "/dev/null", "-w", "%{json}"}, args...),
		ExitStatuses: []int{status},
	}
}

// A transfer is what curl says of one, as it can be written by -w '%{json}'. Times count from its start.
type transfer struct {
	Code       int     `json:"response_code"`
	Connected  seconds `json:"time_connect"`
	Encrypted  seconds `json:"time_appconnect"`
	FirstByte  seconds `json:"time_starttransfer"`
	Total      seconds `json:"time_total"`
	Downloaded int     `json:"size_download"`
	Uploaded   int     `json:"size_upload"`
	RemoteIP   string  `json:"remote_ip"`
}

// seconds is a number of them.
type seconds float64

func (s seconds) duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

func transferOf(p *harness.Peer) (t transfer) {
	GinkgoHelper()
	Expect(json.Unmarshal([]byte(said(p).Stdout), &t)).To(Succeed())
	return t
}

const (
	small = "hello\n"
	large = 1_000_000 // bytes
)

// web has a small and a large file.
func web() map[string]string {
	return map[string]string{"www/small.txt": small, "www/large.bin": strings.Repeat("0123456789", large/10)}
}

var _ = It("curl gets a small file from nginx in two round trips, and closes first", harness.Programs("nginx", "curl"), Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		address := net.Server().Addr(80)
		lab.Start(net.Server(), nginx(80, web(), "listen "+address.String()))
		wire := lab.Capture(net.Client())
		got := transferOf(lab.Start(net.Client(), curl(0, "http://"+address.String()+"/small.txt")))
		net.Client().AwaitSockets(1, kernel.SocketFilter{States: []kernel.State{kernel.TimeWait}})

		Expect(got).To(And(HaveField("Code", 200), HaveField("Downloaded", len(small))))
		lab.Measure("connected after", got.Connected.duration(), rtts(1), "handshake")
		lab.Measure("first byte after", got.FirstByte.duration(), rtts(2), "handshake, request and answer")
		Expect(wire.Stop()).To(Contain(Handshake(), 1))
		Expect(wire).To(Contain(FourWayClose(wire.From(net.Client())[0].Src), 1))
		Expect(wire.DataFrom(net.Client())).To(HaveLen(1))
		Expect(net.Server().Counters()).To(HaveCounters{"TcpPassiveOpens": 1, "TcpRetransSegs": 0})
	})

var _ = It("curl gets a large file from nginx whole over a link that loses 5 %", harness.Programs("nginx", "curl"), Label("quick", "netem", "rfc9293"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := losing(lab, 5)
		address := net.Server().Addr(80)
		lab.Start(net.Server(), nginx(80, web(), "listen "+address.String()))
		got := transferOf(lab.Start(net.Client(), curl(0, "http://"+address.String()+"/large.bin")))

		Expect(got.Code).To(Equal(200))
		lab.Measure("bytes", got.Downloaded, bounds.Exactly(large), "Content-Length")
		lost := net.ToClient.Queue().Drops
		lab.Note("lost by the link", lost)
		// Each loss of data is repaired by a retransmission; ACKs are cumulative, so that their loss need not be.
		lab.Measure("retransmits", net.Server().Counters()["TcpRetransSegs"], bounds.AtLeast(large/int(harness.MSS())/100), "RFC 9293, 3.8.1; 5 % of the segments")
	})

// An upload that is too large: nginx answers with 413 at once, by the request's header, and has to do something about the body that is on
// its way. It reads on, and drops that, for lingering_time. If it closes before, it has unread data: the kernel sends a reset and forgets
// the answer, even if that was lost and has to be sent again.
var _ = Describe("an upload beyond client_max_body_size:", harness.Programs("nginx", "curl"), func() {
	const (
		body = 900_000 // less than 1 MB, for which curl would wait for "100 Continue"; it takes 7 s
		lost = 5       // times that the answer is lost: for more than 3 s, by RTOs of 0.2 s and more that double
	)
	const rate = 1 * impair.Mbit // to the server
	upload := func(lab *harness.Lab, lingering time.Duration, status int, losses int, args ...string) (*harness.Network, *harness.Capture, transfer) {
		GinkgoHelper()
		net := lab.Routed()
		net.ToServer.Impair(impair.Netem{Delay: rtt / 2, Rate: impair.Rate{BitsPerSecond: rate}})
		net.ToClient.Impair(impair.Netem{Delay: rtt / 2})
		address := net.Server().Addr(80)
		lab.Start(net.Server(), nginx(80, web(), "listen "+address.String(), fmt.Sprintf("lingering_time %ds", lingering/time.Second)))
		if losses > 0 {
			net.ToClient.Rule(rules.Drop(rules.Data.Number(1).Times(losses)))
		}
		file := folder(map[string]string{"body": strings.Repeat("x", body)}) + "/body"
		wire := lab.Capture(net.Client(), net.Server())
		got := transferOf(lab.Start(net.Client(), curl(status, append(args, "--data-binary", "@"+file, "http://"+address.String()+"/")...)))
		time.Sleep(harness.Settle)
		lab.Note("bytes of the body that curl sent", got.Uploaded)
		lab.Note("resets from nginx", len(wire.Stop().From(net.Server(), analysis.RSTs, analysis.On("server/eth0"))))
		return net, wire, got
	}

	It("curl gets the 413, though that is lost for seconds, as nginx reads on (lingering_time)", Label("quick", "netem", "rfc9112"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, _, got := upload(lab, 30*time.Second, 0, lost)
		Expect(got.Code).To(Equal(413))
		lab.Measure("retransmits of the answer", net.Server().Counters()["TcpRetransSegs"], bounds.Exactly(lost), "RFC 9293, 3.8.1")
		Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPAbortOnClose": 0})
	})

	It("wrong: curl gets a reset instead of the 413 if nginx stops reading before that has arrived (lingering_time)", Label("quick", "netem", "rfc2525"),
		func(ctx SpecContext) {
			const lingering = 2 * time.Second
			lab := harness.NewLab(ctx)
			net, wire, got := upload(lab, lingering, 56, lost) // CURLE_RECV_ERROR
			Expect(got.Code).To(BeZero())
			// RFC 2525, section 2.17; tcp_close: TcpExtTCPAbortOnClose. The answer is not sent any more. nginx notes the second of the answer,
			// and looks when something arrives: at the pace of the link.
			sent := harness.First(wire.DataFrom(net.Server(), analysis.On("server/eth0")), "answers")
			reset := harness.First(wire.From(net.Server(), analysis.RSTs, analysis.On("server/eth0")), "resets")
			const frame = 1514 * 8 * time.Second / time.Duration(rate)
			expected := oracle.Between(lingering-time.Second-programDelay, lingering+frame).LateBy(programDelay)
			lab.Measure("reset after", reset.At-sent.At, expected, "lingering_time, by whole seconds of a clock (ngx_time); the next full frame of the body")
			lab.Check("curl told after", got.Total.duration(), expected.Plus(rtts(2)))
			Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPAbortOnClose": 1})
		})

	It("curl sends no body that is refused if it waits for 100 Continue", Label("quick", "netem", "rfc9110"), func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net, _, got := upload(lab, time.Second, 0, 0, "-H", "Expect: 100-continue")
		Expect(got).To(And(HaveField("Code", 413), HaveField("Uploaded", 0)))
		lab.Measure("answer after", got.FirstByte.duration(), rtts(2), "RFC 9110, 10.1.1: the answer comes before any of the body")
		Expect(net.Server().Counters()).To(HaveCounters{"TcpExtTCPAbortOnClose": 0, "TcpOutRsts": 0})
	})
})

var _ = It("curl tries IPv4 200 ms after IPv6 if that is silent (Happy Eyeballs)", harness.Programs("nginx", "curl"), Label("quick", "netem", "rfc8305"),
	func(ctx SpecContext) {
		lab := harness.NewLab(ctx)
		net := lab.Path(rtt)
		four, six := net.Server().IPv4(), net.Server().IPv6()
		lab.Start(net.Server(), nginx(80, web(), "listen 80", "listen [::]:80 ipv6only=on"))
		net.ToServer.Rule(rules.Drop(rules.SYN.Destination(six)))
		wire := lab.Capture(net.Client())
		got := transferOf(lab.Start(net.Client(), curl(0, "--resolve", fmt.Sprintf("server:80:[%s],%s", six, four), "http://server/small.txt")))

		Expect(got).To(And(HaveField("Code", 200), HaveField("RemoteIP", four.String())))
		// RFC 8305, section 5, recommends 250 ms; curl's --happy-eyeballs-timeout-ms is 200 by default.
		const head = 200 * time.Millisecond
		late := oracle.Exactly(head).LateBy(programDelay).From("curl: CURL_HET_DEFAULT")
		syns := wire.Stop().From(net.Client(), analysis.SYNs)
		Expect(syns).To(HaveLen(2))
		Expect(syns[0].Dst.Addr()).To(Equal(six))
		Expect(syns[1].Dst.Addr()).To(Equal(four))
		lab.Measure("second SYN after", syns[1].At-syns[0].At, late)
		lab.Measure("first byte after", got.FirstByte.duration(), late.Plus(rtts(2)))
	})
