package diagnose

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	. "github.com/onsi/gomega"
	"golang.org/x/sys/unix"

	"github.com/tcplab/tcplab/harness/invalid"
	"github.com/tcplab/tcplab/internal/probe"
	"github.com/tcplab/tcplab/internal/testenv"
	"github.com/tcplab/tcplab/peers/tcpinfo"
)

// What a path does is shown by scenarios/tools: here is what a machine shows by itself.

func kinds(r *Report) []Kind {
	list := []Kind{}
	for _, f := range r.Findings {
		list = append(list, f.Kind)
	}
	return list
}

func diagnose(t *testing.T, address string, o Options) *Report {
	t.Helper()
	at := netip.MustParseAddrPort(address)
	o.Host, o.Port = at.Addr().String(), at.Port()
	report, err := Run(t.Context(), o, nil)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if err := report.Text(&text, 80); err != nil {
		t.Fatal(err)
	}
	t.Log(text.String())
	return report
}

func TestHealthy(t *testing.T) {
	g := NewWithT(t)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("x")) }))
	defer server.Close()
	report := diagnose(t, server.Listener.Addr().String(), Options{HTTP: "/"})
	g.Expect(report.Findings).To(BeEmpty())
	g.Expect(report.of(purposeConnect, netip.Addr{})).To(HaveLen(connects))
	g.Expect(report.of(purposeAsk, netip.Addr{})).To(HaveLen(asks))
	g.Expect(report.of(purposeDelayedACK, netip.Addr{})).To(HaveLen(delayedAsks))
	g.Expect(report.Machine.Routes[report.Addresses[0]].Local).To(BeTrue())

	// What is judged is data: it comes through JSON, and is judged alike.
	document, err := json.Marshal(report)
	g.Expect(err).NotTo(HaveOccurred())
	var again Report
	g.Expect(json.Unmarshal(document, &again)).To(Succeed())
	g.Expect(judge(&again)).To(BeEmpty())
}

func TestRefused(t *testing.T) {
	g := NewWithT(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	g.Expect(err).NotTo(HaveOccurred())
	listener.Close()
	report := diagnose(t, listener.Addr().String(), Options{})
	g.Expect(kinds(report)).To(Equal([]Kind{Refused}))
	g.Expect(report.Findings[0].Seen).To(Equal("a reset in answer to the SYN (ECONNREFUSED)"))
	g.Expect([]int{report.Findings[0].Status, report.Status}).To(HaveEach(Refused.ExitStatus()))
}

func TestServers(t *testing.T) {
	for kind, handle := range map[Kind]func(net.Conn){
		ClosedUnanswered: func(c net.Conn) { _, _ = c.Read(make([]byte, 100)) },
		Reset:            func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0); _, _ = c.Read(make([]byte, 100)) },
		SilentServer: func(c net.Conn) {
			for _, err := c.Read(make([]byte, 100)); err == nil; _, err = c.Read(make([]byte, 100)) {
			}
		},
	} {
		report := diagnose(t, testenv.Listen(t, handle), Options{Send: []byte("x"), Timeout: time.Second})
		NewWithT(t).Expect(kinds(report)).To(Equal([]Kind{kind}))
	}
}

// TestEnded: ^C leaves what there is. What was silent for longer than the first RTO is silent.
func TestEnded(t *testing.T) {
	address := netip.MustParseAddrPort(testenv.Listen(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 100)); _, _ = c.Read(make([]byte, 100)) }))
	for after, want := range map[time.Duration][]Kind{100 * time.Millisecond: {}, 1500 * time.Millisecond: {SilentServer}} {
		g := NewWithT(t)
		ctx, cancel := context.WithTimeout(t.Context(), after)
		began := time.Now()
		report, err := Run(ctx, Options{Host: address.Addr().String(), Port: address.Port(), Send: []byte("x"), Timeout: time.Minute}, nil)
		cancel()
		g.Expect(err).NotTo(HaveOccurred())
		g.Expect(time.Since(began)).To(BeNumerically("<", after+5*time.Second))
		g.Expect(report.Ended).To(BeTrue())
		g.Expect(kinds(report)).To(Equal(want))
	}
}

func TestNames(t *testing.T) {
	const server = "192.0.2.53:53"
	for means, c := range map[string]struct {
		name Name
		kind Kind
	}{
		"No DNS server was asked":      {Name{Err: "no such host", NotFound: true}, NoSuchName},
		"There is no such name":        {Name{Err: "no such host", NotFound: true, Server: server}, NoSuchName},
		"No resolver has answered":     {Name{Err: "i/o timeout", Server: server}, NoResolver},
		"No resolver has answered: wh": {Name{Err: "connection refused"}, NoResolver},
		"that it cannot say":           {Name{Err: "server misbehaving", Server: server, Misbehaves: true}, NoResolver},
	} {
		g := NewWithT(t)
		findings := judge(&Report{Options: Options{Host: "example.org"}, Name: c.name})
		g.Expect(findings).To(ConsistOf(And(HaveField("Kind", c.kind), HaveField("Means", ContainSubstring(means)))))
	}
}

// TestExitStatuses: each is of one kind, is no status that something else has, and the surest and then the worst finding decides.
func TestExitStatuses(t *testing.T) {
	g := NewWithT(t)
	seen := map[int]Kind{}
	for _, group := range ExitStatuses() {
		for _, k := range group.Kinds {
			status := k.ExitStatus()
			if status == 0 {
				continue
			}
			g.Expect(seen).NotTo(HaveKey(status), "%s", k)
			seen[status] = k
			g.Expect(status).To(And(BeNumerically(">=", group.Status), BeNumerically("<", group.Status+10), BeNumerically(">", 2), BeNumerically("<", 126)), "%s", k)
		}
	}
	// Scripts go by these: they stay as they are.
	for kind, status := range map[Kind]int{NoSuchName: 10, NoRoute: 20, Failed: 24, Refused: 30, Filtered: 32, MTUBlackHole: 40, NotHTTP: 47, SYNLoss: 50, DelayedACK: 55, TimeWait: 60, NoKeepalive: 0} {
		g.Expect(kind.ExitStatus()).To(Equal(status), "%s", kind)
	}
	of := func(findings ...Finding) int { return (&Report{Findings: findings}).ExitStatus() }
	g.Expect(of()).To(Equal(0))
	g.Expect(of(Finding{Kind: NoKeepalive, Sure: Certain, Advice: true})).To(Equal(0))
	g.Expect(of(Finding{Kind: CloseWait, Sure: Certain}, Finding{Kind: Loss, Sure: Certain})).To(Equal(Loss.ExitStatus()))
	g.Expect(of(Finding{Kind: Filtered, Sure: Likely}, Finding{Kind: CloseWait, Sure: Certain})).To(Equal(CloseWait.ExitStatus()))
}

// TestFewLossesAreNotALossyPath: one of a hundred is by chance, where a path may lose one of a thousand; ten of a thousand are not.
func TestFewLossesAreNotALossyPath(t *testing.T) {
	g := NewWithT(t)
	for _, c := range []struct {
		lost, of int
		lossy    bool
	}{{0, 0, false}, {0, 100, false}, {1, 100, false}, {2, 40, true}, {10, 1000, true}, {10, 10_000, false}} {
		g.Expect(moreThanCommon(c.lost, c.of)).To(Equal(c.lossy), "%v", c)
	}
}

// A segment that is missing for a round trip was sent again; one that comes soon was only late.
func TestHoles(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(1, 0).Add(time.Duration(ms) * time.Millisecond) }
	for _, filled := range []int{30, 60} { // of an RTT of 100 ms, looked at every 5 ms
		g := NewWithT(t)
		var h hole
		lost := 0
		before := &tcpinfo.Info{}
		for ms := 5; ms <= 100; ms += 5 {
			info := &tcpinfo.Info{TCPInfo: unix.TCPInfo{Min_rtt: 100_000}}
			if ms >= 5 {
				info.Rcv_ooopack = 1
			}
			if ms >= 5+filled {
				info.Bytes_received = 1
			}
			if h.look(before, info, at(ms-5), at(ms)) {
				lost++
			}
			before = info
		}
		g.Expect(lost).To(Equal(map[int]int{30: 0, 60: 1}[filled]))
	}
}

// errorOf is a struct sock_extended_err with the address behind it.
func errorOf(origin, kind, code uint8, from netip.Addr) []byte {
	b := make([]byte, 16, 44)
	b[4], b[5], b[6] = origin, kind, code
	if from.Is4() {
		b = binary.NativeEndian.AppendUint16(b, unix.AF_INET)
		return append(append(b, 0, 0), append(from.AsSlice(), make([]byte, 8)...)...)
	}
	b = binary.NativeEndian.AppendUint16(b, unix.AF_INET6)
	return append(append(b, make([]byte, 6)...), append(from.AsSlice(), 0, 0, 0, 0)...)
}

func TestICMP(t *testing.T) {
	g := NewWithT(t)
	router := netip.MustParseAddr("192.0.2.1")
	icmp := parseError(errorOf(unix.SO_EE_ORIGIN_ICMP, 3, 13, router))
	g.Expect(icmp).To(Equal(&ICMP{From: router, Type: 3, Code: 13}))
	g.Expect(icmp.String()).To(Equal("communication administratively prohibited (type 3, code 13)"))
	router = netip.MustParseAddr("2001:db8::1")
	icmp = parseError(errorOf(unix.SO_EE_ORIGIN_ICMP6, 1, 0, router))
	g.Expect(icmp).To(Equal(&ICMP{From: router, Type: 1, Code: 0, IPv6: true}))
	g.Expect(parseError(errorOf(unix.SO_EE_ORIGIN_LOCAL, 0, 0, router))).To(BeNil())
	g.Expect(ICMP{Type: 99, Code: 7}.String()).To(Equal("type 99, code 7"))
}

func FuzzICMP(f *testing.F) {
	f.Add(errorOf(unix.SO_EE_ORIGIN_ICMP, 3, 13, netip.MustParseAddr("192.0.2.1")))
	f.Add(errorOf(unix.SO_EE_ORIGIN_ICMP6, 1, 0, netip.MustParseAddr("2001:db8::1"))[:30])
	f.Fuzz(func(t *testing.T, b []byte) {
		if icmp := parseError(b); icmp != nil {
			_ = icmp.String()
			_, _ = icmp.means(icmp.From)
		}
	})
}

func TestOptions(t *testing.T) {
	for field, o := range map[string]Options{
		"Options.Host":        {Port: 80},
		"Options.Port":        {Host: "localhost"},
		"Options.Family":      {Host: "localhost", Port: 80, Family: 5},
		"Options.Timeout":     {Host: "localhost", Port: 80, Timeout: -1},
		"Options.Slow":        {Host: "localhost", Port: 80, Slow: time.Hour},
		"Options.ConnectOnly": {Host: "localhost", Port: 80, ConnectOnly: true, Wait: true},
		"Options.HTTP":        {Host: "localhost", Port: 80, HTTP: "x"},
		"Options.Upload":      {Host: "localhost", Port: 80, Upload: -1},
	} {
		g := NewWithT(t)
		_, err := Run(t.Context(), o, nil)
		refused, ok := errors.AsType[*invalid.FieldError](err)
		g.Expect(ok).To(BeTrue())
		g.Expect(refused.Field).To(Equal(field))
	}
	g := NewWithT(t)
	for usual, o := range map[string]Options{
		"GET / over TLS":                {Port: 443},
		"GET /":                         {Port: 80},
		"wait for the greeting":         {Port: 22},
		"connect":                       {Port: 5432},
		"TLS handshake":                 {Port: 5432, TLS: true},
		"send 3 bytes":                  {Port: 80, Send: []byte("abc")},
		"POST /u with 7 bytes over TLS": {Port: 1, TLS: true, HTTP: "/u", Upload: 7},
	} {
		g.Expect(o.Usual().what()).To(Equal(usual))
	}
}

// TestSeveralAddresses: one that does not connect is found, though another does, and is named.
func TestSeveralAddresses(t *testing.T) {
	g := NewWithT(t)
	bad, good := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	r := &Report{Options: Options{Host: "example.org", Port: 80}, Addresses: []netip.Addr{bad, good}, Attempts: []Attempt{
		{Purpose: purposeConnect, To: bad, SYNs: 4, Sample: probe.Sample{Err: timeOut, Phase: "connect"}},
		{Purpose: purposeConnect, To: good, SYNs: 1, Sample: probe.Sample{Connect: time.Millisecond}},
	}}
	r.Findings = judge(r)
	g.Expect(kinds(r)).To(Equal([]Kind{Filtered}))
	var text strings.Builder
	g.Expect(r.Text(&text, 80)).To(Succeed())
	g.Expect(text.String()).To(ContainSubstring("! filtered, 2001:db8::1 (likely)"))
}
